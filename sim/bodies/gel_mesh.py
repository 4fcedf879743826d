"""Tetrahedral meshes of ellipsoids and blocks, and the VTK file that PyBullet reads them from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay
from scipy.spatial.transform import Rotation

from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.geometry import Array

FACES = ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1))  # of a tetrahedron, seen from outside
# Each shell is turned against the next by a rotation vector (rad) at which no four points of two
# shells lie in a plane: found by a scan, flattest tetrahedron at 2 to 4 layers.
SHELL_TURN = 2.3 * np.array([1.0, 0.5, 0.2])


@dataclass(frozen=True, eq=False)
class TetMesh:
    """A solid of tetrahedra, about the origin. Any consistent units.

    Parameters
    ----------
    points : (n, 3) array
        Nodes.
    tets : (m, 4) array
        Their numbers, the first three counter-clockwise seen from the fourth's far side.
    """

    points: Array
    tets: NDArray

    @cached_property
    def volumes(self) -> Array:
        """Of each tetrahedron, (m,); positive."""
        return np.asarray(np.linalg.det(self._edges) / 6)

    @cached_property
    def gradients(self) -> Array:
        """Gradients (m, 4, 3) of the linear shape function of each corner."""
        inverse = np.linalg.inv(self._edges)  # rows of edges are d x; columns here are gradients
        others = np.swapaxes(inverse, 1, 2)
        return np.concatenate([-others.sum(axis=1, keepdims=True), others], axis=1)

    @property
    def _edges(self) -> Array:
        corners = self.points[self.tets]
        return np.asarray(corners[:, 1:] - corners[:, :1])

    @cached_property
    def boundary(self) -> NDArray:
        """Triangles of the surface (k, 3), counter-clockwise seen from outside."""
        faces = np.concatenate([self.tets[:, face] for face in FACES])
        _, first, count = np.unique(
            np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True
        )
        return faces[first[count == 1]]

    @cached_property
    def surface_areas(self) -> Array:
        """Share (n,) of each node in the surface; zero inside."""
        a, b, c = (self.points[self.boundary[:, k]] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        shares = np.bincount(self.boundary.ravel(), np.repeat(area / 3, 3), len(self.points))
        return np.asarray(shares, float)

    @cached_property
    def shares(self) -> Array:
        """Share (n,) of each node in the volume: centre and moments of inertia are the solid's.

        A quarter of each adjacent tetrahedron puts too much at the surface: 21 % of a ball's
        moment of inertia at 2 layers. So the quarters are weighted by exp(-c . f), f the
        coordinates and their products, with the c at which the means of f are right.
        """
        quarter = np.bincount(self.tets.ravel(), np.repeat(self.volumes / 4, 4), len(self.points))
        x = self.points / self.points.std(axis=0)
        f = np.concatenate([x, x * x, x * np.roll(x, 1, axis=1)], axis=1)
        # of a product over a tetrahedron: (sum of its corner values + product of sums) / 20
        corners, one = x[self.tets], self.volumes / self.volumes.sum()
        total = corners.sum(axis=1)
        products = f[self.tets].sum(axis=1)
        products[:, 3:6] += total**2
        products[:, 6:] += total * np.roll(total, 1, axis=1)
        exact = one @ products / np.repeat([4.0, 20.0, 20.0], 3)
        c = np.zeros(9)
        for _ in range(20):  # Newton, on a convex function
            weight = quarter * np.exp(-f @ c)
            share = weight / weight.sum()
            c += np.linalg.solve(np.cov(f.T, aweights=share, bias=True), share @ f - exact)
        return np.asarray(share)

    def scaled(self, factors: Array | float) -> TetMesh:
        """Return it stretched by a factor, or by one for each axis."""
        return TetMesh(self.points * factors, self.tets)

    def write_vtk(self) -> Path:
        """Write it to the cache and return the path.

        The name is a hash of the content: PyBullet keeps meshes by path, even across clients.
        """
        path = cache_dir("gels") / f"{digest([self.points.tolist(), self.tets.tolist()])}.vtk"
        if path.exists():
            return path
        n, m = len(self.points), len(self.tets)
        lines = ["# vtk DataFile Version 2.0", "gel", "ASCII", "DATASET UNSTRUCTURED_GRID"]
        lines += [f"POINTS {n} double", *(f"{x!r} {y!r} {z!r}" for x, y, z in self.points.tolist())]
        lines += ["", f"CELLS {m} {5 * m}", *("4 " + " ".join(map(str, t)) for t in self.tets)]
        lines += ["", f"CELL_TYPES {m}", *["10"] * m]
        with replacing(path) as part:
            part.write_text("\n".join(lines) + "\n")
        return path


def ellipsoid(semi_axes: Array, layers: int) -> TetMesh:
    """Return an ellipsoid with its exact volume: shells of nodes, `layers` of them, about a node.

    The nodes of shell k are the 10 k^2 + 2 of a geodesic sphere of frequency k, stretched. As
    flat faces cut off volume, the nodes of the surface lie outside the ellipsoid: by 4.6 % of the
    semi-axes at 2 layers, 2.0 % at 3.
    """
    shells = [
        Rotation.from_rotvec(SHELL_TURN * (layers - k)).apply(_geodesic(k)) * k / layers
        for k in range(1, layers + 1)
    ]
    points = np.concatenate([np.zeros((1, 3)), *shells])
    ball = TetMesh(points, _upright(points, Delaunay(points).simplices))
    grow = (4 / 3 * np.pi / ball.volumes.sum()) ** (1 / 3)
    return ball.scaled(grow * np.asarray(semi_axes))


def block(size: Array, cells: tuple[int, int, int]) -> TetMesh:
    """Return a block with as many cells along its edges, six tetrahedra each."""
    axes = [np.linspace(-s / 2, s / 2, c + 1) for s, c in zip(size, cells, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(points)).reshape(np.add(cells, 1))
    corners = np.stack([c.ravel() for c in np.indices(tuple(cells))], axis=1)
    tets = []
    for order in permutations(np.eye(3, dtype=int)):  # Kuhn: one tetrahedron per way to go
        path = np.cumsum([np.zeros(3, int), *order], axis=0)
        tets.append(np.stack([number[tuple((corners + p).T)] for p in path], axis=1))
    return TetMesh(points, _upright(points, np.concatenate(tets)))


def _geodesic(frequency: int) -> Array:
    """Nodes (10 f^2 + 2, 3) of a unit sphere: an icosahedron's faces divided f times."""
    golden = (1 + np.sqrt(5)) / 2
    cycle = [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    corners = np.array([np.roll(c, k) for c in cycle for k in range(3)])
    faces = corners[ConvexHull(corners).simplices]
    f = frequency
    shares = np.array([(i, j, f - i - j) for i in range(f + 1) for j in range(f + 1 - i)]) / f
    points = np.einsum("qc,fcx->fqx", shares, faces).reshape(-1, 3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    _, first = np.unique(points.round(9), axis=0, return_index=True)
    return np.asarray(points[np.sort(first)])


def _upright(points: Array, tets: NDArray) -> NDArray:
    """Swap two corners of the tetrahedra whose volume is negative."""
    tets = np.array(tets)
    inside_out = TetMesh(points, tets).volumes < 0
    tets[inside_out] = tets[inside_out][:, [0, 2, 1, 3]]
    return tets
