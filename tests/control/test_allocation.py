"""Allocation in closed form: accuracy, scaling as a whole, reports, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.control.allocation import (
    FIELD_UNIT,
    FORCE_UNIT,
    GRADIENT_UNIT,
    Target,
    allocate,
    allocate_many,
)
from mmdtwin.control.pose_allocation import allocate_pose
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import PlacedField
from mmdtwin.geometry import transform, unit
from mmdtwin.pose import pose_vector
from mmdtwin.safety import Limits
from mmdtwin.sim.magnetics import CoilSystem, Magnet
from mmdtwin.wrench import dipole_wrench

MOMENT = 6.4e-5  # A m2, the navigating sheet
WEIGHT = np.array([0.0, 0.0, 8.7e-6])  # N, what carries it in water
COILS = CoilSystem.load("octomag-like")

directions = st.builds(
    lambda z, a: np.array([np.cos(a) * (1 - z * z) ** 0.5, np.sin(a) * (1 - z * z) ** 0.5, z]),
    st.floats(-1, 1),
    st.floats(0, 6.3),
)


def limits_of(**changes: float) -> Limits:
    if "max_current" in changes:
        changes["max_current"] = np.full(COILS.n_coils, changes["max_current"])
    return replace(COILS.config.limits, **changes)


LIMITS = limits_of()


def power(currents: np.ndarray, limits: Limits) -> float:
    return float(np.sum(limits.resistance * currents**2))


@settings(max_examples=60, deadline=None)
@given(directions, directions, st.floats(0, 0.025), st.floats(1e-3, 20e-3))
def test_field_and_force_are_met_within_limits(u, w, radius, field):
    """Field to 1 uT and force to 1 nN: damping takes 1e-8 to 1e-5 of a request here."""
    point = radius * w
    result = allocate(COILS, point, field * u, WEIGHT, MOMENT * u, LIMITS)
    got, gradient = COILS.field_and_gradient(point[None], result.inputs)
    if result.scale == 1.0:
        assert_allclose(got[0], field * u, atol=1e-6)
        assert_allclose(gradient[0].T @ (MOMENT * u), WEIGHT, atol=1e-9)
        assert result.residual < 2e-3
    assert_allclose(result.field, got[0], atol=1e-12)
    assert np.abs(result.inputs).max() <= LIMITS.max_current[0] * (1 + 1e-12)
    assert power(result.inputs, LIMITS) <= LIMITS.max_power * (1 + 1e-12)
    assert result.limited == (result.scale < 1.0)


@pytest.mark.parametrize("limits", [limits_of(max_current=2.0), limits_of(max_power=20.0)])
def test_limited_vector_is_scaled_as_a_whole(limits):
    """The direction of the current vector, and so of the field, stays; one limit is met exactly."""
    u = unit([1.0, 2.0, -1.0])
    wanted = {"field": 0.02 * u, "force": 20e-6 * u, "moment": MOMENT * u}
    free = allocate(COILS, np.zeros(3), **wanted)
    result = allocate(COILS, np.zeros(3), **wanted, limits=limits)
    assert result.limited
    assert result.scale < 1.0
    assert_allclose(result.inputs, result.scale * free.inputs, rtol=1e-9, atol=1e-12)
    assert_allclose(result.field, result.scale * 0.02 * u, atol=1e-7)
    used = max(
        np.abs(result.inputs).max() / limits.max_current[0],
        np.sqrt(power(result.inputs, limits) / limits.max_power),
    )
    assert used == pytest.approx(1.0, abs=1e-12)
    assert result.residual > 1.0


def test_any_direction_at_the_centre_within_limits():
    """25 mT and 32 uN (0.5 T/m on 6.4e-5 A m2) in any two directions at once."""
    for seed in range(200):
        u, v = unit(np.random.default_rng(seed).normal(size=(2, 3)))
        result = allocate(COILS, np.zeros(3), 0.025 * u, 32e-6 * v, MOMENT * u, LIMITS)
        assert not result.limited
        assert result.residual < 1e-3


def free_directions(u: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Orthonormal inputs (rows) that change neither the field nor the force at a point."""
    field, gradient = COILS.jacobian(point[None], np.zeros(8))
    rows = np.vstack([field[0].T, np.einsum("j,cji->ic", MOMENT * u, gradient[0])])
    return np.linalg.svd(rows / np.abs(rows).max(axis=1, keepdims=True))[2][6:]


def test_least_loss_among_the_solutions():
    """Adding anything that keeps field and force costs power."""
    u = unit([0.2, -1.0, 0.5])
    result = allocate(COILS, np.zeros(3), 0.01 * u, WEIGHT, MOMENT * u, LIMITS)
    free = free_directions(u, np.zeros(3))
    for direction in (*free, *-free):
        assert power(result.inputs + 0.1 * direction, LIMITS) > power(result.inputs, LIMITS)


