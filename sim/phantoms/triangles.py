"""Exact distances to triangles, and which triangles lie near a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.geometry import Array

TIE = 1e-9  # of a distance: triangles that share the nearest edge or corner are as near


@dataclass(frozen=True, eq=False)
class Buckets:
    """Triangles by the cells of a regular grid that their bounding boxes touch.

    Parameters
    ----------
    origin : (3,) array
        Corner of cell (0, 0, 0), m.
    size : float
        Edge of a cell, m.
    shape : (3,) int array
        Number of cells along each axis.
    first : (n_cells + 1,) int array
        Triangles of cell c are `triangles[first[c]:first[c + 1]]`.
    triangles : (n,) int array
        Indices of triangles, cell by cell.
    """

    origin: Array
    size: float
    shape: NDArray[np.int64]
    first: NDArray[np.int64]
    triangles: NDArray[np.int64]

    @classmethod
    def of(cls, corners: Array, size: float) -> Buckets:
        """Sort triangles with corners (m, 3, 3) m into cells of `size` m."""
        lower, upper = corners.min(axis=1), corners.max(axis=1)
        origin = lower.min(axis=0) - 0.5 * size
        low = ((lower - origin) / size).astype(np.int64)
        high = ((upper - origin) / size).astype(np.int64)
        shape = high.max(axis=0) + 1
        cells, triangles = _touched(low, high, shape)
        order = np.argsort(cells, kind="stable")
        first = np.searchsorted(cells[order], np.arange(int(np.prod(shape)) + 1))
        return cls(origin, size, shape, first, triangles[order])


@njit(cache=True)
def _touched(low, high, shape):  # type: ignore[no-untyped-def]
    """Return each cell that each triangle's bounding box touches, and the triangle."""
    span = high - low + 1
    count = np.sum(span[:, 0] * span[:, 1] * span[:, 2])
    cells, triangles = np.empty(count, np.int64), np.empty(count, np.int64)
    n = 0
    for t in range(low.shape[0]):
        for i in range(low[t, 0], high[t, 0] + 1):
            for j in range(low[t, 1], high[t, 1] + 1):
                for k in range(low[t, 2], high[t, 2] + 1):
                    cells[n] = (i * shape[1] + j) * shape[2] + k
                    triangles[n] = t
                    n += 1
    return cells, triangles


@njit(cache=True)
def nearest_on_triangle(p, a, b, c, out):  # type: ignore[no-untyped-def]
    """Write the point of triangle abc nearest to p to `out` (3,); return the squared distance.

    C. Ericson, Real-Time Collision Detection (2005), section 5.1.5.
    """
    d1 = d2 = d3 = d4 = d5 = d6 = 0.0
    for i in range(3):
        ab, ac = b[i] - a[i], c[i] - a[i]
        d1 += ab * (p[i] - a[i])
        d2 += ac * (p[i] - a[i])
        d3 += ab * (p[i] - b[i])
        d4 += ac * (p[i] - b[i])
        d5 += ab * (p[i] - c[i])
        d6 += ac * (p[i] - c[i])
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0.0 and d2 <= 0.0:
        v, w = 0.0, 0.0
    elif d3 >= 0.0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        v, w = d1 / (d1 - d3), 0.0
    elif d6 >= 0.0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - w
    else:
        total = va + vb + vc
        v, w = vb / total, vc / total
    square = 0.0
    for i in range(3):
        out[i] = a[i] + v * (b[i] - a[i]) + w * (c[i] - a[i])
        square += (p[i] - out[i]) ** 2
    return square


@njit(cache=True)
def signed_distance(p, corners, normals, balls, candidates):  # type: ignore[no-untyped-def]
    """Return the distance of a point from the nearest candidate triangle, positive behind it.

    `balls` (m, 4) hold a centre and radius that enclose each triangle, so that most need no closer
    look. Where triangles share the nearest edge or corner, the one that faces the point most
    squarely says on which side it lies.
    """
    at = np.empty(3)
    distance, facing = np.inf, 0.0
    for t in candidates:
        dx, dy, dz = p[0] - balls[t, 0], p[1] - balls[t, 1], p[2] - balls[t, 2]
        reach = balls[t, 3] + distance * (1.0 + TIE)
        if dx * dx + dy * dy + dz * dz > reach * reach:
            continue
        found = np.sqrt(nearest_on_triangle(p, corners[t, 0], corners[t, 1], corners[t, 2], at))
        if found > distance * (1.0 + TIE):
            continue
        out = 0.0
        for i in range(3):
            out += (p[i] - at[i]) * normals[t, i]
        if found < distance * (1.0 - TIE) or abs(out) > abs(facing):
            facing = out
        distance = min(distance, found)
    return -distance if facing > 0.0 else distance


def enclosing_balls(corners: Array) -> Array:
    """Return a centre and a radius (m, 4) of a ball about each triangle (m, 3, 3)."""
    centre = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1)
    return np.column_stack([centre, radius])
