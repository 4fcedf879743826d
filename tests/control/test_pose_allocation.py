"""Pose allocation: what exists is found, limits are kept, and what is missed is reported."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.arm import Arm
from mmdtwin.config import ArmConfig, load
from mmdtwin.control.pose_allocation import allocate_pose
from mmdtwin.control.pose_problem import ArmHolder, FreeHolder, Goal
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.geometry import transform, unit
from mmdtwin.keep_out import KeepOutHalfSpace, KeepOutSphere
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.pose import pose_matrix, pose_vector
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.magnet import Magnet
from mmdtwin.wrench import dipole_wrench

MAGNET = Magnet.load("cube-50mm")
POINT = np.array([0.005, -0.003, 0.002])
MOMENT = np.array([6e-5, 1e-5, 0.0])  # A m2, of a soft sheet
ARM: Arm = load(ArmConfig, "arms", "franka-fr3").arm
DOWN = np.diag([1.0, -1.0, -1.0]) @ ARM.T_flange_magnet[:3, :3]
LIMITS = MagnetLimits(
    max_speed=0.2,
    max_turn_rate=1.0,
    max_spin_rate=6.0,
    magnet_radius=MAGNET.bounding_radius,
    clearance=0.005,
    T_world_retreat=transform(DOWN, [0.0, 0.0, 0.35]),
    keep_out=(
        KeepOutHalfSpace("table", np.array([0, 0, -0.04]), np.array([0, 0, 1.0])),
        KeepOutSphere("phantom", np.zeros(3), 0.03),
    ),
)
WITH_ARM = dataclasses.replace(LIMITS, arm=ARM, spin_axis=MAGNET.spin_axis)
component = st.floats(-1.0, 1.0)


def clear(found) -> bool:
    return all(v.distance(found.inputs[:3]) >= LIMITS.distance - 1e-9 for v in LIMITS.keep_out)


def check_report(found, moment=None):
    """What is reported is what the model says of the pose returned."""
    field, gradient = MAGNET.field_and_gradient(POINT[None], found.inputs)
    assert_allclose(found.field, field[0], atol=1e-12)
    if moment is None:
        assert found.force is None
    else:
        assert_allclose(found.force, dipole_wrench(moment, field[0], gradient[0])[0], atol=1e-15)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[component] * 3), st.floats(0.09, 0.15), st.tuples(*[component] * 3))
def test_the_field_of_a_pose_that_exists_is_found(offset, distance, turn):
    """To 1e-6 T, from no start at all; direction to that over the field."""
    if np.linalg.norm(offset) < 0.1:
        return
    pose = np.concatenate([POINT + distance * unit(offset), 3 * np.array(turn)])
    wanted = MAGNET.field(POINT[None], pose)[0]
    found = allocate_pose(MAGNET, POINT, field=wanted)
    assert_allclose(found.field, wanted, atol=1e-6)
    assert found.direction_error < 1e-3
    assert found.residual < 1e-3
    assert (found.binding, found.limited) == ((), False)
    check_report(found)


@pytest.mark.parametrize("seed", range(6))
def test_field_and_force_of_a_pose_that_exists_are_found(seed):
    """Six conditions on six unknowns: 1 uT and 1 nN."""
    rng = np.random.default_rng(seed)
    pose = np.concatenate([POINT + 0.11 * unit(rng.normal(size=3)), rng.normal(size=3)])
    field, gradient = MAGNET.field_and_gradient(POINT[None], pose)
    force = dipole_wrench(MOMENT, field[0], gradient[0])[0]
    found = allocate_pose(MAGNET, POINT, field=field[0], force=force, moment=MOMENT)
    assert_allclose(found.field, field[0], atol=1e-6)
    assert_allclose(found.force, force, atol=1e-9)
    check_report(found, MOMENT)


def test_a_force_alone_is_found():
    wanted = np.array([0.0, 3e-5, 2e-5])
    found = allocate_pose(MAGNET, POINT, force=wanted, moment=MOMENT)
    assert_allclose(found.force, wanted, atol=1e-9)
    assert found.direction_error is None
    check_report(found, MOMENT)


def test_the_present_pose_is_kept_where_it_does():
    """A small change of the field is a small change of the pose."""
    present = np.array([0.01, 0.02, 0.11, 0.4, -1.2, 0.3])
    field = MAGNET.field(POINT[None], present)[0]
    same = allocate_pose(MAGNET, POINT, field=field, start=present)
    assert_allclose(same.inputs, present, atol=1e-9)
    other = allocate_pose(MAGNET, POINT, field=1.02 * field, start=present)
    assert_allclose(other.field, 1.02 * field, atol=1e-6)
    assert np.linalg.norm(other.inputs[:3] - present[:3]) < 0.003


@settings(max_examples=6, deadline=None)
@given(st.tuples(*[component] * 3), st.floats(5e-3, 0.3))
def test_volumes_are_kept_out_of_whatever_is_asked(direction, strength):
    if np.linalg.norm(direction) < 0.1:
        return
    wanted = strength * unit(direction)
    found = allocate_pose(MAGNET, POINT, field=wanted, limits=LIMITS)
    assert clear(found)
    check_report(found)
    missed = np.linalg.norm(found.field - wanted) / 1e-3
    assert found.residual == pytest.approx(missed, rel=1e-9, abs=1e-12)


def test_what_a_volume_excludes_is_reported():
    """0.3 T needs the magnet in the phantom: the pose touches it, and the miss says how much."""
    wanted = np.array([0.0, 0.0, 0.3])
    found = allocate_pose(MAGNET, POINT, field=wanted, limits=LIMITS)
    assert found.limited
    assert "phantom" in found.binding
    assert 0.02 < np.linalg.norm(found.field) < 0.15
    assert found.residual == pytest.approx(np.linalg.norm(found.field - wanted) / 1e-3)
    cosine = unit(found.field) @ unit(wanted)
    assert found.direction_error == pytest.approx(np.arccos(min(cosine, 1.0)), abs=1e-6)
    without = allocate_pose(MAGNET, POINT, field=wanted)
    assert without.residual < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_with_an_arm_the_joints_make_the_pose(seed):
    """The field of a posture above the table is found; joints and spindle give the pose returned,
    and the arm's own `inverse` agrees that it is within reach."""
    rng = np.random.default_rng(seed)
    near = transform(DOWN, [0.0, 0.0, rng.uniform(0.1, 0.15)])
    near[:3, :3] = Rotation.from_rotvec(0.4 * rng.normal(size=3)).as_matrix() @ near[:3, :3]
    wanted = MAGNET.field(POINT[None], pose_vector(near))[0]
    found = allocate_pose(MAGNET, POINT, field=wanted, limits=WITH_ARM)
    assert_allclose(found.field, wanted, atol=1e-6)
    assert clear(found)
    assert (found.joints >= ARM.lower).all()
    assert (found.joints <= ARM.upper).all()
    spin = Rotation.from_rotvec(found.spin * MAGNET.spin_axis).as_matrix()
    made = ARM.forward(found.joints) @ transform(spin)
    assert_allclose(pose_matrix(found.inputs), made, atol=1e-9)
    assert ARM.reaches(made, MAGNET.spin_axis)


