"""The shipped bifurcation, its cache, and what is wrong input."""

import copy

import numpy as np
import pytest
import trimesh

from mmdtwin.config import PhantomConfig, load, parse, read
from mmdtwin.errors import ConfigError
from mmdtwin.sim.phantoms import Vessel, build_vessel

DEVICE_WIDTH = 1.5e-3
NARROW = 2.5 * DEVICE_WIDTH  # every task passes a lumen no wider than this
WORKSPACE = 27e-3


@pytest.fixture(scope="module")
def vessel(tmp_path_factory: pytest.TempPathFactory) -> Vessel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMDTWIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return build_vessel(load(PhantomConfig, "phantoms", "bifurcation"))


@pytest.fixture
def data() -> dict:
    return copy.deepcopy(read("phantoms", "bifurcation")[0])


def test_wall_is_one_closed_sphere_like_surface(vessel: Vessel) -> None:
    mesh = trimesh.Trimesh(vessel.vertices, vessel.faces, process=False)
    assert vessel.surface.watertight
    assert mesh.body_count == 1
    assert mesh.euler_number == 2  # no handles: vessels do not touch each other
    assert vessel.surface.volume > 0
    assert len(vessel.faces) < 65_000


def test_it_fits_the_workspace_and_the_device(vessel: Vessel) -> None:
    assert np.linalg.norm(vessel.vertices, axis=1).max() < WORKSPACE
    assert vessel.minimum_lumen >= 2.6e-3
    assert set(vessel.map.ends) == {"inlet", "left", "right"}
    assert set(vessel.map.junctions) == {"fork"}
    trunk = vessel.map.branches["trunk"]
    assert np.ptp(vessel.map.points[:, 2]) > 4e-3  # bends out of the plane
    for end in ("left", "right"):
        path = vessel.map.path(trunk.points[0], vessel.map.branches[end].points[-1])
        assert path.length > 40e-3
        assert path.junctions >= 1
        assert 2 * path.radius.min() <= NARROW


def test_bends_are_gentle(vessel: Vessel) -> None:
    for branch in vessel.map.branches.values():
        turning = np.gradient(branch.tangents, branch.arclength, axis=0)
        assert np.linalg.norm(turning, axis=1).max() < 1 / 8e-3


def test_centrelines_lie_inside_by_their_radius(vessel: Vessel) -> None:
    depth = vessel.sdf(vessel.map.points)
    assert np.all(vessel.map.radius > 0)
    # On its ridge the gridded distance reads low by up to half a voxel's diagonal.
    voxel = vessel.distance.voxel
    assert np.all(depth <= vessel.map.radius + 15e-6)
    assert np.all(depth >= vessel.map.radius - 0.5 * np.sqrt(3) * voxel)


def test_wide_enough_bends_keep_their_radius(vessel: Vessel) -> None:
    branch = vessel.map.branches["left"]
    beyond = branch.arclength > 5e-3  # clear of the junction's rounding
    share = branch.arclength / branch.length
    drawn = 1.80e-3 + share * (1.60e-3 - 1.80e-3)
    assert np.abs(branch.radius - drawn)[beyond].max() < 30e-6  # facets, taper, bend


def test_cache_gives_the_same_vessel_and_survives_damage(tmp_path, monkeypatch, data) -> None:
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    data["vessel"]["voxel"] = 0.4e-3
    config = parse(PhantomConfig, data, "test")
    first = build_vessel(config)
    (file,) = (tmp_path / "phantoms").iterdir()
    whole = file.read_bytes()
    for content in (whole, whole[: len(whole) // 2], b"", b"not a zip file"):
        file.write_bytes(content)
        again = build_vessel(config)
        assert np.array_equal(again.vertices, first.vertices)
        assert np.array_equal(again.distance.values, first.distance.values)
        assert again.map.branches.keys() == first.map.branches.keys()
        assert again.map.ends == first.map.ends
        for name, branch in first.map.branches.items():
            assert np.array_equal(again.map.branches[name].points, branch.points)
            assert again.map.branches[name].mean_speed == branch.mean_speed
        assert file.read_bytes()[:2] == b"PK"  # rebuilt and written again
    assert list((tmp_path / "phantoms").iterdir()) == [file]


def test_flow_is_not_part_of_the_cached_geometry(tmp_path, monkeypatch, data) -> None:
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    data["vessel"]["voxel"] = 0.4e-3
    slow = build_vessel(parse(PhantomConfig, data, "test"))
    data["flow"]["mean_speed"] *= 2
    fast = build_vessel(parse(PhantomConfig, data, "test"))
    assert len(list((tmp_path / "phantoms").iterdir())) == 1
    for name, branch in slow.map.branches.items():
        assert fast.map.branches[name].mean_speed == pytest.approx(2 * branch.mean_speed)


def test_unknown_inlet_is_one_clear_line(data) -> None:
    data["flow"]["inlet"] = "fork"
    with pytest.raises(ConfigError, match=r"unknown end 'fork'; allowed: inlet, left, right"):
        parse(PhantomConfig, data, "test")


def test_branches_that_do_not_meet_are_refused(data) -> None:
    data["vessel"]["branches"]["left"]["points"][0] = [0.001, 0.0, 0.0]
    with pytest.raises(ConfigError, match="node 'fork' is at"):
        parse(PhantomConfig, data, "test")


@pytest.mark.parametrize("key", ["access", "destinations"])
def test_unknown_branches_of_tasks_are_one_clear_line(data, key: str) -> None:
    data[key] = ["nobranch"]
    with pytest.raises(
        ConfigError, match=rf"{key}: unknown branch 'nobranch'; allowed: left, right, trunk"
    ):
        parse(PhantomConfig, data, "test")


def test_loops_are_refused(data) -> None:
    branches = data["vessel"]["branches"]
    branches["left"]["points"][-1] = branches["right"]["points"][-1]
    branches["left"]["end"] = "right"
    with pytest.raises(ConfigError, match="tree"):
        parse(PhantomConfig, data, "test")


def test_a_separate_tree_is_refused(data) -> None:
    points = [[0, 0, 0.01], [0.01, 0, 0.01]]
    data["vessel"]["branches"]["lost"] = {
        "start": "a", "end": "b", "points": points, "radius": [1e-3],
    }  # fmt: skip
    with pytest.raises(ConfigError, match="apart from 'trunk' are: lost"):
        parse(PhantomConfig, data, "test")


def test_a_repeated_way_point_is_refused(data) -> None:
    points = data["vessel"]["branches"]["left"]["points"]
    points.insert(1, points[0])
    with pytest.raises(ConfigError, match="twice"):
        parse(PhantomConfig, data, "test")
