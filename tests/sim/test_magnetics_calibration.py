"""Calibration: hidden coil systems are found from noisy readings, and bad readings are refused.

The reference is the hidden system itself, without noise, at points and currents of their own.
"""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError, OutOfWorkspaceError, UserError
from mmdtwin.geometry import transform
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics.calibration.calibrate import calibrate
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel, Region, Sources
from mmdtwin.sim.magnetics.calibration.records import (
    DataRecord,
    HarmonicRecord,
    MultipoleRecord,
    SaturationRecord,
    SensorRecord,
)
from mmdtwin.sim.magnetics.calibration.report import calibration_of, covered_radius
from mmdtwin.sim.magnetics.calibration.robust import Problem, State, huber, tukey
from mmdtwin.sim.magnetics.calibration.samples import Samples, check, read_fiducials, read_samples
from mmdtwin.sim.magnetics.calibration.study import Hidden, HiddenSystem, study
from mmdtwin.sim.magnetics.calibration.terms import Drawn, Harmonics


@pytest.fixture(scope="module")
def octomag():
    return load(CoilsConfig, "coils", "octomag-like")


@pytest.fixture(scope="module")
def navion():
    return load(CoilsConfig, "coils", "navion-like")


@pytest.mark.parametrize(
    "hidden", [Hidden(), Hidden(knee=0.5, law="erf", shift=2e-3, tilt=np.deg2rad(2.0))]
)
def test_hidden_system_is_found(octomag, hidden):
    """500 readings with 0.2 mT noise per axis, 1 % outliers, sensor off by 1 mm and 1 deg.

    The vector's rms error where the sensor stands is asked to be at most 0.5 mT; some 90 of 280
    unknowns are determined by 1500 numbers, so that 0.2 mT sqrt(3) sqrt(90 / 1500) = 0.08 mT is
    to be expected. The coils' own frame cannot be known better than the sensor was placed. Held
    out against noisy readings, noise and error add in squares.
    """
    outcome, fitted = study(octomag, hidden, seed=3)
    assert outcome.sensor_frame < 0.15e-3
    assert outcome.sensor_frame < outcome.true_frame < 3e-3 < outcome.nominal
    expected = np.hypot(hidden.noise * np.sqrt(3), outcome.sensor_frame)
    assert outcome.cross_validated == pytest.approx(expected, rel=0.1)
    assert (outcome.outliers_found, outcome.false_outliers) == (outcome.outliers_made, 0)
    assert fitted.problem.noise == pytest.approx(hidden.noise, rel=0.1)
    assert fitted.state.saturating.all()


def test_without_a_drawing(navion):
    """Harmonics alone, of a degree that cross-validation chose, reach the same bound."""
    outcome, fitted = study(navion, Hidden(samples=300), seed=1, drawn=False)
    assert outcome.sensor_frame < 0.3e-3
    assert 3 <= fitted.family.degree <= 8  # the nearest winding is three workspace radii away
    assert fitted.nominal is None


def test_linear_coils_are_called_linear(navion):
    """No knee is reported where readings do not show one."""
    _, fitted = study(navion, Hidden(knee=1e3, samples=150), seed=2)
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


def test_position_offset_is_degenerate_with_harmonics(navion):
    """A moved harmonic field is a harmonic field of the same degree, so no offset is reported."""
    rng = np.random.default_rng(0)
    harmonics, points = Harmonics(0.03, 5), rng.normal(size=(200, 3)) * 0.01
    moved = np.einsum("nhj,h->nj", harmonics.fields(points + 1e-3), rng.normal(size=35))
    design = harmonics.fields(points).swapaxes(1, 2).reshape(600, -1)
    found, *_ = np.linalg.lstsq(design, moved.ravel(), rcond=None)
    assert np.abs(design @ found - moved.ravel()).max() < 1e-12 * np.abs(moved).max()

    samples, _ = HiddenSystem(navion, Hidden(samples=150), seed=5).measure()
    calibration = calibration_of(calibrate(samples, navion))
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
    system = HiddenSystem(navion, Hidden(samples=200), seed=6)
    samples, _ = system.measure()
    stray = samples.currents @ np.array([[1e-4, 0, 0], [0, 1e-4, 0], [0, 0, -1e-4]])
    fitted = calibrate(replace(samples, fields=samples.fields + stray @ system.rotation.T), navion)
    residuals = fitted.held_out[~fitted.outliers]
    assert np.sqrt(np.mean(np.sum(residuals**2, axis=1))) < 0.5e-3


def scattered(n, c, seed=0):
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(n, 3)) * 1e-2
    return Samples(rng.normal(size=(n, 3)) * 0.01, rng.uniform(-10, 10, (n, c)), fields)


def test_too_few_samples(octomag):
    """8 coils with 10 unknowns each and 6 of the sensor, twice over: 172 numbers, 58 rows."""
    with pytest.raises(UserError, match=r"57 samples are too few for 8 coils; at least 58"):
        calibrate(scattered(57, 8), octomag)


