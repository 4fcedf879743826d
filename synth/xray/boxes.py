"""Path lengths of rays through boxes, exact for every ray."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Boxes

Roi = tuple[int, int, int, int]  # first row, end row, first column, end column
CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float)
SUPERSAMPLING = 3  # rays per pixel along each side


def covered_roi(boxes: Boxes, projection: Projection, margin: int = 0) -> Roi | None:
    """Return the rows and columns that the boxes' shadow can touch, or None if it misses."""
    rectangles = _rectangles(boxes, projection)
    if rectangles is None:
        return None
    height, width = projection.shape
    first = np.maximum(rectangles[:, :2].min(axis=0) - margin, 0)
    end = np.minimum(rectangles[:, 2:].max(axis=0) + margin, (height, width))
    if np.any(end <= first):
        return None
    return int(first[0]), int(end[0]), int(first[1]), int(end[1])


def path_lengths(
    boxes: Boxes, projection: Projection, roi: Roi, supersampling: int = SUPERSAMPLING
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how long the rays of each pixel are inside the boxes, and how many meet one.

    Parameters
    ----------
    boxes : Boxes
        Boxes in the world. Where they overlap, their lengths add.
    projection : Projection
        Geometry.
    roi : (int, int, int, int)
        First row, end row, first column, end column.
    supersampling : int
        Rays per pixel along each side; each is intersected exactly (slab method).

    Returns
    -------
    path : (h, w) float32 array
        Mean length in m over all rays of a pixel; `h` and `w` are those of `roi`.
    share : (h, w) float32 array
        Share of a pixel's rays that meet a box: `path / share` is the thickness where there is
        any, which attenuation, being no linear function of it, needs.
    """
    r0, r1, c0, c1 = roi
    result = np.zeros((2, r1 - r0, c1 - c0))
    rectangles = _rectangles(boxes, projection)
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
    for i in range(len(boxes.centre)):
        axes = np.ascontiguousarray(boxes.rotation[i].T, float)
        _add_box(
            result,
            (r0, c0),
            rectangles[i],
            axes @ (projection.source - boxes.centre[i]),
            np.ascontiguousarray(np.stack([axes @ corner, axes @ steps[0], axes @ steps[1]])),
            np.asarray(boxes.half_extents[i], float),
            supersampling,
        )
    # Boxes side by side add their shares; boxes behind one another must not count twice.
    return result[0].astype(np.float32), np.minimum(result[1], 1.0).astype(np.float32)


def _rectangles(boxes: Boxes, projection: Projection) -> NDArray[np.int64] | None:
    """Rows and columns (n, 4) that each box can touch: first row, column, end row, column."""
    offsets = CORNERS * np.asarray(boxes.half_extents, float)[:, None, :]
    points = boxes.centre[:, None, :] + np.einsum("nij,nkj->nki", boxes.rotation, offsets)
    if len(points) == 0 or projection.depth(points).min() <= 0.0:
        return None
    uv = projection.project(points)[..., ::-1]
    if not np.all(np.isfinite(uv)) or np.abs(uv).max() > 1e8:
        return None
    first, end = np.floor(uv.min(axis=1) + 0.5), np.floor(uv.max(axis=1) + 0.5) + 1
    return np.concatenate([first, end], axis=1).astype(np.int64)


@njit(cache=True)
def _add_box(
    out: Array,
    first: tuple[int, int],
    rectangle: NDArray[np.int64],
    origin: Array,
    ray: Array,
    half: Array,
    n: int,
) -> None:
    """Add path and share of one box, all vectors in its frame.

    Rows of `ray`: from the source to the centre of pixel (0, 0), and the steps along u and v.
    """
    for row in range(rectangle[0], rectangle[2]):
        for column in range(rectangle[1], rectangle[3]):
            total, hits = 0.0, 0
            for i in range(n):
                v = row + (i + 0.5) / n - 0.5
                for j in range(n):
                    u = column + (j + 0.5) / n - 0.5
                    enter, leave, square = 0.0, np.inf, 0.0
                    for axis in range(3):
                        d = ray[0, axis] + u * ray[1, axis] + v * ray[2, axis]
                        square += d * d
                        if abs(d) < 1e-12:
                            if abs(origin[axis]) > half[axis]:
                                leave = -1.0
                            continue
                        a = (-half[axis] - origin[axis]) / d
                        b = (half[axis] - origin[axis]) / d
                        enter = max(enter, min(a, b))
                        leave = min(leave, max(a, b))
                    if leave > enter:
                        total += (leave - enter) * np.sqrt(square)
                        hits += 1
            out[0, row - first[0], column - first[1]] += total / (n * n)
            out[1, row - first[0], column - first[1]] += hits / (n * n)
