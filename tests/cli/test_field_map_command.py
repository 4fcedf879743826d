"""`mmdtwin field map`: pictures of coils, magnets and calibrations, and refusals."""

import re

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner

from mmdtwin.cli.field import app
from mmdtwin.cli.field_pictures import CELLS, Slice, evaluated
from mmdtwin.config.base import read
from mmdtwin.errors import ConfigError, OutOfWorkspaceError, UserError
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.records import (
    DataRecord,
    MultipoleRecord,
)


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


@pytest.fixture
def off_centre(tmp_path):
    """Three dipoles along the axes, known in a box that does not hold the origin."""
    coils = [
        [{"position": 0.3 * np.eye(3)[k], "axis": np.eye(3)[k], "growing": [0.0],
          "decaying": [1e-5]}] for k in range(3)
    ]  # fmt: skip
    record = MultipoleRecord(
        kind="multipoles", low=(0.02, -0.03, 0.05), high=(0.06, 0.03, 0.09), radius=None,
        coils=coils,
    )  # fmt: skip
    path = tmp_path / "box.yaml"
    Calibration.new(record, DataRecord(file="s.csv", sha256="0" * 64)).save(path)
    return path


def test_a_calibration_gets_its_field_and_isotropy(calibration, tmp_path):
    """There are no drawn coils to show, and no limits to ask what forces they can make."""
    run(calibration, "--currents", "5,0,-5", "--out", tmp_path / "c")
    assert pictures(tmp_path / "c") == ["capability.png", "field.png"]


def test_a_workspace_off_the_origin_is_shown_where_it_is(off_centre, tmp_path):
    result = run(off_centre, "--field", "0,0,0.001", "--out", tmp_path / "c")
    assert pictures(tmp_path / "c") == ["capability.png", "field.png"]
    assert result.exit_code == 0
    args = ["--currents", "1,0,0", "--at", "0,0,0", "--radius", "0.01", "--out", tmp_path / "d"]
    with pytest.raises(UserError, match=r"--at 0,0,0: no point .* the box \[20, 60\]"):
        run(off_centre, *args)


def test_slices_that_the_workspace_only_touches(tmp_path):
    """The slices across z lie in it, the one along x and y is above it; no current at all."""
    args = ["--currents", ",".join("0" * 8), "--at", "0,0,0.031", "--radius", "0.02"]
    run("octomag-like", *args, "--out", tmp_path / "t")
    assert "field.png" in pictures(tmp_path / "t")


def test_a_slice_shows_the_models_field_and_nothing_where_it_refuses():
    coils = CoilSystem.load("octomag-like")
    cut = Slice(1, np.array([0.0, 1e-3, 2e-3]), coils.workspace_radius)
    points = cut.points
    currents = np.arange(8.0)
    field, gradient = evaluated(coils.at(currents), points, ((3,), (3, 3)))
    inside = np.linalg.norm(points, axis=-1) <= coils.workspace_radius
    np.testing.assert_array_equal(np.isfinite(field).all(axis=-1), inside)
    expected, slope = coils.field_and_gradient(points[inside], currents)
    np.testing.assert_allclose(field[inside], expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(gradient[inside], slope, rtol=1e-9, atol=1e-12)
    # x runs to the right, z up
    assert points[3, 5].tolist() == [cut.along(0)[5], 1e-3, cut.along(2)[3]]
    assert cut.along(2)[[0, CELLS - 1]] == pytest.approx([-0.028, 0.032])


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["nope"], ConfigError, "unknown name 'nope'; known: .*octomag-like.*cube-20mm"),
        (["nowhere.yaml"], ConfigError, "nowhere.yaml: no such file"),
        (["octomag-like", "--currents", "1,2"], UserError, "--currents 1,2: expected 8"),
        (["octomag-like", "--field", "0,0,nan"], UserError, "--field 0,0,nan: expected 3"),
        (["octomag-like", "--at", "0,0,1"], OutOfWorkspaceError, "outside the workspace"),
        (["cube-20mm", "--pose", "0,0,1"], UserError, "--pose 0,0,1: expected 6"),
        (
            ["octomag-like", "--currents", "1,0,0,0,0,0,0,0", "--at", "0.5,0,0"],
            UserError,
            "--at 0.5,0,0: no point of the slices .* radius of 30 mm",
        ),
        (["octomag-like", "--pose", "0,0,1,0,0,0"], UserError, "--pose: octomag-like is a coil"),
        (["cube-20mm", "--beyond"], UserError, "--beyond: cube-20mm is a magnet"),
        (["cube-20mm", "--currents", "1"], UserError, "--currents: cube-20mm is a magnet"),
        (["cube-20mm", "--field", "0,0,1"], UserError, "--field: cube-20mm is a magnet"),
        (["cube-20mm", "--moment", "1e-5"], UserError, "--moment: .* allowed are --pose, --int"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(tmp_path, args, error, message):
    out = tmp_path / "out"
    with pytest.raises(error, match=message):
        run(*args, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    "option", [["--pose", "0,0,1,0,0,0"], ["--moment", "1e-5"], ["--interactive"], ["--beyond"]]
)
def test_a_calibration_takes_no_option_that_does_nothing(calibration, tmp_path, option):
    with pytest.raises(UserError, match=f"{option[0]}: .*mine.yaml is a calibration"):
        run(calibration, *option, "--out", tmp_path / "out")
    with pytest.raises(UserError, match="--field: does nothing beside --currents"):
        run(calibration, "--currents", "1,0,0", "--field", "0,0,0.01", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_overlapping_coils_are_refused_by_the_file_they_are_in(tmp_path):
    data, _ = read("coils", "minimag-like")
    moved = {**data["coils"][0], "position": [0.0581, 0.0, -0.0150]}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**data, "coils": [*data["coils"], moved]}))
    with pytest.raises(ConfigError, match=r"coils\.0 and coils\.8 overlap"):
        run(path, "--out", tmp_path / "out")


def test_a_field_that_is_missed_is_said_and_one_that_cannot_be_made_refused(tmp_path):
    out = tmp_path / "out"
    result = run("helmholtz-maxwell", "--field", "0,0,0.02", "--out", out)
    assert re.search(
        r"asked for \[0, 0, 20\] mT, made \[0, 0, 8\.99\].*current of coil 2", result.stdout
    )
    with pytest.raises(UserError, match=r"make nothing of \[10, 0, 0\] mT"):
        run(one_pair(tmp_path), "--field", "0.01,0,0", "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def one_pair(folder):
    """A system of one Helmholtz pair along z."""
    data, _ = read("coils", "helmholtz-maxwell")
    path = folder / "pair.yaml"
    path.write_text(yaml.safe_dump({**data, "coils": [data["coils"][2]]}))
    return path
