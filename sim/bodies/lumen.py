"""Where the wall is, as a body beside it needs to know."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmdtwin import units
from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.device import Wall

REFRESH = 0.1e-3  # m moved until the tube is looked up anew: a small part of a lumen


class Nearby(NamedTuple):
    """The wall seen from the sphere of a body that is nearest to it, and from each."""

    place: Array  # (3,) centre of that sphere, m
    gap: float  # mm between sphere and wall; infinite without a wall
    normal: Array  # (3,) from the wall into the lumen
    axis: Array  # (3,) unit vector along the vessel
    radius: float  # of the vessel, mm; infinite beside a plane
    gaps: Array  # (k,) of all spheres, mm
    normals: Array  # (k, 3) there


class Lumen:
    """Looks up wall and vessel around a body of spheres.

    Parameters
    ----------
    wall : Wall or None
        As in `Medium`.
    """

    def __init__(self, wall: Wall | None) -> None:
        self._wall = wall
        self._seen = np.full(3, np.inf)
        self._axis, self._radius = np.array([1.0, 0.0, 0.0]), np.inf

    def forget(self) -> None:
        """Look up the vessel anew at the next call."""
        self._seen = np.full(3, np.inf)

    def near(self, centres: Array, radii: Array) -> Nearby:
        """Return what is near to spheres at `centres` (k, 3) m with `radii` (k,) m."""
        if self._wall is None:
            free = np.full(len(radii), np.inf), np.zeros((len(radii), 3))
            return Nearby(centres[0], np.inf, np.zeros(3), self._axis, np.inf, *free)
        distances, normals = self._wall.sdf_gradient(centres)
        gaps = (distances - radii) * units.LENGTH
        i = int(gaps.argmin())
        moved = centres[i] - self._seen
        if not moved @ moved < REFRESH**2:
            self._seen = centres[i]
            self._axis, radius = self._wall.tube(centres[i])
            self._radius = radius * units.LENGTH
        gap = float(gaps[i])
        return Nearby(centres[i], gap, normals[i], self._axis, self._radius, gaps, normals)
