"""Whether the fluid sweeps a device away: its drag against the force that can hold it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mmdtwin.control.allocation import allocate
from mmdtwin.control.capability import strongest_pull
from mmdtwin.geometry import Array, apply, rotate
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.rig import RigDescription

WARNING_SHARE = 0.8  # of the reachable force: what is left must steer
SPACING = 2e-3  # m between the places of a branch that are looked at
DOUBLINGS = 8  # of the force asked of a magnet, from the device's weight
MET = 0.9  # part of a force asked for that counts as reached


@dataclass(frozen=True)
class Feasibility:
    """The place at which a device at rest is hardest to hold.

    Parameters
    ----------
    branch : str
        Where.
    speed : float
        Peak speed of the fluid there over a beat, m/s.
    drag, reachable : float
        Force on the device in its worst attitude, and what magnet or coils can pull along the
        vessel there, N.
    """

    branch: str
    speed: float
    drag: float
    reachable: float

    @property
    def share(self) -> float:
        """Drag over reachable force; infinite where nothing pulls."""
        if self.drag == 0.0:
            return 0.0
        return self.drag / self.reachable if self.reachable > 0.0 else float("inf")

    @property
    def feasible(self) -> bool:
        """True while drag stays within 80 % of the reachable force."""
        return self.share <= WARNING_SHARE

    @property
    def line(self) -> str:
        """One line for a report."""
        share = f"{self.share:.0%} of" if self.reachable > 0.0 else "against"
        facts = (
            f"flow: peak drag {self.drag * 1e6:.3g} uN at {self.speed * 1e3:.3g} mm/s in "
            f"'{self.branch}', {share} the reachable {self.reachable * 1e6:.3g} uN"
        )
        if self.feasible:
            return facts
        return f"{facts}: INFEASIBLE, over {WARNING_SHARE:.0%}; the device cannot be held there"


def flow_feasibility(description: RigDescription) -> Feasibility | None:
    """Compare the drag of the fluid on a device at rest with the force that can hold it.

    At places along every branch the drag is that of the peak speed over a beat, in the device's
    worst attitude; the force is the largest pull along the vessel on the device's moment along it.
    The place with the worst ratio is returned; of a magnet, which takes long to ask, that with the
    most drag. None where the drag is not known, as of what swims, or nothing is in the workspace.
    """
    worst_drag = description.device.worst_drag
    if worst_drag is None:
        return None
    places = [place for name in description.vessel.branches for place in _places(description, name)]
    found = [Feasibility(p.branch, p.speed, float(worst_drag(p.speed)), 0.0) for p in places]
    if isinstance(description.limits, MagnetLimits) and found:
        most = max(range(len(found)), key=lambda k: found[k].drag)
        places, found = [places[most]], [found[most]]
    held = [
        replace(f, reachable=_pull(description, p.point, p.along))
        for f, p in zip(found, places, strict=True)
    ]
    return max(held, key=lambda f: f.share, default=None)


class _Place(NamedTuple):
    """A point of a branch in the world, the direction along it, and the peak speed there."""

    branch: str
    point: Array
    along: Array
    speed: float


def _places(description: RigDescription, name: str) -> list[_Place]:
    """Return places along a branch that lie in the field's workspace, its narrowest among them."""
    branch, T = description.vessel.branches[name], description.T_world_vessel.T
    points, along = apply(T, branch.points), rotate(T, branch.tangents)
    # The flow rate is the same at every section.
    speeds = branch.peak_speed * (branch.radius.min() / branch.radius) ** 2
    every = max(1, round(SPACING / max(branch.length / len(points), 1e-9)))
    chosen = sorted({*range(0, len(points), every), int(branch.radius.argmin())})
    inside = np.linalg.norm(points, axis=1) < description.placed_field.workspace_radius
    return [_Place(name, points[i], along[i], float(speeds[i])) for i in chosen if inside[i]]


def _pull(description: RigDescription, point: Array, along: Array) -> float:
    """Weaker of the largest pulls along and against a direction, N."""
    moment = description.device.moment
    if moment == 0.0:
        return 0.0
    pull = _pull_of_magnet if isinstance(description.limits, MagnetLimits) else _pull_of_coils
    return min(pull(description, point, sign * along, moment) for sign in (1.0, -1.0))


def _pull_of_coils(description: RigDescription, point: Array, along: Array, moment: float) -> float:
    limits = description.coil_limits
    return strongest_pull(description.placed_field, point, moment * along, along, limits)


def _pull_of_magnet(
    description: RigDescription, point: Array, along: Array, moment: float
) -> float:
    """Ask a magnet for twice the force again and again, until it no longer comes."""
    reached, asked = 0.0, abs(description.device.weight) or 1e-6
    for _ in range(DOUBLINGS):
        found = allocate(
            description.placed_field, point, force=asked * along, moment=moment * along,
            limits=description.limits,
        ).force  # fmt: skip
        assert found is not None
        reached = max(reached, float(found @ along))
        if found @ along < MET * asked:
            break
        asked *= 2
    return reached