def test_currents_that_do_not_tell_coils_apart():
    samples = scattered(100, 5)
    samples.currents[:, 3] = -2 * samples.currents[:, 1]
    with pytest.raises(UserError, match=r"coils 2, 4 always keep one proportion.* 5 independent"):
        check(samples, 10)
    samples.currents[:, 3] = 0
    with pytest.raises(UserError, match=r"coil 4 never carries a current"):
        check(samples, 10)


@pytest.mark.parametrize(("flat", "shape"), [(1, "a plane"), (2, "a line"), (3, "one point")])
def test_positions_that_do_not_span_space(flat, shape):
    samples = scattered(100, 3)
    samples.positions[:, :flat] = 0.01
    with pytest.raises(UserError, match=f"positions lie on {shape}; they must span three"):
        check(samples, 10)


def test_parametric_needs_a_drawing():
    with pytest.raises(UserError, match=r"--model parametric: needs a coil system"):
        calibrate(scattered(100, 3), None, rigid=True)


def test_samples_inside_the_windings_are_refused(octomag):
    samples = scattered(100, 8)
    samples.positions[7] = [0.07, 0.0, 0.0]
    with pytest.raises(UserError, match=r"row 8: 70.0 mm from the centre .* 66.1 mm"):
        calibrate(samples, octomag)


def test_fields_in_another_unit_are_refused(navion):
    samples, _ = HiddenSystem(navion, Hidden(samples=100), seed=1).measure()
    with pytest.raises(UserError, match=r"times those of the coils as drawn.*mT\?"):
        calibrate(replace(samples, fields=1e3 * samples.fields), navion)


HEADER = "x,y,z,i1,i2,bx,by,bz\n"
ROW = "0.01,0,0,1,2,1e-3,0,0\n"


@pytest.mark.parametrize(
    ("text", "n_coils", "message"),
    [
        ("", None, "no rows"),
        (HEADER, None, "no rows"),
        ("# a comment\n" + HEADER, None, "no rows"),
        ("x,y,i1,bx,by,bz\n1,1,1,1,1,1\n", None, "columns missing: z;"),
        ("x,y,z,bx,by,bz\n1,1,1,1,1,1\n", None, "columns missing: i1;"),
        ("x,y,z,i1,i3,bx,by,bz\n" + ROW, None, "missing: i2; unknown: i3"),
        (HEADER.replace("bz", "bz,t") + ROW.replace("\n", ",1\n"), None, "unknown: t"),
        (HEADER.replace("i2", "i1") + ROW, None, "twice: i1"),
        (HEADER + ROW, 3, "currents of 2 coils (i1..i2); the coil system has 3"),
        (HEADER + ROW + "0,0\n", None, "line 3: 2 columns; the header has 8"),
        ("# c\n" + HEADER + ROW + ROW.replace("2", "nan") + ROW.replace("0,0,1", "0,,1"), None,
         "rows 2, 3 (line 4): a value is not a finite number"),
        (HEADER + ROW.replace("0.01", "-12"), None, "row 1 (line 2): a position above 1 m; positi"),
        (HEADER + ROW.replace("1e-3", "35"), None, "a field above 10 T; fields are in T (mT?)"),
    ],
)  # fmt: skip
def test_faults_of_files_are_named_on_one_line(tmp_path, text, n_coils, message):
    path = tmp_path / "samples.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_samples(path, n_coils)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_in_any_order(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("# from the bench\nbz,by,bx,I2,i1,z,y,x\n3,2,1,20,10,0.3,0.2,0.1\n\n")
    samples = read_samples(path)
    assert samples.positions.tolist() == [[0.1, 0.2, 0.3]]
    assert samples.currents.tolist() == [[10, 20]]
    assert samples.fields.tolist() == [[1, 2, 3]]
    assert len(samples.sha256) == 64 and samples.n_coils == 2 and len(samples) == 1


@settings(max_examples=25, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    seed=st.integers(0, 100),
)
def test_registration_finds_any_rigid_motion(tmp_path_factory, turn, shift, seed):
    """Exact fiducials give the motion to rounding."""
    T = transform(Rotation.from_rotvec(turn).as_matrix(), shift)
    stage = np.random.default_rng(seed).normal(size=(5, 3)) * 0.05
    rows = np.hstack([stage, stage @ T[:3, :3].T + T[:3, 3]])
    path = tmp_path_factory.mktemp("fiducials") / "fiducials.csv"
    header = "x,y,z,x_coils,y_coils,z_coils"
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.17g")
    registration = read_fiducials(path)
    assert np.abs(registration.T_coils_stage - T).max() < 1e-12
    assert registration.rms < 1e-14 and registration.n == 5


