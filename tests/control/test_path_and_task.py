"""Paths that lie where a device rests, and episodes that keep what they promise."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from mmdtwin.config import TaskConfig, load_scenario
from mmdtwin.control.estimator import Estimate
from mmdtwin.control.path import Path, down_in, plan, resting_offset, wrong_turns
from mmdtwin.control.task import Arrival, draw_episode
from mmdtwin.errors import UserError
from mmdtwin.geometry import transform
from mmdtwin.hardware import open_rig
from mmdtwin.rig import DeviceFacts, RigDescription
from mmdtwin.seeding import stream
from mmdtwin.vessel import Branch, VesselMap

DOWN = np.array([0.0, 0.0, -1.0])
DEVICE = DeviceFacts(length=3.7e-3, width=1.5e-3, thickness=0.185e-3, moment=6.4e-5, weight=8.7e-6)


@pytest.fixture(scope="module")
def description() -> RigDescription:
    with open_rig(scenario=load_scenario("soft-sheet-bifurcation")) as rig:
        return rig.describe()


def tube(points: np.ndarray, radius: float) -> VesselMap:
    branch = Branch(points, np.full(len(points), radius), "a", "b")
    return VesselMap({"tube": branch}, ("a", "b"), "a")


def straight(direction: np.ndarray, radius: float = 2e-3) -> VesselMap:
    return tube(np.linspace(0.0, 30e-3, 301)[:, None] * direction, radius)


@pytest.mark.parametrize("radius", [1.0e-3, 1.5e-3, 2.25e-3])
def test_resting_offset_is_where_the_edges_touch(radius):
    """The lower edges of the section, half a thickness below its centre, lie on the circle."""

    def gap(offset: float) -> float:
        lower_edge = np.hypot(DEVICE.width / 2, offset + DEVICE.thickness / 2)
        return float(lower_edge - radius)

    expected = brentq(gap, 0.0, radius)
    offset = resting_offset(radius, DEVICE.width, DEVICE.thickness)
    assert offset == pytest.approx(expected, rel=1e-9)


def test_resting_offset_falls_to_the_middle_of_a_tube_as_wide_as_the_device():
    assert resting_offset(DEVICE.width / 2, DEVICE.width, 0.0) == 0.0
    offsets = resting_offset(np.array([0.8e-3, 1e-3, 2e-3]), DEVICE.width, DEVICE.thickness)
    assert offsets.shape == (3,)
    assert (np.diff(offsets) > 0).all()


def test_a_level_path_is_lowered_to_the_floor():
    """A straight level tube: the path is the axis, lower by the resting offset everywhere."""
    vessel = straight(np.array([1.0, 0.0, 0.0]))
    path = plan(vessel, [5e-3, 0, 0], [25e-3, 0, 0], DEVICE, DOWN)
    offset = resting_offset(2e-3, DEVICE.width, DEVICE.thickness)
    np.testing.assert_allclose(path.points[:, 1], 0.0, atol=1e-9)
    # The radius is that of a ball about a nearby centreline point: up to half their spacing of
    # 0.1 mm too small, so the path never lies below the floor.
    assert (path.points[:, 2] >= -offset - 1e-9).all()
    np.testing.assert_allclose(path.points[:, 2], -offset, atol=60e-6)
    # Start and target are taken to the nearest of the path's points, 0.2 mm apart.
    assert path.start[0] == pytest.approx(5e-3, abs=0.11e-3)
    assert path.target[0] == pytest.approx(25e-3, abs=0.11e-3)
    assert path.length == pytest.approx(20e-3, abs=0.22e-3)
    np.testing.assert_allclose(path.leg[[0, -1]], [path.start, path.target])
    # It goes on to both ends of the vessel.
    np.testing.assert_allclose(path.points[[0, -1], 0], [0.0, 30e-3], atol=20e-6)
    assert path.at(path.length + 1e-3)[0] == pytest.approx(path.target[0] + 1e-3, abs=20e-6)


def test_a_slope_lowers_within_the_cross_section():
    """Gravity's part along the vessel does not count: the offset is r cos(slope) long."""
    slope = np.radians(30)
    along = np.array([np.cos(slope), 0.0, np.sin(slope)])
    path = plan(straight(along), 5e-3 * along, 25e-3 * along, DEVICE, DOWN)
    offset = resting_offset(2e-3, DEVICE.width, DEVICE.thickness) * np.cos(slope)
    middle = path.points[len(path.points) // 2]
    aside = middle - along * (middle @ along)
    np.testing.assert_allclose(
        aside, offset * np.array([np.sin(slope), 0, -np.cos(slope)]), atol=60e-6
    )


def test_down_follows_the_vessels_registration():
    T = np.eye(4)
    T[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # the vessel lies on its side: its y is up
    np.testing.assert_allclose(down_in(T), [0.0, -1.0, 0.0])


def test_planned_paths_stay_inside_and_smooth(description):
    vessel = description.vessel
    start = vessel.branches["trunk"].at(4e-3)[0]
    for end in ("left", "right"):
        branch = vessel.branches[end]
        path = plan(vessel, start, branch.at(branch.length - 4e-3)[0], description.device, DOWN)
        assert path.branches[0] == "trunk"
        assert path.branches[-1] == end
        assert vessel.wall.at(path.points).min() > description.device.thickness / 2
        assert np.all(path.flow > 0)  # it goes with the flow, from the inlet
        turning = np.gradient(path.tangents, path.s, axis=0)
        assert np.linalg.norm(turning, axis=1).max() < 1 / 2e-3
        assert path.s[0] == pytest.approx(-4e-3, abs=0.5e-3)  # back to the inlet
        assert path.s[-1] - path.length == pytest.approx(4e-3, abs=0.5e-3)
        np.testing.assert_allclose(
            np.diff(path.s), np.linalg.norm(np.diff(path.points, axis=0), axis=1), atol=1e-12
        )


def test_what_cannot_be_planned_is_one_clear_line():
    narrow = straight(np.array([1.0, 0.0, 0.0]), radius=0.7e-3)
    with pytest.raises(UserError, match=r"narrows to 1\.[34]. mm, the device is 1\.50 mm wide"):
        plan(narrow, [5e-3, 0, 0], [25e-3, 0, 0], DEVICE, DOWN)
    wide = straight(np.array([1.0, 0.0, 0.0]))
    with pytest.raises(UserError, match="outside the lumen"):
        plan(wide, [5e-3, 0, 0], [15e-3, 9e-3, 0], DEVICE, DOWN)
    with pytest.raises(UserError, match="same place"):
        plan(wide, [5e-3, 0, 0], [5e-3, 0, 0], DEVICE, DOWN)


def test_wrong_turns_leave_the_way_at_its_junction(description):
    vessel, device = description.vessel, description.device
    start = vessel.branches["trunk"].at(4e-3)[0]
    way = plan(vessel, start, vessel.branches["left"].at(10e-3)[0], device, DOWN)
    (turn,) = wrong_turns(vessel, way, start, device, DOWN)
    assert turn.path.branches[-1] == "right"
    along = np.arange(0.0, turn.fork, 0.2e-3)
    together = cKDTree(way.points).query([turn.path.at(s) for s in along])[0]
    assert together.max() < 0.5e-3
    assert cKDTree(way.points).query(turn.path.at(turn.fork + 4e-3))[0] > 1.5e-3
    fork = vessel.branches["trunk"].length - 4e-3
    assert turn.fork == pytest.approx(fork, abs=2.5e-3)
    T = transform(np.eye(3), [1e-3, 0, 0])
    moved = turn.transformed(T)
    np.testing.assert_allclose(
        moved.path.points - turn.path.points, [[1e-3, 0, 0]] * len(turn.path.s)
    )
    # Without a junction on the way there is none to take.
    inside = plan(vessel, start, vessel.branches["trunk"].at(14e-3)[0], device, DOWN)
    assert wrong_turns(vessel, inside, start, device, DOWN) == ()


def test_stretches_bound_where_tasks_begin_and_end(description):
    vessel = description.vessel
    task = TaskConfig(starts={"trunk": (1e-3, 3e-3)}, targets={"left": (9e-3, 11e-3)})
    for seed in range(10):
        path = draw_episode(task, description, np.random.default_rng(seed)).path
        first, last = vessel.locate(path.start), vessel.locate(path.target)
        assert first.branch == "trunk"
        assert 0.4e-3 < first.arclength < 3.6e-3
        assert last.branch == "left"
        assert 8.4e-3 < last.arclength < 11.6e-3


def test_drawn_episodes_keep_their_promises(description):
    """30 seeds: length, junction, narrow passage, margins, workspace; and they differ."""
    task = TaskConfig()
    vessel, device = description.vessel, description.device
    reach = description.field.workspace_radius
    ends = np.array(
        [b.points[0 if b.start in vessel.ends else -1] for b in vessel.branches.values()]
    )
    targets = []
    for seed in range(30):
        episode = draw_episode(task, description, stream(seed, "task"))
        path = episode.path
        route = vessel.path(episode.start.position, episode.target)
        assert path.branches[0] == "trunk"
        assert path.branches[-1] == episode.target_branch in ("left", "right")
        assert len(set(path.branches)) >= 2
        assert route.length >= task.min_length - 1.0e-3  # taken between lowered ends
        assert 2 * route.radius.min() <= task.narrowest * device.width
        assert np.linalg.norm(path.leg, axis=1).max() + device.length / 2 <= reach
        assert cKDTree(ends).query(path.leg[[0, -1]])[0].min() >= task.end_margin - 1e-3
        assert vessel.contains(episode.start.position)
        np.testing.assert_array_equal(episode.target, path.target)
        assert episode.start.direction @ path.tangent(0.0) > 0.9
        targets.append(episode.target)
    assert len(np.unique(np.round(targets, 6), axis=0)) > 20
    again = draw_episode(task, description, stream(3, "task"))
    np.testing.assert_array_equal(again.target, targets[3])


def test_a_fixed_target_is_kept(description):
    branch = description.vessel.branches["left"]
    wanted = branch.at(branch.length - 5e-3)[0]
    task = TaskConfig(target=tuple(wanted), starts=("trunk",))
    episode = draw_episode(task, description, stream(0, "task"))
    assert episode.target_branch == "left"
    # The device's centre rests below the point asked for, by no more than the lumen's radius.
    assert np.linalg.norm(episode.target - wanted) < 1.6e-3


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TaskConfig(starts=("aorta",)), r"task\.starts: no branch 'aorta'.*trunk, left, right"),
        (TaskConfig(targets=("side",)), r"task\.targets: no branch 'side'.*trunk, left, right"),
        (
            TaskConfig(target=(0.1, 0.0, 0.0)),
            r"task\.target: \(100\.0, 0\.0, 0\.0\) mm lies outside",
        ),
        (TaskConfig(min_length=0.2), r"no path of at least 200 mm.*min_length"),
        (TaskConfig(starts=("trunk",), targets=("trunk",)), "with a junction from trunk to trunk"),
    ],
)
def test_impossible_tasks_are_one_clear_line(description, task, message):
    with pytest.raises(UserError, match=message) as error:
        draw_episode(task, description, stream(0, "task"))
    assert "\n" not in str(error.value)


def test_arrival_asks_for_half_a_second_at_the_target():
    points = np.linspace(0, 20e-3, 101)[:, None] * np.array([1.0, 0, 0])
    path = Path(
        points, np.full(101, 2e-3), points[:, 0], ("tube",) * 101, 20e-3,
        flow=np.zeros(101), pull=np.zeros((101, 3)),
    )  # fmt: skip

    def estimate(t, s, aside=0.0, tracked=True):
        return Estimate(t, s, 0.0, path.at(s), np.array([0.0, aside, 0.0]), tracked)

    at = path.length
    arrival = Arrival(path, tolerance=1e-3)
    assert not any(arrival.update(estimate(t, at)) for t in (0.0, 0.2, 0.4))
    assert arrival.update(estimate(0.51, at))
    for breaking in (estimate(0.4, at - 0.5e-3), estimate(0.4, at, aside=0.7e-3),
                     estimate(0.4, at, tracked=False)):  # fmt: skip
        arrival = Arrival(path, tolerance=1e-3)
        assert not arrival.update(estimate(0.0, at))
        assert not arrival.update(breaking)
        assert not arrival.update(estimate(0.6, at))  # the clock starts again
        assert arrival.update(estimate(1.1, at))
