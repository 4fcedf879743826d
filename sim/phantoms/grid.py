"""A scalar field on a regular grid: painted with tubes, read between its nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from mmdtwin.geometry import Array


@dataclass(frozen=True, eq=False)
class Grid:
    """Values at the nodes of a regular grid.

    Parameters
    ----------
    values : (nx, ny, nz) float32 array
        Field at each node; distances are in m, positive inside the lumen.
    origin : (3,) array
        Position of node (0, 0, 0), m.
    voxel : float
        Distance between nodes, m.
    """

    values: NDArray[np.float32]
    origin: Array
    voxel: float

    @classmethod
    def around(cls, lower: ArrayLike, upper: ArrayLike, voxel: float, fill: float) -> Grid:
        """Make a grid filled with one value that covers a box with corners in m."""
        low = np.asarray(lower, float)
        shape = np.ceil((np.asarray(upper, float) - low) / voxel).astype(int) + 1
        return cls(np.full(tuple(shape), fill, np.float32), low, voxel)

    def at(self, points: ArrayLike) -> Array:
        """Interpolate linearly at points (n, 3), m; outside the grid its edge value holds."""
        p = np.ascontiguousarray(np.atleast_2d(np.asarray(points, float)))
        out = np.empty(len(p))
        interpolate(self.values, self.origin, self.voxel, p, out)
        return out

    def nodes(self, index: tuple[NDArray, ...]) -> Array:
        """Positions (n, 3) m of nodes given by their indices, as `np.nonzero` returns them."""
        return self.origin + self.voxel * np.stack(index, axis=1)

    def paint(self, points: Array, radius: Array) -> None:
        """Raise the field to `radius - distance` in and near a tube of round cones.

        The tube is the union of balls of `radius` (n,) m about the polyline `points` (n, 3) m,
        its radius linear in between, so it ends in hemispheres. The painted value is the distance
        to the wall of a straight round tube; where the field is higher already, it stays.
        """
        band = -float(self.values.min())
        _paint(self.values, self.origin, self.voxel, points, radius, band)


@njit(cache=True)
def interpolate(values, origin, voxel, points, out):  # type: ignore[no-untyped-def]
    """Write the trilinear interpolation of `values` at `points` (n, 3) to `out` (n,)."""
    nx, ny, nz = values.shape
    for n in range(points.shape[0]):
        x = min(max((points[n, 0] - origin[0]) / voxel, 0.0), nx - 1.000001)
        y = min(max((points[n, 1] - origin[1]) / voxel, 0.0), ny - 1.000001)
        z = min(max((points[n, 2] - origin[2]) / voxel, 0.0), nz - 1.000001)
        i, j, k = int(x), int(y), int(z)
        fx, fy, fz = x - i, y - j, z - k
        low = (1 - fx) * ((1 - fy) * values[i, j, k] + fy * values[i, j + 1, k]) + fx * (
            (1 - fy) * values[i + 1, j, k] + fy * values[i + 1, j + 1, k]
        )
        high = (1 - fx) * ((1 - fy) * values[i, j, k + 1] + fy * values[i, j + 1, k + 1]) + fx * (
            (1 - fy) * values[i + 1, j, k + 1] + fy * values[i + 1, j + 1, k + 1]
        )
        out[n] = (1 - fz) * low + fz * high


@njit(cache=True)
def _paint(values, origin, voxel, points, radius, band):  # type: ignore[no-untyped-def]
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for n in range(points.shape[0] - 1):
        a, b = points[n], points[n + 1]
        reach = max(radius[n], radius[n + 1]) + band
        for c in range(3):
            low[c] = max(0, int(np.floor((min(a[c], b[c]) - reach - origin[c]) / voxel)))
            top = int(np.ceil((max(a[c], b[c]) + reach - origin[c]) / voxel))
            high[c] = min(values.shape[c] - 1, top)
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        square = max(ux * ux + uy * uy + uz * uz, 1e-30)
        for i in range(low[0], high[0] + 1):
            x = origin[0] + i * voxel - a[0]
            for j in range(low[1], high[1] + 1):
                y = origin[1] + j * voxel - a[1]
                for k in range(low[2], high[2] + 1):
                    z = origin[2] + k * voxel - a[2]
                    t = min(max((x * ux + y * uy + z * uz) / square, 0.0), 1.0)
                    dx, dy, dz = x - t * ux, y - t * uy, z - t * uz
                    value = (
                        radius[n]
                        + t * (radius[n + 1] - radius[n])
                        - np.sqrt(dx * dx + dy * dy + dz * dz)
                    )
                    if value > values[i, j, k]:
                        values[i, j, k] = value


def blended(a: NDArray[np.float32], b: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Union of two shapes whose crease is rounded over `width` m.

    Polynomial smooth maximum (I. Quilez, "smooth minimum", 2013): it exceeds the maximum by
    `width`/4 where both are equal and by nothing where they differ by `width` or more.
    """
    if width == 0.0:
        return np.maximum(a, b)
    share = np.clip(0.5 + 0.5 * (a - b) / np.float32(width), 0, 1)
    return b + share * (a - b) + np.float32(width) * share * (1 - share)
