"""The well: forces, stiffness and limits, measured on the field model itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.control.well import TURNED, make_well
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import PlacedField
from mmdtwin.geometry import transform, unit
from mmdtwin.safety import Limits
from mmdtwin.sim.magnetics import CoilSystem

MOMENT = 6.4e-5  # A m2, the navigating sheet
LIFT = np.array([0.0, 0.0, 2.4e-6])  # N, a third of its weight
UP = np.array([0.0, 0.0, 1.0])  # weight and floor hold the device there
PLACE = np.array([4e-3, -3e-3, 2e-3])
COILS = CoilSystem.load("octomag-like")

angles = st.floats(-np.pi, np.pi)


def limits_of(max_current: float = 20.0, max_power: float = 5000.0) -> Limits:
    config, n = COILS.config, COILS.n_coils
    return Limits(
        max_current=np.full(n, max_current),
        max_power=max_power,
        max_slew=np.full(n, config.max_slew),
        resistance=np.array([coil.resistance for coil in config.coils]),
        max_temperature=config.max_temperature,
    )


def along(angle: float, rise: float = 0.0) -> np.ndarray:
    return unit([np.cos(angle), np.sin(angle), rise])


def ask(u: np.ndarray, stiffness: float = 1e-3, **changed):
    wanted = {"field": 15e-3, "force": LIFT, "hill": UP, "limits": limits_of()} | changed
    point = wanted.pop("point", PLACE)
    return make_well(COILS, point, u, MOMENT, stiffness=stiffness, **wanted)


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


def test_a_turned_device_is_pulled_little():
    """What the weight on it is for: without it, the same well pulls a turned device harder."""
    from mmdtwin.control import well as module

    def pull(u):
        inputs = ask(u).inputs
        across = np.cross(UP, u)
        return np.linalg.norm(forces(inputs, PLACE[None], TURNED * MOMENT * across))

    directions = [along(a) for a in np.linspace(0, np.pi, 12)]
    with_weight = np.mean([pull(u) for u in directions])
    kept, module.TURNED_WEIGHT = module.TURNED_WEIGHT, 0.0
    try:
        without = np.mean([pull(u) for u in directions])
    finally:
        module.TURNED_WEIGHT = kept
    assert with_weight < 0.7 * without


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
    seen = make_well(
        PlacedField(COILS, T), R @ PLACE + T[:3, 3], R @ u, MOMENT,
        field=15e-3, force=R @ LIFT, stiffness=1e-3, hill=R @ UP, limits=limits_of(),
    )  # fmt: skip
    assert_allclose(seen.inputs, ask(u).inputs, atol=1e-6)


def test_at_the_border_it_still_works():
    u = along(0.8)
    assert np.isfinite(ask(u, point=COILS.workspace_radius * u).inputs).all()
    with pytest.raises(OutOfWorkspaceError):
        ask(u, point=1.01 * COILS.workspace_radius * u)


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
