"""Whether a device can be held against the flow."""

import pytest

from mmdtwin.errors import UserError
from mmdtwin.sim.flow import flow_feasibility


def test_the_branch_that_drags_hardest_decides() -> None:
    found = flow_feasibility({"wide": 0.02, "narrow": -0.05}, lambda v: 1e-3 * v, 100e-6)
    assert (found.branch, found.speed) == ("narrow", 0.05)
    assert found.drag == pytest.approx(50e-6)
    assert found.feasible and "INFEASIBLE" not in found.line
    assert "50 uN" in found.line and "50% of the reachable 100 uN" in found.line


@pytest.mark.parametrize(("reachable", "feasible"), [(63e-6, True), (62e-6, False)])
def test_the_line_says_so_beyond_80_percent(reachable: float, feasible: bool) -> None:
    found = flow_feasibility({"tube": 0.05}, lambda v: 1e-3 * v, reachable)  # 50 uN
    assert found.feasible is feasible
    assert ("INFEASIBLE" in found.line) is not feasible


def test_nothing_to_hold_with_is_refused() -> None:
    with pytest.raises(UserError, match="must be positive"):
        flow_feasibility({"tube": 0.05}, lambda v: v, 0.0)
