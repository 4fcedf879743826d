"""What is asked of an allocation, as conditions that are linear in effective currents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.control.allocation.conditions import (
    FIELD_UNIT,
    GRADIENT_UNIT,
    TENSORS,
    TORQUE_UNIT,
    all_within,
    conditions,
)
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

NO_VECTOR, NO_TENSOR, NO_MOMENT = np.zeros(0), np.zeros((0, 3)), np.zeros(3)
# Larger numbers are not in SI units; those of the last four are assumed.
LARGEST = {
    "point": (1.0, "m"),
    "field": (10.0, "T"),
    "gradient": (1e3, "T/m"),
    "force": (1e3, "N"),
    "torque": (1e3, "N m"),
    "moment": (1e3, "A m2"),
}
VECTORS = ("point", "moment", "field", "force", "torque")
LARGEST_VECTORS = np.array([LARGEST[name][0] for name in VECTORS])
ROUNDING = 1e-6  # of a request and of its unit: so much may be impossible for any field


class Target:
    """What one device is to feel: a field, gradient, force or torque, or several of them.

    Parameters
    ----------
    point : (3,) array
        Place of the device in the field model's frame, m; not beyond 1 m.
    field : (3,) array, optional
        T; at most 10 T.
    force : (3,) array, optional
        N; needs `moment`. F_j = sum_i m_i dB_i/dx_j.
    moment : (3,) array, optional
        Moment of the device, A m2.
    gradient : (3, 3) array, optional
        gradient[i, j] = dB_i/dx_j, T/m; symmetric and without trace, as Maxwell's equations ask.
    torque : (3,) array, optional
        m x B, N m; needs `moment`, and is perpendicular to it: no field turns a device about its
        own moment.

    Raises
    ------
    UserError
        If a vector has a wrong shape, is not finite, or too large for SI units; if nothing is
        asked for, the moment is missing, or no field whatever could do it.
    """

    def __init__(
        self,
        point: ArrayLike,
        field: ArrayLike | None = None,
        force: ArrayLike | None = None,
        moment: ArrayLike | None = None,
        gradient: ArrayLike | None = None,
        torque: ArrayLike | None = None,
    ) -> None:
        self.point = _shaped("point", point, (3,))
        self.field = None if field is None else _shaped("field", field, (3,))
        self.force = None if force is None else _shaped("force", force, (3,))
        self.moment = None if moment is None else _shaped("moment", moment, (3,))
        self.gradient = None if gradient is None else _tensor(gradient)
        self.torque = None if torque is None else _shaped("torque", torque, (3,))
        self._vectors = (
            NO_MOMENT if self.moment is None else self.moment,
            NO_VECTOR if self.field is None else self.field,
            NO_VECTOR if self.force is None else self.force,
            NO_VECTOR if self.torque is None else self.torque,
        )
        if not all_within(LARGEST_VECTORS, self.point, *self._vectors):
            for name, value in zip(VECTORS, (self.point, *self._vectors), strict=True):
                _require_size(name, value)
        if field is None and force is None and gradient is None and torque is None:
            raise UserError("allocate: give a field, a force or both, or a gradient or a torque")
        if self.moment is None and (force is not None or torque is not None):
            name = "torque" if force is None else "force"
            raise UserError(f"allocate: a {name} needs the device's moment, (3,) A m2")
        if self.torque is not None and self.moment is not None:
            _require_perpendicular(self.torque, self.moment)

    def conditions(self, field: Array, gradient: Array, resistance: Array) -> Array:
        """Return conditions (r, n + 1) on the currents x = sqrt(R) e, as `decompose` does.

        `field` (n, 3) and `gradient` (n, 3, 3) are what an effective ampere makes at the point.
        """
        sides = NO_TENSOR
        if self.torque is not None and self.moment is not None:
            sides = np.linalg.svd(self.moment[None])[2][1:]  # perpendicular to the moment
        wanted = NO_TENSOR if self.gradient is None else self.gradient
        rows = conditions(field, gradient, *self._vectors, wanted, sides, resistance)
        return np.asarray(rows)


def independent_conditions(targets: Sequence[Target]) -> int:
    """Return how many conditions targets at different places pose.

    A force is part of the gradient and a torque of the field: together they pose no more.
    """
    # Eight imagined coils, each of which makes one of the eight things a field can do at a point.
    field, gradient = np.zeros((8, 3)), np.zeros((8, 3, 3))
    field[:3] = FIELD_UNIT * np.eye(3)
    gradient[3:] = GRADIENT_UNIT * TENSORS.reshape(5, 3, 3)
    conditions_of_all = [t.conditions(field, gradient, np.ones(8)) for t in targets]
    return sum(int(rows[:, :-1].any(axis=1).sum()) for rows in conditions_of_all)


def force_rows(gradient: Array, moment: Array) -> Array:
    """Return what one ampere makes of force on a moment (3,): (3, n) N/A.

    `gradient` (n, 3, 3) is what each coil's ampere makes at one point.
    """
    # One product with a (3 n, 3) matrix: a third of the time of n products of (3,) and (3, 3).
    by_place = gradient.transpose(2, 0, 1).reshape(-1, 3)
    return np.asarray(by_place @ moment).reshape(3, -1)


def vector(name: str, value: ArrayLike) -> Array:
    """Return a (3,) argument as floats; UserError if it is none, not finite or not in SI."""
    v = _shaped(name, value, (3,))
    _require_size(name, v)
    return v


def _tensor(value: ArrayLike) -> Array:
    g = np.ascontiguousarray(_shaped("gradient", value, (3, 3)))
    _require_size("gradient", g)
    impossible = max(float(np.abs(g - g.T).max()), abs(float(np.trace(g))))
    if impossible > ROUNDING * (GRADIENT_UNIT + float(np.abs(g).max())):
        raise UserError("gradient must be symmetric and without trace, as div B = 0, curl B = 0")
    return g


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    a = np.array(value, np.float64)  # a copy: contiguous, as compiled code expects vectors
    if a.shape != shape:
        raise UserError(f"{name} has shape {a.shape}; allowed is {shape}")
    return a


def _require_size(name: str, value: Array) -> None:
    largest, symbol = LARGEST.get(name, (sys.float_info.max, ""))
    for number in value.ravel().tolist():
        if -largest <= number <= largest:
            continue
        if not isfinite(number):
            raise UserError(f"{name} holds a value that is not a finite number")
        raise UserError(
            f"{name} holds {number:g} {symbol}; allowed is {largest:g} {symbol}: is it in SI units?"
        )


def _require_perpendicular(torque: Array, moment: Array) -> None:
    size = float(np.linalg.norm(moment))
    if size == 0.0:
        raise UserError("allocate: a torque needs a moment that is not zero")
    along = abs(float(torque @ moment)) / size
    if along > ROUNDING * (TORQUE_UNIT + float(np.linalg.norm(torque))):
        raise UserError(
            f"torque has {along:.3g} N m along the moment, about which no field turns a device; "
            "take that part away"
        )
