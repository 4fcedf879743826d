"""Rigid beads and capsules, with a permanent or an induced moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmdtwin import units
from mmdtwin.config import BeadConfig, CapsuleConfig, FlowConfig
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies.compact_drag import BODY, curl, fluid_loads, reynolds_numbers
from mmdtwin.sim.bodies.device import FACTS_FIELD, FACTS_SPEED, Ambient, Medium
from mmdtwin.sim.bodies.ellipsoid import (
    ellipsoid_added_mass,
    ellipsoid_demagnetisation,
    ellipsoid_friction,
)
from mmdtwin.sim.bodies.induced import induced_moment, polarisability
from mmdtwin.sim.bodies.lumen import Nearby
from mmdtwin.sim.bodies.rigid import Loads, Mass, RigidBody, row_of_spheres, within
from mmdtwin.sim.bodies.sphere_drag import MAX_REYNOLDS, MAX_SPIN_REYNOLDS, inertial_excess
from mmdtwin.sim.shapes import Solids

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

AXIS = np.array([1.0, 0.0, 0.0])

Compact = BeadConfig | CapsuleConfig


def semi_axes(config: Compact) -> Array:
    """Semi-axes (3,) m of the ellipsoid of a body: of a capsule's volume and slenderness."""
    ratio = np.array([config.length / config.diameter, 1.0, 1.0])
    size = (0.75 / np.pi * config.volume / ratio[0]) ** (1 / 3)
    return np.asarray(size * ratio)


def fluid_body(config: Compact, fluid: FlowConfig) -> NDArray:
    """Return the record (1,) of `compact_drag.BODY`."""
    axes, mm = semi_axes(config), units.LENGTH
    drag, turning = ellipsoid_friction(axes, fluid.viscosity)
    displaced = fluid.density * config.volume
    carried = displaced + ellipsoid_added_mass(axes, fluid.density)
    cap = np.pi / 4 * config.diameter**2
    side = config.diameter * (config.length - config.diameter)
    disc = np.pi * axes.prod() ** (2 / 3)
    body = np.zeros(1, BODY)
    body["radius"] = config.diameter / 2 * mm
    body["equivalent"] = axes.prod() ** (1 / 3) * mm
    body["drag_along"], body["drag_across"] = drag[:2] * units.FORCE / units.SPEED
    body["turning_about"], body["turning_over"] = turning[:2] * units.TORQUE
    body["carried_along"], body["carried_across"] = carried[:2] * units.MASS
    # Half of the drag by inertia goes with the area seen, half with the volume, as friction does.
    body["section_along"] = (cap + disc) / 2 * mm**2
    body["section_across"] = (cap + side + disc) / 2 * mm**2
    ratio2 = (axes[0] / axes[1]) ** 2
    body["jeffery"] = (ratio2 - 1) / (ratio2 + 1)  # Jeffery, Proc. R. Soc. A 102 (1922) 161
    body["least_gap"] = config.roughness * mm
    body["viscosity"] = fluid.viscosity * units.VISCOSITY
    body["density"] = fluid.density * units.DENSITY
    return body


class Magnet(NamedTuple):
    """What makes a body magnetic, in PyBullet's units, nN m/T: one of the two.

    Parameters
    ----------
    permanent : float
        Moment along the axis.
    along, across : float
        Induced moment per field, nN m/T2.
    saturation : float
        Largest induced moment.
    """

    permanent: float
    along: float
    across: float
    saturation: float

    def moments(self, axis: Array, field: Array) -> tuple[Array, Array]:
        """Return the moment (3,) in a field, T, and the part of it that turns the body."""
        if self.permanent:
            moment = self.permanent * axis
            return moment, moment
        return induced_moment(self.along, self.across, self.saturation, axis, field)


def magnet_of(config: Compact) -> Magnet:
    """Return a body's magnetism."""
    m, volume = config.magnet, config.volume
    along, across, _ = polarisability(
        m.susceptibility or 0.0, volume, ellipsoid_demagnetisation(semi_axes(config))
    )
    values = (m.magnetisation or 0.0) * volume, along, across, (m.saturation or np.inf) * volume
    return Magnet(*(float(value) * units.MOMENT for value in values))


def resistance(
    config: Compact, fluid: FlowConfig, speed: float, attitude: Literal["along", "across"]
) -> float:
    """Return the free body's drag over its speed, N s/m, at a speed in m/s."""
    body = fluid_body(config, fluid)[0]
    reynolds = 2 * body["equivalent"] / units.LENGTH * speed * fluid.density / fluid.viscosity
    inertial = 6 * body["viscosity"] / body["equivalent"] * body[f"section_{attitude}"]
    drag = body[f"drag_{attitude}"] + inertial * inertial_excess(reynolds)
    return float(drag) * units.SPEED / units.FORCE


