"""A distance grid, refined where its interpolation strays from the wall.

Adaptively sampled distance field (Frisken et al. 2000, doi 10.1145/344779.344899) of two levels:
cells in which the interpolated distance of some facet is not nearly zero - junctions, creases,
narrow tubes - hold a finer grid of exact distances to the triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.grid import Grid, interpolate_at
from mmdtwin.sim.phantoms.surface import Surface
from mmdtwin.sim.phantoms.triangles import (
    Buckets,
    enclosing_balls,
    nearest_on_triangle,
    signed_distance,
)

TOLERANCE = 7e-6  # m that a facet may lie off the interpolated zero before its cell is refined
FINER = (4, 16)  # samples to a voxel in refined cells: first for curvature, then for creases
SAMPLES = np.array(  # barycentric places of a facet that are looked at: corners, sides, inside
    [(i, j, 10 - i - j) for i in range(11) for j in range(11 - i)]
) / 10.0  # fmt: skip


@dataclass(frozen=True, eq=False)
class Blocks:
    """Finer grids in some cells of a grid.

    Parameters
    ----------
    cells : (k,) int array
        The cells in rising order: (i ny + j) nz + k of their lowest node.
    values : (k, n, n, n) float32 array
        Distances at the nodes of the finer grid in each of them, m.
    """

    cells: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RefinedGrid:
    """A grid of signed distances, m, positive inside, with finer blocks in some of its cells.

    Where several levels hold a cell, the last counts.
    """

    grid: Grid
    levels: tuple[Blocks, ...]

    @classmethod
    def of(cls, grid: Grid, surface: Surface) -> RefinedGrid:
        """Refine a grid of distances to a closed surface."""
        corners = surface.corners
        points = np.einsum("sk,fkc->fsc", SAMPLES, corners).reshape(-1, 3)
        buckets = Buckets.of(corners, grid.voxel)
        balls = enclosing_balls(corners)
        refined = cls(grid, ())
        for finer in FINER:
            stray = points[np.abs(refined.at(points)) > TOLERANCE]
            cells = np.unique(_cell_of(grid, stray))
            index = np.stack(np.unravel_index(cells, grid.values.shape), axis=1)
            values = np.empty((len(cells), *[finer + 1] * 3), np.float32)
            _fill(
                values, grid.origin + grid.voxel * index, grid.voxel, corners, surface.normals,
                balls, buckets.origin, buckets.size, buckets.shape, buckets.first,
                buckets.triangles,
            )  # fmt: skip
            refined = cls(grid, (*refined.levels, Blocks(cells, values)))
        return refined

    def at(self, points: ArrayLike) -> Array:
        """Return the distance (n,) m at points (n, 3) m; outside the grid its edge value holds."""
        p = np.ascontiguousarray(np.atleast_2d(np.asarray(points, float)))
        out = self.grid.at(p)
        self.overwrite(p, out)
        return out

    def overwrite(self, points: Array, out: Array) -> None:
        """Put finer distances (n,) m in place of the grid's at points (n, 3) m near the wall."""
        for level in self.levels:
            _overwrite(*self.grid.arrays, level.cells, level.values, points, out)


def _cell_of(grid: Grid, points: Array) -> NDArray[np.int64]:
    index = ((points - grid.origin) / grid.voxel).astype(np.int64)
    return np.ravel_multi_index(tuple(index.T), grid.values.shape)


@njit(cache=True)
def _overwrite(values, origin, voxel, cells, blocks, points, out):  # type: ignore[no-untyped-def]
    """Interpolate in the finer grid at those `points` that lie in its cells."""
    fine = voxel / (blocks.shape[1] - 1)
    corner = np.empty(3)
    for n in range(points.shape[0]):
        if abs(out[n]) > 2.0 * voxel:  # a cell that the wall crosses is nearer
            continue
        i = int((points[n, 0] - origin[0]) / voxel)
        j = int((points[n, 1] - origin[1]) / voxel)
        k = int((points[n, 2] - origin[2]) / voxel)
        cell = (i * values.shape[1] + j) * values.shape[2] + k
        at = np.searchsorted(cells, cell)
        if at < cells.size and cells[at] == cell:
            corner[0] = origin[0] + voxel * i
            corner[1] = origin[1] + voxel * j
            corner[2] = origin[2] + voxel * k
            out[n] = interpolate_at(
                blocks[at], corner, fine, points[n, 0], points[n, 1], points[n, 2]
            )


@njit(cache=True)
def _fill(  # type: ignore[no-untyped-def]
    blocks, lower, voxel, corners, normals, balls, origin, size, shape, first, triangles
):
    n = blocks.shape[1]
    middle, at, p = np.empty(3), np.empty(3), np.empty(3)
    half = 0.5 * np.sqrt(3.0) * voxel
    for b in range(blocks.shape[0]):
        middle[:] = lower[b] + 0.5 * voxel
        near = _within(middle, 2.0 * voxel, origin, size, shape, first, triangles)
        squares = np.empty(near.size)
        for m in range(near.size):
            t = corners[near[m]]
            squares[m] = nearest_on_triangle(middle, t[0], t[1], t[2], at)
        # Nearest to some point of the cell can only be what is within half + half of the least.
        reach = np.sqrt(squares.min()) + 2.0 * half
        near = near[np.argsort(squares)][: np.sum(squares <= reach * reach)]
        for i in range(n):
            for j in range(n):
                for k in range(n):
                    p[0] = lower[b, 0] + voxel * i / (n - 1)
                    p[1] = lower[b, 1] + voxel * j / (n - 1)
                    p[2] = lower[b, 2] + voxel * k / (n - 1)
                    blocks[b, i, j, k] = signed_distance(p, corners, normals, balls, near)


@njit(cache=True)
def _within(p, reach, origin, size, shape, first, triangles):  # type: ignore[no-untyped-def]
    """Return the triangles in cells that lie within `reach` of a point along each axis."""
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for c in range(3):
        low[c] = max(0, int(np.floor((p[c] - reach - origin[c]) / size)))
        high[c] = min(shape[c] - 1, int(np.floor((p[c] + reach - origin[c]) / size)))
    found = [np.int64(0) for _ in range(0)]
    for i in range(low[0], high[0] + 1):
        for j in range(low[1], high[1] + 1):
            for k in range(low[2], high[2] + 1):
                cell = (i * shape[1] + j) * shape[2] + k
                for m in range(first[cell], first[cell + 1]):
                    found.append(triangles[m])
    return np.unique(np.array(found))
