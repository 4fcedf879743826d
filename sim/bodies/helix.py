"""Rigid helices that swim in a rotating field, and screws that the wall drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmdtwin import units
from mmdtwin.config import FlowConfig, HelixConfig
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies.device import Ambient, Medium
from mmdtwin.sim.bodies.helix_drag import (
    MAX_REYNOLDS,
    flow_load,
    flow_to_load,
    inertia,
    levers,
    parts_of,
    placed,
    resistance,
    thread_ways,
)
from mmdtwin.sim.bodies.lumen import Nearby
from mmdtwin.sim.bodies.rigid import Loads, Mass, RigidBody, Spheres, row_of_spheres, within
from mmdtwin.sim.bodies.slender import inertial_drag
from mmdtwin.sim.bodies.sphere_drag import inertial_excess
from mmdtwin.sim.shapes import Solids

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

# Of a resistance (6, 6): force over speed, force over rate, torque over rate.
RESISTANCE = np.full((6, 6), units.FORCE)
RESISTANCE[:3, :3] = units.FORCE / units.SPEED
RESISTANCE[3:, 3:] = units.TORQUE


class Helix(RigidBody[HelixConfig]):
    """A filament wound about x, with or without a ball as a head; its moment is along y.

    Parameters
    ----------
    client, config, medium
        As for every `Device`.
    """

    pulled = False

    def __init__(self, client: BulletClient, config: HelixConfig, medium: Medium) -> None:
        fluid = medium.fluid
        self._parts = parts_of(config)
        self._resistance = resistance(config, fluid) * RESISTANCE
        self._to_load = flow_to_load(config, fluid) * RESISTANCE[:, None, :3]
        self._levers = levers(self._parts.points)
        self._magnet = config.moment * units.MOMENT * np.array([0.0, 1.0, 0.0])
        gravity = np.asarray(medium.gravity)
        buoyancy = fluid.density * self._parts.volume
        self._weight = (self._parts.mass.sum() - buoyancy.sum()) * gravity * units.FORCE
        self._lift = -buoyancy.sum() * gravity * units.FORCE
        self._lift_arm = buoyancy @ self._parts.points / buoyancy.sum() * units.LENGTH
        mass = inertia(config, fluid)
        # Of the fluid, displaced and carried, along its axes.
        self._surge = (buoyancy.sum() + mass[:3] - self._parts.mass.sum()) * units.MASS
        super().__init__(
            client, config, medium, Mass(mass[:3] * units.MASS, mass[3:] * units.INERTIA),
            self._envelope(config), config.width,
        )  # fmt: skip

    def _envelope(self, config: HelixConfig) -> Spheres:
        """Spheres of the outer radius along the axis: the wall meets the swept cylinder."""
        radius = config.width / 2
        x = self._parts.points[:, 0]
        low, high = x.min(), x.max()
        if config.head:
            high += config.head.diameter / 2
        middle, half = (high + low) / 2, max((high - low) / 2 - radius, 0.0)
        low, high, radius = (x * units.LENGTH for x in (middle - half, middle + half, radius))
        return row_of_spheres(low, high, radius)

    @property
    def _wall_friction(self) -> float:
        return 0.0 if self.config.thread else self.medium.friction  # the thread has its own

    @classmethod
    def worst_drag(cls, config: HelixConfig, fluid: FlowConfig, speed: float) -> float:
        """As in `Device`: the larger of creeping drag and, with inertia, filament and head alone.

        The filament is then a cylinder across the flow, as long as it is (`inertial_drag`).
        """
        creeping = float(np.linalg.eigvalsh(resistance(config, fluid)[:3, :3])[-1]) * speed
        mu, rho = fluid.viscosity, fluid.density
        inertial = inertial_drag(
            config.filament_length, config.filament_diameter / 2, mu, rho, speed
        )
        if config.head:
            size = config.head.diameter
            ball = 1.0 + inertial_excess(speed * size * rho / mu)
            inertial += 3 * np.pi * mu * size * ball * speed
        return max(creeping, inertial)

    @classmethod
    def facts(cls, config: HelixConfig, fluid: FlowConfig) -> DeviceFacts:
        parts = parts_of(config)
        return DeviceFacts(
            length=config.length,
            width=config.width,
            thickness=config.width,
            moment=config.moment,
            weight=float(parts.mass.sum() - fluid.density * parts.volume.sum()) * units.GRAVITY,
            drag=float(resistance(config, fluid)[0, 0]),
        )

    @property
    def points(self) -> Array:
        """Its centre, where it feels the field, then its segments, where it feels the flow."""
        return np.concatenate([self.centre()[None], self.nodes()])

    def nodes(self) -> Array:
        """Middles of the filament's segments, (n, 3) m, and of the head, if there is one."""
        return self.centre() + self._parts.points @ self._rotation.T

    @property
    def moment(self) -> Array:
        return self._rotation @ self._magnet / units.MOMENT

    def _loads(self, ambient: Ambient, near: Nearby) -> Loads:
        rotation, field = self._rotation, ambient.field[0]
        moment = rotation @ self._magnet
        force = flow_load(rotation, self._to_load, ambient.flow[1:] * units.SPEED)
        force[:3] += self._weight + ambient.gradient[0] @ moment * units.FIELD_GRADIENT
        acceleration = ambient.flow_acceleration[0] * units.ACCELERATION
        force[:3] += rotation @ (self._surge * (acceleration @ rotation))
        force[3:] += np.cross(rotation @ self._lift_arm, self._lift)
        resist = placed(rotation, self._resistance)
        loads = Loads(resist, force, moment[None], field[None])
        thread, pressed = self.config.thread, self._pressed(near)
        if thread is None or pressed == 0.0:
            return loads
        radius = min(near.radius, thread.expanded_diameter / 2 * units.LENGTH)
        lead = self.config.sense * thread.lead * units.LENGTH
        friction = np.array([thread.traction, self.medium.friction]) * pressed * units.FORCE
        along = near.axis if near.axis @ self._direction > 0.0 else -near.axis
        return loads._replace(
            moments=np.stack([moment, self._upright(near) * self._direction]),
            fields=np.stack([field, along]),
            ways=thread_ways(self._direction, radius, lead),
            friction=friction,
        )

    def _upright(self, near: Nearby) -> float:
        """Torque over the sine of its tilt in a lumen that compresses a screw all around, nN m.

        A tilt compresses a slice at x from the middle by x sin(tilt) on one side; the slice's
        lateral stiffness is half of its radial one, so it is K L^2 / 24 for the whole.
        """
        thread, length = self.config.thread, self.config.pitch * self.config.turns
        assert thread is not None
        if near.radius / units.LENGTH >= thread.expanded_diameter / 2:
            return 0.0
        return thread.stiffness * length**2 / 24 * units.TORQUE

    def _pressed(self, near: Nearby) -> float:
        """Normal force, N, by which the thread is pressed against the wall."""
        thread = self.config.thread
        if thread is None:
            return 0.0
        compressed = thread.expanded_diameter / 2 - near.radius / units.LENGTH
        return thread.stiffness * max(compressed, 0.0) + self.contact_force()

    def solids(self) -> Solids:
        """Rods of square section along the filament; the head is a cube of its volume."""
        c, t = self.config, self._parts.tangents
        side = np.pi**0.5 / 2 * c.filament_diameter
        half = np.tile([self._parts.length / 2, side / 2, side / 2], (len(t), 1))
        across = np.cross(t, [1.0, 0.0, 0.0])
        if c.head:
            half[-1] = (np.pi / 6) ** (1 / 3) * c.head.diameter / 2
            t, across = t.copy(), across.copy()
            t[-1], across[-1] = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        axes = np.stack([t, across, np.cross(t, across)], axis=2)
        return Solids(self.nodes(), self._rotation @ axes, half, c.material)

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number of the fastest part against the flow, on the filament's diameter."""
        body = np.concatenate(
            [self._velocity[:3] @ self._rotation / units.SPEED, self._velocity[3:] @ self._rotation]
        )
        u = self._levers @ body - ambient.flow[1:] @ self._rotation
        fluid = self.medium.fluid
        speed = float(np.sqrt((u**2).sum(axis=1)).max())
        return speed * self.config.filament_diameter * fluid.density / fluid.viscosity

    def check(self, ambient: Ambient) -> None:
        if self._pressed(self._lumen.near(*self.surface())) > 0.0:
            return  # the wall holds it, with a hundred times the fluid's drag
        within("Re of the filament", self.reynolds(ambient), MAX_REYNOLDS)
