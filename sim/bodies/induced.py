"""Magnetisation of soft-magnetic bodies, with their demagnetising field."""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin import units
from mmdtwin.geometry import Array


def polarisability(susceptibility: float, volume: float, demagnetisation: Array) -> Array:
    """Return the moment per field (3,) of an ellipsoid along its axes, A m2/T.

    M = chi H / (1 + N chi) with its demagnetising factors N (3,): chi / (1 + chi / 3) for a
    sphere. Volume in m3.
    """
    return susceptibility * volume / (units.MU0 * (1.0 + demagnetisation * susceptibility))


@nb.njit(cache=True)
def induced_moment(along: float, across: float, largest: float, axis: Array, field: Array) -> Array:
    """Return the moment (3,) that a field (3,) induces in a body of revolution about `axis`.

    Linear in the field, until it reaches the saturation moment `largest`.
    """
    part = np.dot(axis, field)
    moment = across * field + (along - across) * part * axis
    size = np.sqrt(np.dot(moment, moment))
    if size > largest:
        moment = moment * (largest / size)
    return moment
