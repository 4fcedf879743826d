"""Allocation: accuracy when unsaturated, whole-vector scaling when limited, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.control.allocation import WANTED, WEIGHTS, Stiffness, allocate
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import PlacedField
from mmdtwin.geometry import transform, unit
from mmdtwin.safety import Limits
from mmdtwin.sim.magnetics import CoilSystem

MOMENT = 6.4e-5  # A m2, the navigating sheet
WEIGHT = np.array([0.0, 0.0, 8.7e-6])  # N, what carries it in water
UP = np.array([0.0, 0.0, 1.0])  # the floor and the weight hold the device there
PLACE = np.array([4e-3, -3e-3, 2e-3])
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
@given(directions, directions, directions, st.floats(0, 0.025), st.floats(1e-3, 20e-3))
def test_field_and_force_are_met_within_limits(u, v, w, radius, field):
    """Field to 1 uT and force to 1 nN: damping takes 1e-8 to 1e-5 of a request here."""
    point, stiffness = radius * w, Stiffness(v, 2e-3, w)
    result = allocate(COILS, point, field * u, WEIGHT, MOMENT * u, LIMITS, stiffness)
    got, gradient = COILS.field_and_gradient(point[None], result.inputs)
    if result.scale == 1.0:
        assert_allclose(got[0], field * u, atol=1e-6)
        assert_allclose(gradient[0].T @ (MOMENT * u), WEIGHT, atol=1e-9)
        assert result.residual < 2e-3
    assert_allclose(result.field, got[0], atol=1e-12)
    assert np.abs(result.inputs).max() <= LIMITS.max_current[0] * (1 + 1e-12)
    assert power(result.inputs, LIMITS) <= LIMITS.max_power * (1 + 1e-12)
    assert result.limited == (
        result.scale < 1.0
        or np.abs(result.inputs).max() > LIMITS.max_current[0] * (1 - 1e-9)
        or power(result.inputs, LIMITS) > LIMITS.max_power * (1 - 1e-9)
    )


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


def slopes(inputs: np.ndarray, point: np.ndarray, axes: np.ndarray, moment: np.ndarray):
    """-d(force)/d(place) (3, 3) in `axes` (rows), N/m, from forces 0.5 mm to either side."""
    step = 0.5e-3
    places = np.concatenate([point + step * axes, point - step * axes])
    _, gradient = COILS.field_and_gradient(places, inputs)
    force = np.einsum("j,kji->ki", moment, gradient) @ axes.T
    return (force[3:] - force[:3]) / (2 * step)


def axes_of(u: np.ndarray, hill: np.ndarray) -> np.ndarray:
    """Rows: along the well, sideways, on the hill."""
    side = unit(np.cross(hill, u))
    return np.stack([u, side, np.cross(u, side)])


def ask(u: np.ndarray, value: float | None, hill: np.ndarray = UP, limits: Limits | None = LIMITS):
    stiffness = None if value is None else Stiffness(2 * u, value, hill)
    return allocate(COILS, PLACE, 0.01 * u, WEIGHT, MOMENT * u, limits, stiffness)


def free_directions(u: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Orthonormal inputs (rows) that change neither the field nor the force at a point."""
    field, gradient = COILS.jacobian(point[None], np.zeros(8))
    rows = np.vstack([field[0].T, np.einsum("j,cji->ic", MOMENT * u, gradient[0])])
    return np.linalg.svd(rows / np.abs(rows).max(axis=1, keepdims=True))[2][6:]


OBLIQUE = [unit(v) for v in ([1.0, 0.45, 0.1], [0.6, -0.8, 0.2], [-0.7, 0.6, 0.3])]


@pytest.mark.parametrize("u", [*OBLIQUE, np.eye(3)[0]])
def test_stiffness_is_the_slope_of_the_force(u):
    """Moved 0.5 mm either way with the currents held, the force along the line falls as told.

    Force is measured from the model, not from the allocation's rows, and over another step: third
    derivatives make 2 % of the stiffness of a few A at most.
    """
    result = ask(u, 1e-3)
    assert not result.limited
    measured = slopes(result.inputs, PLACE, axes_of(u, UP), MOMENT * u)
    assert result.stiffness == pytest.approx(measured[0, 0], rel=0.02, abs=2e-6)
    # Earnshaw: curl- and divergence-free fields have no well in all three directions.
    assert abs(np.trace(measured)) < 2e-3 * np.abs(measured).max()


@pytest.mark.parametrize("u", OBLIQUE)
def test_more_well_asked_is_more_well(u):
    """In proportion: without limits the answer is linear in what is asked."""
    none, some, more = (ask(u, k).stiffness for k in (0.0, 1e-3, 2e-3))
    assert more > some > max(none, 0.1e-3)
    assert more - some == pytest.approx(some - none, rel=1e-6)


@pytest.mark.parametrize("u", OBLIQUE)
def test_field_and_force_do_not_notice_the_stiffness(u):
    """What is added lies in directions that change neither: 1e-12 of the field of a few A."""
    without, with_it = ask(u, None), ask(u, 2e-3)
    assert np.abs(with_it.inputs - without.inputs).max() > 1.0
    assert_allclose(with_it.field, without.field, atol=1e-12)
    assert_allclose(with_it.force, without.force, atol=1e-15)


def weighted_miss(inputs: np.ndarray, u: np.ndarray, hill: np.ndarray, value: float) -> float:
    """What the well, half of it sideways, and no coupling are missed by, weighted as documented."""
    K = slopes(inputs, PLACE, axes_of(u, hill), MOMENT * u)
    got = np.array([K[0, 0], K[0, 1], K[0, 2], K[1, 2], K[1, 1]])
    return float(np.linalg.norm(WEIGHTS * (got - value * WANTED)))


