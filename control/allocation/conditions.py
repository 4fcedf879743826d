"""Conditions on effective currents: what each coil makes of what is asked for, compiled.

Currents are scaled by the root of their coil's resistance, so that |x|^2 is the ohmic loss.
"""

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


@njit(cache=True, error_model="numpy")
def conditions(
    unit_field: Array,
    unit_gradient: Array,
    moment: Array,
    field: Array,
    force: Array,
    torque: Array,
    gradient: Array,
    sides: Array,
    resistance: Array,
) -> Array:
    """Return independent conditions on x for a field, a force, a gradient and a torque.

    Parameters
    ----------
    unit_field : (n, 3) array
        Of an ampere of each coil, T.
    unit_gradient : (n, 3, 3) array
        dB_i/dx_j of an ampere, T/m.
    moment : (3,) array
        A m2.
    field, force, torque : (3,) array
        T, N and N m; empty, as `gradient` and `sides`, if not asked for.
    gradient : (3, 3) array
        T/m.
    sides : (k, 3) array
        Axes that the torque is asked for about.
    resistance : (n,) array
        ohm.

    Returns
    -------
    (r, n + 1) array
        As `decompose` returns them: as many as there are of the field (3), the force (3), the
        gradient (5) and the torque (k), in the units above.
    """
    n = len(unit_field)
    first_gradient = len(field) + len(force)
    first_side = first_gradient + (len(TENSORS) if len(gradient) else 0)
    rows = np.zeros((first_side + len(sides), n + 1))
    for i in range(len(field)):
        rows[i, n] = field[i] / FIELD_UNIT
        for c in range(n):
            rows[i, c] = unit_field[c, i] / FIELD_UNIT
    for j in range(len(force)):
        r = len(field) + j
        rows[r, n] = force[j] / FORCE_UNIT
        for c in range(n):
            for i in range(3):  # F_j = sum_i m_i dB_i/dx_j
                rows[r, c] += moment[i] * unit_gradient[c, i, j] / FORCE_UNIT
    for r in range(first_gradient, first_side):
        for i in range(3):
            for j in range(3):
                part = TENSORS[r - first_gradient, 3 * i + j] / GRADIENT_UNIT
                rows[r, n] += part * gradient[i, j]
                for c in range(n):
                    rows[r, c] += part * unit_gradient[c, i, j]
    for k in range(len(sides)):
        r = first_side + k
        about = np.cross(sides[k], moment) / TORQUE_UNIT  # a.(m x B) = (a x m).B
        for i in range(3):
            rows[r, n] += sides[k, i] * torque[i] / TORQUE_UNIT
            for c in range(n):
                rows[r, c] += about[i] * unit_field[c, i]
    root = np.sqrt(resistance)
    for r in range(len(rows)):
        for c in range(n):
            rows[r, c] /= root[c]
    return decompose(rows)


# Sums of products in any order, and no checks before divisions: a fifth of the time less.
@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def decompose(rows: Array) -> Array:
    """Turn, in place, conditions A x = t until the rows of A are orthogonal.

    One-sided Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.6.3): for
    matrices of this size a singular value decomposition several times as fast as LAPACK's. In
    the parallel ordering pairs that follow each other have no row in common, so that the processor
    works at several at once.

    Parameters
    ----------
    rows : (r, n + 1) array
        A, and in the last column t.

    Returns
    -------
    (r, n + 1) array
        Right singular vectors times singular values, not sorted, zero where that is no more than
        rounding. In the last column the target along the left singular vectors.
    """
    size = squares(rows).sum()
    odd = len(rows) % 2
    last = len(rows) - 1 + odd  # stays in place while the others go around; void if odd
    for _ in range(MAX_SWEEPS):
        done = True
        for turn in range(last):
            for k in range(odd, (last + 1) // 2):
                i, j = (turn + k) % last, (turn - k) % last if k > 0 else last
                if _turn(rows, i, j, ORTHOGONAL * size):
                    done = False
        if done:
            break
    found = squares(rows)
    least = RANK**2 * found.max()
    for i in range(len(rows)):
        if found[i] <= least:
            rows[i, :-1] = 0.0
    return rows


@njit(cache=True)
def all_within(
    largest: Array, point: Array, moment: Array, field: Array, force: Array, torque: Array
) -> bool:
    """Return whether no number of the vectors is larger than the `largest` (5,), or NaN."""
    for k, vector in enumerate((point, moment, field, force, torque)):
        for number in vector:
            if not abs(number) <= largest[k]:
                return False
    return True


@njit(inline="always")
def squares(rows: Array) -> Array:
    """Return the squared length of each row, but for the last column."""
    result = np.zeros(len(rows))
    for i in range(len(rows)):
        for c in range(rows.shape[1] - 1):
            result[i] += rows[i, c] ** 2
    return result


@njit(inline="always")
def _turn(rows: Array, i: int, j: int, least: float) -> bool:
    """Turn two rows until they, but for the last column, are orthogonal; False if they are."""
    n = rows.shape[1] - 1
    first, second, product = 0.0, 0.0, 0.0
    for c in range(n):
        first += rows[i, c] ** 2
        second += rows[j, c] ** 2
        product += rows[i, c] * rows[j, c]
    if abs(product) <= ORTHOGONAL * max(np.sqrt(first * second), least):
        return False
    cotangent = (second - first) / (2 * product)  # of twice the angle
    tangent = 1 / (abs(cotangent) + np.sqrt(1 + cotangent**2))
    tangent = np.copysign(tangent, cotangent)
    cos = 1 / np.sqrt(1 + tangent**2)
    sin = cos * tangent
    for c in range(n + 1):
        a, b = rows[i, c], rows[j, c]
        rows[i, c], rows[j, c] = cos * a - sin * b, sin * a + cos * b
    return True
