"""`mmdtwin xray show`, `check` and `calibrate` from end to end."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mmdtwin.cli.xray import app
from mmdtwin.errors import UserError
from mmdtwin.synth.xray.dicom import read_xa

runner = CliRunner()


def test_show_writes_a_picture_and_prints_figures(tmp_path):
    out = tmp_path / "frame.png"
    result = runner.invoke(app, ["show", "--seed", "3", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("geometry", "nGy", "Michelson contrast", "d' "):
        assert word in result.output
    assert cv2.imread(str(out)).std() > 10.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "/nope/x.png"], "no folder /nope"),
        (["--set", "imager.spectrum=foo"], "spectrum 'foo'"),
        (["--set", "imager.exposure.detector_dose=-1"], "detector_dose"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        runner.invoke(app, ["show", *arguments], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["png", "npy", "dcm"])
def test_show_writes_the_frame_as_it_is(tmp_path, suffix):
    frame = tmp_path / f"frame.{suffix}"
    arguments = ["show", "--imager", "flat-phantom", "--out", str(tmp_path / "x.png")]
    result = runner.invoke(app, [*arguments, "--frame", str(frame)], catch_exceptions=False)
    assert result.exit_code == 0 and f"wrote {frame}" in result.output
    if suffix == "png":
        image = cv2.imread(str(frame), cv2.IMREAD_UNCHANGED)
    elif suffix == "npy":
        image = np.load(frame)
    else:
        image = read_xa(frame).frames[0].image
    # Automatic exposure puts the middle of the image at 15 % of full scale.
    assert image.shape == (512, 512) and image.dtype == np.uint16
    assert image[128:384, 128:384].mean() == pytest.approx(0.15 * 4095, rel=0.02)


@pytest.mark.parametrize("area", ["beam", "geometry"])
def test_check_prints_and_writes_what_it_found(tmp_path, area):
    out, figures = tmp_path / "plots", tmp_path / "checks.json"
    arguments = ["check", area, "--out", str(out), "--json", str(figures)]
    result = runner.invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(figures.read_text())
    assert found["passed"] and len(found["checks"]) >= 5
    assert {row["area"] for row in found["checks"]} == {area}
    assert list(out.glob(f"{area}-*.png"))


def test_check_refuses_unknown_areas():
    with pytest.raises(UserError, match="area 'sound': unknown; allowed: matter, "):
        runner.invoke(app, ["check", "sound"], catch_exceptions=False)


def test_calibrate_on_the_twin(tmp_path):
    """0.3 mm and 0.2 deg, as asked of the method (see `hardware.twin.calibration_check`)."""
    out, figures = tmp_path / "carm.yaml", tmp_path / "figures.json"
    arguments = ["calibrate", "--simulate", "6", "--out", str(out), "--json", str(figures)]
    result = runner.invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert out.is_file() and out.with_suffix(".png").is_file()
    errors = json.loads(figures.read_text())["errors"]
    assert errors["isocentre_mm"] < 0.3 and errors["turn_deg"] < 0.2
