"""Vectors of three for compiled kernels: tuples, which live in registers.

`axes` (3, 3) has the unit vectors of a frame as columns.
"""

from __future__ import annotations

import numba as nb

from mmdtwin.geometry import Array

Vector = tuple[float, float, float]


@nb.njit(cache=True, fastmath=True)
def row(array: Array) -> Vector:
    """The vector in an array (3,)."""
    return (array[0], array[1], array[2])


@nb.njit(cache=True, fastmath=True)
def add(a: Vector, b: Vector) -> Vector:
    """Sum."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


@nb.njit(cache=True, fastmath=True)
def less(a: Vector, b: Vector) -> Vector:
    """Difference."""
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


@nb.njit(cache=True, fastmath=True)
def scaled(factor: float, a: Vector) -> Vector:
    """Product with a number."""
    return (factor * a[0], factor * a[1], factor * a[2])


@nb.njit(cache=True, fastmath=True)
def each(a: Vector, b: Vector) -> Vector:
    """Products of the components."""
    return (a[0] * b[0], a[1] * b[1], a[2] * b[2])


@nb.njit(cache=True, fastmath=True)
def dot(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@nb.njit(cache=True, fastmath=True)
def cross(a: Vector, b: Vector) -> Vector:
    """Cross product."""
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


@nb.njit(cache=True, fastmath=True)
def into(axes: Array, v: Vector) -> Vector:
    """Components along the axes."""
    return (
        axes[0, 0] * v[0] + axes[1, 0] * v[1] + axes[2, 0] * v[2],
        axes[0, 1] * v[0] + axes[1, 1] * v[1] + axes[2, 1] * v[2],
        axes[0, 2] * v[0] + axes[1, 2] * v[1] + axes[2, 2] * v[2],
    )


@nb.njit(cache=True, fastmath=True)
def outof(axes: Array, v: Vector) -> Vector:
    """Vector with given components along the axes."""
    return (
        axes[0, 0] * v[0] + axes[0, 1] * v[1] + axes[0, 2] * v[2],
        axes[1, 0] * v[0] + axes[1, 1] * v[1] + axes[1, 2] * v[2],
        axes[2, 0] * v[0] + axes[2, 1] * v[1] + axes[2, 2] * v[2],
    )


@nb.njit(cache=True, fastmath=True)
def set_row(out: Array, v: Vector) -> None:
    """Write a vector into an array (3,)."""
    out[0], out[1], out[2] = v
