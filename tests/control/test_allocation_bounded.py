"""Limits are never exceeded; the bounded path is exact, reaches furthest, and costs least."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog, lsq_linear, minimize

from mmdtwin.actuation import CoilCurrents
from mmdtwin.control import allocate
from mmdtwin.control.allocation import FIELD_UNIT, FORCE_UNIT
from mmdtwin.control.allocation.problem import DAMPING
from mmdtwin.control.allocation.ray import PUSH
from mmdtwin.errors import UserError
from mmdtwin.field import CoilModel
from mmdtwin.geometry import unit
from mmdtwin.safety import GateState, Limits, gate
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics import CoilSystem

MOMENT = 6.4e-5  # A m2, the navigating sheet
COILS = CoilSystem.load("octomag-like")


class Cored(CoilModel):
    """`octomag-like` with cores that saturate."""

    def __init__(self, saturation: Saturation) -> None:
        self._law = saturation

    @property
    def saturation(self) -> Saturation:
        return self._law

    @property
    def workspace_radius(self) -> float:
        return COILS.workspace_radius

    def unit_field(self, points):
        return COILS.unit_field(points)

    def unit_gradient(self, points):
        return COILS.unit_gradient(points)


# Knees well below the current limit of 20 A, both laws, unequal shares.
SOFT = Cored(
    Saturation.of([4, 5, 6, 8, 10, 4, 5, 6], np.linspace(0.5, 0.8, 8), ["tanh", "erf"] * 4)
)
models = st.sampled_from([COILS, SOFT])
methods = st.sampled_from(["fast", "bounded"])
directions = st.builds(
    lambda z, a: np.array([np.cos(a) * (1 - z * z) ** 0.5, np.sin(a) * (1 - z * z) ** 0.5, z]),
    st.floats(-1, 1),
    st.floats(0, 6.3),
)
points = st.builds(lambda u, r: r * u, directions, st.floats(0, 0.025))
parts = st.tuples(*[st.floats(-1, 1)] * 8).map(np.array)  # of what a coil can hold


def limits_of(**changes) -> Limits:
    per_coil = {
        name: np.broadcast_to(value, 8) * (1.0 if name != "max_power" else value)
        for name, value in changes.items()
        if name != "max_power"
    }
    return replace(COILS.config.limits, **{**changes, **per_coil})


LIMITS = limits_of()
# Each of the four kinds of limit decides in some of these; the coils' resistances differ.
limits_drawn = st.builds(
    limits_of,
    max_current=st.floats(0.5, 20),
    max_voltage=st.floats(2, 120),
    max_power=st.floats(1, 5000),
    max_slew=st.floats(1, 800),
    resistance=st.tuples(*[st.floats(0.5, 5)] * 8).map(np.array),
)


def power(currents, limits=LIMITS) -> float:
    return float(np.sum(limits.resistance * currents**2))


def held(part, limits):
    """Currents within the limits of current, voltage and power."""
    values = part * np.minimum(limits.max_current, limits.max_voltage / limits.resistance)
    return values * min(1.0, np.sqrt(limits.max_power / max(power(values, limits), 1e-9)))


def wrench(model, point, currents, moment):
    """Field (3,) T and force (3,) N on a moment, as the field model says."""
    field, gradient = model.field_and_gradient(point[None], currents)
    return field[0], gradient[0].T @ moment


def matrix_of(point, moment):
    """What an effective ampere makes of field and force, in 1 mT and 1 uN: (6, 8)."""
    field, gradient = COILS.units(point[None])
    force = np.einsum("i,cij->jc", moment, gradient[0])
    return np.vstack([field[0].T / FIELD_UNIT, force / FORCE_UNIT])


def assert_within(currents, limits, previous=None, dt=None):
    """Every limit to 1e-9 of itself."""
    room = 1 + 1e-9
    assert (np.abs(currents) <= limits.max_current * room).all()
    assert (np.abs(limits.resistance * currents) <= limits.max_voltage * room).all()
    assert power(currents, limits) <= limits.max_power * room
    if previous is not None:
        step = currents - previous
        assert (np.abs(step) <= limits.max_slew * dt * room + 1e-12).all()
        voltage = limits.inductance * step / dt + limits.resistance * currents
        assert (np.abs(voltage) <= limits.max_voltage * room + 1e-9).all()


@settings(max_examples=120, deadline=None)
@given(
    models, methods, st.sampled_from(["power", "change"]), limits_drawn, points, directions,
    directions, st.floats(0, 0.06), st.floats(0, 60e-6), parts, st.floats(1e-4, 0.1),
)  # fmt: skip
def test_no_limit_is_exceeded(model, method, minimise, limits, point, u, v, field, force, part, dt):
    """Current, voltage, power and slew, from any currents in force, whatever is asked.

    The gate, which knows nothing of the field, lets the result pass (to its rounding).
    """
    previous = held(part, limits)
    if method == "fast":
        minimise = "power"
    result = allocate(
        model, point, field * u, force * v, MOMENT * u, limits,
        method=method, minimise=minimise, previous=previous, dt=dt,
    )  # fmt: skip
    assert_within(result.inputs, limits, previous, dt)
    sent, _, _ = gate(
        CoilCurrents(result.inputs, seq=1), GateState(previous, 0.0, armed=True), limits, dt
    )
    assert_allclose(sent.values, result.inputs, rtol=1e-8, atol=1e-9)
    if result.limited:
        assert result.binding
    without = allocate(model, point, field * u, force * v, MOMENT * u, limits, method=method)
    assert_within(without.inputs, limits)
    if field > 1e-3 and method == "bounded":
        assert without.direction_error < 1e-8


@settings(max_examples=80, deadline=None)
@given(models, limits_drawn, points, directions, parts)
def test_what_limits_allow_is_met_exactly(model, limits, point, u, part):
    """Field and force that some currents within the limits make: to 1e-9, and at no more power."""
    some = 0.999 * held(part, limits)
    field, force = wrench(model, point, some, MOMENT * u)
    result = allocate(model, point, field, force, MOMENT * u, limits, method="bounded")
    assert result.scale == 1.0
    assert not result.limited
    assert result.bias == 0.0
    assert result.residual < 1e-7  # bounds are kept to 1e-10 sqrt(W); some 10 uN/A
    assert_allclose(wrench(model, point, result.inputs, MOMENT * u)[0], field, atol=1e-10)
    assert power(result.inputs, limits) <= power(some, limits) * (1 + 1e-6) + 1e-9


@settings(max_examples=60, deadline=None)
@example(  # the largest part is one point, which rounding hides, and takes too much power
    limits_of(max_current=1.0, max_voltage=3.0, max_power=4.0,
              resistance=np.array([3.0, 5, 5, 1, 1, 1, 1, 1])),
    np.array([0, 0, 0.015625]), np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), 0.25,
)  # fmt: skip
@given(limits_drawn, points, directions, directions, st.floats(0.02, 0.3))
def test_the_largest_part_is_made(limits, point, u, v, field):
    """As large as linear programming finds within the currents' bounds, where power allows it.

    Less by at most 1 / (2 PUSH) of the longest x = sqrt(R) i in the box, over that of the target.
    """
    target = np.concatenate([field * u / FIELD_UNIT, 30e-6 * v / FORCE_UNIT])
    matrix = matrix_of(point, MOMENT * u)
    bound = np.minimum(limits.max_current, limits.max_voltage / limits.resistance)
    reference = linprog(
        np.append(np.zeros(8), -1.0),
        A_eq=np.column_stack([matrix, -target]), b_eq=np.zeros(6),
        bounds=[*zip(-bound, bound, strict=True), (0, 1)],
    )  # fmt: skip
    result = allocate(
        COILS, point, field * u, 30e-6 * v, MOMENT * u, limits, method="bounded"
    )  # fmt: skip
    assert_allclose(matrix @ result.inputs, result.scale * target, atol=1e-7)
    fast = allocate(COILS, point, field * u, 30e-6 * v, MOMENT * u, limits)
    root = np.sqrt(limits.resistance)
    whole = np.linalg.norm(np.linalg.lstsq(matrix / root, target)[0])
    less = np.linalg.norm(root * bound) / (2 * PUSH) / whole
    room = 1e-6 * reference.x[-1]  # linprog keeps bounds to 1e-7
    assert result.scale >= fast.scale - less - room
    assert result.scale <= reference.x[-1] + room
    if "power" not in result.binding:
        assert result.scale >= reference.x[-1] - less - room


def test_a_solver_that_cycles_is_helped(monkeypatch):
    """Where coils can exchange amperes for 1e-6 of the field, a large push hides a bound."""
    monkeypatch.setattr("mmdtwin.control.allocation.ray.PUSH", 1e6)
    limits, u = limits_of(max_current=1.0, resistance=1.0), np.array([-5.503712e-7, -4.7226e-7, 1])
    for field in (0.025, 0.25):
        result = allocate(
            COILS, np.zeros(3), field * u, [0, 0, 3e-5], MOMENT * u, limits, method="bounded"
        )
        assert 0.0 < result.scale < 1.0
        assert result.direction_error < 1e-9
        assert_within(result.inputs, limits)


def test_power_is_kept_where_the_solver_jumps(monkeypatch):
    """As above, at and near places of symmetry, where power binds as well."""
    monkeypatch.setattr("mmdtwin.control.allocation.ray.PUSH", 1e6)
    rng, axes = np.random.default_rng(0), np.eye(3)
    for _ in range(600):
        limits = limits_of(
            max_current=float(rng.integers(1, 5)), max_power=rng.choice([4.0, 50.0]), resistance=1.0
        )
        point = axes[rng.integers(3)] * rng.choice([0.0, 10.0 ** rng.uniform(-9, -2)])
        u = unit(axes[rng.integers(3)] + 10.0 ** rng.uniform(-9, -1) * rng.normal(size=3))
        result = allocate(
            COILS, point, 0.25 * u, 3e-5 * axes[rng.integers(3)], MOMENT * u, limits,
            method="bounded",
        )  # fmt: skip
        assert_within(result.inputs, limits)


@pytest.mark.parametrize("model", [COILS, SOFT])
def test_with_power_and_current_binding_no_more_can_be_had(model):
    """A general solver (SLSQP) with the scale as an unknown finds the same, to its tolerance."""
    u, moment = unit([1.0, 2.0, -1.0]), MOMENT * unit([1.0, 2.0, -1.0])
    point, field, force = np.array([5e-3, -8e-3, 3e-3]), 0.04 * u, np.array([0, 0, 25e-6])
    limits = limits_of(max_current=5.0, max_power=200.0)
    result = allocate(model, point, field, force, moment, limits, method="bounded")
    assert "power" in result.binding
    assert any(name.startswith("current") for name in result.binding)
    matrix, law = matrix_of(point, moment), model.saturation
    target = np.concatenate([field / FIELD_UNIT, force / FORCE_UNIT])
    reference = minimize(
        lambda y: -y[8], np.append(0.5 * result.inputs, 0.5 * result.scale),
        bounds=[(-5.0, 5.0)] * 8 + [(0.0, 1.0)],
        constraints=[
            {"type": "eq", "fun": lambda y: matrix @ law.effective(y[:8]) - y[8] * target},
            {"type": "ineq", "fun": lambda y: 1.0 - power(y[:8]) / 200.0},
        ],
        options={"maxiter": 500, "ftol": 1e-12},
    )  # fmt: skip
    assert reference.success
    assert result.scale == pytest.approx(reference.x[8], rel=1e-6)


@pytest.mark.parametrize("model", [COILS, SOFT])
def test_least_power_among_the_solutions(model):
    """True power, of saturating coils too: no exchange of 0.01 A that changes nothing saves any."""
    u, point = unit([0.2, -1.0, 0.5]), np.array([5e-3, 0.0, 8e-3])
    result = allocate(model, point, 0.025 * u, [0, 0, 2e-5], MOMENT * u, LIMITS, method="bounded")
    assert result.scale == 1.0
    law = model.saturation
    for free in np.linalg.svd(matrix_of(point, MOMENT * u))[2][6:]:
        for step in (0.01, -0.01):
            other = law.inverse(law.effective(result.inputs) + step * free)
            assert power(other) > power(result.inputs)


def test_coils_that_saturate_are_relieved():
    """Beyond the knees, sharing the load for true power saves some against sharing it as if
    linear, which is what the fast path does."""
    u = unit([1.0, 0.2, 0.1])
    ask = {"field": 0.04 * u, "force": [0, 0, 2e-5], "moment": MOMENT * u, "limits": LIMITS}
    fast = allocate(SOFT, np.zeros(3), **ask)
    least = allocate(SOFT, np.zeros(3), method="bounded", **ask)
    assert fast.scale == least.scale == 1.0
    assert power(least.inputs) < 0.99 * power(fast.inputs)
    assert_allclose(least.field, fast.field, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(models, st.floats(3.0, 200.0), points, directions, parts, parts)
def test_change_is_traded_for_power(model, max_power, point, u, part, before):
    """Both make the same; one is nearer to the currents before, the other takes less power."""
    limits = limits_of(max_power=max_power)
    some, previous = 0.9 * held(part, limits), held(before, limits)
    field, force = wrench(model, point, some, MOMENT * u)
    ask = {"field": field, "force": force, "moment": MOMENT * u, "limits": limits}
    least = allocate(model, point, method="bounded", **ask)
    near = allocate(model, point, method="bounded", minimise="change", previous=previous, **ask)
    assert near.scale == least.scale == 1.0
    assert_allclose(near.field, least.field, atol=1e-10)
    assert_within(near.inputs, limits)
    assert power(least.inputs) <= power(near.inputs) + 1e-6
    if model is COILS:
        step = power(near.inputs - previous)
        assert step <= power(least.inputs - previous) + 1e-6
        if "power" not in near.binding:
            assert step <= power(some - previous) + 1e-6
    assert_allclose(
        allocate(
            model, point, method="bounded", minimise="change", previous=some, **ask
        ).inputs, some, atol=1e-5,
    )  # fmt: skip


def test_slew_and_voltage_bind_by_name():
    u = np.array([0.0, 0.0, 1.0])
    for limits, word in (
        (limits_of(max_slew=50.0), "slew"),
        (limits_of(inductance=1.0), "voltage"),
    ):
        result = allocate(
            COILS, np.zeros(3), 0.02 * u, limits=limits,
            method="bounded", previous=np.zeros(8), dt=0.01,
        )  # fmt: skip
        assert 0.0 < result.scale < 1.0
        assert result.binding
        assert all(name.startswith(f"{word} of coil ") for name in result.binding)
        assert result.direction_error < 1e-12


@settings(max_examples=60, deadline=None)
@given(methods, points, directions, directions, parts)
def test_where_the_direction_is_out_of_reach_the_nearest_is_made(method, point, u, v, part):
    """As near as scipy's bounded least squares, damped alike; the turn is reported."""
    limits = limits_of(max_slew=100.0, max_power=1e6, max_current=20.0)
    previous, dt = 10.0 * part, 0.01
    low, high = previous - 1.0, previous + 1.0
    assume(((low > 1e-3) | (high < -1e-3)).any())
    result = allocate(
        COILS, point, 0.01 * u, 1e-5 * v, MOMENT * u, limits,
        method=method, previous=previous, dt=dt,
    )  # fmt: skip
    assume("slew" in " ".join(result.binding) and result.direction_error > 1e-6)
    matrix, scaled = matrix_of(point, MOMENT * u), np.sqrt(limits.resistance)
    target = np.concatenate([0.01 * u / FIELD_UNIT, 1e-5 * v / FORCE_UNIT])
    damping = DAMPING * np.linalg.svd(matrix / scaled)[1][0]
    reference = lsq_linear(
        np.vstack([matrix, damping * np.diag(scaled)]), np.append(target, np.zeros(8)),
        (low, high), method="bvls",
    )  # fmt: skip
    miss = np.linalg.norm(matrix @ reference.x - target)
    assert result.residual == pytest.approx(miss, rel=1e-5, abs=1e-6)
    got = wrench(COILS, point, result.inputs, MOMENT * u)[0]
    angle = np.arctan2(np.linalg.norm(np.cross(u, got)), u @ got)
    assert result.direction_error == pytest.approx(angle, abs=1e-9)
    assert result.limited


