"""Ellipsoids: inertia ellipsoid of a cloud of particles, its area and demagnetising factors.

The slopes are taken with respect to the squared semi-axes g = a^2. All integrals are written in a
form that holds for spheres and spheroids as for triaxial bodies, without differences of nearly
equal numbers, and are summed by the trapezoidal rule over the logarithm of the variable, which
converges exponentially.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array

STEP = 0.8  # of the logarithm: error exp(-2 pi^2 / STEP) = 2e-11
NODES = np.exp(np.arange(-30.0, 44.0, STEP))  # cut off where the tails are below 1e-9
FLAT = 1e-6  # least squared aspect ratio: points in a plane span no volume
LEAST_ELLIPSOID = 4  # particles; fewer span no volume and are taken as a ball


@nb.njit(cache=True)
def fill(count: int) -> float:
    """Second moment of a ball's volume over that of `count` particles' centres spread in it.

    Each particle has itself the second moment of a ball of its volume, R^2 count^(-2/3) / 5.
    """
    return 1.0 / (1.0 - count ** (-2.0 / 3.0))


@nb.njit(cache=True)
def inertia_ellipsoid(points: Array) -> tuple[Array, Array, Array]:
    """Return centre (3,), squared semi-axes (3,) ascending and axes (3, 3) as columns.

    A homogeneous ellipsoid has the second moments a_k^2 / 5. Of fewer than `LEAST_ELLIPSOID`
    points it is the ball of the same trace; of one point, nothing is known: zeros.
    """
    n = len(points)
    centre = np.zeros(3)
    moment = np.zeros((3, 3))
    for i in range(n):
        centre += points[i]
    centre /= n
    for i in range(n):
        r = points[i] - centre
        for a in range(3):
            for b in range(3):
                moment[a, b] += r[a] * r[b]
    if n == 1:
        return centre, np.zeros(3), np.eye(3)
    moment *= 5.0 * fill(n) / n
    if n < LEAST_ELLIPSOID:
        return centre, np.full(3, np.trace(moment) / 3.0), np.eye(3)
    squares, axes = np.linalg.eigh(moment)
    return centre, np.maximum(squares, FLAT * squares[2]), axes


@nb.njit(cache=True)
def volume(g: Array) -> float:
    """Volume of an ellipsoid of squared semi-axes g (3,)."""
    return float(4.0 / 3.0 * np.pi * np.sqrt(g[0] * g[1] * g[2]))


@nb.njit(cache=True, fastmath=True)
def area(g: Array) -> tuple[float, Array]:
    """Return area of an ellipsoid and its slopes (3,) with respect to g (3,).

    Area = 4 pi R_G(bb cc, aa cc, aa bb) with Carlson's R_G (DLMF 19.33.1); R_G is homogeneous of
    degree 1/2 and its slope in x is 1/8 int t dt / ((t + x) sqrt((t + x)(t + y)(t + z))).
    """
    x = np.array([g[1] * g[2], g[0] * g[2], g[0] * g[1]])
    scale = (x[0] * x[1] * x[2]) ** (1.0 / 3.0)
    slope = np.zeros(3)
    for node in NODES:
        t = scale * node
        common = t * t / np.sqrt((t + x[0]) * (t + x[1]) * (t + x[2]))
        for k in range(3):
            slope[k] += common / (t + x[k])
    slope *= STEP / 8.0
    value = 8.0 * np.pi * np.dot(x, slope)
    slopes = np.array(
        [
            slope[1] * g[2] + slope[2] * g[1],
            slope[0] * g[2] + slope[2] * g[0],
            slope[0] * g[1] + slope[1] * g[0],
        ]
    )
    return value, 4.0 * np.pi * slopes


@nb.njit(cache=True, fastmath=True)
def demagnetising(g: Array) -> tuple[Array, Array]:
    """Return the demagnetising factors (3,) of an ellipsoid and their differences (3, 3).

    n_k = abc/2 int ds / ((s + g_k) D), D = sqrt((s + g_1)(s + g_2)(s + g_3)) (Osborn, Phys. Rev.
    67 (1945) 351). The second result is abc/2 int ds / ((s + g_k)(s + g_l) D), symmetric: off its
    diagonal it is -(n_k - n_l) / (g_k - g_l).
    """
    product = g[0] * g[1] * g[2]
    scale = product ** (1.0 / 3.0)
    factors = np.zeros(3)
    differences = np.zeros((3, 3))
    inverse = np.zeros(3)
    for node in NODES:
        s = scale * node
        for k in range(3):
            inverse[k] = 1.0 / (s + g[k])
        common = s * np.sqrt(inverse[0] * inverse[1] * inverse[2])
        for k in range(3):
            factors[k] += common * inverse[k]
            for m in range(k + 1):
                differences[k, m] += common * inverse[k] * inverse[m]
    weight = 0.5 * STEP * np.sqrt(product)
    for k in range(3):
        for m in range(k):
            differences[m, k] = differences[k, m]
    return weight * factors, weight * differences


@nb.njit(cache=True)
def factor_slopes(g: Array, factors: Array, differences: Array) -> Array:
    """Slopes dn_l/dg_k (3, 3), l first, from the results of `demagnetising`."""
    slopes = -0.5 * differences
    for k in range(3):
        slopes[k, k] = -1.5 * differences[k, k]
        for m in range(3):
            slopes[m, k] += factors[m] / (2.0 * g[k])
    return slopes


@nb.njit(cache=True)
def linear_part(values: Array, r: Array, variance: Array) -> Array:
    """Least-squares gradient (3, 3) of vectors (n, 3) over positions r (n, 3)."""
    return values.T @ r / (len(r) * variance)
