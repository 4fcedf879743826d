"""The well: forces, stiffness and limits, measured on the field model itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.control import well as module
from mmdtwin.control.well import TURNED, Well, WellMaker
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import CoilModel, PlacedField
from mmdtwin.geometry import transform, unit
from mmdtwin.safety import Limits
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics import CoilSystem, Magnet

MOMENT = 6.4e-5  # A m2, the navigating sheet
LIFT = np.array([0.0, 0.0, 2.4e-6])  # N, a third of its weight
UP = np.array([0.0, 0.0, 1.0])  # weight and floor hold the device there
PLACE = np.array([4e-3, -3e-3, 2e-3])
COILS = CoilSystem.load("octomag-like")

angles = st.floats(-np.pi, np.pi)


def limits_of(**changes: float) -> Limits:
    n = COILS.n_coils
    if "max_current" in changes:
        changes["max_current"] = np.full(n, changes["max_current"])
    return replace(COILS.config.limits, **changes)


def along(angle: float, rise: float = 0.0) -> np.ndarray:
    return unit([np.cos(angle), np.sin(angle), rise])


def ask(u: np.ndarray, stiffness: float = 1e-3, **changed) -> Well:
    wanted = {
        "point": PLACE, "hill": UP, "field": 15e-3, "force": LIFT, "limits": limits_of(),
    } | changed  # fmt: skip
    maker = WellMaker(COILS, wanted["point"], u, MOMENT, wanted["hill"])
    return maker.make(wanted["field"], wanted["force"], stiffness, wanted["limits"])


def forces(inputs: np.ndarray, places: np.ndarray, moment: np.ndarray) -> np.ndarray:
    _, gradient = COILS.field_and_gradient(places, inputs)
    return np.einsum("j,kji->ki", moment, gradient)


@settings(max_examples=60, deadline=None)
@given(angles, st.floats(-0.5, 0.5), st.floats(0, 0.02), angles)
def test_the_force_is_met_before_all_else(angle, rise, radius, at):
    """Along the well to 0.05 uN, a twentieth of friction on the floor; across to 0.5 uN."""
    u, point = along(angle, rise), radius * along(at)
    force = LIFT + 1.5e-6 * u
    well = ask(u, point=point, force=force)
    got = forces(well.inputs, point[None], MOMENT * u)[0]
    assert_allclose(well.force, got, atol=1e-12)
    assert abs((got - force) @ u) < 0.05e-6
    assert np.abs(got - force).max() < 0.5e-6
    field, _ = COILS.field_and_gradient(point[None], well.inputs)
    assert_allclose(well.field, field[0], atol=1e-12)
    assert np.abs(well.inputs).max() <= 20.0 * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(angles)
def test_the_field_points_along(angle):
    """To 10 degrees, and never so weak that the device turns freely: a third of what is asked."""
    u = along(angle)
    well = ask(u)
    assert well.field @ u > 5e-3
    assert np.degrees(np.arccos(unit(well.field) @ u)) < 10.0


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.0, -0.5])
def test_stiffness_is_the_slope_of_the_force(angle):
    """Moved 0.5 mm either way with the currents held, the force along the line falls as told.

    Third derivatives make 2 % of the stiffness of a few A at most.
    """
    u = along(angle)
    well = ask(u)
    step = 0.5e-3
    before, after = forces(well.inputs, PLACE + step * np.array([-u, u]), MOMENT * u) @ u
    assert well.stiffness == pytest.approx((before - after) / (2 * step), rel=0.02, abs=2e-6)


def test_more_well_asked_is_more_well():
    u = along(0.4)
    none, some, more = (ask(u, k).stiffness for k in (0.0, 0.5e-3, 1e-3))
    assert more > some > none
    assert more > 0.3e-3


def test_a_turned_device_is_pulled_little(monkeypatch):
    """What the weight on it is for: without it, the same well pulls a turned device harder."""

    def mean_pull() -> float:
        directions = [along(a) for a in np.linspace(0, np.pi, 12)]
        pulls = [
            forces(ask(u).inputs, PLACE[None], TURNED * MOMENT * np.cross(UP, u))
            for u in directions
        ]
        return float(np.mean([np.linalg.norm(pull) for pull in pulls]))

    with_weight = mean_pull()
    monkeypatch.setattr(module, "TURNED_WEIGHT", 0.0)
    assert with_weight < 0.7 * mean_pull()


def test_limits_are_kept():
    u = along(0.4)
    low = limits_of(max_current=2.0)
    assert np.abs(ask(u, limits=low).inputs).max() <= 2.0 * (1 + 1e-9)
    weak = limits_of(max_power=20.0)
    inputs = ask(u, limits=weak).inputs
    assert np.sum(weak.resistance * inputs**2) <= 20.0 * (1 + 1e-9)


def test_any_field_model_is_served():
    """A system seen from another frame gives the currents of the same task in its own frame."""
    T = transform(Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix(), [1e-3, -2e-3, 0.5e-3])
    R, u = T[:3, :3], along(0.8, 0.2)
    maker = WellMaker(PlacedField(COILS, T), R @ PLACE + T[:3, 3], R @ u, MOMENT, R @ UP)
    seen = maker.make(15e-3, R @ LIFT, 1e-3, limits_of())
    assert_allclose(seen.inputs, ask(u).inputs, atol=1e-6)


def test_at_the_border_it_still_works():
    u = along(0.8)
    assert np.isfinite(ask(u, point=COILS.workspace_radius * u).inputs).all()
    with pytest.raises(OutOfWorkspaceError):
        ask(u, point=1.01 * COILS.workspace_radius * u)


class Soft(CoilModel):
    """`octomag-like` with cores whose knees lie at 3 A."""

    saturation = Saturation.of(np.full(8, 3.0), np.full(8, 0.8), ["tanh"] * 8)
    workspace_radius = COILS.workspace_radius

    def unit_field(self, points):
        return COILS.unit_field(points)

    def unit_gradient(self, points):
        return COILS.unit_gradient(points)


@settings(max_examples=20, deadline=None)
@given(angles, st.floats(3.0, 20.0), st.floats(20.0, 5000.0))
def test_coils_that_saturate_are_driven_harder(angle, max_current, max_power):
    """The same well where limits allow it; what is reported is what the field model says."""
    u, limits = along(angle), limits_of(max_current=max_current, max_power=max_power)
    well = WellMaker(Soft(), PLACE, u, MOMENT, UP).make(15e-3, LIFT, 1e-3, limits)
    field, gradient = Soft().field_and_gradient(PLACE[None], well.inputs)
    assert_allclose(well.field, field[0], atol=1e-12)
    assert_allclose(well.force, gradient[0].T @ (MOMENT * u), atol=1e-12)
    assert np.abs(well.inputs).max() <= max_current * (1 + 1e-12)
    assert np.sum(limits.resistance * well.inputs**2) <= max_power * (1 + 1e-9)
    linear = ask(u, limits=limits)
    effective = Soft().saturation.effective(limits.max_current)
    if np.abs(linear.inputs).max() < 0.99 * effective[0] and max_power > 4000:
        assert_allclose(well.field, linear.field, atol=1e-6)
        assert np.abs(well.inputs).max() > np.abs(linear.inputs).max()


def test_a_magnet_is_refused():
    with pytest.raises(UserError, match="a well needs coils"):
        WellMaker(Magnet.load("cube-50mm"), PLACE, along(0.4), MOMENT, UP)


@pytest.mark.parametrize(
    "changed",
    [
        {"point": [0.0, np.nan, 0.0]},
        {"force": [0.0, 0.0]},
        {"hill": [np.inf, 0.0, 0.0]},
        {"field": np.nan},
        {"stiffness": np.inf},
    ],
)
def test_bad_arguments_are_refused_by_name(changed):
    with pytest.raises(UserError, match=next(iter(changed))):
        ask(along(0.4), **changed)


def test_no_direction_is_refused():
    with pytest.raises(UserError, match="direction"):
        ask(np.zeros(3))