def test_any_field_model_is_served():
    """A system seen from another frame gives the currents of the same task in its own frame."""
    T = transform(Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix(), [1e-3, -2e-3, 0.5e-3])
    u, point = unit([1.0, 1.0, 0.3]), np.array([2e-3, 1e-3, -1e-3])
    own = allocate(COILS, point, 0.01 * u, 5e-6 * u, MOMENT * u, LIMITS)
    R = T[:3, :3]
    seen = allocate(
        PlacedField(COILS, T),
        R @ point + T[:3, 3],
        0.01 * R @ u,
        5e-6 * R @ u,
        MOMENT * R @ u,
        LIMITS,
    )
    assert_allclose(seen.inputs, own.inputs, atol=1e-9)
    assert_allclose(seen.force, R @ own.force, atol=1e-15)


def test_beyond_the_workspace_is_refused():
    u = unit([1.0, 1.0, 0.0])
    with pytest.raises(OutOfWorkspaceError):
        allocate(COILS, 1.01 * COILS.workspace_radius * u, 0.005 * u)


def test_parts_may_be_left_out():
    field_only = allocate(COILS, np.zeros(3), field=[0.0, 0.0, 0.01])
    assert field_only.force is None
    assert_allclose(field_only.field, [0.0, 0.0, 0.01], atol=1e-8)
    force_only = allocate(COILS, np.zeros(3), force=WEIGHT, moment=[MOMENT, 0.0, 0.0])
    assert_allclose(force_only.force, WEIGHT, atol=1e-10)


def test_no_moment_means_no_force_and_no_large_currents():
    """A device without a net moment: the field is made, the force stays zero, and is missed."""
    result = allocate(COILS, np.zeros(3), [0.01, 0.0, 0.0], WEIGHT, np.zeros(3), LIMITS)
    assert_allclose(result.field, [0.01, 0.0, 0.0], atol=1e-8)
    assert_allclose(result.force, 0.0)
    assert result.residual == pytest.approx(8.7, rel=1e-3)
    assert np.abs(result.inputs).max() < 5.0


