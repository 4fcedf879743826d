"""Signed distance of any closed triangle mesh on a grid."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.grid import MOST_NODES, Grid
from mmdtwin.sim.phantoms.surface import BAND, Surface, grown
from mmdtwin.sim.phantoms.triangles import nearest_on_triangle

MARGIN = 3  # voxels of grid kept round the mesh
LONGEST = 2.0  # voxels, side of a triangle: the nearest of the nearest centres is then among ...
NEAREST = 8  # ... this many
OFFSET = np.array([3.1e-5, 4.7e-5, 1.3e-5])  # voxels; keeps rows of nodes off corners and edges


def voxelised(surface: Surface, voxel: float) -> tuple[Grid, SplitWall]:
    """Return the signed distance on a grid of `voxel` m, and the wall it was taken to.

    Farther than `BAND` outside the distance is -`BAND`.

    Raises
    ------
    UserError
        If the grid would have more than `MOST_NODES`.
    """
    reach = MARGIN * voxel
    lower, upper = surface.vertices.min(axis=0) - reach, surface.vertices.max(axis=0) + reach
    volume = float(np.prod(upper - lower))
    if volume / voxel**3 > MOST_NODES:
        least = (volume / MOST_NODES) ** (1 / 3)
        raise UserError(
            f"voxel: {voxel * 1e3:.3g} mm is too fine for a vessel this large; give at least "
            f"{least * 1e3:.2g} mm, or a smaller scale"
        )
    grid = Grid.around(lower + OFFSET * voxel, upper, voxel, -BAND)
    inside = winding(grid, surface) == 1
    wall = SplitWall(surface, LONGEST * voxel)
    wanted = np.nonzero(grown(inside, int(np.ceil(BAND / voxel)) + 1))
    distance = wall.distance(grid.nodes(wanted))
    grid.values[wanted] = np.where(inside[wanted], distance, -np.minimum(distance, BAND))
    return grid, wall


class SplitWall:
    """A wall in small triangles, so that the nearest is among those with the nearest centres."""

    def __init__(self, surface: Surface, longest: float) -> None:
        self._corners = split(surface.corners, longest)
        self._centres = cKDTree(self._corners.mean(axis=1))

    def distance(self, points: Array) -> Array:
        """Return the unsigned distance (n,) m of points (n, 3) m from the wall."""
        _, candidates = self._centres.query(points, k=NEAREST)
        out = np.empty(len(points))
        _least(np.ascontiguousarray(points), self._corners, candidates, out)
        return out


@njit(cache=True)
def _least(points, corners, candidates, out):  # type: ignore[no-untyped-def]
    at = np.empty(3)
    for n in range(points.shape[0]):
        least = np.inf
        for t in candidates[n]:
            if t < corners.shape[0]:  # fewer triangles than asked for
                square = nearest_on_triangle(
                    points[n], corners[t, 0], corners[t, 1], corners[t, 2], at
                )
                least = min(least, square)
        out[n] = np.sqrt(least)


def split(corners: Array, longest: float) -> Array:
    """Halve triangles (m, 3, 3) at their longest side until none is longer than `longest` m."""
    done, todo = [], corners
    while len(todo):
        sides = np.linalg.norm(todo - np.roll(todo, -1, axis=1), axis=2)
        long = sides.max(axis=1) > longest
        done.append(todo[~long])
        todo, at = todo[long], sides[long].argmax(axis=1)
        rows = np.arange(len(todo))
        a, b, c = (todo[rows, (at + k) % 3] for k in range(3))
        middle = 0.5 * (a + b)
        todo = np.concatenate([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
    return np.ascontiguousarray(np.concatenate(done))


def winding(grid: Grid, surface: Surface) -> NDArray[np.int8]:
    """Return how often the surface encloses each node: 1 inside, 0 outside, 2 where it overlaps."""
    steps = np.zeros(grid.values.shape, np.int8)
    _count((surface.corners - grid.origin) / grid.voxel, steps)
    return np.cumsum(steps, axis=0, dtype=np.int8)


@njit(cache=True)
def _count(corners: Array, steps: NDArray[np.int8]) -> None:
    """Add +1 to the first node after each entry of a row along x, -1 after each exit."""
    nx, ny, nz = steps.shape
    for t in range(corners.shape[0]):
        a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
        area = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        if area == 0.0:
            continue
        for j in range(
            max(0, int(np.ceil(min(a[1], b[1], c[1])))),
            min(ny - 1, int(np.floor(max(a[1], b[1], c[1])))) + 1,
        ):
            for k in range(
                max(0, int(np.ceil(min(a[2], b[2], c[2])))),
                min(nz - 1, int(np.floor(max(a[2], b[2], c[2])))) + 1,
            ):
                u = ((b[1] - j) * (c[2] - k) - (b[2] - k) * (c[1] - j)) / area
                v = ((c[1] - j) * (a[2] - k) - (c[2] - k) * (a[1] - j)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                i = max(0, int(np.ceil(u * a[0] + v * b[0] + w * c[0])))
                if i < nx:
                    steps[i, j, k] += 1 if area < 0.0 else -1  # area < 0: faces -x, an entry
