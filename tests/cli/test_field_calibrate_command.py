"""`mmdtwin field calibrate` and `import`: files, tables, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmdtwin.cli.field import app
from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.study import Hidden, HiddenSystem

OCTOMAG = Path(__file__).parents[1] / "data" / "octomag"
SEED = 8
IDENTITY = np.eye(3)
# A stage turned by 90 deg about z and 30 mm away.
TURN, SHIFT = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([0.03, 0.0, 0.01])
FIDUCIALS = np.array([[0.0, 0, 0], [0.05, 0, 0], [0, 0.05, 0], [0, 0, 0.05]])


@pytest.fixture(scope="module")
def system():
    return HiddenSystem(load(CoilsConfig, "coils", "navion-like"), Hidden(samples=120), SEED)


@pytest.fixture
def samples(system, tmp_path):
    rows, _ = system.measure()
    return written(tmp_path, rows.positions, rows)


def written(tmp_path, positions, rows, turn=IDENTITY):
    """A file of samples; `turn` takes its axes to those of the rows."""
    path = tmp_path / "samples.csv"
    table = np.hstack([positions, rows.currents, rows.fields @ turn])
    np.savetxt(path, table, delimiter=",", header="x,y,z,i1,i2,i3,bx,by,bz", comments="")
    return path


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "160"})


def refused(*args):
    result = run(*args)
    assert isinstance(result.exception, UserError)
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_calibrate_writes_calibration_plots_and_figures(system, samples, tmp_path):
    """The file holds what the JSON says, and predicts fresh readings as the held-out ones."""
    out, report = tmp_path / "new" / "my.yaml", tmp_path / "new" / "my.json"
    result = run("calibrate", samples, "--coils", "navion-like", "--out", out, "--json", report)
    assert result.exit_code == 0, result.output
    for shown in ("RMSE held out", "RMSE as drawn", "R2", "condition number", "worst rows", "knee"):
        assert shown in result.stdout
    figures, calibration = json.loads(report.read_text()), Calibration.load(out)
    assert figures["id"] == calibration.id and len(figures["sha256"]) == 64
    assert figures["rmse_held_out"] == calibration.record.figures["rmse_held_out"] < 0.6e-3
    assert figures["rmse_nominal"] > 2e-3
    assert figures["outliers"] == [row["row"] for row in figures["worst"] if row["outlier"]]
    assert (out.with_suffix(".png")).read_bytes().startswith(b"\x89PNG")
    positions, currents = system.draw(200, "fresh")
    positions *= 0.9
    error = calibration.readings(positions, currents) - system.readings(positions, currents)
    assert np.sqrt(np.mean(np.sum(error**2, axis=1))) < 0.5e-3


def on_a_stage(system, tmp_path, fiducials=FIDUCIALS, noise=0.0):
    """Samples in the stage's frame and fiducials, with how far each of these is off."""
    rows, _ = system.measure()
    path, off = tmp_path / "fiducials.csv", np.random.default_rng(0).normal(0, 1, fiducials.shape)
    table = np.hstack([fiducials, fiducials @ TURN.T + SHIFT + noise * off])
    header = "x,y,z,x_coils,y_coils,z_coils"
    np.savetxt(path, table, delimiter=",", header=header, comments="")
    return written(tmp_path, (rows.positions - SHIFT) @ TURN, rows, TURN), path


def test_fiducials_move_samples_into_the_coils_frame(system, tmp_path):
    """Fields and positions turn with the stage; where the sensor is on it stays unknown."""
    samples, fiducials = on_a_stage(system, tmp_path)
    out, report = tmp_path / "my.yaml", tmp_path / "my.json"
    args = ("--coils", "navion-like", "--out", out, "--fiducials", fiducials, "--json", report)
    result = run("calibrate", samples, *args)
    assert "stage's origin" in result.stdout and "4 fiducials" in result.stdout
    figures = json.loads(report.read_text())
    assert figures["rmse_held_out"] < 0.6e-3
    assert np.allclose(figures["registration"]["origin"], SHIFT)
    assert np.allclose(figures["registration"]["rotation"], [0, 0, np.pi / 2])
    assert figures["sensor"]["position_offset"]["value"] is None
    assert Calibration.load(out).record.sensor.position_offset is None


