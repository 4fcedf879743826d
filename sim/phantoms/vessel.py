"""A vessel as the world needs it: map, wall, distance to the wall."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.grid import Grid
from mmdtwin.sim.phantoms.refine import RefinedGrid
from mmdtwin.sim.phantoms.surface import Surface
from mmdtwin.vessel import VesselMap


@dataclass(frozen=True, eq=False)
class Vessel:
    """The lumen of a vessel, in the vessel's frame, m.

    Parameters
    ----------
    map : VesselMap
        Centrelines, inscribed radii, named ends and junctions, flow speeds.
    surface : Surface
        Wall of the lumen, closed by caps at the ends.
    refined : RefinedGrid
        Signed distance to the wall, positive inside.
    """

    map: VesselMap
    surface: Surface
    refined: RefinedGrid

    @property
    def distance(self) -> Grid:
        """The regular grid of distances without its refinement, as compiled code takes it."""
        return self.refined.grid

    @property
    def vertices(self) -> Array:
        """Vertices of the wall, (n, 3) m."""
        return self.surface.vertices

    @property
    def faces(self) -> NDArray:
        """Triangles of the wall, (m, 3) vertex indices, counter-clockwise seen from outside."""
        return self.surface.faces

    @property
    def minimum_lumen(self) -> float:
        """Smallest inscribed diameter along the centrelines, m."""
        return self.map.minimum_lumen

    def sdf(self, points: ArrayLike) -> Array:
        """Signed distance (n,) m of points (n, 3) m from the wall, positive inside.

        The wall is the triangle mesh that bodies collide with: on its facets this reads less than
        10 um. Trilinear between grid nodes; within half a radius of the wall of a 1.5 mm tube
        (0.2 mm voxels) it is right to 13 um, at caps to 26 um; on the centreline, where the
        distance has a ridge, it reads up to 0.9 voxels low. Farther than 1 mm outside it reads
        -1 mm.
        """
        return self.refined.at(points)

    def sdf_gradient(self, points: ArrayLike) -> tuple[Array, Array]:
        """Signed distance (n,) m, and the unit vectors (n, 3) in which it grows.

        The vectors point away from the wall into the lumen; see `distance_and_normal`, which
        compiled code can call with `distance.arrays`.
        """
        p = np.ascontiguousarray(points, float).reshape(-1, 3)
        distances, normals = self.distance.at_with_normal(p)
        self.refined.overwrite(p, distances)
        return distances, normals

    def tube(self, point: ArrayLike) -> tuple[Array, float]:
        """Direction (3,) and radius m of the vessel that surrounds a point (3,) m most closely."""
        offset = np.asarray(point, float) - self.map.points
        i = int(np.argmin(np.einsum("ij,ij->i", offset, offset) / self.map.radius**2))
        return self.map.tangents[i], float(self.map.radius[i])

    def write_obj(self, path: str | Path, scale: float = 1.0) -> None:
        """Write the wall as OBJ or STL, by suffix; `scale` 1e3 gives mm, as printers expect.

        Raises
        ------
        UserError
            If the suffix is neither .obj nor .stl, or the file cannot be written.
        """
        self.surface.write(Path(path), scale)
