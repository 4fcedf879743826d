"""Path lengths of rays through boxes and ellipsoids, exact for every ray."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Solids

Roi = tuple[int, int, int, int]  # first row, end row, first column, end column
CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float)
SUPERSAMPLING = 3  # rays per pixel along each side


def covered_roi(solids: Solids, projection: Projection, margin: int = 0) -> Roi | None:
    """Return the rows and columns that the solids' shadow can touch, or None if it misses."""
    rectangles = _rectangles(solids, projection)
    if rectangles is None:
        return None
    height, width = projection.shape
    first = np.maximum(rectangles[:, :2].min(axis=0) - margin, 0)
    end = np.minimum(rectangles[:, 2:].max(axis=0) + margin, (height, width))
    if np.any(end <= first):
        return None
    return int(first[0]), int(end[0]), int(first[1]), int(end[1])


def path_lengths(
    solids: Solids, projection: Projection, roi: Roi, supersampling: int = SUPERSAMPLING
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how long the rays of each pixel are inside the solids, and how many meet one.

    Parameters
    ----------
    solids : Solids
        In the world. Where they overlap, their lengths add.
    projection : Projection
        Geometry.
    roi : (int, int, int, int)
        First row, end row, first column, end column.
    supersampling : int
        Rays per pixel along each side; each is intersected exactly.

    Returns
    -------
    path : (h, w) float32 array
        Mean length in m over all rays of a pixel; `h` and `w` are those of `roi`.
    share : (h, w) float32 array
        Share of a pixel's rays that meet a solid: `path / share` is the thickness where there is
        any, which attenuation, being no linear function of it, needs.
    """
    r0, r1, c0, c1 = roi
    result = np.zeros((2, r1 - r0, c1 - c0))
    rectangles = _rectangles(solids, projection)
    if rectangles is None:
        return result[0].astype(np.float32), result[1].astype(np.float32)
    rectangles = np.clip(rectangles, (r0, c0, r0, c0), (r1, c1, r1, c1))
    height, width = projection.shape
    corner = (
        projection.axes[2] * projection.sid
        - projection.axes[0] * projection.pitch * (width - 1) / 2
        - projection.axes[1] * projection.pitch * (height - 1) / 2
    )
    steps = np.stack([projection.axes[0], projection.axes[1]]) * projection.pitch
    for i in range(len(solids.centre)):
        axes = np.ascontiguousarray(solids.rotation[i].T, float)
        _add_solid(
            result,
            (r0, c0),
            rectangles[i],
            axes @ (projection.source - solids.centre[i]),
            np.ascontiguousarray(np.stack([axes @ corner, axes @ steps[0], axes @ steps[1]])),
            np.asarray(solids.half_extents[i], float),
            solids.shape == "box",
            supersampling,
        )
    # Solids side by side add their shares; solids behind one another must not count twice.
    return result[0].astype(np.float32), np.minimum(result[1], 1.0).astype(np.float32)


def _rectangles(solids: Solids, projection: Projection) -> NDArray[np.int64] | None:
    """Rows and columns (n, 4) that each box can touch: first row, column, end row, column."""
    offsets = CORNERS * np.asarray(solids.half_extents, float)[:, None, :]
    points = solids.centre[:, None, :] + np.einsum("nij,nkj->nki", solids.rotation, offsets)
    if len(points) == 0 or projection.depth(points).min() <= 0.0:
        return None
    uv = projection.project(points)[..., ::-1]
    if not np.all(np.isfinite(uv)) or np.abs(uv).max() > 1e8:
        return None
    first, end = np.floor(uv.min(axis=1) + 0.5), np.floor(uv.max(axis=1) + 0.5) + 1
    return np.concatenate([first, end], axis=1).astype(np.int64)


@njit(cache=True)
def _add_solid(
    out: Array,
    first: tuple[int, int],
    rectangle: NDArray[np.int64],
    origin: Array,
    ray: Array,
    half: Array,
    is_box: bool,
    n: int,
) -> None:
    """Add path and share of one solid, all vectors in its frame.

    Rows of `ray`: from the source to the centre of pixel (0, 0), and the steps along u and v.
    """
    along = np.empty(3)
    for row in range(rectangle[0], rectangle[2]):
        for column in range(rectangle[1], rectangle[3]):
            total, hits = 0.0, 0
            for i in range(n):
                v = row + (i + 0.5) / n - 0.5
                for j in range(n):
                    u = column + (j + 0.5) / n - 0.5
                    square = 0.0
                    for axis in range(3):
                        d = ray[0, axis] + u * ray[1, axis] + v * ray[2, axis]
                        along[axis] = d
                        square += d * d
                    chord = (
                        _in_box(origin, along, half) if is_box else _in_ball(origin, along, half)
                    )
                    if chord > 0.0:
                        total += chord * np.sqrt(square)
                        hits += 1
            out[0, row - first[0], column - first[1]] += total / (n * n)
            out[1, row - first[0], column - first[1]] += hits / (n * n)


@njit(cache=True)
def _in_box(origin: Array, along: Array, half: Array) -> float:
    """Part of a ray inside a box, in lengths of `along` (slab method)."""
    enter, leave = 0.0, np.inf
    for axis in range(3):
        d = along[axis]
        if abs(d) < 1e-12:
            if abs(origin[axis]) > half[axis]:
                return 0.0
            continue
        a = (-half[axis] - origin[axis]) / d
        b = (half[axis] - origin[axis]) / d
        enter = max(enter, min(a, b))
        leave = min(leave, max(a, b))
    return max(leave - enter, 0.0)


@njit(cache=True)
def _in_ball(origin: Array, along: Array, half: Array) -> float:
    """Part of a ray inside an ellipsoid, in lengths of `along`: a ball when scaled by its axes."""
    a, b, c = 0.0, 0.0, -1.0
    for axis in range(3):
        o, d = origin[axis] / half[axis], along[axis] / half[axis]
        a += d * d
        b += o * d
        c += o * o
    discriminant = b * b - a * c
    return 2.0 * np.sqrt(discriminant) / a if discriminant > 0.0 else 0.0
