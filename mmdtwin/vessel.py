"""The vessel map: what angiography gives before a procedure, and what a planner plans on."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, arclength, unit

PATH_STEP = 0.2e-3  # m between the points of a route
ROUNDING = 1e-9  # steps: a whole number of them is not to become one more
SMOOTHING_LENGTH = 0.8e-3  # m, Gaussian sigma that rounds the corners where branches meet
_RAW_STEP = 0.05e-3  # m, spacing at which a route is smoothed
_NEIGHBOURS = 32  # centreline points tried for a ball about a point of a route


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
        Axial flow speed averaged over sections and along the branch, m/s, positive from start
        to end; its mean over a beat.
    peak_speed : float
        Largest speed of the fluid anywhere in the branch over a beat, m/s.
    """

    points: Array
    radius: Array
    start: str
    end: str
    mean_speed: float = 0.0
    peak_speed: float = 0.0

    @cached_property
    def arclength(self) -> Array:
        """Arclength of each point from the start, (n,) m."""
        return arclength(self.points)

    @property
    def length(self) -> float:
        """Length, m."""
        return float(self.arclength[-1])

    @cached_property
    def tangents(self) -> Array:
        """Unit tangents from start to end, (n, 3)."""
        t = np.gradient(self.points, axis=0)
        return t / np.linalg.norm(t, axis=1, keepdims=True)

    @property
    def flow_rate(self) -> float:
        """Volume flow from start to end, m3/s; the same at every section."""
        return self.mean_speed / float(np.mean(1.0 / (np.pi * self.radius**2)))

    @property
    def speeds(self) -> Array:
        """Mean axial speed over the inscribed circle at each point, (n,) m/s."""
        return self.flow_rate / (np.pi * self.radius**2)

    def at(self, arclength: ArrayLike) -> tuple[Array, Array]:
        """Return centreline points (..., 3) m and radii (...) m at arclengths (...) m."""
        s = np.asarray(arclength, float)
        xyz = [np.interp(s, self.arclength, self.points[:, i]) for i in range(3)]
        return np.stack(xyz, axis=-1), np.asarray(np.interp(s, self.arclength, self.radius))


@dataclass(frozen=True, eq=False)
class VesselPath:
    """A route along the vessel tree: a smooth curve from start to target.

    Parameters
    ----------
    points : (n, 3) array
        In the vessel's frame, m, evenly spaced, n >= 2.
    radius : (n,) array
        Radius of a ball about each point that is certainly inside the lumen, m.
    arclength : (n,) array
        Distance from the start along the curve, m.
    tangents : (n, 3) array
        Unit vectors towards the target.
    branches : tuple of str
        Branch of each point.
    junctions : int
        Number of junctions passed.
    """

    points: Array
    radius: Array
    arclength: Array
    tangents: Array
    branches: tuple[str, ...]
    junctions: int

    @property
    def length(self) -> float:
        """Length, m."""
        return float(self.arclength[-1])


@dataclass(frozen=True)
class Location:
    """Where a point lies: branch, arclength along it in m, and distance over radius there."""

    branch: str
    arclength: float
    relative_radius: float


class Wall(Protocol):
    """The wall of a lumen, known from the model a phantom is printed from, or from a scan."""

    def at(self, points: ArrayLike) -> Array:
        """Signed distance (n,) m of points (n, 3) m from the wall, positive inside."""
        ...


# A stretch of a branch, travelled from one arclength to another.
_Piece = tuple[str, float, float]


