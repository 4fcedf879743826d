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


@pytest.fixture(scope="module")
def system():
    return HiddenSystem(load(CoilsConfig, "coils", "navion-like"), Hidden(samples=120), SEED)


@pytest.fixture
def samples(system, tmp_path):
    rows, _ = system.measure()
    path = tmp_path / "samples.csv"
    table = np.hstack([rows.positions, rows.currents, rows.fields])
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


def test_fiducials_move_samples_into_the_coils_frame(system, tmp_path):
    """A stage turned by 90 deg about z and 30 mm away: fields and positions turn with it."""
    rows, _ = system.measure()
    turn, shift = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([0.03, 0.0, 0.01])
    table = np.hstack([(rows.positions - shift) @ turn, rows.currents, rows.fields @ turn])
    samples, fiducials = tmp_path / "samples.csv", tmp_path / "fiducials.csv"
    np.savetxt(samples, table, delimiter=",", header="x,y,z,i1,i2,i3,bx,by,bz", comments="")
    stage = np.array([[0.0, 0, 0], [0.05, 0, 0], [0, 0.05, 0], [0, 0, 0.05]])
    table = np.hstack([stage, stage @ turn.T + shift])
    header = "x,y,z,x_coils,y_coils,z_coils"
    np.savetxt(fiducials, table, delimiter=",", header=header, comments="")
    out, report = tmp_path / "my.yaml", tmp_path / "my.json"
    args = ("--coils", "navion-like", "--out", out, "--fiducials", fiducials, "--json", report)
    assert run("calibrate", samples, *args).exit_code == 0
    figures = json.loads(report.read_text())
    assert figures["rmse_held_out"] < 0.6e-3
    assert np.allclose(figures["sensor"]["position_offset"]["value"], shift)
    assert "4 fiducials" in figures["sensor"]["position_offset"]["from"]


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
