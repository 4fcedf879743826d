"""Lengths of rays in closed triangle meshes: where they leave less where they enter."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Mesh
from mmdtwin.synth.xray.convex_lengths import OFF_CENTRE, pixel_rays

ROUNDING = 1e-6  # m: a length this much below zero may be rounding, where faces are edge on


def mesh_lengths(
    mesh: Mesh,
    projection: Projection,
    rectangles: NDArray[np.int64],
    roi: tuple[int, int, int, int],
    n: int,
) -> NDArray[np.float32]:
    """Return mean length in m and share of rays that hit, (2, h, w), of n x n rays per pixel.

    Whether a ray passes left or right of an edge is computed once and alike for both triangles at
    it, so that a ray meets a closed surface as often coming as going. A ray for which rounding at a
    vertex breaks this is left out of its pixel's mean.

    Parameters
    ----------
    mesh : Mesh
        Closed; where it lies in itself, lengths add.
    projection : Projection
        Geometry.
    rectangles : (len(mesh.faces), 4) int array
        First row, first column, end row, end column that each triangle can touch.
    roi : (int, int, int, int)
        First row, end row, first column, end column of the result.
    n : int
        Rays per pixel along each side.

    Raises
    ------
    UserError
        If a part of the mesh faces inwards.
    """
    r0, r1, c0, c1 = roi
    out = np.zeros((2, r1 - r0, c1 - c0), np.float32)
    inside = np.clip(rectangles, (r0, c0, r0, c0), (r1, c1, r1, c1))
    seen = np.all(inside[:, 2:] > inside[:, :2], axis=1)
    if not seen.any():
        return out
    inside = inside[seen]
    first, end = inside[:, :2].min(axis=0), inside[:, 2:].max(axis=0)
    samples = (*((end - first) * n).tolist(),)
    lengths, turns = np.zeros(samples), np.zeros(samples, np.int32)
    rays = pixel_rays(projection)
    vertices = np.ascontiguousarray(mesh.vertices - projection.source, float)
    _trace(
        lengths, turns, (int(first[0]), int(first[1])), n, vertices,
        projection.depth(mesh.vertices) / projection.sid,
        np.ascontiguousarray(mesh.faces[seen], np.int64), inside, rays,
    )  # fmt: skip
    window = out[:, first[0] - r0 : end[0] - r0, first[1] - c0 : end[1] - c0]
    if _mean(window, lengths, turns, (int(first[0]), int(first[1])), n, rays) < -ROUNDING:
        raise UserError(
            f"mesh of {mesh.material}: a part of it faces inwards; turn its triangles round "
            "(counter-clockwise seen from outside)"
        )
    return out


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _edge(normal: Array, p: Array, q: Array, rays: Array, forwards: bool) -> None:
    """Set the coefficients of the side of an edge that a ray passes, over (1, u, v).

    Of an edge seen from its other end (not `forwards`) the same numbers with the opposite sign.
    """
    if not forwards:
        p, q = q, p
    x, y, z = p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]
    for k in range(3):
        normal[k] = x * rays[k, 0] + y * rays[k, 1] + z * rays[k, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _trace(
    lengths: Array,
    turns: NDArray[np.int32],
    first: tuple[int, int],
    n: int,
    vertices: Array,
    depth: Array,
    faces: NDArray[np.int64],
    rectangles: NDArray[np.int64],
    rays: Array,
) -> None:
    """Add every triangle to the rays that meet it: +1 where they leave, -1 where they enter.

    `lengths` are shares of the way from source to detector; `depth` is that of the vertices.
    """
    edges, slope = np.empty((3, 3)), np.empty(3)
    corner, forwards = np.empty(3, np.int64), np.empty(3, np.bool_)
    for f in range(len(faces)):
        nearest, farthest = np.inf, -np.inf
        for k in range(3):
            corner[k] = faces[f, k]
            nearest = min(nearest, depth[corner[k]])
            farthest = max(farthest, depth[corner[k]])
        for k in range(3):
            p, q = corner[k], corner[(k + 1) % 3]
            forwards[k] = p < q
            _edge(edges[k], vertices[p], vertices[q], rays, forwards[k])
        a, b, c = vertices[corner[0]], vertices[corner[1]], vertices[corner[2]]
        # From differences of corners: a product of the corners themselves, of the size of the
        # distance to the source, would lose the triangle's in its rounding.
        x1, y1, z1 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        x2, y2, z2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2
        height = nx * a[0] + ny * a[1] + nz * a[2]
        for k in range(3):
            slope[k] = nx * rays[k, 0] + ny * rays[k, 1] + nz * rays[k, 2]
        for row in range((rectangles[f, 0] - first[0]) * n, (rectangles[f, 2] - first[0]) * n):
            v = first[0] + (row + 0.5) / n - 0.5 + OFF_CENTRE[1]
            for column in range(
                (rectangles[f, 1] - first[1]) * n, (rectangles[f, 3] - first[1]) * n
            ):
                u = first[1] + (column + 0.5) / n - 0.5 + OFF_CENTRE[0]
                lefts = 0
                for k in range(3):
                    side = edges[k, 0] + v * edges[k, 2] + u * edges[k, 1]
                    lefts += (side >= 0.0) == forwards[k]
                if lefts == 1 or lefts == 2:
                    continue
                along = slope[0] + v * slope[2] + u * slope[1]
                # Edge on, rounding may place the point beyond the triangle.
                at = min(max(height / along, nearest), farthest) if along != 0.0 else nearest
                at = min(max(at, 0.0), 1.0)
                sign = 1 if lefts == 3 else -1
                lengths[row, column] += sign * at
                turns[row, column] += sign


@njit(cache=True, nogil=True, error_model="numpy")
def _mean(
    out: NDArray[np.float32],
    lengths: Array,
    turns: NDArray[np.int32],
    first: tuple[int, int],
    n: int,
    rays: Array,
) -> float:
    """Take the mean over each pixel's rays; return the least length, m."""
    least = 0.0
    along = np.empty(3)
    for row in range(out.shape[1]):
        for column in range(out.shape[2]):
            total, hits, rays_counted = 0.0, 0, 0
            for i in range(n):
                for j in range(n):
                    if turns[row * n + i, column * n + j] != 0:
                        continue
                    rays_counted += 1
                    length = lengths[row * n + i, column * n + j]
                    if length == 0.0:
                        continue
                    v = first[0] + row + (i + 0.5) / n - 0.5 + OFF_CENTRE[1]
                    u = first[1] + column + (j + 0.5) / n - 0.5 + OFF_CENTRE[0]
                    square = 0.0
                    for k in range(3):
                        along[k] = rays[0, k] + u * rays[1, k] + v * rays[2, k]
                        square += along[k] * along[k]
                    length *= np.sqrt(square)
                    least = min(least, length)
                    if length > 0.0:
                        total += length
                        hits += 1
            if rays_counted > 0:
                out[0, row, column] = total / rays_counted
                out[1, row, column] = hits / rays_counted
    return least
