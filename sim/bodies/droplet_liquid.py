"""A ferrofluid and what surrounds it, as its particles need to know it."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from mmdtwin import units
from mmdtwin.config import DropletConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.device import Medium

ADDED_MASS = 0.5  # of the displaced fluid, of a ball; Lamb, Hydrodynamics, art. 92


class Liquid(NamedTuple):
    """Constants of a liquid in its surroundings, mm, g, s, T."""

    particle_volume: float
    particle_mass: float  # with the share of the fluid that is carried along
    fluid_mass: float  # that a particle displaces and carries
    weight: Array  # (3,) of a particle, less buoyancy
    tension: float
    fluid_density: float
    fluid_viscosity: float
    viscosity_ratio: float  # of the liquid to the fluid
    susceptibility: float
    saturation: float  # A/m
    friction: float
    adhesion: float  # energy gained per wetted area


def liquid_of(config: DropletConfig, medium: Medium) -> Liquid:
    """Return the constants of a droplet's particles, in PyBullet's units."""
    fluid = medium.fluid
    share = config.volume / config.particles * units.LENGTH**3
    excess = (config.density - fluid.density) * units.DENSITY * share
    wets = config.contact_angle < np.pi
    tension = config.interfacial_tension * units.FORCE / units.LENGTH
    return Liquid(
        particle_volume=share,
        particle_mass=(config.density + ADDED_MASS * fluid.density) * units.DENSITY * share,
        fluid_mass=(1.0 + ADDED_MASS) * fluid.density * units.DENSITY * share,
        weight=excess * np.asarray(medium.gravity, float) * units.ACCELERATION,
        tension=tension,
        fluid_density=fluid.density * units.DENSITY,
        fluid_viscosity=fluid.viscosity * units.VISCOSITY,
        viscosity_ratio=config.viscosity / fluid.viscosity,
        susceptibility=config.susceptibility,
        saturation=config.saturation,
        friction=medium.friction if wets else 0.0,
        adhesion=tension * (1.0 + float(np.cos(config.contact_angle))) if wets else 0.0,
    )


@nb.njit(cache=True)
def radius_of(count: int, liquid: Liquid) -> float:
    """Radius of a ball of `count` particles."""
    return float((3.0 / (4.0 * np.pi) * count * liquid.particle_volume) ** (1.0 / 3.0))
