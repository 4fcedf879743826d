"""`mmdtwin phantom show`."""

import json
from pathlib import Path

import cv2
import pytest
import yaml
from typer.testing import CliRunner

from mmdtwin.cli.phantom import app
from mmdtwin.config import read
from mmdtwin.errors import ConfigError, UserError


@pytest.fixture
def coarse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bifurcation on a coarse grid, in a file; an empty cache; a folder to work in."""
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    data, _ = read("phantoms", "bifurcation")
    data["vessel"]["voxel"] = 0.4e-3
    path = tmp_path / "coarse.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_show_prints_draws_and_writes(coarse: Path, tmp_path: Path) -> None:
    arguments = ["show", str(coarse), "--json", "figures.json", "--mesh", "wall.stl"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "watertight: yes" in result.output
    assert "inlet" in result.output
    image = cv2.imread(str(tmp_path / "phantom.png"))
    assert image.min() < 128  # something is drawn
    assert min(image.shape[:2]) > 500
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["watertight"] is True
    assert set(figures["ends"]) == {"inlet", "left", "right"}
    trunk = figures["branches"]["trunk"]
    shared = sum(figures["branches"][n]["flow_rate"] for n in ("left", "right"))
    assert trunk["flow_rate"] == pytest.approx(shared)
    assert figures["minimum_lumen"] == min(b["minimum_lumen"] for b in figures["branches"].values())
    assert (tmp_path / "wall.stl").stat().st_size == 84 + 50 * figures["triangles"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["no-such-phantom"], ConfigError, "known: .*bifurcation"),
        (["bifurcation", "--out", "picture.jpg"], UserError, "PNG"),
        (["bifurcation", "--out", "nowhere/p.png"], UserError, "no folder nowhere"),
        (["bifurcation", "--json", "nowhere/p.json"], UserError, "no folder nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(
    coarse: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, ["show", *arguments], catch_exceptions=False)
    assert sorted(p.name for p in coarse.parent.iterdir()) == ["coarse.yaml"]
