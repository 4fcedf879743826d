"""`mmdtwin field map`: pictures of coils, magnets and calibrations, and refusals."""

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner

from mmdtwin.cli.field import app
from mmdtwin.cli.field_map import evaluated, slice_points
from mmdtwin.config.base import read
from mmdtwin.errors import ConfigError, OutOfWorkspaceError, UserError
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.records import DataRecord, HarmonicRecord, SaturationRecord


def run(*args):
    result = CliRunner().invoke(app, ["map", *map(str, args)])
    if result.exception is not None:
        raise result.exception
    return result


def pictures(folder):
    assert all(imread(path).std() > 0.01 for path in folder.glob("*.png"))
    return sorted(path.name for path in folder.iterdir())


def test_a_coil_system_gets_field_capability_and_setup(tmp_path):
    out = tmp_path / "maps"
    result = run("minimag-like", "--field", "0,0.005,0", "--interactive", "--out", out)
    assert pictures(out) == ["capability.png", "field.png", "setup.html", "setup.png"]
    assert str(out / "capability.png") in result.stdout
    assert "plotly" in (out / "setup.html").read_text()[:20000].lower()


def test_a_magnet_gets_field_and_setup(tmp_path):
    run("cube-20mm", "--pose", "0,0,0.05,0.3,0,0", "--radius", "0.04", "--out", tmp_path / "m")
    assert pictures(tmp_path / "m") == ["field.png", "setup.png"]


def test_a_calibration_gets_its_field(tmp_path):
    """By currents; there are no drawn coils to show, and no limits to ask what they can do."""
    coils = CoilSystem.load("navion-like")
    record = HarmonicRecord(
        kind="harmonics", degree=coils.degree, scale=coils.scale, workspace_radius=0.05,
        saturation=SaturationRecord.of(coils.saturation), potential=coils.potential.tolist(),
    )  # fmt: skip
    path = tmp_path / "mine.yaml"
    Calibration.new(record, DataRecord(file="s.csv", sha256="0" * 64)).save(path)
    run(path, "--currents", "5,0,-5", "--out", tmp_path / "c")
    assert pictures(tmp_path / "c") == ["field.png"]


def test_a_slice_shows_the_models_field_and_nothing_where_it_refuses():
    coils = CoilSystem.load("octomag-like")
    side, points = slice_points(1, np.array([0.0, 1e-3, 0.0]), coils.workspace_radius)
    currents = np.arange(8.0)
    field, gradient = evaluated(coils.at(currents), points)
    inside = np.linalg.norm(points, axis=-1) <= coils.workspace_radius
    np.testing.assert_array_equal(np.isfinite(field).all(axis=-1), inside)
    expected, slope = coils.field_and_gradient(points[inside], currents)
    np.testing.assert_allclose(field[inside], expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(gradient[inside], slope, rtol=1e-9, atol=1e-12)
    assert points[3, 5].tolist() == [side[5], 1e-3, side[3]]  # x runs to the right, z up


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["nope"], ConfigError, "unknown name 'nope'; known: .*octomag-like.*cube-20mm"),
        (["nowhere.yaml"], ConfigError, "nowhere.yaml: no such file"),
        (["octomag-like", "--currents", "1,2"], UserError, "--currents 1,2: expected 8"),
        (["octomag-like", "--field", "0,0,nan"], UserError, "--field 0,0,nan: expected 3"),
        (["octomag-like", "--at", "0,0,1"], OutOfWorkspaceError, "outside the workspace"),
        (["cube-20mm", "--pose", "0,0,1"], UserError, "--pose 0,0,1: expected 6"),
        (["cube-20mm", "--beyond"], UserError, "--beyond: cube-20mm has no drawn coils"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(tmp_path, args, error, message):
    out = tmp_path / "out"
    with pytest.raises(error, match=message):
        run(*args, "--out", out)
    assert not out.exists()


def test_overlapping_coils_are_refused_by_the_file_they_are_in(tmp_path):
    data, _ = read("coils", "minimag-like")
    moved = {**data["coils"][0], "position": [0.0581, 0.0, -0.0150]}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**data, "coils": [*data["coils"], moved]}))
    with pytest.raises(ConfigError, match=r"coils\.0 and coils\.8 overlap"):
        run(path, "--out", tmp_path / "out")
