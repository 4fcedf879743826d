"""Calibration: hidden coil systems are found from noisy readings.

The reference is the hidden system itself, without noise, at points and currents of their own.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import OutOfWorkspaceError
from mmdtwin.sim.magnetics.calibration.calibrate import calibrate
from mmdtwin.sim.magnetics.calibration.report import calibration_of, covered_radius
from mmdtwin.sim.magnetics.calibration.robust import Problem, State, huber, tukey
from mmdtwin.sim.magnetics.calibration.study import Hidden, HiddenSystem, study
from mmdtwin.sim.magnetics.calibration.terms import Drawn, Harmonics


@pytest.fixture(scope="module")
def navion():
    return load(CoilsConfig, "coils", "navion-like")


@pytest.fixture(scope="module")
def fitted(navion):
    """What is fitted to a drawing with harmonics."""
    return calibrate(HiddenSystem(navion, Hidden(samples=150), seed=7).measure()[0], navion)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("octomag-like", Hidden()),
        ("navion-like", Hidden(knee=0.5, law="erf", shift=2e-3, tilt=np.deg2rad(2.0))),
    ],
)
def test_hidden_system_is_found(name, hidden):
    """500 readings with 0.2 mT noise per axis, 1 % outliers, sensor off by 1 mm and 1 deg.

    The vector's rms error where the sensor stands is asked to be at most 0.5 mT; of eight coils
    some 90 of 280 unknowns are determined by 1500 numbers, so that 0.2 mT sqrt(3) sqrt(90 / 1500)
    = 0.08 mT is to be expected, and less of three. The coils' own frame cannot be
    known better than the sensor was placed. Held out against noisy readings, noise and error add
    in squares.
    """
    outcome, fitted = study(load(CoilsConfig, "coils", name), hidden, seed=3)
    assert outcome.sensor_frame < 0.15e-3
    assert outcome.sensor_frame < outcome.true_frame < 3e-3 < outcome.nominal
    expected = np.hypot(hidden.noise * np.sqrt(3), outcome.sensor_frame)
    assert outcome.cross_validated == pytest.approx(expected, rel=0.1)
    assert (outcome.outliers_found, outcome.false_outliers) == (outcome.outliers_made, 0)
    assert fitted.problem.noise == pytest.approx(hidden.noise, rel=0.1)
    assert fitted.state.saturating.all()


def test_without_a_drawing(navion):
    """Harmonics alone, of a degree that cross-validation chose, keep 0.5 mT with 120 readings.

    Those of degree 5 have 35 unknowns a coil: 0.2 mT sqrt(3) sqrt(105 / 360) = 0.19 mT, and what
    higher degrees hold. Fits to 96 of 120 readings are worse than the one to all, so the
    cross-validated error is on the safe side of the true one.
    """
    outcome, fitted = study(navion, Hidden(samples=120), seed=2, drawn=False)
    assert outcome.sensor_frame < 0.4e-3
    assert outcome.cross_validated > 0.9 * np.hypot(0.2e-3 * np.sqrt(3), outcome.sensor_frame)
    assert 3 <= fitted.family.degree <= 8  # the nearest winding is three workspace radii away
    assert fitted.nominal is None


def test_linear_coils_are_called_linear(navion):
    """No knee is reported where readings do not show one."""
    samples, _ = HiddenSystem(navion, Hidden(knee=1e3, samples=100), seed=2).measure()
    fitted = calibrate(samples, navion)
    assert not fitted.state.saturating.any()
    assert fitted.state.saturation.linear


def test_position_offset_against_the_drawing(navion):
    """Coils that lie as drawn tell where the sensor is: 1 mm, within four standard errors.

    Navion's gradients are some 0.5 T/m at half current: 0.2 mT over sqrt(150) readings is 0.03 mm
    for each, more where they are weak.
    """
    hidden = Hidden(shift=0.0, tilt=0.0, samples=150)
    system = HiddenSystem(navion, hidden, seed=4)
    fitted = calibrate(system.measure()[0], navion, rigid=True)
    figures = calibration_of(fitted).record.figures["sensor"]["position_offset"]
    error = np.array(figures["value"]) - system.offset
    assert (np.abs(error) < 4 * np.array(figures["error"])).all()
    assert max(figures["error"]) < 0.15e-3
    turn = Rotation.from_matrix(system.rotation).as_rotvec()
    assert np.abs(fitted.state.rotation_vector - turn).max() < np.deg2rad(0.1)


def test_position_offset_is_degenerate_with_harmonics(fitted):
    """A moved harmonic field is a harmonic field of the same degree, so no offset is reported."""
    rng = np.random.default_rng(0)
    harmonics, points = Harmonics(0.03, 5), rng.normal(size=(200, 3)) * 0.01
    moved = np.einsum("nhj,h->nj", harmonics.fields(points + 1e-3), rng.normal(size=35))
    design = harmonics.fields(points).swapaxes(1, 2).reshape(600, -1)
    found, *_ = np.linalg.lstsq(design, moved.ravel(), rcond=None)
    assert np.abs(design @ found - moved.ravel()).max() < 1e-12 * np.abs(moved).max()

    calibration = calibration_of(fitted)
    figures = calibration.record.figures["sensor"]["position_offset"]
    assert figures["value"] is None and "harmonic" in figures["from"]
    assert calibration.record.sensor.position_offset is None


def test_jacobian_is_the_derivative_of_the_prediction(navion):
    """Central differences, relative step 1e-6: 1e-6 of the column's largest entry."""
    rng = np.random.default_rng(1)
    points, currents = rng.normal(size=(20, 3)) * 0.01, rng.uniform(-20, 20, (20, 3))
    for family in (Drawn(navion, 2), Drawn(navion, 0, rigid=True)):
        parameters = 1e-3 * rng.normal(size=(3, family.n_modes))
        terms = family.terms(points, parameters, np.zeros(3))
        state = State(
            parameters=parameters,
            log_knee=np.log([15.0, 20.0, 25.0]),
            logit_share=np.array([0.5, 1.0, 1.5]),
            laws=("tanh", "erf", "tanh"),
            saturating=np.array([True, True, False]),
            rotation=Rotation.from_rotvec([0.1, -0.2, 0.3]).as_matrix(),
            bias=rng.normal(size=3) * 1e-3,
            offset=rng.normal(size=3) * 1e-3,
        )
        problem = Problem(terms, currents, np.zeros((20, 3)), np.zeros((2, 3)), np.ones(5), 1e-3)
        jacobian = problem.jacobian(state)
        for k in range(jacobian.shape[1]):
            step = np.zeros(jacobian.shape[1])
            step[k] = 1e-6
            sides = [problem.predicted(state.changed(sign * step)) for sign in (1, -1)]
            difference = (sides[0] - sides[1]).ravel() / 2e-6
            size = max(np.abs(difference).max(), np.abs(jacobian).max() * 1e-6)
            assert np.abs(jacobian[:, k] - difference).max() < 1e-6 * size + 1e-9


