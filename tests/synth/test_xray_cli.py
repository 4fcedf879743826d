"""`mmdtwin xray show` from end to end."""

import cv2
import pytest
from typer.testing import CliRunner

from mmdtwin.cli.xray import app
from mmdtwin.errors import UserError

runner = CliRunner()


def test_show_writes_a_picture_and_prints_figures(tmp_path):
    out = tmp_path / "frame.png"
    result = runner.invoke(app, ["show", "--seed", "3", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("geometry", "nGy", "Michelson contrast", "d' "):
        assert word in result.output
    assert cv2.imread(str(out), cv2.IMREAD_UNCHANGED).shape == (512, 512)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "/nope/x.png"], "no folder /nope"),
        (["--set", "imager.spectrum=foo"], "spectrum 'foo'"),
        (["--set", "imager.detector_dose=-1"], "detector_dose"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        runner.invoke(app, ["show", *arguments], catch_exceptions=False)
    assert not list(tmp_path.iterdir())
