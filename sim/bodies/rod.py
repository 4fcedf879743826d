"""The magnetic soft rod: links joined by balls, under resistive-force drag."""

from __future__ import annotations

import math

import numpy as np

from mmdtwin import units
from mmdtwin.config import FlowConfig, RodConfig
from mmdtwin.errors import PhysicsError
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies.added_mass import elliptic_section
from mmdtwin.sim.bodies.device import Ambient
from mmdtwin.sim.bodies.links import Links
from mmdtwin.sim.bodies.magnetisation import net_moment
from mmdtwin.sim.bodies.slender import crossflow_drag, resistive_coefficients
from mmdtwin.sim.bodies.soft import SoftChain, bending_damping_time
from mmdtwin.sim.shapes import Solids

MAX_REYNOLDS = 1.0  # on the diameter, for resistive-force drag


class SoftRod(SoftChain[RodConfig]):
    """A rod that bends both ways and twists; `SoftChain` says the rest."""

    hinged = False

    @classmethod
    def worst_drag(cls, config: RodConfig, fluid: FlowConfig, speed: float) -> float:
        return crossflow_drag(config.length, config.radius, fluid.viscosity, fluid.density, speed)

    @classmethod
    def facts(cls, config: RodConfig, fluid: FlowConfig) -> DeviceFacts:
        volume = np.pi * config.radius**2 * config.length
        along, _ = resistive_coefficients(config.length, config.radius, fluid.viscosity)
        return DeviceFacts(
            length=config.length,
            width=2 * config.radius,
            thickness=2 * config.radius,
            moment=net_moment(config, volume),
            weight=(config.density - fluid.density) * volume * units.GRAVITY,
            drag=along * config.length,
        )

    @property
    def n_links(self) -> int:
        return self.config.joints + 1

    @property
    def thickness(self) -> float:
        return 2 * self.config.radius

    def _make_links(self) -> Links:
        c, fluid, length = self.config, self.medium.fluid, self.link_length
        section = np.pi * c.radius**2
        mass = c.density * section * length
        across = mass * (3 * c.radius**2 + length**2) / 12
        inertia = np.array([mass * c.radius**2 / 2, across, across])
        carried, _ = elliptic_section(2 * c.radius, 2 * c.radius, fluid.density)
        pitch = carried[2] * length * length**2 / 12
        bending = c.youngs_modulus * np.pi * c.radius**4 / 4
        twisting = bending / (1 + c.poisson_ratio)  # G J = E / (2 (1 + nu)) * 2 I
        spin_drag = 4 * np.pi * fluid.viscosity * c.radius**2 * length
        along, normal = resistive_coefficients(c.length, c.radius, fluid.viscosity)
        stiffness = np.array([twisting, bending, bending]) / length * units.TORQUE
        drag = np.array([along, normal, normal]) * length * units.FORCE / units.SPEED
        weight = (c.density - fluid.density) * section * length * np.asarray(self.medium.gravity)
        return Links(
            half=length / 2 * units.LENGTH,
            mass=mass * units.MASS,
            inertia=inertia * units.INERTIA,
            displaced=fluid.density * section * length * units.MASS,
            added_mass=carried * length * units.MASS,
            added_inertia=np.array([0.0, pitch, pitch]) * units.INERTIA,
            weight=weight * units.FORCE,
            moment=self._moments(section * length),
            drag=drag,
            friction=0.0,
            pressure=0.0,
            spread=(length**2 / 12 * units.LENGTH**2, 0.0),
            # A cylinder that spins about its axis: 4 pi mu a^2 per length.
            spin_drag=spin_drag * units.TORQUE,
            stiffness=stiffness,
            damping=stiffness * bending_damping_time(c, bending, c.density * section),
        )

    def _make_spheres(self) -> tuple[list[Array], float]:
        rows = self._rows(math.ceil(self.link_length / self.thickness))
        return [np.stack([x, 0 * x, 0 * x], axis=1) for x in rows], self.config.radius

    def solids(self) -> Solids:
        half = np.array([self.link_length / 2, self.config.radius, self.config.radius])
        # Elongated ellipsoids would taper each link; boxes of the same section do not.
        half[1:] *= math.sqrt(np.pi) / 2
        return Solids.chain(
            self.nodes(), self.axes(), np.tile(half, (self.n_links, 1)), self.config.material
        )

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number of the fastest link against the fluid, on the diameter."""
        fluid = self.medium.fluid
        return fluid.density * self.speed_through(ambient) * self.thickness / fluid.viscosity

    def _check_reynolds(self, reynolds: float) -> None:
        if reynolds > MAX_REYNOLDS:
            raise PhysicsError(
                f"Re = {reynolds:.2g} is above {MAX_REYNOLDS:g}, the range of resistive-force drag"
            )
