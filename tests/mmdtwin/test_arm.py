"""Arm kinematics: the published geometry, derivatives, and joints that stay within limits."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.arm import Arm
from mmdtwin.config import ArmConfig, load, parse, read
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.geometry import transform, unit

ARM = load(ArmConfig, "arms", "franka-fr3").arm
SPINDLE = np.array([1.0, 0.0, 0.0])
fractions = st.tuples(*[st.floats(0.0, 1.0)] * 7)


def joints(fraction) -> np.ndarray:
    return ARM.lower + np.array(fraction) * (ARM.upper - ARM.lower)


def flange(q) -> np.ndarray:
    """The flange in the arm's own base."""
    bare = dataclasses.replace(ARM, T_world_base=np.eye(4), T_flange_magnet=np.eye(4))
    return bare.forward(np.array(q, float))


def test_flange_stretched_out():
    """All joints at zero: 0.333 + 0.316 + 0.384 - 0.107 m up, 0.088 m out, pointing down."""
    assert_allclose(
        flange(np.zeros(7)), transform(np.diag([1, -1, -1]), [0.088, 0, 0.926]), atol=1e-12
    )


def test_flange_at_the_makers_start_posture():
    """(0, -45, 0, -135, 0, 90, 45) deg: the hand's centre, 0.1034 m before the flange and turned
    by -45 deg, is at (0.307, 0, 0.487) m pointing straight down in libfranka's examples."""
    q = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
    hand = flange(q) @ transform(
        Rotation.from_rotvec([0, 0, -np.pi / 4]).as_matrix(), [0, 0, 0.1034]
    )
    assert_allclose(hand[:3, 3], [0.307, 0.0, 0.487], atol=5e-4)
    assert_allclose(hand[:3, :3], np.diag([1, -1, -1]), atol=1e-9)


@given(fractions)
def test_forward_is_the_chain_written_out(fraction):
    """The product of the joints as the robot's URDF has them: fixed origins, turns about z."""
    q = joints(fraction)
    half = np.pi / 2
    origins = [
        ([0, 0, 0.333], 0), ([0, 0, 0], -half), ([0, -0.316, 0], half), ([0.0825, 0, 0], half),
        ([-0.0825, 0.384, 0], -half), ([0, 0, 0], half), ([0.088, 0, 0], half),
    ]  # fmt: skip
    T = np.eye(4)
    for (xyz, roll), angle in zip(origins, q, strict=True):
        turn = Rotation.from_rotvec([roll, 0, 0]) * Rotation.from_rotvec([0, 0, angle])
        T = T @ transform(turn.as_matrix(), xyz)
    T = T @ transform(None, [0, 0, 0.107])
    assert_allclose(flange(q), T, atol=1e-12)
    assert_allclose(ARM.forward(q), ARM.T_world_base @ T @ ARM.T_flange_magnet, atol=1e-12)


def test_limits_are_those_of_the_fr3():
    """franka_description, robots/fr3/joint_limits.yaml; a Panda's joint 6 starts at -0.0175."""
    assert_allclose(ARM.upper, [2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159])
    assert_allclose(ARM.lower, [-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159])
    assert_allclose(ARM.max_speed, [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])


def test_many_postures_at_once():
    q = np.random.default_rng(0).uniform(ARM.lower, ARM.upper, (5, 7))
    assert_allclose(ARM.forward(q), [ARM.forward(row) for row in q], atol=1e-15)


@given(fractions)
def test_jacobian_is_the_derivative_of_forward(fraction):
    """Central differences, step 1e-5: truncation 1e-10, rounding 1e-10."""
    q, h = joints(fraction), 1e-5
    jacobian = ARM.jacobian(q)
    for k in range(7):
        ahead, behind = ARM.forward(q + h * np.eye(7)[k]), ARM.forward(q - h * np.eye(7)[k])
        turn = Rotation.from_matrix(ahead[:3, :3] @ behind[:3, :3].T).as_rotvec()
        assert_allclose(jacobian[:3, k], (ahead - behind)[:3, 3] / (2 * h), atol=1e-8)
        assert_allclose(jacobian[3:, k], turn / (2 * h), atol=1e-8)


def test_manipulability_vanishes_where_the_wrist_or_elbow_is_straight():
    """Singular: elbow and wrist axes in line. Elsewhere it is the product of singular values."""
    q = np.array([0.3, -0.5, 0.2, -1.9, 0.4, 1.8, 0.7])
    values = np.linalg.svd(ARM.jacobian(q), compute_uv=False)
    assert ARM.manipulability(q) == pytest.approx(np.prod(values), rel=1e-9)
    straight = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 0.7])
    assert ARM.manipulability(straight) < 1e-6 < 1e-2 < ARM.manipulability(q)