@settings(max_examples=40, deadline=None)
@given(directions, directions, st.floats(1e-4, 2.0))
def test_the_wishes_come_nearer_together(u, hill, value):
    """Damped or cut short by a limit, least squares never leave a larger miss than before."""
    if np.linalg.norm(np.cross(u, hill)) < 0.1:
        return  # the axes sideways and on the hill are then any
    before, after = (ask(u, k, hill) for k in (None, value))
    if after.scale < 1.0:
        return
    # 0.1 %: the slopes here and there are taken over different steps.
    miss = weighted_miss(after.inputs, u, hill, value)
    assert miss <= weighted_miss(before.inputs, u, hill, value) * 1.001


@pytest.mark.parametrize("u", OBLIQUE)
def test_the_hill_stands_where_it_was_sent(u):
    """Against the cheapest currents with the same well, sideways falls off less steeply."""
    value = 2e-3
    result, base = ask(u, value), ask(u, None)
    row = np.array([slopes(i, PLACE, axes_of(u, UP), MOMENT * u)[0, 0] for i in np.eye(8)])
    free = free_directions(u, PLACE).T
    reach = row @ free
    naive = base.inputs + free @ reach * (row @ (result.inputs - base.inputs)) / (reach @ reach)
    axes = axes_of(u, UP)
    ours, theirs = (slopes(i, PLACE, axes, MOMENT * u) for i in (result.inputs, naive))
    assert ours[0, 0] == pytest.approx(theirs[0, 0], rel=0.02)
    assert ours[1, 1] > theirs[1, 1]
    assert ours[2, 2] < theirs[2, 2]
    assert ours[2, 2] < -0.5 * ours[0, 0]


def test_stiffness_takes_what_field_and_force_leave():
    """Asked for far too much, it uses the limits up, and field and force stay exact."""
    u = unit([1.0, 0.45, 0.1])
    result = ask(u, 1.0)
    assert result.limited
    assert result.scale == 1.0
    assert_allclose(result.field, 0.01 * u, atol=1e-6)
    assert_allclose(result.force, WEIGHT, atol=1e-9)
    assert np.abs(result.inputs).max() == pytest.approx(LIMITS.max_current[0], rel=1e-9)
    # The same with the power as the limit that is met.
    tight = limits_of(max_power=400.0)
    result = ask(u, 1.0, limits=tight)
    assert power(result.inputs, tight) == pytest.approx(400.0, rel=1e-9)
    assert_allclose(result.field, 0.01 * u, atol=1e-6)


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
    own = allocate(COILS, point, 0.01 * u, 5e-6 * u, MOMENT * u, LIMITS, Stiffness(u, 5e-4, UP))
    R = T[:3, :3]
    seen = allocate(
        PlacedField(COILS, T),
        R @ point + T[:3, 3],
        0.01 * R @ u,
        5e-6 * R @ u,
        MOMENT * R @ u,
        LIMITS,
        Stiffness(R @ u, 5e-4, R @ UP),
    )
    assert_allclose(seen.inputs, own.inputs, atol=1e-9)
    assert_allclose(seen.force, R @ own.force, atol=1e-15)


def test_at_the_border_the_stiffness_still_works():
    u = unit([1.0, 1.0, 0.0])
    point = COILS.workspace_radius * u
    stiffness = Stiffness(u, 1e-4, UP)
    result = allocate(COILS, point, 0.005 * u, moment=MOMENT * u, stiffness=stiffness)
    assert np.isfinite(result.inputs).all()
    with pytest.raises(OutOfWorkspaceError):
        allocate(COILS, 1.01 * point, 0.005 * u)


def test_parts_may_be_left_out():
    field_only = allocate(COILS, np.zeros(3), field=[0.0, 0.0, 0.01])
    assert field_only.force is None
    assert field_only.stiffness is None
    assert_allclose(field_only.field, [0.0, 0.0, 0.01], atol=1e-8)
    force_only = allocate(COILS, np.zeros(3), force=WEIGHT, moment=[MOMENT, 0.0, 0.0])
    assert_allclose(force_only.force, WEIGHT, atol=1e-10)


def test_no_moment_means_no_force_and_no_large_currents():
    """A device without a net moment: the field is made, the force stays zero, and is missed."""
    result = allocate(
        COILS, np.zeros(3), [0.01, 0.0, 0.0], WEIGHT, np.zeros(3), LIMITS,
        Stiffness(np.array([1.0, 0.0, 0.0]), 2e-3, UP),
    )  # fmt: skip
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
    axis = np.array([1.0, 0.0, 0.0])
    with pytest.raises(UserError, match="at least one"):
        allocate(COILS, np.zeros(3))
    with pytest.raises(UserError, match="moment"):
        allocate(COILS, np.zeros(3), force=WEIGHT)
    with pytest.raises(UserError, match="moment"):
        allocate(COILS, np.zeros(3), stiffness=Stiffness(axis, 1e-3, UP))
    for bad in (
        Stiffness(0 * axis, 1e-3, UP),
        Stiffness(axis, np.nan, UP),
        Stiffness(np.nan * axis, 1.0, UP),
        Stiffness(axis, 1e-3, np.nan * UP),
    ):
        with pytest.raises(UserError, match="stiffness"):
            allocate(COILS, np.zeros(3), [0.01, 0, 0], moment=MOMENT * axis, stiffness=bad)
