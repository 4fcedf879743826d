"""Regular solid harmonics: magnetic fields that are curl- and divergence-free by construction.

In a source-free ball the field is the gradient of a scalar potential that solves Laplace's
equation, B = grad psi, and psi is a sum of regular solid harmonics of the scaled point x / scale:

    R_lm = r^l P_lm(cos theta) exp(i m phi) / (l + m)!      (P_lm without the sign (-1)^m)

in its real and imaginary parts C_lm and S_lm. With this normalisation every derivative of a
harmonic is one or two harmonics of the next lower degree (White and Head-Gordon 1994, J. Chem.
Phys. 101, 6593; Perez-Jorda and Yang 1996, J. Chem. Phys. 104, 8003):

    d/dz R_lm = R_(l-1),m      (d/dx - i d/dy) R_lm = R_(l-1),(m-1)
                               (d/dx + i d/dy) R_lm = -R_(l-1),(m+1)

so differentiation is a matrix on the coefficients, and a field with its gradient costs one
evaluation of the harmonics and one small product.

Storage order: degree l occupies the places l^2 .. (l + 1)^2 - 1 as C_l0, C_l1, S_l1, C_l2, ...
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmdtwin.geometry import Array

BLOCK = 4  # points that share a pass over the table: it is read from memory once for all


def n_harmonics(degree: int) -> int:
    """Return how many harmonics there are up to and including `degree`."""
    return (degree + 1) ** 2


@njit(cache=True)
def fill_harmonics(x: float, y: float, z: float, out: Array) -> None:
    """Write all harmonics at the scaled point (x, y, z) to `out`, ((degree + 1)^2,).

    Sectoral values by multiplication with x + i y, then the three-term recurrence upwards in
    the degree, which is the stable direction inside the unit ball.
    """
    degree = int(np.sqrt(out.size) + 0.5) - 1
    rr = x * x + y * y + z * z
    out[0] = 1.0
    c, s = 1.0, 0.0
    for m in range(degree + 1):
        if m > 0:
            c, s = (x * c - y * s) / (2 * m), (x * s + y * c) / (2 * m)
            out[m * m + 2 * m - 1] = c
            out[m * m + 2 * m] = s
        c1, s1, c2, s2 = c, s, 0.0, 0.0
        for degree_l in range(m + 1, degree + 1):
            weight = 1.0 / ((degree_l + m) * (degree_l - m))
            a = (2 * degree_l - 1) * z * weight
            b = rr * weight
            c1, c2 = a * c1 - b * c2, c1
            s1, s2 = a * s1 - b * s2, s1
            base = degree_l * degree_l
            if m == 0:
                out[base] = c1
            else:
                out[base + 2 * m - 1] = c1
                out[base + 2 * m] = s1


@njit(cache=True)
def furthest(points: Array) -> float:
    """Return the greatest distance from the origin of points (n, 3), NaN if one is not finite."""
    most = 0.0
    for k in range(points.shape[0]):
        square = points[k, 0] ** 2 + points[k, 1] ** 2 + points[k, 2] ** 2
        if not square < np.inf:
            return np.nan
        most = max(most, square)
    return float(np.sqrt(most))


@njit(cache=True)
def harmonic_basis(points: Array, scale: float, degree: int) -> Array:
    """Return the harmonics (n, (degree + 1)^2) at `points` (n, 3) m; `scale` in m."""
    n = points.shape[0]
    out = np.empty((n, (degree + 1) ** 2))
    for k in range(n):
        fill_harmonics(points[k, 0] / scale, points[k, 1] / scale, points[k, 2] / scale, out[k])
    return out


@njit(cache=True)
def harmonic_field(
    coeffs: Array, points: Array, scale: float, out_field: Array, out_gradient: Array
) -> float:
    """Evaluate field and gradient of one combined coefficient table; callable from numba.

    Parameters
    ----------
    coeffs : (n_harmonics, 8) array, C order
        From `kernel_coefficients`, T and T/m.
    points : (n, 3) array
        Points in the frame of the model, m.
    scale : float
        Length that the harmonics are scaled by, m.
    out_field : (n, 3) array
        Receives the field, T.
    out_gradient : (n, 3, 3) array
        Receives dB_i/dx_j, T/m.

    Returns
    -------
    float
        `furthest(points)`, for the caller to check.
    """
    values, sums = np.empty(coeffs.shape[0]), np.empty(8)
    for k in range(points.shape[0]):
        fill_harmonics(points[k, 0] / scale, points[k, 1] / scale, points[k, 2] / scale, values)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0  # in registers: twice as fast as an array
        for h in range(values.size):
            v = values[h]
            s0 += coeffs[h, 0] * v
            s1 += coeffs[h, 1] * v
            s2 += coeffs[h, 2] * v
            s3 += coeffs[h, 3] * v
            s4 += coeffs[h, 4] * v
            s5 += coeffs[h, 5] * v
            s6 += coeffs[h, 6] * v
            s7 += coeffs[h, 7] * v
        sums[:] = (s0, s1, s2, s3, s4, s5, s6, s7)
        _unpack(sums, out_field[k], out_gradient[k])
    return furthest(points)


@njit(cache=True)
def harmonic_sum(
    effective: Array,
    tables: Array,
    points: Array,
    scale: float,
    out_field: Array,
    out_gradient: Array,
) -> float:
    """Combine the tables (c, n_harmonics, 8) of coils with effective currents (c,), and evaluate.

    The rest is as in `harmonic_field`.
    """
    flat = tables.reshape(len(effective), -1)
    combined = np.zeros(flat.shape[1])
    for c in range(len(effective)):
        for k in range(combined.size):
            combined[k] += effective[c] * flat[c, k]
    table = combined.reshape(tables.shape[1], tables.shape[2])
    return harmonic_field(table, points, scale, out_field, out_gradient)


@njit(cache=True)
def harmonic_units(
    table: Array, points: Array, scale: float, out_field: Array, out_gradient: Array
) -> float:
    """Evaluate field and gradient of many coefficient tables at the same points.

    Parameters
    ----------
    table : (n_harmonics, c, 8) array, C order
        `kernel_coefficients` of c potentials side by side.
    points, scale
        As in `harmonic_field`.
    out_field : (n, c, 3) array
        Receives the fields.
    out_gradient : (n, c, 3, 3) array
        Receives the gradients.

    Returns
    -------
    float
        `furthest(points)`, for the caller to check.
    """
    n_coils = table.shape[1]
    columns = n_coils * table.shape[2]
    flat = table.reshape(table.shape[0], columns)
    values = np.empty((BLOCK, table.shape[0]))
    sums = np.empty((BLOCK, columns))
    for first in range(0, points.shape[0], BLOCK):
        n = min(BLOCK, points.shape[0] - first)
        for k in range(n):
            x, y, z = points[first + k]
            fill_harmonics(x / scale, y / scale, z / scale, values[k])
        if n == BLOCK:
            _add_up_block(flat, values, sums)
        else:
            for k in range(n):
                _add_up(flat, values[k], sums[k])
        for k in range(n):
            for c in range(n_coils):
                part = sums[k, 8 * c : 8 * c + 8]
                _unpack(part, out_field[first + k, c], out_gradient[first + k, c])
    return furthest(points)


@njit(inline="always")
def _add_up(table: Array, values: Array, sums: Array) -> None:
    """Write the values (h,) of one point times the table (h, k) to the sums (k,)."""
    sums[:] = 0.0
    for h in range(table.shape[0]):
        v = values[h]
        for column in range(table.shape[1]):
            sums[column] += v * table[h, column]


@njit(inline="always")
def _add_up_block(table: Array, values: Array, sums: Array) -> None:
    """As `_add_up` for four points at once, (4, h) and (4, k)."""
    sums[:] = 0.0
    for h in range(table.shape[0]):
        v0, v1, v2, v3 = values[0, h], values[1, h], values[2, h], values[3, h]
        for column in range(table.shape[1]):
            t = table[h, column]
            sums[0, column] += v0 * t
            sums[1, column] += v1 * t
            sums[2, column] += v2 * t
            sums[3, column] += v3 * t


@njit(inline="always")
def _unpack(columns: Array, field: Array, gradient: Array) -> None:
    """Write the eight kernel columns to a field (3,) and a gradient (3, 3)."""
    field[0] = columns[0]
    field[1] = columns[1]
    field[2] = columns[2]
    gradient[0, 0] = columns[3]
    gradient[0, 1] = columns[4]
    gradient[0, 2] = columns[5]
    gradient[1, 0] = columns[4]
    gradient[1, 1] = columns[6]
    gradient[1, 2] = columns[7]
    gradient[2, 0] = columns[5]
    gradient[2, 1] = columns[7]
    gradient[2, 2] = -columns[3] - columns[6]


def derivative_matrices(degree: int, scale: float) -> Array:
    """Return (3, n, n) matrices that take coefficients to those of d/dx, d/dy and d/dz.

    Parameters
    ----------
    degree : int
        Highest degree; n = (degree + 1)^2. The result's highest degree comes out empty.
    scale : float
        Length that the harmonics are scaled by, m.

    Returns
    -------
    (3, n, n) array
        1/m.
    """
    n = n_harmonics(degree)
    result = np.zeros((3, n, n))
    for degree_l in range(1, degree + 1):
        for m in range(degree_l + 1):
            for part in ("C", "S") if m else ("C",):
                column = _place(degree_l, m, part)
                for axis, terms in enumerate(_derivatives(m, part)):
                    for factor, m_to, part_to in terms:
                        if m_to <= degree_l - 1 and not (part_to == "S" and m_to == 0):
                            result[axis, _place(degree_l - 1, m_to, part_to), column] += factor
    return result / scale


def kernel_coefficients(potential: Array, derivatives: Array) -> Array:
    """Return the table that `harmonic_field` evaluates.

    Parameters
    ----------
    potential : (n,) array
        Coefficients of psi, T m.
    derivatives : (3, n, n) array
        From `derivative_matrices`.

    Returns
    -------
    (n_lower, 8) array
        One degree lower than psi; columns Bx, By, Bz, xx, xy, xz, yy, yz.
    """
    field = derivatives @ potential
    x = derivatives[0] @ field.T
    y = derivatives[1] @ field.T
    table = np.column_stack([*field, x[:, 0], x[:, 1], x[:, 2], y[:, 1], y[:, 2]])
    degree = round(float(np.sqrt(potential.size))) - 1
    return np.ascontiguousarray(table[: n_harmonics(degree - 1)])


def _place(degree_l: int, m: int, part: str) -> int:
    base = degree_l * degree_l
    return base if m == 0 else base + 2 * m - (part == "C")


def _derivatives(m: int, part: str) -> tuple[list[tuple[float, int, str]], ...]:
    """Return the terms (factor, order, part) of d/dx, d/dy, d/dz of a harmonic of order m."""
    if m == 0:  # C_(l,-1) = -C_l1 and S_(l,-1) = S_l1 folded in
        return [(-1.0, 1, "C")], [(-1.0, 1, "S")], [(1.0, 0, "C")]
    other, sign = ("S", -1.0) if part == "C" else ("C", 1.0)
    along_x = [(0.5, m - 1, part), (-0.5, m + 1, part)]
    along_y = [(sign * 0.5, m - 1, other), (sign * 0.5, m + 1, other)]
    return along_x, along_y, [(1.0, m, part)]