@pytest.mark.parametrize("spin_free", [None, SPINDLE], ids=["held", "on a spindle"])
def test_inverse_reaches_what_the_arm_can_reach(spin_free):
    """Random postures over the whole range: at least 99 % found, none outside the limits."""
    rng, n, found = np.random.default_rng(8), 100, 0
    for _ in range(n):
        T = ARM.forward(rng.uniform(ARM.lower, ARM.upper))
        if spin_free is not None:
            spin = Rotation.from_rotvec(rng.uniform(-3, 3) * spin_free).as_matrix()
            T = T @ transform(spin)
        try:
            q = ARM.inverse(T, spin_free=spin_free)
        except UserError:
            continue
        found += 1
        assert (q >= ARM.lower).all()
        assert (q <= ARM.upper).all()
        got = ARM.forward(q)
        if spin_free is not None:
            angle = ARM.spin_angle(q, T, spin_free)
            got = got @ transform(Rotation.from_rotvec(angle * spin_free).as_matrix())
        assert np.linalg.norm(got[:3, 3] - T[:3, 3]) <= 1e-6
        assert Rotation.from_matrix(got[:3, :3] @ T[:3, :3].T).magnitude() <= 2e-6
    assert found >= 0.99 * n


@settings(max_examples=40, deadline=None)
@given(fractions, st.tuples(*[st.floats(-1, 1)] * 6))
def test_a_small_step_of_the_pose_is_a_small_step_of_the_joints(fraction, numbers):
    """From a posture off its limits and off singular ones: at most what the Jacobian asks for."""
    q = ARM.middle + 0.8 * (joints(fraction) - ARM.middle)
    if ARM.manipulability(q) < 0.02:
        return
    T = ARM.forward(q)
    twist = 1e-3 * np.array(numbers)
    T[:3, 3] += twist[:3]
    T[:3, :3] = Rotation.from_rotvec(twist[3:]).as_matrix() @ T[:3, :3]
    least = np.linalg.norm(np.linalg.pinv(ARM.jacobian(q)) @ twist)
    near = ARM.inverse(T, start=q)
    assert ARM.reached(T, near)
    assert np.linalg.norm(near - q) <= 1.1 * least + 1e-6


def test_free_motion_goes_to_the_middle_of_the_ranges():
    """Without a start, no other elbow of the same pose nearby is nearer to the middle."""
    half = (ARM.upper - ARM.lower) / 2

    def cost(q):
        return np.sum(((q - ARM.middle) / half) ** 2)

    for seed in range(5):
        rng = np.random.default_rng(seed)
        T = ARM.forward(ARM.middle + 0.5 * half * rng.uniform(-1, 1, 7))
        q = ARM.inverse(T)
        free = np.linalg.svd(ARM.jacobian(q))[2][-1]
        for step in (0.1, -0.1):
            other = ARM.approach(T, q + step * free)
            assert ARM.reached(T, other)
            assert cost(other) > cost(q) - 1e-3


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(-3, 3)] * 3))
def test_what_is_out_of_reach_is_refused_in_a_line(direction, turn):
    """Links and holder add up to 0.316 + 0.384 + 2 x 0.0825 + 0.088 + 0.227 m from the shoulder."""
    if np.linalg.norm(direction) < 0.1:
        return
    shoulder = ARM.T_world_base[:3, 3] + [0, 0, 0.333]
    T = transform(Rotation.from_rotvec(turn).as_matrix(), shoulder + 1.2 * unit(direction))
    assert not ARM.reaches(T)
    with pytest.raises(UserError, match="out of the arm's reach, short of it by") as caught:
        ARM.inverse(T)
    assert "\n" not in str(caught.value)
    nearest = ARM.nearest(T)
    assert (nearest >= ARM.lower).all()
    assert (nearest <= ARM.upper).all()


def test_the_same_question_has_the_same_answer():
    T = ARM.forward(joints([0.3, 0.6, 0.4, 0.5, 0.7, 0.2, 0.9]))
    other = load(ArmConfig, "arms", "franka-fr3").arm
    np.testing.assert_array_equal(ARM.inverse(T), other.inverse(T))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: ARM.forward(np.zeros(6)), "joints: shape"),
        (lambda: ARM.inverse(np.eye(3)), "pose: needs a"),
        (lambda: ARM.inverse(np.full((4, 4), np.nan)), "finite"),
        (lambda: ARM.approach(np.eye(4), np.full(7, np.inf)), "finite"),
        (lambda: dataclasses.replace(ARM, upper=ARM.lower), "lower < upper"),
        (lambda: dataclasses.replace(ARM, max_speed=np.ones(6)), "one value per joint"),
        (lambda: dataclasses.replace(ARM, flange_length=np.nan), "arm.flange_length"),
    ],
)
def test_wrong_arguments_are_refused(call, word):
    with pytest.raises(UserError, match=word):
        call()


def test_wrong_configurations_are_refused():
    data, where = read("arms", "franka-fr3")
    for change, word in (
        ({"joints": data["joints"][:5]}, "joints"),
        ({"joints": [{**data["joints"][0], "upper": -9.0}, *data["joints"][1:]]}, "upper must be"),
        ({"reach": 1.0}, "allowed"),
    ):
        with pytest.raises(ConfigError, match=word):
            parse(ArmConfig, {**data, **change}, where)
    assert isinstance(parse(ArmConfig, data, where).arm, Arm)
