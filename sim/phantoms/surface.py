"""The wall as a closed triangle mesh, and distances to it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.grid import Grid

BAND = 1.0e-3  # m outside the wall to which distances are known; farther counts as this
SNAP = 0.1  # voxels: nodes nearer to the wall are held off it, which avoids sliver triangles
MIN_SLOPE = 0.5  # of a distance field near the wall; below it a crease, and no Newton step is safe
CREASE = 0.5  # below this cosine to its nearest facet's normal a point faces an edge, not a facet


class Surface:
    """A closed triangle mesh.

    Parameters
    ----------
    vertices : (n, 3) array
        m.
    faces : (m, 3) int array
        Vertex indices, counter-clockwise seen from outside.
    """

    def __init__(self, vertices: Array, faces: NDArray[np.int32]) -> None:
        self.vertices = vertices
        self.faces = faces

    @classmethod
    def of(cls, field: Grid) -> Surface:
        """Take the surface where the field is zero.

        Marching cubes (Lewiner 2003) gives the triangles; one Newton step on the field's cubic
        spline then takes the vertices to the wall, from which linear interpolation leaves them
        some um away.

        Raises
        ------
        UserError
            If the field is nowhere positive or positive at the edge of its grid.
        """
        from skimage.measure import marching_cubes

        inside = field.values > 0
        if not inside.any():
            raise UserError("phantom: the lumen is empty; increase its radius or reduce its voxel")
        if any(inside.take(side, axis).any() for axis in range(3) for side in (0, -1)):
            raise UserError("phantom: the lumen reaches the edge of its grid")
        limit = np.float32(SNAP * field.voxel)
        near = np.abs(field.values) < limit
        values = np.where(near, np.where(inside, limit, -limit), field.values)
        vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")
        vertices = _on_wall(field.values / field.voxel, vertices.astype(float))
        return cls(field.origin + field.voxel * vertices, faces.astype(np.int32))

    @cached_property
    def corners(self) -> Array:
        """Corners of each triangle, (m, 3, 3) m."""
        return self.vertices[self.faces]

    @cached_property
    def normals(self) -> Array:
        """Outward unit normals, (m, 3)."""
        a, b, c = self.corners.transpose(1, 0, 2)
        normal = np.cross(b - a, c - a)
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)

    @property
    def volume(self) -> float:
        """Enclosed volume, m3; positive when the triangles face outwards."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    @property
    def area(self) -> float:
        """Area of all triangles, m2."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    @property
    def watertight(self) -> bool:
        """True if every edge joins exactly two triangles that agree on the outside."""
        edges = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
        n = len(self.vertices)
        forward = np.sort(edges[:, 0] * n + edges[:, 1])
        backward = np.sort(edges[:, 1] * n + edges[:, 0])
        return bool(np.array_equal(forward, backward) and np.all(np.diff(forward) > 0))

    @property
    def handles(self) -> int:
        """Holes through a closed surface in one piece, 0 for a tree: 1 - Euler number / 2."""
        return 1 - (len(self.vertices) - len(self.faces) // 2) // 2

    @cached_property
    def _centres(self) -> cKDTree:
        return cKDTree(self.corners.mean(axis=1))

    def distance(self, points: ArrayLike) -> Array:
        """Unsigned distance (n,) m of points (n, 3) m from the wall.

        Taken to the plane of the facet with the nearest centre: off a smooth wall of radius R the
        error is below e^2/(2R), 2 um for facets of e = 0.08 mm and R = 1.5 mm; at an edge, where
        the nearest facet does not face the point, the distance to its centre stands in.
        """
        p = np.asarray(points, float)
        to_centre, index = self._centres.query(p)
        offset = p - self._centres.data[index]
        to_plane = np.abs(np.einsum("ij,ij->i", offset, self.normals[index]))
        near = to_centre < np.linalg.norm(np.ptp(self.corners[index], axis=1), axis=1)
        return np.where(near | (to_plane > CREASE * to_centre), to_plane, to_centre)

    def write(self, path: Path, scale: float = 1.0) -> None:
        """Write a Wavefront OBJ or binary STL file, by suffix, with lengths times `scale`.

        Raises
        ------
        UserError
            If the suffix is neither .obj nor .stl, or the file cannot be written.
        """
        encode = {".obj": self._obj, ".stl": self._stl}.get(path.suffix.lower())
        if encode is None:
            raise UserError(f"{path}: cannot write this kind of mesh; allowed: .obj, .stl")
        try:
            with replacing(path) as part:
                part.write_bytes(encode(scale))
        except OSError as error:
            raise UserError(f"{path}: cannot write there ({error.strerror})") from error

    def _obj(self, scale: float) -> bytes:
        lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in self.vertices * scale]
        lines += [f"f {a} {b} {c}" for a, b, c in self.faces + 1]
        return ("\n".join(lines) + "\n").encode()

    def _stl(self, scale: float) -> bytes:
        record = np.zeros(
            len(self.faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")]
        )
        record["normal"], record["corners"] = self.normals, self.corners * scale
        return bytes(80) + np.uint32(len(record)).tobytes() + record.tobytes()


def _on_wall(values: NDArray, vertices: Array) -> Array:
    """Take vertices (n, 3) to the zero of the spline through `values`; all in voxels."""
    spline = ndimage.spline_filter(values, order=3, output=np.float32)

    def read(at: Array) -> Array:
        return ndimage.map_coordinates(spline, at.T, order=3, prefilter=False, output=float)

    step = 0.1 * np.eye(3)
    slope = np.stack([(read(vertices + d) - read(vertices - d)) / 0.2 for d in step], axis=1)
    square = np.maximum(np.einsum("ij,ij->i", slope, slope), MIN_SLOPE**2)
    move = -(read(vertices) / square)[:, None] * slope
    return vertices + np.clip(move, -2 * SNAP, 2 * SNAP)


def one_piece(field: Grid) -> Grid:
    """Return the field with stray pieces of lumen filled up, and stray pieces of wall removed.

    The largest piece of lumen stays, and the wall that reaches the edge of the grid.
    """
    values = field.values.copy()
    pieces, n = ndimage.label(values > 0)
    if n > 1:
        largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
        values[(pieces > 0) & (pieces != largest)] = -field.voxel
    inside = values > 0
    values[ndimage.binary_fill_holes(inside) & ~inside] = field.voxel
    return replace(field, values=values)


def distance_field(field: Grid, surface: Surface) -> Grid:
    """Return the signed distance from the surface at the field's nodes, m, positive inside.

    Farther than `BAND` outside the wall the value is -`BAND`.
    """
    inside = field.values > 0
    reach = int(np.ceil(BAND / field.voxel)) + 1
    wanted = np.nonzero(grown(inside, reach))
    distance = surface.distance(field.nodes(wanted))
    values = np.full(field.values.shape, -BAND, np.float32)
    values[wanted] = np.where(inside[wanted], distance, -np.minimum(distance, BAND))
    return replace(field, values=values)


def grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Grow a mask by a cube of 2 steps + 1 nodes, axis by axis."""
    grown = mask.astype(np.uint8)
    for axis in range(3):
        grown = ndimage.maximum_filter1d(grown, 2 * steps + 1, axis=axis)
    return grown.astype(bool)
