"""Magnetisation of a ferrofluid ellipsoid: Langevin's law with the field inside.

M(H) = M_s L(3 chi H / M_s), L(a) = coth a - 1/a, so that chi is the initial susceptibility. The
field inside a homogeneous ellipsoid is H = H_0 - N M (Osborn, Phys. Rev. 67 (1945) 351). H, M in
A/m, B = mu_0 H_0 in T.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.units import MU0

SMALL_ARGUMENT = 1e-2  # below it L is summed as a series, right to 1e-9
ITERATIONS = 60  # bisections at most; Newton's steps are usually four
PRECISION = 1e-10  # of the internal field


@nb.njit(cache=True)
def langevin(argument: float) -> tuple[float, float]:
    """Return L(a) and its slope."""
    if argument < SMALL_ARGUMENT:
        square = argument * argument
        return argument * (1.0 / 3.0 - square / 45.0), 1.0 / 3.0 - square / 15.0
    decay = np.exp(-2.0 * argument)
    coth = (1.0 + decay) / (1.0 - decay)
    return coth - 1.0 / argument, 1.0 - coth * coth + 1.0 / (argument * argument)


@nb.njit(cache=True)
def magnetisation(field: Array, factors: Array, susceptibility: float, saturation: float) -> Array:
    """Return M (3,) A/m in the ellipsoid's axes, from H = H_0 - N M(H).

    Parameters
    ----------
    field : (3,) array
        Applied field B, T, along the ellipsoid's axes.
    factors : (3,) array
        Demagnetising factors.
    susceptibility, saturation : float
        Initial susceptibility; saturation magnetisation, A/m.

    """
    applied = field / MU0
    high = np.sqrt(np.dot(applied, applied))
    out = np.zeros(3)
    if high == 0.0:
        return out
    low = 0.0
    h = high / (1.0 + susceptibility / 3.0)
    secant = susceptibility
    for _ in range(ITERATIONS):
        value, slope = langevin(3.0 * susceptibility * h / saturation)
        secant = saturation * value / h
        secant_slope = (3.0 * susceptibility * slope - secant) / h
        square, square_slope = 0.0, 0.0
        for k in range(3):
            inverse = 1.0 / (1.0 + factors[k] * secant)
            part = applied[k] * inverse
            square += part * part
            square_slope -= 2.0 * part * part * inverse * factors[k] * secant_slope
        excess = h * h - square  # grows with h: M / H falls with H, M rises
        if excess > 0.0:
            high = h
        else:
            low = h
        step = excess / (2.0 * h - square_slope)
        if abs(step) < PRECISION * h:
            break
        h -= step
        if not low < h < high:
            h = 0.5 * (low + high)
    for k in range(3):
        out[k] = secant * applied[k] / (1.0 + factors[k] * secant)
    return out