def test_the_nearest_keeps_the_power():
    """From currents at the limit of power the way to others leads along it."""
    limits = limits_of(max_power=800.0, max_slew=100.0)
    previous = held(np.array([1.0, -1, 1, -1, 1, -1, 1, -1]), limits)
    for method in ("fast", "bounded"):
        result = allocate(
            COILS, np.zeros(3), [0, 0, 0.2], limits=limits,
            method=method, previous=previous, dt=0.01,
        )  # fmt: skip
        assert "power" in result.binding
        assert result.limited
        assert result.direction_error > 0.0
        assert_within(result.inputs, limits, previous, 0.01)


def test_currents_in_force_far_outside_the_limits_are_refused():
    ask = {"field": [0, 0, 0.01], "dt": 1e-3}
    with pytest.raises(UserError, match="coil 2 cannot come from previous, 30 A"):
        allocate(COILS, np.zeros(3), limits=LIMITS, previous=[0, 0, 30.0, 0, 0, 0, 0, 0], **ask)
    hot = limits_of(max_power=500.0)
    for method in ("fast", "bounded"):
        with pytest.raises(UserError, match=r"least power within reach of previous is \d+ W"):
            allocate(
                COILS, np.zeros(3), limits=hot, previous=np.full(8, 15.0), method=method, **ask
            )


def test_a_core_that_cannot_make_it_is_refused():
    """All of the field is the core's, and no limits are given: 8 mT per coil is the end."""
    hard = Cored(Saturation.of(np.full(8, 3.0), np.ones(8), ["tanh"] * 8))
    assert allocate(hard, np.zeros(3), [0, 0, 0.005]).scale == 1.0
    with pytest.raises(UserError, match="saturates before"):
        allocate(hard, np.zeros(3), [0, 0, 0.5])
    result = allocate(hard, np.zeros(3), [0, 0, 0.5], limits=LIMITS, method="bounded")
    assert result.scale < 0.2
    assert result.direction_error < 1e-8