def test_what_the_arm_cannot_reach_is_reported():
    """A field that only a magnet in the table could make, with an arm that hardly moves."""
    q = ARM.inverse(transform(DOWN, [0.0, 0.0, 0.2]))
    stiff = dataclasses.replace(ARM, lower=q - 0.05, upper=q + 0.05)
    limits = dataclasses.replace(LIMITS, arm=stiff, T_world_retreat=ARM.forward(q))
    found = allocate_pose(MAGNET, POINT, field=[0.0, 0.05, 0.0], limits=limits, joints=q)
    assert found.residual > 1
    assert found.limited
    assert any(name.startswith("joint") for name in found.binding)
    assert found.spin is None
    assert (np.abs(found.joints - q) <= 0.05 + 1e-12).all()
    assert found.direction_error > 0.01


@pytest.mark.parametrize("kind", ["free", "arm", "arm with spindle"])
def test_slopes_are_derivatives(kind):
    """Of the miss and of the walls by the unknowns, against central differences to 1e-4."""
    limits = dataclasses.replace(
        LIMITS, keep_out=(*LIMITS.keep_out, KeepOutSphere("near", np.array([0, 0.05, 0.2]), 0.03))
    )
    T = transform(DOWN, [0.02, 0.01, 0.15])
    assert not np.all(Goal(MAGNET, POINT, None, None, None, limits).gaps(T) > 0)
    goal = Goal(MAGNET, POINT, np.array([0, 0, 0.02]), np.array([0, 0, 1e-5]), MOMENT, limits)
    if kind == "free":
        holder, x = FreeHolder(T), np.array([0.001, 0.002, -0.001, 0.3, -0.2, 0.1])
    else:
        axis = MAGNET.spin_axis if kind == "arm with spindle" else None
        holder = ArmHolder(ARM, axis)
        x = holder.start(T, ARM.inverse(T))
    slopes = goal.slopes(holder.pose(x)) @ holder.twist(x)
    for k in range(len(x)):
        h = 1e-6 * np.eye(len(x))[k]
        expected = (goal.residuals(holder.pose(x + h)) - goal.residuals(holder.pose(x - h))) / 2e-6
        assert (np.abs(slopes[:, k] - expected) <= 1e-4 * np.abs(slopes).max(axis=1)).all()


def test_the_same_question_has_the_same_answer():
    wanted = np.array([0.0, 0.02, 0.01])
    first, second = (allocate_pose(MAGNET, POINT, field=wanted, limits=LIMITS) for _ in range(2))
    np.testing.assert_array_equal(first.inputs, second.inputs)


def test_wrong_arguments_are_refused():
    field = np.array([0.0, 0.0, 0.02])
    cases = [
        (lambda: allocate_pose(MAGNET, POINT), "give a field"),
        (lambda: allocate_pose(MAGNET, POINT, force=field), "needs the device's moment"),
        (lambda: allocate_pose(MAGNET, POINT[:2], field=field), "point has shape"),
        (lambda: allocate_pose(MAGNET, POINT, field=[np.nan, 0, 0]), "field holds"),
        (lambda: allocate_pose(MAGNET, POINT, field=field, start=[0, 0, 0.1]), "start has shape"),
        (
            lambda: allocate_pose(MAGNET, POINT, field=field, limits=WITH_ARM, joints=[0.0]),
            "joints has shape",
        ),
        (lambda: allocate_pose(CoilSystem.load("octomag-like"), POINT, field=field), "no pose"),
    ]
    for call, word in cases:
        with pytest.raises(UserError, match=word):
            call()
    with pytest.raises(OutOfWorkspaceError):
        allocate_pose(MAGNET, [0.5, 0, 0], field=field)