@pytest.mark.parametrize("n", [4, 3])
def test_parametric_with_fiducials_tells_stage_and_sensor_apart(tmp_path, n):
    """The stage's origin comes from fiducials off by 0.02 mm, the sensor's 1 mm from the coils.

    Their errors are separate. Registration adds its own to the sensor's: four standard errors of
    both. The file holds what the table says.
    """
    drawing = load(CoilsConfig, "coils", "navion-like")
    system = HiddenSystem(drawing, Hidden(samples=120, shift=0.0, tilt=0.0), SEED)
    samples, fiducials = on_a_stage(system, tmp_path, FIDUCIALS[:n], noise=2e-5)
    out, report = tmp_path / "my.yaml", tmp_path / "my.json"
    args = ("--coils", "navion-like", "--out", out, "--fiducials", fiducials, "--json", report)
    result = run("calibrate", samples, "--model", "parametric", *args)
    assert result.exit_code == 0, result.output
    figures = json.loads(report.read_text())
    offset, placed = figures["sensor"]["position_offset"], figures["registration"]
    assert offset["value"] == list(Calibration.load(out).record.sensor.position_offset)
    assert np.abs(np.array(placed["origin"]) - SHIFT).max() < 1e-4
    if n == 3:
        assert placed["origin_error"] is placed["samples_error"] is None
        assert "error unknown" in result.stdout
        return
    assert (np.abs(np.array(placed["origin"]) - SHIFT) < 4 * np.array(placed["origin_error"])).all()
    bound = 4 * np.hypot(offset["error"], placed["samples_error"])
    assert (np.abs(np.array(offset["value"]) - system.offset) < bound).all()
    assert 0.02e-3 / 2 < placed["samples_error"] < bound.max() < 0.7e-3
    assert "samples' places" in result.stdout


def test_samples_beside_the_centre_are_refused_before_the_fit(system, tmp_path):
    """All lie beyond z = 10 mm: nothing is fitted or written, and the message is one line."""
    rows, _ = system.measure()
    above = np.array([0.0, 0.0, 0.012 - rows.positions[:, 2].min()])
    path = written(tmp_path, rows.positions + above, rows)
    out = tmp_path / "my.yaml"
    for coils in (("--coils", "navion-like"), ()):
        message = refused("calibrate", path, *coils, "--out", out)
        assert "the centre of the coils lies at least 1" in message and "fiducials" in message
    assert not out.exists()


def test_calibrate_refuses(samples, tmp_path):
    out = ("--out", tmp_path / "my.yaml")
    assert "the coil system has 8" in refused("calibrate", samples, "--coils", "octomag-like", *out)
    assert "no-such" in refused("calibrate", samples, "--coils", "no-such", *out)
    assert "cannot be read" in refused("calibrate", tmp_path / "absent.csv", *out)
    assert ".yaml" in refused("calibrate", samples, "--out", tmp_path / "my.txt")
    assert "needs a coil system" in refused("calibrate", samples, "--model", "parametric", *out)
    assert not (tmp_path / "my.yaml").exists()


def test_import_checks_nodes_and_writes(tmp_path):
    out, report = tmp_path / "octomag.yaml", tmp_path / "octomag.json"
    nodes = OCTOMAG / "field_nodes.csv"
    args = ("--nodes", nodes, "--coils", "octomag-like", "--out", out, "--json", report)
    result = run("import", OCTOMAG / "mpem_calibration.yaml", *args)
    assert result.exit_code == 0, result.output
    assert "Coil_4: Src_0, 16.56 mm" in result.stdout and "[-5, 5]" in result.stdout
    figures = json.loads(report.read_text())
    assert max(figures["node_errors"]) <= 1e-9 and len(figures["node_errors"]) == 8
    calibration = Calibration.load(out)
    table = np.loadtxt(nodes, delimiter=",", skiprows=2)
    made = calibration.model.unit_field(table[:, 1:4])[np.arange(1000), table[:, 0].astype(int)]
    assert np.abs(made - table[:, 4:]).max() <= 1e-9


def test_import_refuses_another_coil_count():
    message = refused("import", OCTOMAG / "mpem_calibration.yaml", "--coils", "navion-like")
    assert "is of 8 coils; the system has 3" in message


@pytest.mark.parametrize("option", ["--json", "--out"])
def test_a_folder_in_the_way_is_refused_before_the_fit(samples, tmp_path, option):
    """In the report's place, or in that of the plots beside the calibration."""
    (tmp_path / "cal.png").mkdir()
    out = tmp_path / ("cal.yaml" if option == "--out" else "other.yaml")
    text = refused("calibrate", samples, "--coils", "navion-like", "--out", out, "--json", tmp_path)
    assert f"{option} " in text
    assert "is a folder; name a file" in text
    assert not out.exists()
