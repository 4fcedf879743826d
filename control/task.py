"""The navigation task: where an episode starts, where it ends, and when it has arrived."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdtwin.config import TaskConfig
from mmdtwin.control.estimator import Estimate
from mmdtwin.control.path import Path, down_in, plan
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.rig import RigDescription, Start
from mmdtwin.vessel import VesselMap

MAX_DRAWS = 1000
LET_GO = 0.8  # of the way from the centreline to the floor, where a device starts
WORKSPACE_MARGIN = 2e-3  # m: registration moves the path against the coils by less than this


@dataclass(frozen=True, eq=False)
class Episode:
    """One drawn task: start, target and the path between them, in the vessel's frame."""

    start: Start
    target: Array  # (3,) m, where the device's centre is to be
    target_branch: str
    path: Path


def draw_episode(
    task: TaskConfig, description: RigDescription, rng: np.random.Generator
) -> Episode:
    """Draw start and target of an episode.

    The path is at least `task.min_length` long, passes a junction and a lumen of at most 2.5
    device widths, keeps `task.end_margin` from ends and junctions, and lies in the workspace.

    Raises
    ------
    UserError
        If the task's branches are unknown or allow no such path.
    """
    vessel = description.vessel
    starts, targets = (_stretches(key, task, vessel) for key in ("starts", "targets"))
    if task.target is not None and not vessel.contains(task.target):
        where = ", ".join(f"{v * 1e3:.1f}" for v in task.target)
        raise UserError(
            f"task.target: ({where}) mm lies outside the vessel; give a point in its lumen, m"
        )
    for _ in range(MAX_DRAWS):
        start = _draw_point(vessel, starts, rng)
        if task.target is None:
            target = _draw_point(vessel, targets, rng)
        else:
            target = np.asarray(task.target, float)
        episode = _episode(start, target, task, description)
        if episode is not None:
            return episode
    raise UserError(
        f"task: no path of at least {task.min_length * 1e3:.0f} mm with a junction from "
        f"{', '.join(starts)} to {', '.join(targets)}; lower task.min_length or name "
        "other branches"
    )


def _stretches(key: str, task: TaskConfig, vessel: VesselMap) -> dict[str, tuple[float, float]]:
    """Stretches, m, of the branches named by the task, or of those at the inlet (starts) or the
    other ends (targets).
    """
    named = getattr(task, key)
    if named is None:
        at_inlet = key == "starts"
        ends = {vessel.inlet} if at_inlet else set(vessel.ends) - {vessel.inlet}
        named = {n: None for n, b in vessel.branches.items() if ends & {b.start, b.end}}
    return {name: _stretch(key, name, stretch, task, vessel) for name, stretch in named.items()}


def _stretch(
    key: str, name: str, stretch: tuple[float, float] | None, task: TaskConfig, vessel: VesselMap
) -> tuple[float, float]:
    if name not in vessel.branches:
        known = ", ".join(vessel.branches)
        raise UserError(f"task.{key}: no branch '{name}' in this phantom; known: {known}")
    length, margin = vessel.branches[name].length, task.end_margin
    begin, end = stretch or (margin, max(length - margin, margin))
    if stretch and not begin <= end <= length:
        raise UserError(
            f"task.{key}: {name}: ({begin:g}, {end:g}) m; two arclengths are allowed, the first "
            f"not above the second, the second not above the branch's {length:.4f} m"
        )
    return begin, end


def _draw_point(
    vessel: VesselMap, stretches: dict[str, tuple[float, float]], rng: np.random.Generator
) -> Array:
    name = list(stretches)[rng.integers(len(stretches))]
    branch = vessel.branches[name]
    s = rng.uniform(*stretches[name])
    return branch.points[int(np.argmin(np.abs(branch.arclength - s)))]


def _episode(
    start: Array, target: Array, task: TaskConfig, description: RigDescription
) -> Episode | None:
    vessel, device = description.vessel, description.device
    route = vessel.path(start, target)
    reach = description.field.workspace_radius - device.length / 2 - WORKSPACE_MARGIN
    suits = (
        route.arclength[-1] >= task.min_length
        and route.junctions >= 1
        and 2 * route.radius.min() <= task.narrowest * device.width
        and np.linalg.norm(route.points, axis=1).max() <= reach
    )
    if not suits:
        return None
    path = plan(vessel, start, target, device, down_in(description.T_world_vessel.T))
    if path.length < task.min_length:
        return None
    direction = path.chord(0.0, device.length)
    # Let go a little above the floor: the straight device must not touch a curved wall.
    position = LET_GO * path.start + (1 - LET_GO) * route.points[0]
    begin = Start(position=position, direction=direction)
    return Episode(begin, path.target, route.branches[-1], path)


class Arrival:
    """Says when the device, as tracked, has stayed at the target.

    The same rule ends an episode for every controller: for `DWELL` seconds within `ALONG` of the
    tolerance along the path and `ACROSS` of it across the path in the image.
    """

    DWELL = 0.5  # s
    ALONG = 0.4
    ACROSS = 0.6

    def __init__(self, path: Path, tolerance: float) -> None:
        self._path = path
        self._tolerance = tolerance
        self._since: float | None = None

    def update(self, estimate: Estimate) -> bool:
        """Take the newest estimate; return True once arrived."""
        along = abs(self._path.length - estimate.s) <= self.ALONG * self._tolerance
        across = float(np.linalg.norm(estimate.lateral)) <= self.ACROSS * self._tolerance
        on_way = estimate.tracked and estimate.wrong_turn is None
        if not (on_way and along and across):
            self._since = None
            return False
        if self._since is None:
            self._since = estimate.t
        return estimate.t - self._since >= self.DWELL
