"""Whether a device can be held against the flow, from what a rig describes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from mmdtwin.config import load_scenario
from mmdtwin.control.capability import achievable_forces, strongest_pull
from mmdtwin.control.feasibility import Feasibility, flow_feasibility
from mmdtwin.hardware import open_rig

AREA = "flow"


@pytest.fixture(scope="module")
def describe():
    found = {}

    def of(name):
        if name not in found:
            with open_rig(scenario=load_scenario(name)) as rig:
                found[name] = rig.describe()
        return found[name]

    return of


@pytest.mark.parametrize(("reachable", "feasible"), [(63e-6, True), (62e-6, False), (0.0, False)])
def test_the_line_says_so_beyond_80_percent(reachable, feasible):
    found = Feasibility("tube", 0.05, 50e-6, reachable)
    assert found.feasible is feasible
    assert ("INFEASIBLE" in found.line) is not feasible
    assert "50 uN at 50 mm/s in 'tube'" in found.line


def test_still_fluid_needs_nothing():
    assert Feasibility("tube", 0.0, 0.0, 0.0).feasible


def test_a_pull_is_where_the_hull_of_all_forces_ends(describe):
    """In any direction, 2 %: the hull is touched in 300 directions only."""
    description = describe("soft-sheet-bifurcation")
    field, limits = description.placed_field, description.coil_limits
    moment = np.array([3e-5, 4e-5, 0.0])
    point = np.array([2e-3, -1e-3, 3e-3])
    forces = achievable_forces(field, point, moment, limits)
    for direction in np.random.default_rng(0).standard_normal((5, 3)):
        pull = strongest_pull(field, point, moment, direction, limits)
        farthest = (forces @ direction).max() / np.linalg.norm(direction)
        assert farthest <= pull * (1 + 1e-4)
        assert farthest == pytest.approx(pull, rel=0.02)


def test_the_shipped_fast_flow_sweeps_the_sheet_away(describe, claim):
    description = describe("soft-sheet-fast-flow")
    fast, slow = flow_feasibility(description), flow_feasibility(describe("soft-sheet-bifurcation"))
    peaks = [branch.peak_speed for branch in description.vessel.branches.values()]
    assert max(peaks) == pytest.approx(0.26, rel=0.01)
    assert 0.0 < fast.speed <= max(peaks)
    # Broadside at 26 cm/s: 16 mu a U + 1.12 rho A U^2 / 2 (Lamb; Hoerner), by hand.
    radius = np.sqrt(3.7e-3 * 1.5e-3 / np.pi)
    by_hand = 16 * 4e-3 * radius * fast.speed + 0.56 * 1060 * 5.55e-6 * fast.speed**2
    assert fast.drag == pytest.approx(by_hand, rel=1e-3)
    moment = description.device.moment * np.array([1.0, 0.0, 0.0])
    field, limits = description.placed_field, description.coil_limits
    hull = ConvexHull(achievable_forces(field, [0, 0, 0], moment, limits)).equations[:, 3]
    assert -hull.max() * 0.7 < fast.reachable < -hull.min()  # another place, another direction
    assert claim(
        "a flow that no coil holds the sheet against says so",
        parameters="`soft-sheet-fast-flow`: pulsatile, up to 26 cm/s; `soft-sheet-bifurcation`: "
        "6 mm/s; every 2 mm of every branch",
        reference="broadside drag (Lamb, Hoerner) against the largest pull along the vessel",
        acceptance="over 80 %; under 80 %",
        result=f"{fast.share:.0%}; {slow.share:.0%}",
        holds="INFEASIBLE" in fast.line and "INFEASIBLE" not in slow.line,
        limits="drag of a device at rest where the fluid is fastest; a wall slows it",
    )


def test_a_magnet_is_asked_too(describe):
    found = flow_feasibility(describe("soft-sheet-magnet"))
    assert found.feasible
    assert 5e-6 < found.reachable < 5e-3  # 64 uN per T/m, 0.1 to 6 T/m


def test_what_has_no_moment_or_no_known_drag(describe):
    description = describe("soft-sheet-bifurcation")
    unmagnetic = replace(description, device=replace(description.device, moment=0.0))
    assert not flow_feasibility(unmagnetic).feasible
    # What swims is not held by a pull.
    unknown = replace(description, device=replace(description.device, worst_drag=None))
    assert flow_feasibility(unknown) is None
