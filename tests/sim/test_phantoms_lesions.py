"""Stenosis, aneurysm and tortuosity of drawn branches against the sizes that were asked for."""

import copy
from pathlib import Path

import numpy as np
import pytest

from mmdtwin.config import PhantomConfig, parse
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.sim.phantoms import Vessel, build_vessel

RADIUS = 2.0e-3
TUBE = {
    "start": "in",
    "end": "out",
    "points": [[-15e-3, 1e-3, 0.0], [0.0, -1e-3, 0.5e-3], [15e-3, 1e-3, 0.0]],
    "radius": [RADIUS],
}
# Facets of a 0.2 mm grid lie up to 10 um off a circle, and the point nearest to a throat is up to
# half a step of the map (0.125 mm) off it, which at these lesions is another 5 um.
CLOSE = 15e-6


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))


def tube(**changes: object) -> PhantomConfig:
    data = {
        "vessel": {
            "kind": "procedural",
            "source": "test",
            "branches": {"tube": copy.deepcopy(TUBE) | changes},
        },
        "flow": {"inlet": "in", "mean_speed": 5e-3, "viscosity": 4e-3, "density": 1060},
    }
    return parse(PhantomConfig, data, "test.yaml")


def sound(vessel: Vessel) -> bool:
    return vessel.surface.watertight and vessel.surface.handles == 0


@pytest.mark.parametrize(("degree", "length"), [(0.3, 5e-3), (0.6, 8e-3)])
def test_a_stenosis_has_its_place_and_degree(degree: float, length: float) -> None:
    place = 13e-3
    vessel = build_vessel(tube(stenosis={"position": place, "length": length, "degree": degree}))
    branch = vessel.map.branches["tube"]
    throat = int(branch.radius.argmin())
    assert sound(vessel)
    assert branch.radius[throat] == pytest.approx((1 - degree) * RADIUS, abs=CLOSE)
    assert branch.arclength[throat] == pytest.approx(place, abs=0.3e-3)  # one point of the map
    healthy = np.abs(branch.arclength - place) > 0.5 * length + RADIUS
    assert np.abs(branch.radius[healthy] - RADIUS).max() < CLOSE
    # Smooth: no steps between neighbouring points beyond the steepest slope of the cosine.
    slope = np.abs(np.diff(branch.radius) / np.diff(branch.arclength))
    assert slope.max() < 1.15 * np.pi * degree * RADIUS / length + 0.05


def test_lesions_add_up_along_a_branch() -> None:
    lesions = {
        "aneurysm": {"position": 8e-3, "length": 8e-3, "dilation": 1.7},
        "stenosis": [{"position": 22e-3, "length": 6e-3, "degree": 0.4}],
    }
    branch = build_vessel(tube(**lesions)).map.branches["tube"]
    assert branch.radius.max() == pytest.approx(1.7 * RADIUS, abs=2 * CLOSE)
    assert branch.arclength[branch.radius.argmax()] == pytest.approx(8e-3, abs=0.4e-3)
    assert branch.radius.min() == pytest.approx(0.6 * RADIUS, abs=CLOSE)