@dataclass(frozen=True, eq=False)
class VesselMap:
    """A tree of branches with named ends, in the vessel's frame, m.

    Parameters
    ----------
    branches : dict of str to Branch
        By name.
    ends : tuple of str
        Nodes where the vessel is open to the fluid; to a device they are closed by caps.
    inlet : str
        The end where the fluid enters, empty while the flow is not known.
    wall : Wall, optional
        Where it is known; without it the lumen is taken for round.
    """

    branches: dict[str, Branch]
    ends: tuple[str, ...] = field(default=())
    inlet: str = ""
    wall: Wall | None = None

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
    def tangents(self) -> Array:
        """Unit tangents at `points`, (n, 3)."""
        return np.concatenate([b.tangents for b in self.branches.values()])

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

    def locate(self, point: ArrayLike) -> Location:
        """Project a point (3,) m on the centreline that surrounds it most closely.

        Distances are counted in local radii, so that a point in a wide vessel is not taken for
        one in the thin branch that happens to start beside it. A relative radius above 1 means
        that the point is outside the mapped lumen.
        """
        offset = np.asarray(point, float) - self.points
        index = int(np.argmin(np.einsum("ij,ij->i", offset, offset) / self.radius**2))
        name = self.branch_names[index]
        branch = self.branches[name]
        local = index - self._first[name]
        along = float(branch.arclength[local] + offset[index] @ branch.tangents[local])
        along = float(np.clip(along, 0.0, branch.length))
        centre, radius = branch.at(along)
        distance = float(np.linalg.norm(np.asarray(point, float) - centre))
        return Location(name, along, distance / float(radius))

    def path(self, start: ArrayLike, target: ArrayLike) -> VesselPath:
        """Return the shortest route along the tree from `start` to `target`.

        Parameters
        ----------
        start, target : (3,) array
            Points in the vessel's frame, m; both are projected on the centreline. A start
            outside the lumen is accepted, since a measured position can lie there.

        Raises
        ------
        UserError
            If the target is outside the lumen or cannot be reached.
        """
        goal = self.locate(target)
        if goal.relative_radius > 1.0:
            radius = float(self.branches[goal.branch].at(goal.arclength)[1])
            outside = (goal.relative_radius - 1.0) * radius
            where = ", ".join(f"{1e3 * x:.2f}" for x in np.asarray(target, float))
            raise UserError(
                f"target ({where}) mm: outside the lumen, about {1e3 * outside:.1f} mm from the "
                f"wall of '{goal.branch}'; choose a point inside the vessel"
            )
        pieces = self._route(self.locate(start), goal)
        return self._smooth(pieces)

    def _route(self, start: Location, goal: Location) -> list[_Piece]:
        if start.branch == goal.branch:
            return [(start.branch, start.arclength, goal.arclength)]
        first = self.branches[start.branch]
        order = count()  # breaks ties, so that lists are never compared
        queue: list[tuple[float, int, str, list[_Piece]]] = []
        for node, to in ((first.start, 0.0), (first.end, first.length)):
            piece = (start.branch, start.arclength, to)
            heapq.heappush(queue, (abs(to - start.arclength), next(order), node, [piece]))
        seen: set[str] = set()
        while queue:
            cost, _, node, pieces = heapq.heappop(queue)
            if pieces[-1][0] == goal.branch:
                return pieces
            if node in seen:
                continue
            seen.add(node)
            for name, branch in self.branches.items():
                if node not in (branch.start, branch.end) or name == pieces[-1][0]:
                    continue
                begin = 0.0 if node == branch.start else branch.length
                to, after = (branch.length, branch.end) if begin == 0.0 else (0.0, branch.start)
                if name == goal.branch:
                    to = goal.arclength
                heapq.heappush(
                    queue,
                    (cost + abs(to - begin), next(order), after, [*pieces, (name, begin, to)]),
                )
        raise UserError(f"no way leads from branch '{start.branch}' to '{goal.branch}'")

    def _smooth(self, pieces: list[_Piece]) -> VesselPath:
        """Join pieces, round the corners at junctions, resample evenly."""
        raw, names = self._join(pieces)
        smooth = smoothed(raw, SMOOTHING_LENGTH / _RAW_STEP)
        s = arclength(smooth)
        n = max(2, int(np.ceil(s[-1] / PATH_STEP - ROUNDING)) + 1)
        even = np.linspace(0.0, s[-1], n)
        points = np.stack([np.interp(even, s, smooth[:, i]) for i in range(3)], axis=1)
        nearest = np.clip(np.searchsorted(s, even), 0, len(s) - 1)
        if s[-1] > 0.0:
            tangents = unit(np.gradient(points, axis=0))
        else:
            location = self.locate(points[0])
            branch = self.branches[location.branch]
            index = int(np.argmin(np.abs(branch.arclength - location.arclength)))
            tangents = np.tile(branch.tangents[index], (n, 1))
        return VesselPath(
            points=points,
            radius=self._room(points),
            arclength=arclength(points),
            tangents=tangents,
            branches=tuple(names[i] for i in nearest),
            junctions=self._passed(pieces),
        )

    def _passed(self, pieces: list[_Piece]) -> int:
        """Count the junctions at which a route changes branch."""
        exits = [
            branch.start if to == 0.0 else branch.end
            for branch, to in ((self.branches[name], to) for name, _, to in pieces[:-1])
        ]
        return sum(node in self.junctions for node in exits)

    def _join(self, pieces: list[_Piece]) -> tuple[Array, list[str]]:
        points, names = [], []
        for i, (name, begin, to) in enumerate(pieces):
            n = max(2, int(np.ceil(abs(to - begin) / _RAW_STEP - ROUNDING)) + 1)
            skip = 0 if i == 0 else 1  # the node belongs to the piece before
            points.append(self.branches[name].at(np.linspace(begin, to, n)[skip:])[0])
            names.extend([name] * (n - skip))
        return np.concatenate(points), names

    def _room(self, points: Array) -> Array:
        """Radius (n,) m of the largest ball about each point inside one inscribed ball nearby."""
        distance, index = self._tree.query(points, k=min(_NEIGHBOURS, len(self.points)))
        return np.max(self.radius[index] - distance, axis=1)

    @cached_property
    def _first(self) -> dict[str, int]:
        """Index into `points` of each branch's first point."""
        lengths = [len(b.points) for b in self.branches.values()]
        return dict(zip(self.branches, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))

    def contains(self, point: ArrayLike, margin: float = 0.0) -> bool:
        """True if a point (3,) lies inside the lumen by at least `margin` m."""
        near = self._tree.query_ball_point(np.asarray(point, float), float(self.radius.max()))
        gaps = np.linalg.norm(self.points[near] - np.asarray(point, float), axis=1)
        return bool(np.any(gaps <= self.radius[near] - margin))


def smoothed(points: Array, sigma: float) -> Array:
    """Gaussian smoothing along a polyline (n, 3) whose ends stay; `sigma` in points."""
    pad = int(np.ceil(4 * sigma))
    # Continued through each end by point reflection, the curve passes through the end itself.
    extended = np.pad(points, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    return gaussian_filter1d(extended, sigma, axis=0, mode="nearest")[pad : pad + len(points)]
