"""Allocation: accuracy when unsaturated, whole-vector scaling when limited, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.control.allocation import allocate
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import PlacedField
from mmdtwin.geometry import transform, unit
from mmdtwin.safety import Limits
from mmdtwin.sim.magnetics import CoilSystem

MOMENT = 6.4e-5  # A m2, the navigating sheet
WEIGHT = np.array([0.0, 0.0, 8.7e-6])  # N, what carries it in water
COILS = CoilSystem.load("octomag-like")

directions = st.builds(
    lambda z, a: np.array([np.cos(a) * (1 - z * z) ** 0.5, np.sin(a) * (1 - z * z) ** 0.5, z]),
    st.floats(-1, 1),
    st.floats(0, 6.3),
)


def limits_of(max_current: float | None = None, max_power: float | None = None) -> Limits:
    config, n = COILS.config, COILS.n_coils
    return Limits(
        max_current=np.full(n, max_current or config.max_current),
        max_power=max_power or config.max_power,
        max_slew=np.full(n, config.max_slew),
        resistance=np.array([coil.resistance for coil in config.coils]),
        max_temperature=config.max_temperature,
    )


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


@pytest.mark.parametrize("name", ["point", "field", "force", "moment"])
@pytest.mark.parametrize("bad", [[0.0, np.nan, 0.0], [0.0, 0.0], [np.inf, 0.0, 0.0]])
def test_bad_vectors_are_refused_by_name(name, bad):
    good = {"point": np.zeros(3), "field": [0.01, 0, 0], "force": WEIGHT, "moment": [MOMENT, 0, 0]}
    with pytest.raises(UserError, match=name):
        allocate(COILS, **(good | {name: bad}))


def test_incomplete_requests_are_refused():
    with pytest.raises(UserError, match="a field, a force or both"):
        allocate(COILS, np.zeros(3))
    with pytest.raises(UserError, match="moment"):
        allocate(COILS, np.zeros(3), force=WEIGHT)
