"""What the twin knows of itself, and no laboratory does."""

from __future__ import annotations

from dataclasses import dataclass

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.state import WorldState
from mmdtwin.sim.world import World


@dataclass(frozen=True, eq=False)
class Truth:
    """What no laboratory knows: for rewards and reports only.

    `world` is the device's state in the world frame; `position` (3,) and `direction` (3,) are in
    the vessel's frame, m; `pixel` (2,) is where the centre truly projects in the image of the
    source that was asked for, px, and `pixel_size` what a pixel measures there, m; `field` (3,) T
    at the device; the true placements, that of the imager being the source's.
    """

    world: WorldState
    position: Array
    direction: Array
    pixel: Array
    pixel_size: float
    field: Array
    T_world_vessel: Array
    T_world_coils: Array
    T_world_imager: Array


def true_state(world: World, projection: Projection, T_world_imager: Array) -> Truth:
    """Return the truth of a world as it is now, seen through a true projection."""
    state = world.state()
    depth = float(projection.depth(state.position))
    return Truth(
        world=state,
        position=world.device.centre(),
        direction=world.device.direction,
        pixel=projection.project(state.position),
        pixel_size=projection.pitch * depth / projection.sid,
        field=world.field_at_device(),
        T_world_vessel=world.T_world_vessel,
        T_world_coils=world.T_world_coils,
        T_world_imager=T_world_imager,
    )
