"""The vessel map: what angiography gives before a procedure, and what a planner plans on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from mmdtwin.geometry import Array


@dataclass(frozen=True, eq=False)
class Branch:
    """One unbranched stretch of vessel.

    Parameters
    ----------
    points : (n, 3) array
        Centreline in the vessel's frame, m, from `start` to `end`, evenly spaced.
    radius : (n,) array
        Inscribed radius at each point, m.
    start, end : str
        Names of the nodes it joins; a node shared by three or more branches is a junction.
    mean_speed : float
        Mean axial flow speed, m/s, positive from start to end.
    """

    points: Array
    radius: Array
    start: str
    end: str
    mean_speed: float = 0.0

    @cached_property
    def arclength(self) -> Array:
        """Arclength of each point from the start, (n,) m."""
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length(self) -> float:
        """Length, m."""
        return float(self.arclength[-1])

    @cached_property
    def tangents(self) -> Array:
        """Unit tangents from start to end, (n, 3)."""
        t = np.gradient(self.points, axis=0)
        return t / np.linalg.norm(t, axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class VesselMap:
    """A tree of branches with named ends, in the vessel's frame, m."""

    branches: dict[str, Branch]
    ends: tuple[str, ...] = field(default=())

    @cached_property
    def junctions(self) -> tuple[str, ...]:
        """Names of nodes where three or more branches meet."""
        degree: dict[str, int] = {}
        for branch in self.branches.values():
            for node in (branch.start, branch.end):
                degree[node] = degree.get(node, 0) + 1
        return tuple(sorted(n for n, d in degree.items() if d >= 3))

    @cached_property
    def points(self) -> Array:
        """All centreline points, (n, 3) m."""
        return np.concatenate([b.points for b in self.branches.values()])

    @cached_property
    def radius(self) -> Array:
        """Radius at `points`, (n,) m."""
        return np.concatenate([b.radius for b in self.branches.values()])

    @cached_property
    def branch_names(self) -> tuple[str, ...]:
        """Branch of each of `points`."""
        return tuple(n for n, b in self.branches.items() for _ in range(len(b.points)))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    @property
    def minimum_lumen(self) -> float:
        """Smallest inscribed diameter, m."""
        return 2.0 * float(self.radius.min())

    def nearest(self, points: ArrayLike) -> tuple[Array, Array]:
        """Return the index into `points` and the distance in m of the nearest centreline point."""
        distance, index = self._tree.query(np.asarray(points, float))
        return np.asarray(index), np.asarray(distance)

    def branch_at(self, point: ArrayLike) -> str:
        """Name of the branch whose centreline is nearest to a point (3,)."""
        return self.branch_names[int(self.nearest(point)[0])]

    def contains(self, point: ArrayLike, margin: float = 0.0) -> bool:
        """True if a point (3,) lies inside the lumen by at least `margin` m."""
        near = self._tree.query_ball_point(np.asarray(point, float), float(self.radius.max()))
        gaps = np.linalg.norm(self.points[near] - np.asarray(point, float), axis=1)
        return bool(np.any(gaps <= self.radius[near] - margin))
