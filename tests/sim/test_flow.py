"""Poiseuille flow in a vessel tree: profile, conservation, sharing at junctions."""

import numpy as np
import pytest
from numba import njit

from mmdtwin.config import FlowConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.flow import Flow, flow_at, with_flow
from mmdtwin.sim.flow.kernel import EDGE, nearest_in_radii
from mmdtwin.vessel import Branch, VesselMap

SPEED = 6e-3
STEP = 0.25e-3


def config(inlet: str = "in", speed: float = SPEED) -> FlowConfig:
    return FlowConfig(inlet=inlet, mean_speed=speed, viscosity=4e-3, density=1060)


def line(start, end, r0: float, r1: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    start, end = np.asarray(start, float), np.asarray(end, float)
    n = int(np.ceil(np.linalg.norm(end - start) / STEP)) + 1
    share = np.linspace(0, 1, n)
    return start + share[:, None] * (end - start), r0 + share * ((r1 or r0) - r0)


def tree() -> VesselMap:
    """A tapering trunk, two branches, one of which divides again; all in general position."""
    fork, split = [0, 0, 0], [0.010, -0.006, 0.001]
    return VesselMap(
        {
            "trunk": Branch(*line([-0.02, 0.001, 0], fork, 2.2e-3, 1.9e-3), "in", "fork"),
            "left": Branch(*line(fork, [0.015, 0.012, -0.003], 1.7e-3), "fork", "left"),
            "right": Branch(*line(fork, split, 1.6e-3), "fork", "split"),
            # Drawn towards the junction: the sign of the flow must not depend on it.
            "outer": Branch(*line([0.014, -0.02, 0.004], split, 1.5e-3), "outer", "split"),
            "inner": Branch(*line(split, [0.024, -0.006, 0], 1.3e-3), "split", "inner"),
        },
        ("in", "left", "outer", "inner"),
    )


def arc() -> VesselMap:
    """A quarter circle of 10 mm radius."""
    angle = np.linspace(0, np.pi / 2, 64)
    points = 10e-3 * np.stack([np.sin(angle), 1 - np.cos(angle), 0 * angle], axis=1)
    return VesselMap({"bend": Branch(points, np.full(64, 1.6e-3), "in", "out")}, ("in", "out"))


def section(flow: Flow, name: str, at: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Points (n * n, 3) of the plane across a branch, and the velocity along its normal."""
    branch = flow.map.branches[name]
    normal = branch.tangents[at]
    u = np.cross(normal, [0.3, 0.5, 0.81])
    u /= np.linalg.norm(u)
    v = np.cross(normal, u)
    side = 1.3 * branch.radius[at]
    grid = (np.arange(n) + 0.5) / n * 2 * side - side
    a, b = (x.ravel() for x in np.meshgrid(grid, grid))
    points = branch.points[at] + a[:, None] * u + b[:, None] * v
    return points, flow.velocity(points) @ normal


@pytest.mark.parametrize("name", ["trunk", "left", "inner", "outer"])
def test_every_section_carries_the_flow_of_its_branch(name: str) -> None:
    flow = Flow(tree(), config())
    branch = flow.map.branches[name]
    for share in (0.4, 0.5, 0.6):  # clear of junctions and ends
        at = int(share * len(branch.points))
        points, axial = section(flow, name, at)
        near = np.linalg.norm(points - branch.points[at], axis=1) <= 1.2 * branch.radius[at]
        cell = (2.6 * branch.radius[at] / 200) ** 2
        # 200 cells across: the staircase rim carries no flow, the rest is below 0.1 %.
        assert axial[near].sum() * cell == pytest.approx(flow.flow_rates[name], rel=2e-3)


def test_a_bend_carries_its_flow_through_every_section() -> None:
    flow = Flow(arc(), config())
    for at in (10, 31, 50):
        _, axial = section(flow, "bend", at)
        cell = (2.6 * 1.6e-3 / 200) ** 2
        # The plane meets the axis of a bend once; interpolated tangents cost less than 1 %.
        assert axial.sum() * cell == pytest.approx(flow.flow_rates["bend"], rel=0.01)


def test_profile_is_poiseuille() -> None:
    points, radius = line([0, 0, 0], [0.012, 0.007, 0.004], 1.5e-3)
    flow = Flow(VesselMap({"tube": Branch(points, radius, "in", "out")}, ("in", "out")), config())
    axis = flow.tangents[0]
    across = np.cross(axis, [0, 0, 1.0])
    across /= np.linalg.norm(across)
    r = np.linspace(0, 1.5e-3, 50)
    centre = points[len(points) // 2] + 0.3 * STEP * axis  # between centreline points
    velocity = flow.velocity(centre + r[:, None] * across)
    exact = 2 * SPEED * (1 - (r / 1.5e-3) ** 2)[:, None] * axis
    assert velocity == pytest.approx(exact, abs=1e-9 * SPEED)


def test_the_fluid_sticks_to_the_wall_and_is_at_rest_outside() -> None:
    flow = Flow(tree(), config())
    branch = flow.map.branches["left"]
    rng = np.random.default_rng(0)
    at = rng.integers(30, 60, 500)
    normal = np.cross(branch.tangents[at], rng.normal(size=(500, 3)))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    wall = branch.points[at] + branch.radius[at, None] * normal
    inside = flow.velocity(wall - 1e-6 * normal)
    # 1 um inside, 2 U (1 - (1 - 1 um/R)^2) = 4 U um/R.
    assert np.linalg.norm(inside, axis=1).max() < 4.1 * branch.mean_speed * 1e-6 / 1.7e-3
    assert np.all(flow.velocity(wall + 1e-6 * normal) == 0)
    assert np.all(flow.velocity(rng.uniform(0.05, 0.1, (50, 3))) == 0)


def test_volume_is_conserved_at_junctions() -> None:
    flow = Flow(tree(), config())
    for junction in flow.map.junctions:
        into = 0.0
        for name, branch in flow.map.branches.items():
            rate = flow.flow_rates[name]
            into += rate if branch.end == junction else -rate if branch.start == junction else 0.0
        assert abs(into) < 1e-12 * abs(flow.flow_rates["trunk"])


def test_inlet_speed_is_the_configured_one() -> None:
    flow = Flow(tree(), config())
    trunk = flow.map.branches["trunk"]
    assert trunk.speeds[0] == pytest.approx(SPEED)
    assert flow.flow_rates["trunk"] == pytest.approx(SPEED * np.pi * 2.2e-3**2)
    # The taper speeds it up as the section shrinks.
    assert trunk.speeds[-1] == pytest.approx(SPEED * (2.2 / 1.9) ** 2)
    assert trunk.mean_speed == pytest.approx(trunk.speeds.mean())


def test_ends_share_the_flow_by_murrays_law() -> None:
    rates = Flow(tree(), config()).flow_rates
    assert rates["inner"] / rates["left"] == pytest.approx((1.3 / 1.7) ** 3)
    assert -rates["outer"] / rates["inner"] == pytest.approx((1.5 / 1.3) ** 3)
    assert rates["outer"] < 0  # drawn from its end to the junction


def test_a_dead_end_carries_nothing() -> None:
    vessel = tree()
    rates = Flow(VesselMap(vessel.branches, ("in", "left", "outer")), config()).flow_rates
    assert rates["inner"] == 0.0
    assert rates["right"] == pytest.approx(-rates["outer"])


def test_negative_speed_reverses_everything() -> None:
    points = tree().points + 0.3e-3
    forth = Flow(tree(), config()).velocity(points)
    back = Flow(tree(), config(speed=-SPEED)).velocity(points)
    assert np.abs(forth).max() > SPEED / 2
    assert back == pytest.approx(-forth)
    assert np.all(Flow(tree(), config(speed=0.0)).velocity(points) == 0)


def test_profile_closes_towards_a_cap() -> None:
    flow = Flow(tree(), config())
    trunk = flow.map.branches["trunk"]
    steps = np.linspace(0, 2.2e-3, 20)
    speed = np.linalg.norm(
        flow.velocity(trunk.points[0] - steps[:, None] * trunk.tangents[0]), axis=1
    )
    assert speed[0] == pytest.approx(2 * SPEED)
    assert np.all(np.diff(speed) < 0)
    assert speed[-1] == pytest.approx(0.0, abs=1e-12)


def test_kernel_runs_inside_compiled_code() -> None:
    flow = Flow(tree(), config())

    @njit
    def twice(points, line, tangents, radius, branch, balls, profiles):
        n = len(points)
        v, g = np.empty((n, 3)), np.empty((n, 3, 3))
        flow_at(
            points, line, tangents, radius, branch, balls, profiles, 0.0, 0.0,
            v, g, np.empty((n, 3)), np.empty((n, 3)),
        )  # fmt: skip
        return 2.0 * v

    points = flow.points[::7] + 0.2e-3
    assert twice(points, *flow.arrays) == pytest.approx(2 * flow.velocity(points))


def test_the_search_in_blocks_finds_what_a_full_search_finds() -> None:
    flow = Flow(tree(), config())
    rng = np.random.default_rng(2)
    points = flow.points[rng.integers(0, len(flow.points), 500)] + rng.normal(0, 1e-3, (500, 3))
    for point in points:
        relative = ((point - flow.points) ** 2).sum(axis=1) / flow.radius**2
        found = nearest_in_radii(point, flow.points, flow.radius, flow.arrays[4])
        assert found == (np.argmin(relative) if relative.min() < EDGE else -1)


def test_reynolds_number_and_entrance_length() -> None:
    points, radius = line([0, 0, 0], [0.02, 0, 0], 2e-3)
    flow = Flow(VesselMap({"tube": Branch(points, radius, "in", "out")}, ("in", "out")), config())
    expected = 1060 * SPEED * 4e-3 / 4e-3
    assert flow.reynolds()["tube"] == pytest.approx(expected)
    assert flow.entrance_length()["tube"] == pytest.approx(0.06 * expected * 4e-3)


def test_unknown_inlet_is_refused() -> None:
    with pytest.raises(UserError, match="unknown end 'fork'; allowed: in, left, outer, inner"):
        with_flow(tree(), config(inlet="fork"))


def test_a_vessel_with_one_open_end_is_refused() -> None:
    with pytest.raises(UserError, match="no open end but the inlet"):
        with_flow(VesselMap(tree().branches, ("in",)), config())
