"""The path a device is to follow: the vessel's route, lowered to where gravity lets it rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from mmdtwin.control.floor import bridged, resting_places
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, apply, arclength, invert, rotate, unit
from mmdtwin.rig import DeviceFacts
from mmdtwin.vessel import VesselMap, VesselPath, smoothed

SMOOTHING = 1.0e-3  # m along the path, of the resting height: a sheet spans steps of the floor
CORNER = 2.0e-3  # m along the path: at a junction the path keeps to the side of its branch
WRONG_WAY = 12e-3  # m into a branch that a device may enter by mistake
APART = 0.4e-3  # m between two paths that have parted
DOWN = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True, eq=False)
class Path:
    """A curve with a running coordinate s: 0 at the start, `length` at the target.

    The curve goes on in the vessel before the start and beyond the target, where a device that
    slid back or overshot will be.

    Parameters
    ----------
    points : (n, 3) array
        Where the device's centre goes, m.
    radius : (n,) array
        Inscribed radius of the lumen there, m.
    s : (n,) array
        Arclength from the start, m; negative before it.
    branches : tuple of str
        Branch of each point.
    length : float
        Arclength of the target, m.
    flow : (n,) array
        Mean axial speed of the fluid there, m/s, positive along the path.
    pull : (n, 3) array
        Force along the sloping floor across the path, per weight that rests on it.
    """

    points: Array
    radius: Array
    s: Array
    branches: tuple[str, ...]
    length: float
    flow: Array
    pull: Array

    @property
    def start(self) -> Array:
        """Where the path starts, (3,) m."""
        return self.at(0.0)

    @property
    def target(self) -> Array:
        """Where it is to end, (3,) m."""
        return self.at(self.length)

    @property
    def leg(self) -> Array:
        """The points from start to target, (n, 3) m."""
        inside = (self.s >= 0.0) & (self.s <= self.length)
        return np.concatenate([self.start[None], self.points[inside], self.target[None]])

    @cached_property
    def tangents(self) -> Array:
        """Unit tangents (n, 3)."""
        return unit(np.gradient(self.points, self.s, axis=0))

    def at(self, s: float) -> Array:
        """Point (3,) at arclength s; beyond the ends the curve goes on straight."""
        inside = float(np.clip(s, self.s[0], self.s[-1]))
        point = np.array([np.interp(inside, self.s, column) for column in self.points.T])
        return np.asarray(point + (s - inside) * self.tangent(inside))

    def tangent(self, s: float) -> Array:
        """Unit tangent (3,) at arclength s."""
        return unit(np.array([np.interp(s, self.s, column) for column in self.tangents.T]))

    def flow_at(self, s: float) -> float:
        """Mean axial speed of the fluid, m/s, at arclength s."""
        return float(np.interp(s, self.s, self.flow))

    def radius_at(self, s: float) -> float:
        """Inscribed radius of the lumen, m, at arclength s."""
        return float(np.interp(s, self.s, self.radius))

    def pull_at(self, s: float) -> Array:
        """Force (3,) along the sloping floor across the path, per weight, at arclength s."""
        return np.array([np.interp(s, self.s, column) for column in self.pull.T])

    def chord(self, s: float, length: float) -> Array:
        """Unit direction (3,) from half a length before s to half a length after it."""
        return unit(self.at(s + length / 2) - self.at(s - length / 2))

    def transformed(self, T: Array) -> Path:
        """The same path in another frame."""
        return replace(self, points=apply(T, self.points), pull=rotate(T, self.pull))


def resting_offset(radius: ArrayLike, width: float, thickness: float) -> Array:
    """Distance in m from the axis of a tube to the centre of a flat sheet lying in it.

    Both long edges touch a circle of the given radius (m).
    """
    r = np.asarray(radius, float)
    return np.sqrt(np.maximum(r**2 - (width / 2) ** 2, 0.0)) - thickness / 2


def plan(
    vessel: VesselMap, start: ArrayLike, target: ArrayLike, device: DeviceFacts, down: ArrayLike
) -> Path:
    """Plan along the tree from a start to a target, in the vessel's frame.

    The curve is the centreline lowered along `down` (3,), in the plane of each cross-section, to
    where the device's centre lies when it rests on the floor of the lumen. A single X-ray view
    does not show depth; gravity gives it.

    Parameters
    ----------
    start, target : (3,) array
        Points in the lumen, m; each is taken to the nearest place on the path.

    Raises
    ------
    UserError
        If a point lies outside the lumen, or the device is wider than the lumen on the way.
    """
    route = vessel.path(start, target)
    narrowest = 2 * float(route.radius.min())
    if narrowest <= device.width:
        raise UserError(
            f"path: the lumen narrows to {narrowest * 1e3:.2f} mm, the device is "
            f"{device.width * 1e3:.2f} mm wide"
        )
    if route.arclength[-1] < device.length / 10:
        raise UserError("path: start and target are at the same place in the vessel")
    behind = _branch_end(vessel, route, first=True)
    beyond = _branch_end(vessel, route, first=False)
    whole = vessel.path(behind, beyond)
    spacing = float(whole.arclength[-1]) / (len(whole.arclength) - 1)
    centre = smoothed(whole.points, CORNER / spacing)
    tangents = unit(np.gradient(centre, axis=0))
    gravity = np.asarray(down, float)
    if vessel.wall is None:
        fall = gravity - tangents * (tangents @ gravity)[:, None]
        lowered = resting_offset(whole.radius, device.width, device.thickness)[:, None] * fall
        pull = np.zeros_like(lowered)
    else:
        lowered, pull = resting_places(vessel.wall, centre, tangents, whole.radius, device, gravity)
        heights = -(centre + lowered) @ gravity
        lowered -= bridged(heights, device.length / spacing)[:, None] * gravity
    lowered, pull = (
        gaussian_filter1d(x, SMOOTHING / spacing, axis=0, mode="nearest") for x in (lowered, pull)
    )
    points = centre + lowered
    s = arclength(points)
    from_start, to_target = (
        float(s[np.argmin(np.linalg.norm(centre - p, axis=1))])
        for p in (route.points[0], route.points[-1])
    )
    return Path(
        points=points,
        radius=whole.radius,
        s=s - from_start,
        branches=tuple(whole.branches),
        length=to_target - from_start,
        flow=_flow_along(vessel, whole),
        pull=pull,
    )


@dataclass(frozen=True, eq=False)
class WrongTurn:
    """A path that leaves the way at a junction for another branch: from the same start, with the
    same running coordinate s, and apart from the way beyond `fork`, m.
    """

    path: Path
    fork: float

    def transformed(self, T: Array) -> WrongTurn:
        """The same in another frame."""
        return replace(self, path=self.path.transformed(T))


def wrong_turns(
    vessel: VesselMap, way: Path, start: ArrayLike, device: DeviceFacts, down: ArrayLike
) -> tuple[WrongTurn, ...]:
    """Paths into the branches that leave a way (in the vessel's frame) at its junctions."""
    inside = (way.s >= 0.0) & (way.s <= way.length)
    taken = dict.fromkeys(np.array(way.branches)[inside].tolist())
    nodes = [{vessel.branches[name].start, vessel.branches[name].end} for name in taken]
    junctions = set[str]().union(*(a & b for a, b in pairwise(nodes)))
    found = []
    for name, branch in vessel.branches.items():
        node = junctions & {branch.start, branch.end}
        if name in taken or not node:
            continue
        reach = min(WRONG_WAY, branch.length)
        s = reach if branch.start in node else branch.length - reach
        try:
            path = plan(vessel, start, branch.at(s)[0], device, down)
        except UserError:
            continue  # too narrow for the device
        ahead = path.s >= 0.0
        gap = cKDTree(way.points).query(path.points[ahead])[0]
        apart = np.flatnonzero(gap > APART)
        if len(apart):
            found.append(WrongTurn(path, float(path.s[ahead][apart[0]])))
    return tuple(found)


def _flow_along(vessel: VesselMap, route: VesselPath) -> Array:
    """Mean axial speed (n,) m/s along a route."""
    flow = np.empty(len(route.points))
    for i, (name, point) in enumerate(zip(route.branches, route.points, strict=True)):
        branch = vessel.branches[name]
        near = int(np.argmin(np.linalg.norm(branch.points - point, axis=1)))
        flow[i] = branch.speeds[near] * np.sign(branch.tangents[near] @ route.tangents[i])
    return flow


def _branch_end(vessel: VesselMap, route: VesselPath, first: bool) -> Array:
    """End (3,) of the route's first branch behind its start, or of its last beyond its target."""
    index = 0 if first else -1
    branch = vessel.branches[route.branches[index]]
    near = int(np.argmin(np.linalg.norm(branch.points - route.points[index], axis=1)))
    onward = float(branch.tangents[near] @ route.tangents[index]) > 0
    return np.asarray(branch.points[-1 if onward != first else 0])


def down_in(T_world_vessel: Array) -> Array:
    """Direction of gravity (3,) in the vessel's frame."""
    return rotate(invert(T_world_vessel), DOWN)