@pytest.mark.parametrize(("index", "waves", "angle"), [(1.1, 2, 0.0), (1.25, 1, 1.0)])
def test_tortuosity_lengthens_and_holds_the_ends(index: float, waves: int, angle: float) -> None:
    straight = build_vessel(tube(radius=[1.2e-3])).map.branches["tube"]
    tortuosity = {"index": index, "waves": waves, "angle": angle}
    vessel = build_vessel(tube(radius=[1.2e-3], tortuosity=tortuosity))
    branch = vessel.map.branches["tube"]
    assert sound(vessel)
    # Both stop where the caps take away room, within a step of the map (0.25 mm) at each end.
    assert branch.length == pytest.approx(index * straight.length, abs=0.5e-3)
    for end in (0, -1):
        assert np.linalg.norm(branch.points[end] - straight.points[end]) < 0.5e-3
        assert branch.tangents[end] @ straight.tangents[end] > 0.99
    middle = slice(20, -20)
    assert np.abs(branch.radius[middle] - 1.2e-3).max() < 30e-6  # bends: facets, skewed sections


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": [0.0]}, r"vessel\.branches\.tube\.radius.*greater than 0"),
        ({"radius": [2.2]}, r"tube\.radius.*is it in mm\? then write 0\.0022"),
        ({"points": [[0, 0, 0], [15.0, 0, 0]]}, r"tube\.points\.1\.0.*then write 0\.015"),
        ({"radius": [-1e-3]}, r"vessel\.branches\.tube\.radius.*greater than 0"),
        (
            {"stenosis": {"position": 5e-3, "length": 5e-3, "degree": 1.0}},
            r"stenosis.*degree.*less than 1",
        ),
        (
            {"aneurysm": {"position": 5e-3, "length": 5e-3, "dilation": 0.8}},
            r"aneurysm.*dilation.*greater than 1",
        ),
    ],
)
def test_values_out_of_range_name_their_key(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tube(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stenosis": {"position": 15.0, "length": 5e-3, "degree": 0.5}},
            r"branches\.tube\.stenosis\.position: 15000.0 mm lies beyond .* in m",
        ),
        (
            {"stenosis": {"position": 15e-3, "length": 1e-3, "degree": 0.5}},
            r"stenosis\.length: 1\.00 mm is too short .* more than 3\.14 mm",
        ),
        (
            {"stenosis": {"position": 15e-3, "length": 12e-3, "degree": 0.9}},
            r"tube\.stenosis\.degree: 0\.9 leaves a throat of 0\.40 mm.* 0\.2 mm; .* 0\.1 mm",
        ),
        ({"tortuosity": {"index": 1.2, "waves": 5}}, r"tube\.tortuosity: bends .* sharper"),
    ],
)
def test_what_cannot_be_built_names_its_key(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_vessel(tube(**changes))


def test_a_throat_of_just_enough_voxels_is_open_and_near_its_size() -> None:
    # 4.4 voxels across: facets and the blunted ridge take up to a fifth of a voxel off its radius.
    lesion = {"position": 15e-3, "length": 10e-3, "degree": 0.78}
    vessel = build_vessel(tube(stenosis=lesion))
    branch = vessel.map.branches["tube"]
    assert sound(vessel)
    assert branch.length == pytest.approx(build_vessel(tube()).map.branches["tube"].length)
    assert branch.radius.min() == pytest.approx(0.22 * RADIUS, abs=0.04e-3)


def test_a_thread_that_breaks_on_the_grid_is_refused() -> None:
    # Without a lesion, from a tenth of a voxel on: its thin end would be lost in silence.
    with pytest.raises(UserError, match=r"branches\.tube: only .* of 30\.\d mm are joined"):
        build_vessel(tube(radius=[0.02e-3, RADIUS]))


def test_a_strong_taper_keeps_its_length() -> None:
    branch = build_vessel(tube(radius=[2.5e-3, 1.0e-3])).map.branches["tube"]
    straight = build_vessel(tube()).map.branches["tube"]
    assert branch.length == pytest.approx(straight.length, abs=0.1e-3)
    assert branch.radius[-1] == pytest.approx(1.0e-3, abs=0.05e-3)  # a cone's ball, slope 0.05


@pytest.mark.parametrize("aside", [0.0, 0.8e-3])
def test_a_branch_inside_another_is_refused(aside: float) -> None:
    trunk = {"start": "in", "end": "fork", "points": [[-10e-3, 0, 0], [0, 0, 0]]}
    one = {"start": "fork", "end": "one", "points": [[0, 0, 0], [8e-3, 6e-3, 0], [20e-3, 8e-3, 0]]}
    twin = [[0, 0, 0], [8e-3, 6e-3 + aside, 0], [20e-3, 8e-3 + aside, 0]]
    branches = {"trunk": trunk, "one": one, "twin": one | {"end": "twin", "points": twin}}
    data = {
        "vessel": {
            "kind": "procedural",
            "source": "test",
            "branches": {name: b | {"radius": [1.5e-3]} for name, b in branches.items()},
        },
        "flow": {"inlet": "in", "mean_speed": 5e-3, "viscosity": 4e-3, "density": 1060},
    }
    with pytest.raises(UserError, match=r"'(one|twin)' lies in '(one|twin)' at"):
        build_vessel(parse(PhantomConfig, data, "test.yaml"))


def test_a_box_of_too_many_voxels_names_the_voxel() -> None:
    long = {"points": [[-0.25, -0.25, -0.25], [0.25, 0.25, 0.25]]}
    with pytest.raises(UserError, match=r"voxel: 0\.2 mm is too fine .* give at least 0\.9"):
        build_vessel(tube(**long))


def test_branches_that_touch_away_from_their_fork_are_refused() -> None:
    loop = {
        "points": [[0, 0, 0], [6e-3, 6e-3, 0], [14e-3, 0.95e-3, 0], [20e-3, 5e-3, 0]],
        "radius": [1.2e-3], "start": "fork", "end": "up",
    }  # fmt: skip
    below = loop | {
        "points": [[0, 0, 0], [6e-3, -6e-3, 0], [14e-3, -0.95e-3, 0], [20e-3, -5e-3, 0]]
    }
    trunk = {"points": [[-10e-3, 0, 0], [0, 0, 0]], "radius": [1.6e-3], "start": "in"}
    branches = {"trunk": trunk | {"end": "fork"}, "up": loop, "down": below | {"end": "down"}}
    data = {
        "vessel": {"kind": "procedural", "source": "test", "branches": branches},
        "flow": {"inlet": "in", "mean_speed": 5e-3, "viscosity": 4e-3, "density": 1060},
    }
    with pytest.raises(UserError, match="touch away from their junctions"):
        build_vessel(parse(PhantomConfig, data, "test.yaml"))
