"""Derivatives of fields that have none of their own, by central differences of sixth order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmdtwin.geometry import Array

# Sum of weight * (B(x + k h) - B(x - k h)) / h over k = 1, 2, 3.
WEIGHTS = (3 / 4, -3 / 20, 1 / 60)
REACH = len(WEIGHTS)  # steps to either side


def gradient_by_differences(field: Callable[[Array], Array], points: Array, step: float) -> Array:
    """Return d field / d x_j (n, ..., 3, 3) of a function that gives (n, ..., 3) at (n, 3) m.

    The field is asked for once, at all shifted points together.
    """
    n = len(points)
    shifts = np.array([sign * k * step * axis for axis in np.eye(3)
                       for k in range(1, REACH + 1) for sign in (1.0, -1.0)])  # fmt: skip
    values = field((points[None] + shifts[:, None]).reshape(-1, 3))
    values = values.reshape(3, REACH, 2, n, *values.shape[1:])
    slopes = np.tensordot(np.array(WEIGHTS) / step, values[:, :, 0] - values[:, :, 1], (0, 1))
    return np.moveaxis(slopes, 0, -1)