def test_fiducials_on_a_line(tmp_path):
    path = tmp_path / "fiducials.csv"
    rows = "".join(f"{k},0,0,{k},0,0\n" for k in range(4))
    path.write_text("x,y,z,x_coils,y_coils,z_coils\n" + rows)
    with pytest.raises(UserError, match=r"4 fiducials; at least 3 are needed that do not lie"):
        read_fiducials(path)


def test_covered_radius(navion):
    """At most 1.05 of the furthest sample, 1.25 of the ball in the hull, and the workspace."""
    samples, _ = HiddenSystem(navion, Hidden(samples=150), seed=7).measure()
    fitted = calibrate(samples, navion)
    furthest = np.linalg.norm(samples.positions, axis=1).max()
    assert 0.8 * furthest < covered_radius(fitted) <= 1.05 * furthest
    assert covered_radius(fitted) <= navion.workspace_radius
    half = replace(fitted, samples=replace(samples, positions=samples.positions / 2))
    assert covered_radius(half) == pytest.approx(covered_radius(fitted) / 2, rel=0.1)
    model = calibration_of(fitted).model
    with pytest.raises(OutOfWorkspaceError):
        model.unit_field([[1.001 * model.workspace_radius, 0, 0]])


def a_calibration():
    rng = np.random.default_rng(0)
    law = Saturation.of([10.0, np.inf], [0.7, 0.0], ("erf", "tanh"))
    return Calibration.new(
        HarmonicRecord(
            kind="harmonics",
            degree=3,
            scale=0.03,
            workspace_radius=0.025,
            saturation=SaturationRecord.of(law),
            potential=[tuple(row) for row in rng.normal(size=(2, 16)) * 1e-4],
        ),
        DataRecord(file="s.csv", sha256="0" * 64, rows=100),
        SensorRecord(rotation=(0, 0, np.pi / 2), offset=(1e-3, 0, 0), position_offset=None),
        {"rmse_held_out": 3e-4},
    )


def test_a_file_holds_the_whole_calibration(tmp_path):
    """Read back, it gives the same field to the last digit, and the same record."""
    path = tmp_path / "my.yaml"
    made = a_calibration()
    made.save(path)
    read = Calibration.load(path)
    points, currents = np.random.default_rng(1).normal(size=(9, 3)) * 5e-3, [12.0, -7.0]
    for a, b in zip(
        made.model.field_and_gradient(points, currents),
        read.model.field_and_gradient(points, currents),
        strict=True,
    ):
        assert np.array_equal(a, b)
    assert read.record == made.record
    assert read.id.startswith("cal-") and read.n_coils == 2
    assert list(tmp_path.iterdir()) == [path]


def test_multipoles_keep_their_region(tmp_path):
    source = Sources(np.zeros((1, 3)), np.eye(3)[:1], np.zeros((1, 2)), np.array([[1e-6, 1e-9]]))
    for radius in (0.01, np.inf):
        region = Region(np.full(3, 0.05), np.full(3, 0.07), radius)
        made = Calibration.new(
            MultipoleRecord.of(MultipoleModel([source], region)), DataRecord(file="f", sha256="0")
        )
        made.save(tmp_path / "m.yaml")
        read = Calibration.load(tmp_path / "m.yaml").model
        points = np.full((1, 3), 0.055)
        assert np.array_equal(read.unit_field(points), made.model.unit_field(points))
        with pytest.raises(OutOfWorkspaceError):
            read.unit_field(np.full((1, 3), 0.08))
        assert read.region.radius == radius


def test_readings_turn_and_shift_the_field():
    """What the sensor reads is R B + b: here a quarter turn about z and 1 mT along x."""
    calibration = a_calibration()
    points, currents = np.full((1, 3), 1e-3), np.array([[1.0, 2.0]])
    bx, by, bz = calibration.model.field(points, currents[0])[0]
    reading = calibration.readings(points, currents)[0]
    assert np.allclose(reading, [1e-3 - by, bx, bz], rtol=1e-12)


def test_a_calibration_of_another_coil_count_is_refused():
    a_calibration().check_matches(2)
    with pytest.raises(ConfigError, match=r"calibration cal-.* is of 2 coils; the system has 8"):
        a_calibration().check_matches(8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "version"),
        (
            lambda d: d.update(format="other"),
            "not a calibration file (format: mmdtwin-calibration)",
        ),
        (lambda d: d["model"]["potential"][0].pop(), "a row of 16 numbers per coil"),
        (lambda d: d["model"]["saturation"]["knee"].pop(), "knee, share and law of each of 2"),
        (
            lambda d: d["model"].update(scale=float("nan")),
            "model.scale: Input should be a finite number",
        ),
        (lambda d: d["model"].update(kind="spline"), "model"),
        (lambda d: d.update(extra=1), "extra: unknown key"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, message):
    data = a_calibration().record.model_dump(mode="json")
    change(data)
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError) as error:
        Calibration.load(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "Coil_List: [Coil_0]\n"])
def test_other_files_are_no_calibrations(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"my\.yaml"):
        Calibration.load(path)
