"""Magnetisation of soft-magnetic bodies, with their demagnetising field."""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin import units
from mmdtwin.geometry import Array

SATURATION_STEPS = 30  # at most; two to five are usual
PRECISION = 1e-12  # of the saturated size


def polarisability(susceptibility: float, volume: float, demagnetisation: Array) -> Array:
    """Return the moment per field (3,) of an ellipsoid along its axes, A m2/T.

    M = chi H / (1 + N chi) with its demagnetising factors N (3,): chi / (1 + chi / 3) for a
    sphere. Volume in m3.
    """
    return susceptibility * volume / (units.MU0 * (1.0 + demagnetisation * susceptibility))


@nb.njit(cache=True)
def induced_moment(
    along: float, across: float, largest: float, axis: Array, field: Array
) -> tuple[Array, Array]:
    """Return the moment (3,) that a field (3,) induces in an ellipsoid of revolution about `axis`.

    The magnetisation follows the field inside, H = H_0 - N M, up to saturation: M along H, of
    size min(chi H, M_s). In terms of the polarisabilities `along` and `across` the saturated
    moment is B_k / (1 / p_k + x), with the x at which it has the size `largest`; Newton's steps on
    1 / size rise to it without fail (J. More and D. Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983)
    553, whose trust region the saturation is).

    Returns
    -------
    moment : (3,) array
    turning : (3,) array
        The part along the axis that the field turns: the torque is turning x field.
    """
    part = np.dot(axis, field)
    part2 = part * part
    rest2 = max(np.dot(field, field) - part2, 0.0)
    p, q = along, across
    for _ in range(SATURATION_STEPS):
        size2 = part2 * p * p + rest2 * q * q
        excess = np.sqrt(size2) / largest - 1.0
        if excess <= PRECISION:
            break
        x = excess * size2 / (part2 * p**3 + rest2 * q**3)
        p, q = p / (1.0 + x * p), q / (1.0 + x * q)
    turning = (p - q) * part * axis
    return q * field + turning, turning
