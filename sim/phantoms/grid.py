"""A scalar field on a regular grid: painted with tubes, read between its nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

MOST_NODES = 1.5e8  # of a grid: 0.6 GB


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
        """Make a grid filled with one value that covers a box with corners in m.

        Raises
        ------
        UserError
            If it would have more than `MOST_NODES`.
        """
        low = np.asarray(lower, float)
        size = np.asarray(upper, float) - low
        if float(np.prod(size / voxel)) > MOST_NODES:
            box = " x ".join(f"{side * 1e3:.0f}" for side in size)
            raise UserError(
                f"voxel: {voxel * 1e3:.3g} mm is too fine for a box of {box} mm; give at least "
                f"{(float(np.prod(size)) / MOST_NODES) ** (1 / 3) * 1e3:.2g} mm"
            )
        shape = np.ceil(size / voxel).astype(int) + 1
        return cls(np.full(tuple(shape), fill, np.float32), low, voxel)

    def at(self, points: ArrayLike) -> Array:
        """Interpolate linearly at points (n, 3), m; outside the grid its edge value holds."""
        p = np.ascontiguousarray(np.atleast_2d(np.asarray(points, float)))
        out = np.empty(len(p))
        interpolate(*self.arrays, p, out)
        return out

    def at_with_normal(self, points: ArrayLike) -> tuple[Array, Array]:
        """Return the field (n,) at points (n, 3) m, and unit vectors (n, 3) along its gradient."""
        p = np.ascontiguousarray(np.atleast_2d(np.asarray(points, float)))
        out, normals = np.empty(len(p)), np.empty_like(p)
        distance_and_normal(*self.arrays, p, out, normals)
        return out, normals

    @property
    def arrays(self) -> tuple[NDArray[np.float32], Array, float]:
        """What the compiled functions take first: values, origin, voxel."""
        return self.values, self.origin, self.voxel

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
def interpolate_at(values, origin, voxel, px, py, pz):  # type: ignore[no-untyped-def]
    """Return the trilinear interpolation of `values` at one point; its edge value beyond."""
    nx, ny, nz = values.shape
    x = min(max((px - origin[0]) / voxel, 0.0), nx - 1.000001)
    y = min(max((py - origin[1]) / voxel, 0.0), ny - 1.000001)
    z = min(max((pz - origin[2]) / voxel, 0.0), nz - 1.000001)
    i, j, k = int(x), int(y), int(z)
    fx, fy, fz = x - i, y - j, z - k
    low = (1 - fx) * ((1 - fy) * values[i, j, k] + fy * values[i, j + 1, k]) + fx * (
        (1 - fy) * values[i + 1, j, k] + fy * values[i + 1, j + 1, k]
    )
    high = (1 - fx) * ((1 - fy) * values[i, j, k + 1] + fy * values[i, j + 1, k + 1]) + fx * (
        (1 - fy) * values[i + 1, j, k + 1] + fy * values[i + 1, j + 1, k + 1]
    )
    return (1 - fz) * low + fz * high


@njit(cache=True)
def interpolate(values, origin, voxel, points, out):  # type: ignore[no-untyped-def]
    """Write the trilinear interpolation of `values` at `points` (n, 3) to `out` (n,)."""
    for n in range(points.shape[0]):
        out[n] = interpolate_at(values, origin, voxel, points[n, 0], points[n, 1], points[n, 2])


@njit(cache=True)
def distance_and_normal(values, origin, voxel, points, out_d, out_n):  # type: ignore[no-untyped-def]
    """Write signed distances and unit normals at points; usable from compiled code.

    The normal is the direction in which the distance grows: away from the wall, into the lumen.
    It is taken from central differences over one voxel, which are continuous and err by
    (voxel/R)^2 near a wall of radius R, where the derivative of the interpolation itself jumps
    between voxels. Any consistent units.

    Parameters
    ----------
    values : (nx, ny, nz) float32 array
        Signed distance at the nodes of a grid, positive inside.
    origin : (3,) array
        Position of node (0, 0, 0).
    voxel : float
        Distance between nodes.
    points : (n, 3) array
        Where to read.
    out_d : (n,) array
        Receives the distances; beyond the grid its edge value.
    out_n : (n, 3) array
        Receives the normals; zero where the distance does not change.
    """
    half = 0.5 * voxel
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        out_d[n] = interpolate_at(values, origin, voxel, x, y, z)
        gx = interpolate_at(values, origin, voxel, x + half, y, z)
        gx -= interpolate_at(values, origin, voxel, x - half, y, z)
        gy = interpolate_at(values, origin, voxel, x, y + half, z)
        gy -= interpolate_at(values, origin, voxel, x, y - half, z)
        gz = interpolate_at(values, origin, voxel, x, y, z + half)
        gz -= interpolate_at(values, origin, voxel, x, y, z - half)
        norm = np.sqrt(gx * gx + gy * gy + gz * gz)
        scale = 1.0 / norm if norm > 0.0 else 0.0
        out_n[n, 0], out_n[n, 1], out_n[n, 2] = gx * scale, gy * scale, gz * scale


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
