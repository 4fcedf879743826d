"""Magnetic fields, soft bodies, vessels and flow: the physical world of the twin."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdtwin.sim.state import Snapshot, WorldState
    from mmdtwin.sim.world import World

__all__ = ["Snapshot", "World", "WorldState"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the world brings in PyBullet and numba.
    if name in __all__:
        from mmdtwin.sim import world

        return getattr(world, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
