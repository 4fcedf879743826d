"""Whether the fluid sweeps a device away: its drag against the force that is to hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmdtwin.errors import UserError

WARNING_SHARE = 0.8  # of the reachable force: what is left must steer


@dataclass(frozen=True)
class Feasibility:
    """The branch that drags hardest on a device at rest.

    Parameters
    ----------
    branch : str
        Its name.
    speed : float
        Peak speed of the fluid there over a beat, m/s.
    drag, reachable : float
        Force on the device in its worst attitude, and what magnets or coils can hold, N.
    """

    branch: str
    speed: float
    drag: float
    reachable: float

    @property
    def share(self) -> float:
        """Drag over reachable force."""
        return self.drag / self.reachable

    @property
    def feasible(self) -> bool:
        """True while drag stays within 80 % of the reachable force."""
        return self.share <= WARNING_SHARE

    @property
    def line(self) -> str:
        """One line for a report."""
        facts = (
            f"flow: peak drag {self.drag * 1e6:.3g} uN at {self.speed * 1e3:.3g} mm/s in "
            f"'{self.branch}', {self.share:.0%} of the reachable {self.reachable * 1e6:.3g} uN"
        )
        if self.feasible:
            return facts
        return f"{facts}: INFEASIBLE, over {WARNING_SHARE:.0%}; the device cannot be held there"


def flow_feasibility(
    peak_speeds: Mapping[str, float], drag: Callable[[float], float], reachable: float
) -> Feasibility:
    """Compare the drag of the fluid on a device at rest with the force that can hold it.

    Parameters
    ----------
    peak_speeds : mapping of str to float
        Largest speed of the fluid relative to the device by branch, m/s; `Flow.peak_speeds`.
    drag : callable
        Force in N on the device in its worst attitude at a relative speed in m/s.
    reachable : float
        The smallest force in N that the actuator reaches in every direction.

    Raises
    ------
    UserError
        If there is no branch, or the reachable force is not positive.
    """
    if not peak_speeds:
        raise UserError("flow feasibility: no branch given")
    if reachable <= 0.0:
        raise UserError(f"flow feasibility: the reachable force must be positive (got {reachable})")
    forces = {name: drag(abs(speed)) for name, speed in peak_speeds.items()}
    worst = max(forces, key=lambda name: forces[name])
    return Feasibility(worst, abs(peak_speeds[worst]), forces[worst], reachable)
