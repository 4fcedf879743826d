"""The magnetic soft sheet: links joined by hinges across its width."""

from __future__ import annotations

import math

import numpy as np

from mmdtwin import units
from mmdtwin.config import FlowConfig, SheetConfig
from mmdtwin.errors import PhysicsError
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies.added_mass import elliptic_section
from mmdtwin.sim.bodies.device import FACTS_SPEED, Ambient
from mmdtwin.sim.bodies.links import Links
from mmdtwin.sim.bodies.magnetisation import net_moment
from mmdtwin.sim.bodies.plate import MAX_REYNOLDS, PlateDrag, disc_radius, plate_drag
from mmdtwin.sim.bodies.soft import SoftChain, bending_damping_time
from mmdtwin.sim.shapes import Solids

SPHERES_ACROSS = 3  # collision spheres over the width of a link


def drag_of(config: SheetConfig, fluid: FlowConfig) -> PlateDrag:
    """Return the drag of the whole sheet, straight."""
    return plate_drag(config.length, config.width, fluid.viscosity, fluid.density)


class SoftSheet(SoftChain[SheetConfig]):
    """A sheet that bends about its width; `SoftChain` says the rest."""

    hinged = True

    @classmethod
    def worst_drag(cls, config: SheetConfig, fluid: FlowConfig, speed: float) -> float:
        drag = drag_of(config, fluid)
        return (drag.broadside + drag.pressure * speed) * speed

    @classmethod
    def facts(cls, config: SheetConfig, fluid: FlowConfig) -> DeviceFacts:
        volume = config.length * config.width * config.thickness
        drag = drag_of(config, fluid)
        return DeviceFacts(
            length=config.length,
            width=config.width,
            thickness=config.thickness,
            moment=net_moment(config, volume),
            weight=(config.density - fluid.density) * volume * units.GRAVITY,
            drag=drag.edgewise + drag.friction * math.sqrt(FACTS_SPEED),
        )

    @property
    def n_links(self) -> int:
        return self.config.links

    @property
    def thickness(self) -> float:
        return self.config.thickness

    def _make_links(self) -> Links:
        c, fluid, length = self.config, self.medium.fluid, self.link_length
        section = c.width * c.thickness
        mass = c.density * section * length
        inertia = np.array(
            [
                mass * (c.width**2 + c.thickness**2) / 12,
                mass * (length**2 + c.thickness**2) / 12,
                mass * (length**2 + c.width**2) / 12,
            ]
        )
        carried, roll = elliptic_section(c.width, c.thickness, fluid.density)
        pitch, yaw = carried[2] * length**2 / 12, carried[1] * length**2 / 12
        bending = c.youngs_modulus * c.width * c.thickness**3 / 12
        stiffness = bending / length * units.TORQUE
        damping = stiffness * bending_damping_time(c, bending, c.density * section)
        drag, share = drag_of(c, fluid), length / c.length
        per_speed = units.FORCE / units.SPEED
        weight = (c.density - fluid.density) * section * length * np.asarray(self.medium.gravity)
        return Links(
            half=length / 2 * units.LENGTH,
            mass=mass * units.MASS,
            inertia=inertia * units.INERTIA,
            displaced=fluid.density * section * length * units.MASS,
            added_mass=carried * length * units.MASS,
            added_inertia=np.array([roll * length, pitch * length, yaw * length]) * units.INERTIA,
            weight=weight * units.FORCE,
            moment=self._moments(section * length),
            drag=np.array([drag.edgewise, drag.edgewise, drag.broadside]) * share * per_speed,
            friction=drag.friction * share * per_speed / math.sqrt(units.SPEED),
            pressure=drag.pressure * share * per_speed / units.SPEED,
            spread=(length**2 / 12 * units.LENGTH**2, c.width**2 / 12 * units.LENGTH**2),
            spin_drag=0.0,
            stiffness=np.array([stiffness]),
            damping=np.array([damping]),
        )

    def _make_spheres(self) -> tuple[list[Array], float]:
        c = self.config
        side = (c.width - c.thickness) / 2
        across = np.linspace(-side, side, SPHERES_ACROSS)
        rows = self._rows(math.ceil(self.link_length / c.thickness) if c.self_contact else 1)
        spheres = [np.array([[x, y, 0.0] for x in along for y in across]) for along in rows]
        return spheres, c.thickness / 2

    def solids(self) -> Solids:
        c = self.config
        half = np.array([self.link_length, c.width, c.thickness]) / 2
        return Solids.chain(self.nodes(), self.axes(), np.tile(half, (c.links, 1)), c.material)

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number of the fastest link against the fluid, on the disc's diameter."""
        fluid, diameter = self.medium.fluid, 2 * disc_radius(self.config.length, self.config.width)
        return fluid.density * self.speed_through(ambient) * diameter / fluid.viscosity

    def _check_reynolds(self, reynolds: float) -> None:
        if reynolds > MAX_REYNOLDS:
            raise PhysicsError(f"Re = {reynolds:.0f} is above {MAX_REYNOLDS:.0f}, the drag's range")
