"""`mmdtwin phantom show`, and what `mmdtwin phantom make` refuses."""

import io
import json
from pathlib import Path

import cv2
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from mmdtwin.cli.phantom import app
from mmdtwin.cli.phantom_show import lines, table
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
        (["bifurcation", "--out", "coarse.yaml/p.png"], UserError, "--out coarse.yaml"),
        (["bifurcation", "--json", "coarse.yaml/p.json"], UserError, "--json coarse.yaml"),
        (["bifurcation", "--mesh", "coarse.yaml/w.stl"], UserError, "--mesh coarse.yaml"),
        (["bifurcation", "--mesh", "wall.ply"], UserError, r"--mesh wall\.ply.*\.stl"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(
    coarse: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, ["show", *arguments], catch_exceptions=False)
    assert sorted(p.name for p in coarse.parent.iterdir()) == ["coarse.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--connector-length", "0.02"], "--connector-length: needs --connector"),
        (["--connector-radius", "2e-3"], "--connector-radius: needs --connector"),
        (["--connector", "barbed", "--connector-radius", "0"], "--connector-radius: 0 mm .* bore"),
    ],
)
def test_make_names_the_option_that_it_refuses(
    coarse: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, ["make", str(coarse), *arguments], catch_exceptions=False)


def test_a_wall_that_would_take_many_minutes_is_refused(coarse: Path) -> None:
    with pytest.raises(UserError, match=r"--wall 0\.02: .* million nodes .* thinner wall"):
        CliRunner().invoke(app, ["make", str(coarse), "--wall", "0.02"], catch_exceptions=False)


def figures(names: tuple[str, str], reynolds: float) -> dict:
    branch = {
        "start": names[1], "end": names[1], "length": 41.3e-3, "minimum_lumen": 2.62e-3,
        "maximum_lumen": 19.58e-3, "mean_speed": 10.7e-3, "reynolds": reynolds,
        "entrance_length": 0.4,
    }  # fmt: skip
    return {
        "branches": {names[0]: branch}, "ends": [names[1]], "inlet": names[1],
        "minimum_lumen": 2.62e-3, "triangles": 4, "watertight": True, "volume": 1e-6,
    }  # fmt: skip


def test_80_columns_hold_a_branch_and_all_its_figures() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(figures(("right-subclavian", "brachiocephalic-junction"), 3244.8)))
    text = console.export_text()
    assert "\u2026" not in text
    for shown in ("right-subclavian", "41.3", "2.62-19.58", "10.7", "3244.8", "400.0"):
        assert shown in text


def test_turbulent_flow_is_one_warning() -> None:
    assert not any("warning" in line for line in lines(figures(("a", "b"), 1999.0)))
    assert sum("Re is above 2000 in a" in x for x in lines(figures(("a", "b"), 2001.0))) == 1