class Bead(RigidBody[Compact]):
    """A sphere or a capsule; its x axis is along its length and its permanent moment.

    Parameters
    ----------
    client, config, medium
        As for every `Device`.
    """

    max_step = 3e-3

    def __init__(self, client: BulletClient, config: Compact, medium: Medium) -> None:
        self._fluid = fluid_body(config, medium.fluid)
        excess = (config.density - medium.fluid.density) * config.volume
        self._weight = excess * np.asarray(medium.gravity) * units.FORCE
        self._field = np.zeros(3)
        self._magnet = magnet_of(config)
        own = config.density * config.volume * units.MASS
        added = ellipsoid_added_mass(semi_axes(config), medium.fluid.density) * units.MASS
        mass = Mass(own + added, self._inertia(config, own))
        half = (config.length - config.diameter) / 2 * units.LENGTH
        radius = config.diameter / 2 * units.LENGTH
        spheres = row_of_spheres(-half, half, radius)
        super().__init__(client, config, medium, mass, spheres, config.diameter)

    @staticmethod
    def _inertia(config: Compact, mass: float) -> Array:
        """Principal moments of inertia of a solid capsule, or ball, g mm2."""
        r = config.diameter / 2 * units.LENGTH
        rod = (config.length - config.diameter) * units.LENGTH
        tube = mass * rod / (rod + 4 / 3 * r)  # the cylinder's share of the mass
        caps = mass - tube
        about = tube * r**2 / 2 + caps * 0.4 * r**2
        end = tube * (r**2 / 4 + rod**2 / 12)
        end += caps * (0.4 * r**2 + rod**2 / 4 + 3 / 8 * rod * r)
        return np.array([about, end, end])

    @classmethod
    def facts(cls, config: Compact, fluid: FlowConfig) -> DeviceFacts:
        moment, _ = magnet_of(config).moments(AXIS, FACTS_FIELD * AXIS)
        return DeviceFacts(
            length=config.length,
            width=config.diameter,
            thickness=config.diameter,
            moment=float(moment[0]) / units.MOMENT,
            weight=(config.density - fluid.density) * config.volume * units.GRAVITY,
            drag=resistance(config, fluid, FACTS_SPEED, "along"),
        )

    @classmethod
    def worst_drag(cls, config: Compact, fluid: FlowConfig, speed: float) -> float:
        return resistance(config, fluid, speed, "across") * speed

    @property
    def points(self) -> Array:
        return self.centre()[None]

    def nodes(self) -> Array:
        ends = np.array([-0.5, 0.0, 0.5])[:, None] * (self.config.length * self.direction)
        return self.centre() + ends

    @property
    def moment(self) -> Array:
        return self._magnet.moments(self.direction, self._field)[0] / units.MOMENT

    def _loads(self, ambient: Ambient, near: Nearby) -> Loads:
        self._field = ambient.field[0]
        moment, turning = self._magnet.moments(self.direction, self._field)
        resistance, force = fluid_loads(
            self._fluid,
            self.direction,
            self._velocity,
            ambient.flow[0] * units.SPEED,
            ambient.flow_gradient[0],
            ambient.flow_laplacian[0] * units.SPEED_LAPLACIAN,
            ambient.flow_acceleration[0] * units.ACCELERATION,
            *near[1:5],
        )
        pull = ambient.gradient[0] @ moment * units.FIELD_GRADIENT
        force[:3] += self._weight + pull
        return Loads(resistance, force, turning[None], self._field[None])

    def solids(self) -> Solids:
        """A ball, or the ellipsoid of a capsule's volume and slenderness."""
        half = semi_axes(self.config)[None]
        place = self.centre()[None], self.rotation[None]
        return Solids(*place, half, self.config.material, shape="ellipsoid")

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number against the fluid, on the diameter of the sphere of its volume."""
        return self._reynolds(ambient)[0]

    def _reynolds(self, ambient: Ambient) -> tuple[float, float]:
        turn = 0.5 * curl(ambient.flow_gradient[0])
        return reynolds_numbers(self._fluid, self._velocity, ambient.flow[0] * units.SPEED, turn)

    def check(self, ambient: Ambient) -> None:
        reynolds, spin = self._reynolds(ambient)
        within("Re", reynolds, MAX_REYNOLDS)
        within("Re of rotation", spin, MAX_SPIN_REYNOLDS)


class Capsule(Bead):
    """A bead with length: its ends swing into walls, so that its substeps are shorter."""

    max_step = 2e-3
