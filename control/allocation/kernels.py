"""Compiled parts of allocation: a singular value decomposition, least squares, and scaling."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmdtwin.geometry import Array

# An error of one unit counts alike in each, where not all can be met.
FIELD_UNIT = 1e-3  # T
FORCE_UNIT = 1e-6  # N
GRADIENT_UNIT = 0.02  # T/m in the Frobenius norm: 1 mT in 50 mm
TORQUE_UNIT = 1e-7  # N m: 1 mT on 1e-4 A m2
# Orthonormal symmetric tensors without trace, all that a gradient can be (Maxwell's equations).
TENSORS = np.array(
    [
        [1, 0, 0, 0, -1, 0, 0, 0, 0],
        [-1, 0, 0, 0, -1, 0, 0, 0, 2],
        [0, 1, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 1, 0],
    ],
    float,
) / np.sqrt([[2.0], [6.0], [2.0], [2.0], [2.0]])
RANK = 1e-9  # of the largest singular value: smaller ones are rounding
ORTHOGONAL = 1e-15  # cosine at which two rows count as such
MAX_SWEEPS = 60  # of Jacobi's method; six are usual


@njit(cache=True)
def condition_rows(
    field: Array,
    gradient: Array,
    moment: Array,
    with_field: bool,
    with_force: bool,
    with_gradient: bool,
    sides: Array,
) -> Array:
    """Return what each coil makes of a field, a force, a gradient and a torque, (r, n).

    Parameters
    ----------
    field : (n, 3) array
        Of an ampere of each coil, T.
    gradient : (n, 3, 3) array
        dB_i/dx_j of an ampere, T/m.
    moment : (3,) array
        A m2.
    with_field, with_force, with_gradient : bool
        Which rows there are: 3, 3 and 5, in the units above.
    sides : (k, 3) array
        Axes of the torques of k further rows.
    """
    n, k = len(field), len(sides)
    rows = np.zeros((3 * with_field + 3 * with_force + 5 * with_gradient + k, n))
    for c in range(n):
        r = 0
        if with_field:
            for i in range(3):
                rows[i, c] = field[c, i] / FIELD_UNIT
            r = 3
        if with_force:
            for i in range(3):
                for j in range(3):  # F_j = sum_i m_i dB_i/dx_j
                    rows[r + j, c] += moment[i] * gradient[c, i, j] / FORCE_UNIT
            r += 3
        if with_gradient:
            for t in range(5):
                for i in range(3):
                    for j in range(3):
                        rows[r + t, c] += TENSORS[t, 3 * i + j] * gradient[c, i, j] / GRADIENT_UNIT
            r += 5
        for t in range(k):  # a.(m x B)
            torque = np.cross(moment, field[c])
            for i in range(3):
                rows[r + t, c] += sides[t, i] * torque[i] / TORQUE_UNIT
    return rows


@njit(cache=True)
def decompose(matrix: Array, target: Array, resistance: Array) -> tuple[Array, Array, Array]:
    """Turn the conditions A x = target, A = matrix / sqrt(resistance), until they are orthogonal.

    One-sided Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.6.3): for
    matrices of this size a singular value decomposition three times as fast as LAPACK's.

    Parameters
    ----------
    matrix : (r, n) array
    target : (r,) array
    resistance : (n,) array

    Returns
    -------
    rows : (r, n) array
        Orthogonal: right singular vectors times singular values, not sorted.
    singular : (r,) array
        Singular values; zero where they are no more than rounding.
    wanted : (r,) array
        The target along the left singular vectors.
    """
    count, n = matrix.shape
    rows, wanted, singular = np.empty((count, n)), target.copy(), np.empty(count)
    size = 0.0
    for i in range(count):
        for c in range(n):
            rows[i, c] = matrix[i, c] / np.sqrt(resistance[c])
            size += rows[i, c] ** 2
    for _ in range(MAX_SWEEPS):
        done = True
        for i in range(count - 1):
            for j in range(i + 1, count):
                first, second, product = 0.0, 0.0, 0.0
                for c in range(n):
                    first += rows[i, c] ** 2
                    second += rows[j, c] ** 2
                    product += rows[i, c] * rows[j, c]
                if abs(product) <= ORTHOGONAL * max(np.sqrt(first * second), ORTHOGONAL * size):
                    continue
                done = False
                cotangent = (second - first) / (2 * product)  # of twice the angle
                tangent = 1 / (abs(cotangent) + np.sqrt(1 + cotangent**2))
                tangent = np.copysign(tangent, cotangent)
                cos = 1 / np.sqrt(1 + tangent**2)
                sin = cos * tangent
                for c in range(n):
                    a, b = rows[i, c], rows[j, c]
                    rows[i, c], rows[j, c] = cos * a - sin * b, sin * a + cos * b
                a, b = wanted[i], wanted[j]
                wanted[i], wanted[j] = cos * a - sin * b, sin * a + cos * b
        if done:
            break
    for i in range(count):
        singular[i] = np.sqrt(np.sum(rows[i] ** 2))
    least = RANK * singular.max()
    for i in range(count):
        if singular[i] <= least:
            singular[i] = 0.0
    return rows, singular, wanted


@njit(cache=True)
def least_squares(
    matrix: Array, target: Array, resistance: Array, damping: float
) -> tuple[Array, float]:
    """Return the currents of least loss with matrix @ currents = target, damped (Tikhonov).

    Parameters
    ----------
    matrix, target, resistance
        As in `decompose`.
    damping : float
        Of the largest singular value. Without it all that can be made is made exactly.

    Returns
    -------
    currents : (n,) array
    bias : float
        What damping misses of the part of the target that can be made, relative.
    """
    rows, singular, wanted = decompose(matrix, target, resistance)
    x, miss, size = np.zeros(matrix.shape[1]), 0.0, 0.0
    square = (damping * singular.max()) ** 2
    for i in range(len(singular)):
        total = singular[i] ** 2 + square
        if singular[i] == 0.0 or total == 0.0:
            continue
        miss += (square / total * wanted[i]) ** 2
        size += wanted[i] ** 2
        for c in range(len(x)):
            x[c] += wanted[i] / total * rows[i, c]
    return x / np.sqrt(resistance), (np.sqrt(miss / size) if size > 0.0 else 0.0)


@njit(cache=True)
def scaled_least_squares(
    matrix: Array,
    target: Array,
    resistance: Array,
    damping: float,
    low: Array,
    high: Array,
    max_power: float,
) -> tuple[Array, float, float]:
    """Return `least_squares` brought within limits as a whole, the factor, and the bias.

    The factor is that of `largest_scale`, and the currents are not scaled where it is NaN.
    """
    currents, bias = least_squares(matrix, target, resistance, damping)
    scale = largest_scale(currents, low, high, resistance, max_power)
    if scale < 1.0:
        currents *= scale
    return currents, scale, bias


@njit(cache=True)
def complement(rows: Array, singular: Array) -> Array:
    """Return orthonormal vectors (n - rank, n) perpendicular to the rows of `decompose`."""
    n = rows.shape[1]
    left = np.eye(n)  # the projector on what is left, whose longest row is taken next
    for i in range(len(rows)):
        if singular[i] > 0.0:
            left -= np.outer(rows[i], rows[i]) / singular[i] ** 2
    found = np.empty((n - np.count_nonzero(singular), n))
    for k in range(len(found)):
        lengths = np.array([np.sum(row**2) for row in left])
        longest = np.argmax(lengths)
        found[k] = left[longest] / np.sqrt(lengths[longest])
        left -= np.outer(found[k], found[k])
    return found


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