def test_weights_are_the_slope_of_the_costs():
    """For reweighted least squares, weight = d cost / d (distance^2)."""
    squares = np.linspace(0.01, 80, 400)
    for weigh in (huber, tukey):
        slope = (weigh(squares + 1e-6)[0] - weigh(squares - 1e-6)[0]) / 2e-6
        assert np.abs(slope - weigh(squares)[1]).max() < 1e-4
    assert tukey(np.array([50.0]))[1] == 0.0


def test_free_harmonics_take_what_the_drawing_lacks(navion):
    """A uniform field of 2 mT at 20 A beside each coil, say of iron, does not spoil the fit."""
    system = HiddenSystem(navion, Hidden(samples=120), seed=6)
    samples, _ = system.measure()
    stray = samples.currents @ np.array([[1e-4, 0, 0], [0, 1e-4, 0], [0, 0, -1e-4]])
    fitted = calibrate(replace(samples, fields=samples.fields + stray @ system.rotation.T), navion)
    residuals = fitted.held_out[~fitted.outliers]
    assert np.sqrt(np.mean(np.sum(residuals**2, axis=1))) < 0.5e-3


def test_covered_radius(navion, fitted):
    """At most 1.05 of the furthest sample, 1.25 of the ball in the hull, and the workspace."""
    samples = fitted.samples
    furthest = np.linalg.norm(samples.positions, axis=1).max()
    assert 0.8 * furthest < covered_radius(fitted) <= 1.05 * furthest
    assert covered_radius(fitted) <= navion.workspace_radius
    half = replace(fitted, samples=replace(samples, positions=samples.positions / 2))
    assert covered_radius(half) == pytest.approx(covered_radius(fitted) / 2, rel=0.1)
    model = calibration_of(fitted).model
    with pytest.raises(OutOfWorkspaceError):
        model.unit_field([[1.001 * model.workspace_radius, 0, 0]])
