"""The gate of an arm-held magnet: whatever is asked, what is sent keeps every limit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.actuation import CoilCurrents, MagnetPose
from mmdtwin.config import ArmConfig, load
from mmdtwin.errors import UserError
from mmdtwin.geometry import transform
from mmdtwin.keep_out import KeepOutBox, KeepOutHalfSpace, KeepOutSphere, least_distance
from mmdtwin.magnet_limits import MAX_INTERVAL, MagnetLimits, PoseState, gate_pose, step_towards
from mmdtwin.safety import MAX_VALID_FOR

ARM = load(ArmConfig, "arms", "franka-fr3").arm
# The flange points down, 0.3 m above the device.
DOWN = ARM.inverse(
    transform(np.diag([1.0, -1.0, -1.0]) @ ARM.T_flange_magnet[:3, :3], [0.0, 0.0, 0.3])
)
RETREAT = ARM.forward(DOWN)
LOW = ARM.inverse(transform(RETREAT[:3, :3], [0.0, 0.0, 0.1]), start=DOWN)
KEEP_OUT = (
    KeepOutHalfSpace("table", np.array([0, 0, -0.1]), np.array([0, 0, 2.0])),
    KeepOutSphere("phantom", np.zeros(3), 0.06),
    KeepOutBox("detector", transform(None, [0.3, 0, 0.2]), np.array([0.05, 0.1, 0.05])),
)
LIMITS = MagnetLimits(
    max_speed=0.2,
    max_turn_rate=1.0,
    max_spin_rate=6.0,
    magnet_radius=0.026,
    clearance=0.005,
    T_world_retreat=RETREAT,
    keep_out=KEEP_OUT,
)
SPINDLE = np.array([1.0, 0.0, 0.0])
WITH_ARM = dataclasses.replace(LIMITS, arm=ARM, spin_axis=SPINDLE)

near = st.floats(-0.5, 0.5)
anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
triple = st.tuples(near, near, near)
turns = st.tuples(*[st.floats(-4, 4)] * 3)


def pose(position, turn=(0, 0, 0)) -> np.ndarray:
    return transform(Rotation.from_rotvec(turn).as_matrix(), position)


def state(T=RETREAT, time=0.0, **more) -> PoseState:
    return PoseState(np.array(T, float), time, armed=True, **more)


def clear(T, limits) -> bool:
    needed = limits.magnet_radius + limits.clearance - 1e-9
    return all(v.distance(T[:3, 3]) >= needed for v in limits.keep_out)


def check(sent, before, limits, now):
    """All that the limits promise of a step from one pose to the next."""
    elapsed = min(max(now - before.time, 0.0), MAX_INTERVAL)
    move = np.linalg.norm(sent[:3, 3] - before.T[:3, 3])
    turn = Rotation.from_matrix(sent[:3, :3] @ before.T[:3, :3].T).magnitude()
    assert move <= limits.max_speed * elapsed * (1 + 1e-9) + 1e-12
    if limits.spin_axis is None:
        assert turn <= limits.max_turn_rate * elapsed * (1 + 1e-9) + 1e-7
    else:
        axes = [T[:3, :3] @ limits.spin_axis for T in (sent, before.T)]
        swing = np.arctan2(np.linalg.norm(np.cross(*axes)), np.dot(*axes))
        assert swing <= limits.max_turn_rate * elapsed * (1 + 1e-9) + 1e-7
        rates = limits.max_turn_rate + limits.max_spin_rate
        assert turn <= rates * elapsed * (1 + 1e-9) + 1e-7
    for part in np.linspace(0, 1, 50):
        assert clear(step_towards(before.T, sent, part), limits)
        assert clear(step_towards(sent, limits.T_world_retreat, part), limits)
    assert_allclose(sent[:3, :3] @ sent[:3, :3].T, np.eye(3), atol=1e-6)


@settings(deadline=None)
@given(triple, turns, triple, st.floats(-1, 5))
def test_whatever_is_asked_what_is_sent_is_within_limits(start, turn, target, now):
    before = state(pose(start, turn))
    if not clear(before.T, LIMITS) or LIMITS.blocked(before.T[:3, 3], RETREAT[:3, 3]):
        return
    asked = pose(target, np.array(turn)[::-1])
    sent, after, reasons = gate_pose(MagnetPose(asked, seq=1), before, LIMITS, now)
    check(sent.T_world_magnet, before, LIMITS, now)
    np.testing.assert_array_equal(after.T, sent.T_world_magnet)
    assert bool(reasons) == (not np.array_equal(sent.T_world_magnet, asked))


@settings(max_examples=40, deadline=None)
@given(triple, st.lists(turns, min_size=1, max_size=6), st.floats(0, 0.2))
def test_a_walk_with_an_arm_keeps_its_limits(target, rotations, interval):
    """Joints as well: within their ranges, no faster than they turn, and at the pose sent."""
    now, before = 0.0, state(ARM.forward(LOW), joints=LOW)
    for k, turn in enumerate(rotations):
        now += interval
        asked = pose(np.array(target) * (k + 1) / 3, turn)
        sent, after, _ = gate_pose(MagnetPose(asked, seq=k), before, WITH_ARM, now)
        check(sent.T_world_magnet, before, WITH_ARM, now)
        assert (after.joints >= ARM.lower).all()
        assert (after.joints <= ARM.upper).all()
        allowed = ARM.max_speed * min(interval, MAX_INTERVAL) + 1e-5
        assert (np.abs(after.joints - before.joints) <= allowed).all()
        assert ARM.reached(sent.T_world_magnet, after.joints, SPINDLE)
        before = after


@given(st.lists(anything, min_size=16, max_size=16))
def test_a_malformed_pose_is_dropped_and_says_why(numbers):
    before = state()
    asked = np.array(numbers).reshape(4, 4)
    sent, after, reasons = gate_pose(MagnetPose(asked, seq=1), before, LIMITS, 1.0)
    assert sent is None
    assert after is before
    assert "dropped" in reasons[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"T_world_magnet": np.eye(3)}, "shape"),
        ({"T_world_magnet": np.diag([1, 1, -1, 1.0])}, "proper"),
        ({"T_world_magnet": 2 * np.eye(4)}, "orthonormal"),
        ({"T_world_magnet": pose([300.0, 0, 0])}, "in m"),
        ({"valid_for": 0.0}, "valid_for"),
        ({"valid_for": np.nan}, "valid_for"),
    ],
)
def test_what_is_wrong_with_a_command_is_said(change, word):
    command = MagnetPose(**{"T_world_magnet": RETREAT, "seq": 1, **change})
    sent, _, reasons = gate_pose(command, state(), LIMITS, 1.0)
    assert sent is None
    assert word in reasons[0]


def test_unarmed_old_and_foreign_commands_are_refused_without_effect():
    ask = MagnetPose(RETREAT, seq=3)
    for command, before, word in (
        (ask, PoseState(RETREAT, 0.0), "not armed"),
        (ask, state(seq=3), "not newer"),
        (CoilCurrents([1.0], seq=9), state(), "not gated"),
    ):
        sent, after, reasons = gate_pose(command, before, LIMITS, 1.0)
        assert sent is None
        assert after is before
        assert word in reasons[0]


def test_a_step_that_is_allowed_passes_as_it_is():
    asked = RETREAT @ transform(Rotation.from_rotvec([0, 0, 0.02]).as_matrix(), [0.002, 0, 0])
    sent, after, reasons = gate_pose(MagnetPose(asked, seq=1), state(), LIMITS, 0.05)
    np.testing.assert_array_equal(sent.T_world_magnet, asked)
    assert reasons == ()
    assert (after.seq, after.time) == (1, 0.05)


def test_a_fast_step_is_shortened_along_its_own_way():
    """0.2 m/s for 0.05 s is 10 mm of the 100 asked for; the turn is a tenth as well."""
    turn = Rotation.from_rotvec([0, 0.3, 0])
    asked = transform(turn.as_matrix() @ RETREAT[:3, :3], RETREAT[:3, 3] + [0, 0.1, 0])
    sent, _, reasons = gate_pose(MagnetPose(asked, seq=1), state(), LIMITS, 0.05)
    got = sent.T_world_magnet
    assert_allclose(got[:3, 3] - RETREAT[:3, 3], [0, 0.01, 0], atol=1e-12)
    done = Rotation.from_matrix(got[:3, :3] @ RETREAT[:3, :3].T).as_rotvec()
    assert_allclose(done, [0, 0.03, 0], atol=1e-12)
    assert reasons[0] == "slowed to the limit of speed"


def test_after_a_pause_nothing_jumps():
    asked = pose([0, 0.4, 0.3], [0, 0, 0])
    sent, _, _ = gate_pose(MagnetPose(asked, seq=1), state(pose([0, 0, 0.3])), LIMITS, 60.0)
    moved = np.linalg.norm(sent.T_world_magnet[:3, 3] - [0, 0, 0.3])
    assert moved == pytest.approx(LIMITS.max_speed * MAX_INTERVAL)


def test_no_command_stays_in_force_for_long():
    command = MagnetPose(RETREAT, seq=1, valid_for=60.0)
    sent, _, reasons = gate_pose(command, state(), LIMITS, 1.0)
    assert sent.valid_for == MAX_VALID_FOR
    assert "valid_for" in reasons[0]


@pytest.mark.parametrize(
    ("start", "target", "word"),
    [
        ([0, 0, 0.0915], [0, 0, 0.08], "within 5 mm of phantom"),
        ([0.1, 0, 0.02], [0.1, 0, -0.04], "way to the retreat"),
        ([0.3, 0.2, 0.2], [0.3, 0.13, 0.2], "within 5 mm of detector"),
    ],
)
def test_a_step_into_a_volume_keeps_the_pose_in_force(start, target, word):
    fast = dataclasses.replace(LIMITS, max_speed=5.0)
    before = state(pose(start))
    sent, after, reasons = gate_pose(MagnetPose(pose(target), seq=1), before, fast, 0.1)
    np.testing.assert_array_equal(sent.T_world_magnet, before.T)
    assert word in reasons[-1]
    assert "the pose in force is kept" in reasons[-1]
    assert after.seq == 1


def test_the_way_is_looked_at_and_not_only_its_end():
    """From one side of a thin wall to the other: both ends are clear, the middle is not."""
    wall = KeepOutBox("wall", np.eye(4), np.array([1e-4, 0.5, 0.5]))
    limits = MagnetLimits(5.0, 5.0, 5.0, 0.01, 0.001, pose([-0.3, 0, 0]), (wall,))
    before = state(pose([-0.1, 0, 0]))
    sent, _, reasons = gate_pose(MagnetPose(pose([0.1, 0, 0]), seq=1), before, limits, 0.1)
    np.testing.assert_array_equal(sent.T_world_magnet, before.T)
    assert "wall" in reasons[-1]


def test_out_of_reach_names_the_shortfall():
    """The arm is stretched out towards +y; further is out of reach."""
    q = np.array([1.57, 1.0, 0.0, -0.2, 0.0, 1.5, 0.0])
    free = MagnetLimits(1.0, 5.0, 5.0, 0.02, 0.005, RETREAT, (), ARM)
    T = ARM.forward(q)
    asked = T.copy()
    asked[:3, 3] += [0, 0.09, 0]
    before = state(T, joints=q)
    sent, _, reasons = gate_pose(MagnetPose(asked, seq=1), before, free, 0.1)
    np.testing.assert_array_equal(sent.T_world_magnet, T)
    assert "out of the arm's reach" in reasons[-1]


def test_joints_are_not_asked_to_turn_faster_than_they_can():
    slow = dataclasses.replace(ARM, max_speed=np.full(7, 0.05))
    limits = dataclasses.replace(WITH_ARM, arm=slow)
    asked = pose(RETREAT[:3, 3] + [0, 0.02, 0])
    asked[:3, :3] = RETREAT[:3, :3]
    sent, after, reasons = gate_pose(MagnetPose(asked, seq=1), state(joints=DOWN), limits, 0.1)
    assert 0 < np.linalg.norm(sent.T_world_magnet[:3, 3] - RETREAT[:3, 3]) < 0.019
    assert (np.abs(after.joints - DOWN) <= 0.05 * 0.1 + 1e-5).all()
    assert "slowed to the speed of joint" in reasons[-1]


def test_the_spindle_provides_the_angle_about_it():
    """A pose turned by half about the spindle needs no joint to move."""
    free = dataclasses.replace(WITH_ARM, max_spin_rate=100.0)
    asked = RETREAT @ transform(Rotation.from_rotvec(np.pi * SPINDLE).as_matrix())
    sent, after, reasons = gate_pose(MagnetPose(asked, seq=1), state(joints=DOWN), free, 0.1)
    np.testing.assert_array_equal(sent.T_world_magnet, asked)
    assert_allclose(after.joints, DOWN, atol=1e-5)
    assert reasons == ()


@pytest.mark.parametrize("volume", KEEP_OUT, ids=lambda v: v.name)
@given(triple, triple)
def test_least_distance_of_a_way_is_the_least_over_it(volume, start, end):
    """Against 5000 points of the way; a distance changes by no more than the way is long."""
    start, end = np.array(start), np.array(end)
    t = np.linspace(0, 1, 5001)[:, None]
    sampled = volume.distance(start + t * (end - start)).min()
    least = least_distance(volume, start, end)
    assert sampled - np.linalg.norm(end - start) / 1e4 - 1e-12 <= least <= sampled + 1e-7


@given(triple, triple)
def test_distances_have_slope_one(a, b):
    """A signed distance: |d(a) - d(b)| <= |a - b|, and its sign says inside or outside."""
    a, b = np.array(a), np.array(b)
    for volume in KEEP_OUT:
        assert abs(volume.distance(a) - volume.distance(b)) <= np.linalg.norm(a - b) + 1e-12
    inside = np.array([0.3, 0.05, 0.21])
    assert KEEP_OUT[2].distance(inside) == pytest.approx(-0.04)
    assert KEEP_OUT[2].distance(inside + np.array([0.09, 0, 0])) == pytest.approx(0.04)
    assert KEEP_OUT[0].distance(a) == pytest.approx(a[2] + 0.1)
    assert KEEP_OUT[1].distance(a) == pytest.approx(np.linalg.norm(a) - 0.06)


@pytest.mark.parametrize("name", ["max_speed", "max_turn_rate", "magnet_radius", "clearance"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, None])
def test_limits_cannot_be_absent_or_zero(name, value):
    with pytest.raises(UserError, match=f"limits.{name}"):
        dataclasses.replace(LIMITS, **{name: value})


@pytest.mark.parametrize(
    ("T", "word"),
    [
        (pose([0, 0, 0.05]), "too near to phantom"),
        (pose([0, 0, 3.0]), "out of the arm's reach"),
        (np.full((4, 4), np.nan), "not finite"),
    ],
)
def test_the_retreat_pose_is_checked(T, word):
    with pytest.raises(UserError, match=f"T_world_retreat.*{word}"):
        dataclasses.replace(WITH_ARM, T_world_retreat=T)


def test_volumes_need_sizes():
    for make in (
        lambda: KeepOutSphere("x", np.zeros(3), 0.0),
        lambda: KeepOutBox("x", np.eye(4), np.array([0.1, -0.1, 0.1])),
        lambda: KeepOutHalfSpace("x", np.zeros(3), np.zeros(3)),
        lambda: KeepOutSphere("x", np.full(3, np.nan), 1.0),
    ):
        with pytest.raises(UserError, match="keep-out x"):
            make()


def test_turning_about_the_spindle_has_a_limit_of_its_own():
    """6 rad/s about its axis and 1 rad/s about others, 0.1 s: 0.6 and 0.1 rad."""
    limits = dataclasses.replace(LIMITS, arm=None, spin_axis=np.array([0.0, 0.0, 1.0]))
    for axis, allowed, name in (([0, 0, 1.0], 0.6, "spin rate"), ([1.0, 0, 0], 0.1, "turn rate")):
        before = state(RETREAT)
        asked = RETREAT.copy()
        asked[:3, :3] = RETREAT[:3, :3] @ Rotation.from_rotvec(np.array(axis)).as_matrix()
        sent, _, reasons = gate_pose(MagnetPose(asked, seq=1), before, limits, 0.1)
        turned = Rotation.from_matrix(RETREAT[:3, :3].T @ sent.T_world_magnet[:3, :3])
        np.testing.assert_allclose(turned.as_rotvec(), allowed * np.array(axis), atol=1e-9)
        assert reasons == (f"slowed to the limit of {name}",)


@given(st.integers(0, 10_000), st.floats(0.01, 1))
def test_part_of_a_step_turns_and_spins_by_that_part(seed, fraction):
    """So a step shortened to one limit keeps the other; the two are at right angles."""
    rng = np.random.default_rng(seed)
    limits = dataclasses.replace(LIMITS, arm=None, spin_axis=rng.normal(size=3))
    start, target = RETREAT.copy(), RETREAT.copy()
    start[:3, :3], target[:3, :3] = Rotation.random(2, rng=rng).as_matrix()
    whole, part = (
        limits.sizes(start, step_towards(start, target, f)) for f in (1.0, fraction)
    )  # fmt: skip
    for name, (size, _) in whole.items():
        np.testing.assert_allclose(part[name][0], fraction * size, atol=1e-6)
    turn = Rotation.from_matrix(start[:3, :3].T @ target[:3, :3]).magnitude()
    np.testing.assert_allclose(np.hypot(whole["turn rate"][0], whole["spin rate"][0]), turn)


def test_an_accepted_pose_expires():
    _, after, _ = gate_pose(MagnetPose(RETREAT, seq=1, valid_for=0.2), state(RETREAT), LIMITS, 1.0)
    assert after.expires == 1.2
