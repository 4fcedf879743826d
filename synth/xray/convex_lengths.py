"""Lengths of rays in unions of boxes, ellipsoids and cut cylinders, exact for every ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array

BOX, ELLIPSOID, CYLINDER = 0, 1, 2
# px by which all rays are moved. Bodies drawn by hand have corners, edges and joints on the central
# ray, where rounding would decide on which side it passes them.
OFF_CENTRE = (1.31e-7, 0.77e-7)
Vector = tuple[float, float, float]
Span = tuple[float, float]
MISS = (0.0, 0.0)
CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float)


@dataclass(frozen=True, eq=False)
class Convex:
    """Convex shapes of one kind, in the world.

    Parameters
    ----------
    kind : int
        BOX, ELLIPSOID, or CYLINDER along its third axis.
    centre : (n, 3) array
        m.
    rotation : (n, 3, 3) array
        Their axes as columns.
    half : (n, 3) array
        Half edge lengths, semi-axes, or the radius twice and half a length that holds the cut
        cylinder, m.
    cuts : (n, 2, 4) array
        Of cylinders: planes a x <= b in their own frames as (a, b), b in m.
    """

    kind: int
    centre: Array
    rotation: Array
    half: Array
    cuts: Array

    @property
    def corners(self) -> Array:
        """Corners of boxes that hold them, (n, 8, 3) m."""
        offsets = CORNERS * self.half[:, None, :]
        return self.centre[:, None, :] + offsets @ self.rotation.transpose(0, 2, 1)


def pixel_rays(projection: Projection) -> Array:
    """Return the ray from source to detector at pixel (0, 0) and its steps along u and v, (3, 3) m.

    The ray to pixel (u, v) is ``(1, u, v) @ rays``: at once it reaches the detector.
    """
    height, width = projection.shape
    along_u, along_v = projection.axes[0] * projection.pitch, projection.axes[1] * projection.pitch
    corner = projection.axes[2] * projection.sid
    return np.stack(
        [corner - along_u * ((width - 1) / 2) - along_v * ((height - 1) / 2), along_u, along_v]
    )


def union_lengths(
    shapes: Convex,
    projection: Projection,
    rectangles: NDArray[np.int64],
    roi: tuple[int, int, int, int],
    n: int,
) -> NDArray[np.float32]:
    """Return mean length in m and share of rays that hit, (2, h, w), of n x n rays per pixel.

    Parameters
    ----------
    shapes : Convex
        Where they overlap, a ray's length counts once.
    projection : Projection
        Geometry.
    rectangles : (len(shapes), 4) int array
        First row, first column, end row, end column that each can touch.
    roi : (int, int, int, int)
        First row, end row, first column, end column of the result.
    n : int
        Rays per pixel along each side.
    """
    r0, r1, c0, c1 = roi
    out = np.zeros((2, r1 - r0, c1 - c0), np.float32)
    rays = pixel_rays(projection)
    # In its own frame, in units of `half`, each is a cube, ball or cylinder of half size 1.
    inverse = shapes.rotation.transpose(0, 2, 1) / shapes.half[:, :, None]
    offset = (projection.source - shapes.centre)[:, :, None]
    cuts = shapes.cuts.copy()
    cuts[..., :3] *= shapes.half[:, None, :]
    _cast(
        out, (r0, c0), np.clip(rectangles, (r0, c0, r0, c0), (r1, c1, r1, c1)), shapes.kind,
        np.ascontiguousarray((inverse @ offset)[:, :, 0]),
        np.ascontiguousarray((inverse @ rays.T).transpose(0, 2, 1)),
        cuts, rays, n,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _cast(
    out: NDArray[np.float32],
    first: tuple[int, int],
    rectangles: NDArray[np.int64],
    kind: int,
    origin: Array,
    ray: Array,
    cuts: Array,
    world_ray: Array,
    n: int,
) -> None:
    """Fill path and share.

    `origin` (n, 3) and `ray` (n, 3, 3) are the source and `pixel_rays` in each shape's frame, in
    which it is of half size 1; so are `cuts`.
    """
    count, width = len(rectangles), out.shape[2]
    enter, leave = np.empty(count), np.empty(count)
    # The shapes at each pixel of a row: chains of entries, each with a shape and the next entry.
    newest = np.full(width, -1)
    widths = 0
    for i in range(count):
        widths += max(rectangles[i, 3] - rectangles[i, 1], 0)
    shape_of, next_of = np.empty(widths, np.int64), np.empty(widths, np.int64)
    for row in range(first[0], first[0] + out.shape[1]):
        entries = 0
        for i in range(count):
            if rectangles[i, 0] <= row < rectangles[i, 2]:
                for x in range(rectangles[i, 1] - first[1], rectangles[i, 3] - first[1]):
                    shape_of[entries], next_of[entries] = i, newest[x]
                    newest[x] = entries
                    entries += 1
        if entries == 0:
            continue
        for x in range(width):
            if newest[x] < 0:
                continue
            column = first[1] + x
            total, hits = 0.0, 0
            for p in range(n * n):
                u = column + (p % n + 0.5) / n - 0.5 + OFF_CENTRE[0]
                v = row + (p // n + 0.5) / n - 0.5 + OFF_CENTRE[1]
                spans, entry = 0, newest[x]
                while entry >= 0:
                    i, entry = shape_of[entry], next_of[entry]
                    along = (
                        ray[i, 0, 0] + u * ray[i, 1, 0] + v * ray[i, 2, 0],
                        ray[i, 0, 1] + u * ray[i, 1, 1] + v * ray[i, 2, 1],
                        ray[i, 0, 2] + u * ray[i, 1, 2] + v * ray[i, 2, 2],
                    )
                    if kind == BOX:
                        span = _in_box(origin[i], along)
                    elif kind == ELLIPSOID:
                        span = _in_ball(origin[i], along)
                    else:
                        span = _in_cylinder(origin[i], along, cuts[i])
                    # A ray begins at the source and ends at the detector.
                    start, end = max(span[0], 0.0), min(span[1], 1.0)
                    if end > start:
                        at = spans
                        while at > 0 and enter[at - 1] > start:
                            enter[at], leave[at] = enter[at - 1], leave[at - 1]
                            at -= 1
                        enter[at], leave[at] = start, end
                        spans += 1
                if spans > 0:
                    square = 0.0
                    for axis in range(3):
                        d = world_ray[0, axis] + u * world_ray[1, axis] + v * world_ray[2, axis]
                        square += d * d
                    total += _union(enter, leave, spans) * np.sqrt(square)
                    hits += 1
            out[0, row - first[0], x] = total / (n * n)
            out[1, row - first[0], x] = hits / (n * n)
            newest[x] = -1


@njit(cache=True, nogil=True, error_model="numpy")
def _union(enter: Array, leave: Array, count: int) -> float:
    """Length of the union of spans in order of their beginnings."""
    total, reached = 0.0, 0.0
    for i in range(count):
        if leave[i] > reached:
            total += leave[i] - max(enter[i], reached)
            reached = leave[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _in_box(origin: Array, along: Vector) -> Span:
    """Where a ray enters and leaves the cube, in lengths of `along` (slab method)."""
    enter, leave = -np.inf, np.inf
    for axis in range(3):
        d = along[axis]
        if abs(d) < 1e-12:
            if abs(origin[axis]) > 1.0:
                return MISS
            continue
        a, b = (-1.0 - origin[axis]) / d, (1.0 - origin[axis]) / d
        enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return enter, leave


@njit(cache=True, nogil=True, error_model="numpy")
def _in_ball(origin: Array, along: Vector) -> Span:
    """Where a ray enters and leaves the unit ball."""
    a = along[0] ** 2 + along[1] ** 2 + along[2] ** 2
    b = origin[0] * along[0] + origin[1] * along[1] + origin[2] * along[2]
    c = origin[0] ** 2 + origin[1] ** 2 + origin[2] ** 2 - 1.0
    discriminant = b * b - a * c
    if discriminant <= 0.0:
        return MISS
    root = np.sqrt(discriminant)
    return (-b - root) / a, (-b + root) / a


@njit(cache=True, nogil=True, error_model="numpy")
def _in_cylinder(origin: Array, along: Vector, cuts: Array) -> Span:
    """Where a ray enters and leaves the part below both planes of the unit cylinder."""
    a = along[0] ** 2 + along[1] ** 2
    b = origin[0] * along[0] + origin[1] * along[1]
    c = origin[0] ** 2 + origin[1] ** 2 - 1.0
    discriminant = b * b - a * c
    if discriminant <= 0.0 and not (a == 0.0 and c < 0.0):
        return MISS
    enter, leave = -np.inf, np.inf
    if a > 0.0:
        root = np.sqrt(discriminant)
        enter, leave = (-b - root) / a, (-b + root) / a
    for k in range(2):
        height, slope = -cuts[k, 3], 0.0
        for axis in range(3):
            height += cuts[k, axis] * origin[axis]
            slope += cuts[k, axis] * along[axis]
        if slope > 0.0:
            leave = min(leave, -height / slope)
        elif slope < 0.0:
            enter = max(enter, -height / slope)
        elif height > 0.0:
            return MISS
    return enter, leave
