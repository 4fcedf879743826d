"""Energy of a piece of ferrofluid, and the forces that follow from it.

The energy is that of the piece's inertia ellipsoid: surface and magnetic. As the ellipsoid depends
on second moments only, these forces are linear in the position within the piece. What particles
do beyond that is held together and apart by a repulsion that a linear map of the whole piece does
not change, so that it bears no shape. Arrays are in mm, g, s. Vectors are along the piece's
principal axes and positions r count from its centre.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.droplet_ellipsoid import (
    LEAST_ELLIPSOID,
    area,
    factor_slopes,
    fill,
    inertia_ellipsoid,
)
from mmdtwin.sim.bodies.droplet_liquid import Liquid, radius_of
from mmdtwin.sim.bodies.droplet_magnetisation import magnetisation
from mmdtwin.units import MU0

# Repulsion energy epsilon / distance of each pair, distance in a piece mapped to the unit ball:
# epsilon = PAIR gamma R^2 / n^2. A ball of like charges in a linear restoring field is uniform;
# its third surface mode, the lowest that is no linear map, then is as stiff as surface tension
# makes it: (2 n + 1)^-1 4 pi R^3 (charge density)^2 = (n - 1)(n + 2) gamma at n = 3.
PAIR = 280.0 * np.pi / 9.0
STIFFEST = 3.0 * PAIR / (4.0 / 3.0 * np.pi)  # rho a_min^2 omega^2 over stress: the charges mode
HOLD = 1.0  # of the magnetic pressure mu_0 M^2 / 2
PLASTIC = 0.7548776662466927  # 1 / 1.3247, root of x^3 = x + 1: even steps with the golden angle
GOLDEN_ANGLE = np.pi * (3.0 - np.sqrt(5.0))
RELAXATION = 1500  # steps down the gradient


@nb.njit(cache=True)
def magnetise(fields: Array, factors: Array, liquid: Liquid, out: Array) -> Array:
    """Fill magnetisations (n, 3) in fields along the axes; return their mean product (3, 3).

    A/m. The free energy of a particle in a field H_0 is stationary in its M, so that the slope in
    the shape is that of mu_0 V M . N . M / 2 at fixed M, and the slope in space V (M . grad) B.
    """
    n = len(fields)
    product = np.zeros((3, 3))
    for i in range(n):
        m = magnetisation(fields[i], factors, liquid.susceptibility, liquid.saturation)
        for a in range(3):
            out[i, a] = m[a]
            for b in range(3):
                product[a, b] += m[a] * m[b]
    return product / n


@nb.njit(cache=True)
def shape_force(
    square: Array,
    factors: Array,
    differences: Array,
    product: Array,
    count: int,
    liquid: Liquid,
) -> Array:
    """Return the (3, 3) matrix A of the force A r by surface tension and magnetisation.

    `factors` and `differences` are those of `demagnetising`, `product` that of `magnetise`.
    """
    slopes = factor_slopes(square, factors, differences)
    density = 0.5 * MU0 * count * liquid.particle_volume
    gradient = np.zeros((3, 3))
    _, area_slopes = area(square)
    for k in range(3):
        gradient[k, k] = liquid.tension * area_slopes[k]
        for m in range(3):
            gradient[k, k] += density * product[m, m] * slopes[m, k]
            if m != k:
                gradient[k, m] = -density * product[k, m] * differences[k, m]
    if count < LEAST_ELLIPSOID:
        gradient = np.eye(3) * (np.trace(gradient) / 3.0)
    return -10.0 * fill(count) / count * gradient


@nb.njit(cache=True)
def holding(count: int, magnetisation2: float, liquid: Liquid) -> float:
    """Stress that the particles' repulsion has to stand, by the mean square of M, (A/m)^2."""
    surface = liquid.tension / radius_of(count, liquid)
    return float(max(surface, HOLD * 0.5 * MU0 * magnetisation2))


@nb.njit(cache=True)
def thinnest(count: int, liquid: Liquid) -> float:
    """Square of the semi-axis below which a piece's own scale is no measure of distance."""
    return float(radius_of(count, liquid) ** 2 * count ** (-2.0 / 3.0))


@nb.njit(cache=True, fastmath=True)
def spread(r: Array, square: Array, stress: float, liquid: Liquid, force: Array) -> None:
    """Add the repulsion of the particles (n, 3) of a piece, without what would change its shape.

    With positions y = r / a the energy does not depend on a linear map of r, since it changes the
    axes a alike; its gradient is the pairs' force less its linear part, the projection below.
    """
    n = len(r)
    radius = radius_of(n, liquid)
    axes = np.sqrt(np.maximum(square, thinnest(n, liquid)))
    y = r / axes
    push = np.zeros((n, 3))
    strength = PAIR * stress * radius**3 / (n * n)
    for i in range(n):
        for j in range(i):
            d0, d1, d2 = y[i, 0] - y[j, 0], y[i, 1] - y[j, 1], y[i, 2] - y[j, 2]
            square_distance = d0 * d0 + d1 * d1 + d2 * d2 + 1e-12
            f = strength / (square_distance * np.sqrt(square_distance))
            push[i, 0] += f * d0
            push[i, 1] += f * d1
            push[i, 2] += f * d2
            push[j, 0] -= f * d0
            push[j, 1] -= f * d1
            push[j, 2] -= f * d2
    linear = push.T @ y * (5.0 * fill(n) / n) / (square / (axes * axes))
    if n < LEAST_ELLIPSOID:
        linear = np.eye(3) * (np.trace(linear) / 3.0)
    force += (push - y @ linear.T) / axes


@nb.njit(cache=True)
def relaxed_ball(count: int) -> Array:
    """Spread particles in a ball of radius 1 by their repulsion; return centres (n, 3).

    From points evenly spread by golden ratios, down the gradient until it is at rest.
    """
    r = np.empty((count, 3))
    for i in range(count):
        z = 1.0 - 2.0 * ((i * PLASTIC) % 1.0)
        angle = i * GOLDEN_ANGLE
        radius = ((i + 0.5) / count) ** (1.0 / 3.0)
        across = np.sqrt(1.0 - z * z)
        r[i] = radius * np.array([across * np.cos(angle), across * np.sin(angle), z])
    unit = Liquid(
        4.0 / 3.0 * np.pi / count, 1.0, 0.0, np.zeros(3), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0
    )
    for _ in range(RELAXATION):
        centre, square, axes = inertia_ellipsoid(r)
        r = (r - centre) @ axes.copy() / np.sqrt(square)
        force = np.zeros((count, 3))
        spread(r, np.ones(3), 1.0, unit, force)
        r += force * (count / (3.0 * PAIR))
    return r