def gradient_of(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A symmetric tensor without trace, of Frobenius norm 1 (or zero)."""
    g = np.outer(u, v) + np.outer(v, u)
    g -= np.trace(g) / 3 * np.eye(3)
    return g / max(np.linalg.norm(g), 1e-9)


@settings(max_examples=40, deadline=None)
@given(directions, directions, directions, st.floats(0, 0.02))
def test_field_and_gradient_are_met(u, v, w, radius):
    """All eight numbers that a field and its gradient are, with eight coils: to the bias."""
    gradient = 0.1 * gradient_of(u, v)
    result = allocate(COILS, radius * w, 0.01 * u, gradient=gradient, limits=LIMITS)
    exact = allocate(
        COILS, radius * w, 0.01 * u, gradient=gradient, limits=LIMITS, method="bounded"
    )
    assert_allclose(result.gradient, gradient, atol=1e-6)
    if exact.scale == 1.0:
        field, got = COILS.field_and_gradient(radius * w[None], exact.inputs)
        assert_allclose(field[0], 0.01 * u, atol=1e-12)
        assert_allclose(got[0], gradient, atol=1e-11)


def test_condition_is_that_of_the_system():
    """Of field and of the gradient's nine entries at the origin, by 0.02 T/m, as numpy finds it."""
    result = allocate(COILS, np.zeros(3), [0, 0, 0.01], gradient=np.zeros((3, 3)))
    field, gradient = COILS.units(np.zeros((1, 3)))
    rows = np.vstack([field[0].T / FIELD_UNIT, gradient[0].reshape(8, 9).T / GRADIENT_UNIT])
    values = np.linalg.svd(rows)[1]
    assert result.condition == pytest.approx(values[0] / values[7], rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(directions, directions, st.floats(1e-9, 1e-7))
def test_torque_is_met(u, v, size):
    """m x B, against the wrench of a dipole, with a force beside it."""
    torque = size * np.cross(u, v)
    result = allocate(COILS, np.zeros(3), None, WEIGHT, MOMENT * u, LIMITS, torque=torque)
    field, gradient = COILS.field_and_gradient(np.zeros((1, 3)), result.inputs)
    force, got = dipole_wrench(MOMENT * u, field[0], gradient[0])
    assert_allclose(got, torque, atol=1e-13)
    assert_allclose(force, WEIGHT, atol=1e-10)
    assert_allclose(result.torque, got, atol=1e-20)
    assert result.direction_error is None


@settings(max_examples=80, deadline=None)
@given(directions, directions, st.floats(0, 0.02), st.floats(-10, -4))
def test_bias_is_what_damping_leaves(u, v, radius, exponent):
    """The reported bias is the measured miss over the request, from weak moments to strong.

    Without limits and with full rank nothing else leaves anything.
    """
    point, moment = radius * u, 10.0**exponent * v
    result = allocate(COILS, point, 0.01 * v, 10.0**exponent * 0.1 * u, moment)
    target = np.concatenate([0.01 * v / FIELD_UNIT, 10.0**exponent * 0.1 * u / FORCE_UNIT])
    got = np.concatenate([result.field / FIELD_UNIT, result.force / FORCE_UNIT])
    measured = np.linalg.norm(got - target) / np.linalg.norm(target)
    assert result.bias == pytest.approx(measured, rel=1e-4, abs=1e-13)
    assert result.residual == pytest.approx(np.linalg.norm(got - target), rel=1e-6, abs=1e-12)
    exact = allocate(COILS, point, 0.01 * v, 10.0**exponent * 0.1 * u, moment, method="bounded")
    assert exact.bias == 0.0
    assert exact.residual < 1e-9
    if exponent < -8.5:
        assert result.bias > 1e-8  # it does act


def test_a_magnet_is_posed():
    """What a pose can be asked for is handed on; what is for coils is refused by name."""
    magnet = Magnet.load("cube-50mm")
    pose = pose_vector(transform(None, [0.0, 0.0, 0.12]))
    wanted = magnet.field(np.zeros((1, 3)), pose)[0]
    found = allocate(magnet, np.zeros(3), wanted, previous=pose)
    reference = allocate_pose(magnet, np.zeros(3), wanted, start=pose)
    assert_allclose(found.inputs, reference.inputs, atol=1e-12)
    assert_allclose(found.field, wanted, atol=1e-6)
    for name, value in {
        "gradient": np.zeros((3, 3)), "torque": np.zeros(3), "method": "bounded",
        "minimise": "change", "dt": 0.1,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"{name} is for coils"):
            allocate(magnet, np.zeros(3), wanted, moment=[0, 0, 1e-5], **{name: value})
    with pytest.raises(UserError, match="limits"):
        allocate(magnet, np.zeros(3), wanted, limits=LIMITS)
    with pytest.raises(UserError, match="one device"):
        allocate_many(magnet, [Target(np.zeros(3), wanted)])


@pytest.mark.parametrize("name", ["point", "field", "force", "moment", "torque"])
@pytest.mark.parametrize(
    "bad", [[0.0, np.nan, 0.0], [0.0, 0.0], [np.inf, 0.0, 0.0], [0.0, 2e3, 0.0]]
)
def test_bad_vectors_are_refused_by_name(name, bad):
    good = {
        "point": np.zeros(3), "field": [0.01, 0, 0], "force": WEIGHT, "moment": [MOMENT, 0, 0],
        "torque": [0, 1e-8, 0],
    }  # fmt: skip
    with pytest.raises(UserError, match=name):
        allocate(COILS, **(good | {name: bad}))


def test_incomplete_requests_are_refused():
    with pytest.raises(UserError, match="a field, a force or both"):
        allocate(COILS, np.zeros(3))
    with pytest.raises(UserError, match="moment"):
        allocate(COILS, np.zeros(3), force=WEIGHT)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"point": [0, 0, 12.0]}, "point holds 12 m; allowed is 1 m"),
        ({"field": [0, 0, 20.0]}, "field holds 20 T; allowed is 10 T"),
        ({"gradient": np.eye(3)}, "gradient must be symmetric and without trace"),
        ({"gradient": [[0, 1, 0], [-1, 0, 0], [0, 0, 0]]}, "gradient must be symmetric"),
        ({"gradient": np.zeros(5)}, "gradient has shape"),
        ({"gradient": np.full((3, 3), np.nan)}, "gradient holds"),
        ({"torque": [1e-8, 1e-8, 0]}, "torque has 1e-08 N m along the moment"),
        ({"torque": [0, 1e-8, 0], "moment": np.zeros(3)}, "torque needs a moment that is not zero"),
        ({"torque": [0, 1e-8, 0], "moment": None}, "torque needs the device's moment"),
        ({"method": "best"}, "method is 'best'"),
        ({"minimise": "time"}, "minimise is 'time'"),
        ({"minimise": "change"}, "needs method='bounded' and previous"),
        ({"method": "bounded", "minimise": "change"}, "needs method='bounded' and previous"),
        ({"minimise": "change", "previous": np.zeros(8)}, "needs method='bounded' and previous"),
        ({"previous": np.zeros(8)}, "previous needs dt"),
        ({"dt": 0.1}, "dt needs previous and limits"),
        ({"dt": 0.1, "previous": np.zeros(8), "limits": None}, "dt needs previous and limits"),
        ({"dt": 0.0, "previous": np.zeros(8)}, "dt is 0"),
        ({"dt": np.nan, "previous": np.zeros(8)}, "dt is nan"),
        ({"dt": 0.1, "previous": np.zeros(3)}, "previous has shape"),
        ({"dt": 0.1, "previous": np.full(8, np.nan)}, "previous holds"),
        ({"limits": replace(LIMITS, max_current=np.ones(3))}, "limits are for 3 coils"),
        ({"limits": "none"}, "limits: str given for a field model of coils"),
    ],
)
def test_what_is_wrong_is_named(wrong, word):
    good = {"point": np.zeros(3), "field": [0.01, 0, 0], "moment": [MOMENT, 0, 0], "limits": LIMITS}
    with pytest.raises(UserError, match=word):
        allocate(COILS, **(good | wrong))
