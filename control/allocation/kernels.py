"""Compiled parts of allocation: least squares, scaling, and the set-up of quadratic programs."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmdtwin.control.allocation.conditions import squares
from mmdtwin.geometry import Array


@njit(cache=True)
def shortest(rows: Array, resistance: Array, damping: float) -> tuple[Array, float]:
    """Return the currents of least loss that make what is wanted, damped (Tikhonov).

    Parameters
    ----------
    rows : (r, n + 1) array
        From `decompose`, with
    resistance : (n,) array
        ohm.
    damping : float
        Of the largest singular value. Without it all that can be made is made exactly.

    Returns
    -------
    currents : (n,) array
    bias : float
        What damping misses of the part of the target that can be made, relative.
    """
    x, miss, size = np.zeros(len(resistance)), 0.0, 0.0
    square = squares(rows)
    damped = damping**2 * square.max()
    for i in range(len(rows)):
        if square[i] == 0.0:
            continue
        wanted = rows[i, -1]
        weight = wanted / (square[i] + damped)
        miss += (damped * weight) ** 2
        size += wanted**2
        for c in range(len(x)):
            x[c] += weight * rows[i, c]
    return x / np.sqrt(resistance), (np.sqrt(miss / size) if size > 0.0 else 0.0)


@njit(cache=True)
def shortest_within(
    rows: Array, resistance: Array, damping: float, low: Array, high: Array, max_power: float
) -> tuple[Array, float, float]:
    """Return what `shortest` does brought within limits as a whole, the factor, and the bias.

    The factor is that of `largest_scale`; where it is NaN the currents mean nothing.
    """
    currents, bias = shortest(rows, resistance, damping)
    scale = largest_scale(currents, low, high, resistance, max_power)
    for c in range(len(currents)):  # which by rounding may lie outside
        currents[c] = min(max(scale * currents[c], low[c]), high[c])
    return currents, scale, bias


@njit(cache=True)
def ray(
    rows: Array, resistance: Array, low: Array, high: Array
) -> tuple[Array, Array, Array, float]:
    """Return the quadratic program of a ray: x = basis @ y, with bounds on y[0] and on x.

    x = sqrt(resistance) currents, so that |x|^2 is the loss.

    Parameters
    ----------
    rows : (r, n + 1) array
        From `decompose`, with
    resistance : (n,) array
        ohm.
    low, high : (n,) array
        Lowest and highest currents, A.

    Returns
    -------
    basis : (n, 1 + n - rank) array
        Orthonormal: the direction of the shortest x that makes all that can be made (zero if that
        is), and those that make nothing.
    lower, upper : (1 + n,) array
        Bounds: from zero to the length of that shortest x, then those of x.
    longest : float
        Length that no x within the bounds exceeds.
    """
    n, root = len(resistance), np.sqrt(resistance)
    left, rank = np.eye(n), 0  # the projector on what the rows leave
    for row in rows:
        square = np.sum(row[:-1] ** 2)
        if square > 0.0:
            _take_away(left, row[:-1] / np.sqrt(square))
            rank += 1
    basis, lower, upper = np.zeros((n, 1 + n - rank)), np.zeros(1 + n), np.zeros(1 + n)
    lower[1:], upper[1:] = low * root, high * root
    whole = shortest(rows, resistance, 0.0)[0] * root
    upper[0] = np.sqrt(np.sum(whole**2))
    if upper[0] > 0.0:
        basis[:, 0] = whole / upper[0]
    for k in range(1, basis.shape[1]):
        free = left[np.argmax(np.diag(left))]  # its longest row: the diagonal holds their squares
        basis[:, k] = free / np.sqrt(np.sum(free**2))
        _take_away(left, basis[:, k])
    return basis, lower, upper, np.sqrt(np.sum(np.maximum(-lower[1:], upper[1:]) ** 2))


@njit(inline="always")
def _take_away(projector: Array, direction: Array) -> None:
    for i in range(len(direction)):
        for j in range(len(direction)):
            projector[i, j] -= direction[i] * direction[j]


@njit(cache=True)
def scales_in_box(vector: Array, low: Array, high: Array) -> tuple[float, float]:
    """Return the least and the largest factor in [0, 1] with low <= factor * vector <= high.

    The least is the larger one where there is none.
    """
    least, most = 0.0, 1.0
    for c in range(len(vector)):
        v = vector[c]
        if v == 0.0:
            if low[c] > 0.0 or high[c] < 0.0:
                return 1.0, 0.0
            continue
        nearest, farthest = (low[c], high[c]) if v > 0.0 else (high[c], low[c])
        if nearest * v > least * v * v:
            least = nearest / v
        if farthest * v < most * v * v:
            most = farthest / v
    return least, most


@njit(cache=True)
def largest_scale(
    vector: Array, low: Array, high: Array, resistance: Array, max_power: float
) -> float:
    """Return the largest factor in [0, 1] that brings currents into a box and below a power.

    NaN if there is none.
    """
    least, most = scales_in_box(vector, low, high)
    power = 0.0
    for c in range(len(vector)):
        power += resistance[c] * (most * vector[c]) ** 2
    if power > max_power:
        most *= np.sqrt(max_power / power)
    return most if least <= most else np.nan
