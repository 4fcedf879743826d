"""Walls and pressure: what confines the particles of a piece, taken at the end of the step.

Compiled; mm, g, s, along the piece's principal axes.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.droplet_ellipsoid import linear_part, volume
from mmdtwin.sim.bodies.droplet_liquid import Liquid, radius_of
from mmdtwin.sim.bodies.droplet_topology import REACH

BULK = 1000.0  # bulk modulus over Laplace pressure gamma / R: volume within 0.1 % per gamma / R
RECOVERY = 0.5  # of a penetration that is taken back in a step ...
RECOVERY_SPEED = 1.0  # ... and no faster than this, of the capillary speed sqrt(gamma / (rho R))
ADHESION_RANGE = 2.0  # of a particle's reach: where the wall's attraction ends
FOOTPRINT = 1.612  # (4 pi / 3)^(1/3): a particle covers its volume / (FOOTPRINT radius) of a wall


@nb.njit(cache=True)
def pressure(
    h: float,
    push: float,
    growth: float,
    rate2: float,
    square: Array,
    rest_volume: float,
    liquid: Liquid,
) -> float:
    """Return pressure times volume at the end of the step.

    Laplace's pressure less the bulk modulus times the strain of the ellipsoid's volume. The volume
    grows at `growth` 1/s under the present `push`, and by h / mass * `rate2` with more of it.
    """
    inside = volume(square) / rest_volume
    radius = (0.75 / np.pi * rest_volume) ** (1.0 / 3.0)
    bulk, laplace = BULK * liquid.tension / radius, 2.0 * liquid.tension / radius
    wanted = laplace - bulk * (inside * (1.0 + h * growth) - 1.0)
    whole = inside * rest_volume
    stiffness = h * h * bulk * inside * whole * rate2 / liquid.particle_mass
    return float(push + (wanted * whole - push) / (1.0 + stiffness))


@nb.njit(cache=True, fastmath=True)
def contact(
    h: float,
    free: Array,
    clear: Array,
    normal: Array,
    rate: Array,
    push: float,
    liquid: Liquid,
    wall: Array,
) -> tuple[float, float]:
    """Fill the wall's forces (n, 3): no velocity into it beyond the gap, and Coulomb's friction.

    `free` (n, 3) is the velocity at the end of the step without wall and pressure, `clear` (n,)
    the gap. Returns the growth of the logarithm of the volume, and its response to pressure: the
    squares of `rate` (n, 3), but not along the normals of contacts.
    """
    mass = liquid.particle_mass
    growth, response = 0.0, 0.0
    v = np.zeros(3)
    for i in range(len(free)):
        into, slope = 0.0, 0.0
        for a in range(3):
            v[a] = free[i, a] + h / mass * push * rate[i, a]
            into += v[a] * normal[i, a]
            slope += rate[i, a] * normal[i, a]
            response += rate[i, a] * rate[i, a]
        reaction = max(0.0, -(into + clear[i] / h) * mass / h)
        hold = 0.0
        if reaction > 0.0:
            response -= slope * slope
            if liquid.friction > 0.0:
                speed = np.sqrt(max(v[0] ** 2 + v[1] ** 2 + v[2] ** 2 - into * into, 1e-24))
                hold = min(liquid.friction * reaction / speed, mass / h)
        for a in range(3):
            wall[i, a] = reaction * normal[i, a] - hold * (v[a] - into * normal[i, a])
            growth += rate[i, a] * (v[a] + h / mass * wall[i, a])
    return growth, response


@nb.njit(cache=True)
def give_way(clear: Array, h: float, count: int, liquid: Liquid) -> None:
    """Make penetrations (n,) as small as they are to be taken back in this step."""
    density = liquid.particle_mass / liquid.particle_volume
    largest = h * RECOVERY_SPEED * np.sqrt(liquid.tension / (density * radius_of(count, liquid)))
    for i in range(len(clear)):
        if clear[i] < 0.0:
            clear[i] = max(RECOVERY * clear[i], -largest)


@nb.njit(cache=True)
def reaching(
    velocity: Array, r: Array, variance: Array, normal: Array, square: Array, extent: Array
) -> Array:
    """How fast the particles' reach to the wall grows (n,), as their piece stretches and turns.

    `extent` (n,) is their reach now; where it is at its bound, it does not grow.
    """
    gradient = linear_part(velocity, r, variance)
    out = np.zeros(len(r))
    for i in range(len(r)):
        total, change = 0.0, 0.0
        for a in range(3):
            total += normal[i, a] * square[a] * normal[i, a]
            for b in range(3):
                change += normal[i, a] * gradient[a, b] * square[b] * normal[i, b]
        unbound = REACH * len(r) ** (-1.0 / 3.0) * np.sqrt(total)
        if extent[i] > 0.999 * unbound > 0.0:
            out[i] = extent[i] * change / total
    return out


@nb.njit(cache=True)
def attract(gap: Array, normal: Array, extent: Array, liquid: Liquid, force: Array) -> None:
    """Add the wall's pull on particles that wet it: energy -W A (1 - s)^2 (1 + 2 s).

    s is the gap beyond contact over its range, A the area of wall that a particle covers.
    """
    for i in range(len(gap)):
        width = ADHESION_RANGE * extent[i]
        s = (gap[i] - extent[i]) / width
        if 0.0 < s < 1.0:
            covered = liquid.particle_volume * REACH / (FOOTPRINT * extent[i])
            pull = liquid.adhesion * covered / width * 6.0 * s * (1.0 - s)
            for a in range(3):
                force[i, a] -= pull * normal[i, a]
