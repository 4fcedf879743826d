"""What is asked of an allocation, as conditions that are linear in effective currents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.control.allocation.kernels import (
    FIELD_UNIT,
    FORCE_UNIT,
    GRADIENT_UNIT,
    TENSORS,
    TORQUE_UNIT,
    condition_rows,
)
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

NO_MOMENT, NO_SIDES = np.zeros(3), np.zeros((0, 3))
# Larger numbers are not in SI units; those of the last four are assumed.
LARGEST = {
    "point": (1.0, "m"),
    "field": (10.0, "T"),
    "gradient": (1e3, "T/m"),
    "force": (1e3, "N"),
    "torque": (1e3, "N m"),
    "moment": (1e3, "A m2"),
}
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
        self.point = vector("point", point)
        self.field = None if field is None else vector("field", field)
        self.force = None if force is None else vector("force", force)
        self.moment = None if moment is None else vector("moment", moment)
        self.gradient = None if gradient is None else _tensor(gradient)
        self.torque = None if torque is None else vector("torque", torque)
        if field is None and force is None and gradient is None and torque is None:
            raise UserError("allocate: give a field, a force or both, or a gradient or a torque")
        if self.moment is None and (force is not None or torque is not None):
            name = "torque" if force is None else "force"
            raise UserError(f"allocate: a {name} needs the device's moment, (3,) A m2")
        if self.torque is not None and self.moment is not None:
            _require_perpendicular(self.torque, self.moment)

    def matrix(self, field: Array, gradient: Array) -> Array:
        """Return what an effective ampere of each coil makes of each condition, (r, n).

        `field` (n, 3) and `gradient` (n, 3, 3) are what it makes at the point; rows are in the
        units above.
        """
        moment = NO_MOMENT if self.moment is None else self.moment
        return condition_rows(
            field,
            gradient,
            moment,
            self.field is not None,
            self.force is not None,
            self.gradient is not None,
            self._sides,
        )

    @property
    def wanted(self) -> Array:
        """What the conditions are to make, (r,), in the units above."""
        parts = []
        if self.field is not None:
            parts.append(self.field / FIELD_UNIT)
        if self.force is not None:
            parts.append(self.force / FORCE_UNIT)
        if self.gradient is not None:
            parts.append(TENSORS @ self.gradient.ravel() / GRADIENT_UNIT)
        if self.torque is not None:
            parts.append(self._sides @ self.torque / TORQUE_UNIT)
        return np.concatenate(parts)

    @property
    def _sides(self) -> Array:
        """Unit vectors (2, 3) perpendicular to the moment, where a torque is asked for."""
        if self.torque is None or self.moment is None:
            return NO_SIDES
        return np.linalg.svd(self.moment[None])[2][1:]


def independent_conditions(targets: Sequence[Target]) -> int:
    """Return how many conditions targets at different places pose.

    A force is part of the gradient and a torque of the field: together they pose no more.
    """
    # Eight imagined coils, each of which makes one of the eight things a field can do at a point.
    field, gradient = np.zeros((8, 3)), np.zeros((8, 3, 3))
    field[:3] = FIELD_UNIT * np.eye(3)
    gradient[3:] = GRADIENT_UNIT * TENSORS.reshape(5, 3, 3)
    return sum(int(np.linalg.matrix_rank(t.matrix(field, gradient))) for t in targets)


def force_rows(gradient: Array, moment: Array) -> Array:
    """Return what one ampere makes of force on a moment (3,): (3, n) N/A.

    `gradient` (n, 3, 3) is what each coil's ampere makes at one point.
    """
    # One product with a (3 n, 3) matrix: a third of the time of n products of (3,) and (3, 3).
    by_place = gradient.transpose(2, 0, 1).reshape(-1, 3)
    return np.asarray(by_place @ moment).reshape(3, -1)


def vector(name: str, value: ArrayLike) -> Array:
    """Return a (3,) argument as floats; UserError if it is none, not finite or not in SI."""
    v = np.asarray(value, dtype=np.float64)
    if v.shape != (3,):
        raise UserError(f"{name} has shape {v.shape}; allowed is (3,)")
    _require_size(name, v)
    return v


def _tensor(value: ArrayLike) -> Array:
    g = np.asarray(value, dtype=np.float64)
    if g.shape != (3, 3):
        raise UserError(f"gradient has shape {g.shape}; allowed is (3, 3)")
    _require_size("gradient", g)
    impossible = max(float(np.abs(g - g.T).max()), abs(float(np.trace(g))))
    if impossible > ROUNDING * (GRADIENT_UNIT + float(np.abs(g).max())):
        raise UserError("gradient must be symmetric and without trace, as div B = 0, curl B = 0")
    return g


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
