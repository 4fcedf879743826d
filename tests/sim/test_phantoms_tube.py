"""Wall and distance of a straight tube against closed forms: a cylinder with two hemispheres."""

import numpy as np
import pytest
import trimesh

from mmdtwin.config import PhantomConfig, parse
from mmdtwin.errors import UserError
from mmdtwin.sim.phantoms import Vessel, build_vessel

RADIUS = 1.5e-3
START = np.array([-5.0e-3, 1.1e-3, -0.7e-3])  # oblique, so that no facet lies on a grid plane
END = np.array([5.3e-3, 0.4e-3, 2.1e-3])
VOXEL = 0.2e-3
LENGTH = float(np.linalg.norm(END - START))


def tube_config(radius: float = RADIUS, voxel: float = VOXEL) -> PhantomConfig:
    branch = {"start": "in", "end": "out", "radius": [radius]}
    branch |= {"points": [START.tolist(), END.tolist()]}
    data = {
        "vessel": {
            "kind": "procedural",
            "source": "test",
            "branches": {"tube": branch},
            "voxel": voxel,
        },
        "flow": {"inlet": "in", "mean_speed": 5e-3, "viscosity": 4e-3, "density": 1060},
    }
    return parse(PhantomConfig, data, "test")


@pytest.fixture(scope="module")
def tube(tmp_path_factory: pytest.TempPathFactory) -> Vessel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMDTWIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return build_vessel(tube_config())


def depth(points: np.ndarray) -> np.ndarray:
    """Exact distance to the wall, positive inside."""
    axis = (END - START) / LENGTH
    along = np.clip((points - START) @ axis, 0.0, LENGTH)
    return RADIUS - np.linalg.norm(points - START - along[:, None] * axis, axis=1)


def test_wall_is_closed_and_faces_outwards(tube: Vessel) -> None:
    mesh = trimesh.Trimesh(tube.vertices, tube.faces, process=False)
    assert tube.surface.watertight
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    exact = np.pi * RADIUS**2 * LENGTH + 4 / 3 * np.pi * RADIUS**3
    # Inscribed facets lose volume: 2/3 of a sagitta of 9 um over the wall is 0.8 %.
    assert tube.surface.volume == pytest.approx(exact, rel=0.01)
    assert mesh.volume == pytest.approx(tube.surface.volume, rel=1e-9)


def test_a_reversed_or_open_mesh_is_noticed(tube: Vessel) -> None:
    surface = type(tube.surface)
    assert surface(tube.vertices, tube.faces[:, ::-1]).volume < 0
    assert not surface(tube.vertices, tube.faces[1:]).watertight


def test_facets_lie_within_10_um_of_the_tube(tube: Vessel) -> None:
    rng = np.random.default_rng(0)
    corners = tube.vertices[tube.faces]
    weights = rng.dirichlet([1, 1, 1], (len(corners), 10))
    samples = np.einsum("fkc,fcd->fkd", weights, corners).reshape(-1, 3)
    # The sagitta of the longest facet, sqrt(2) voxels wide, is c^2/(8 R) = 6.7 um; the rest is
    # skew facets. 10 um is what the contact with a device asks for.
    assert np.abs(depth(samples)).max() < 10e-6
    assert np.abs(depth(tube.vertices)).max() < 2e-6


def test_sdf_is_the_distance_to_the_wall(tube: Vessel) -> None:
    rng = np.random.default_rng(1)
    low, high = tube.vertices.min(axis=0) - 0.5e-3, tube.vertices.max(axis=0) + 0.5e-3
    points = rng.uniform(low, high, (20000, 3))
    exact, found = depth(points), tube.sdf(points)
    near = np.abs(exact) < 0.5 * RADIUS
    along = (points - START) @ (END - START) / LENGTH
    beside = near & (along > 0) & (along < LENGTH)
    # Facets (10 um) and linear interpolation across a voxel (h^2/8R = 3 um); the caps curve both
    # ways, which doubles each.
    assert np.abs(found - exact)[beside].max() < 13e-6
    assert np.abs(found - exact)[near].max() < 26e-6
    inside = exact > 0
    # At the ridge on the axis linear interpolation cuts the peak: half a voxel's diagonal.
    assert np.abs(found - exact)[inside].max() < 0.5 * np.sqrt(3) * VOXEL
    assert np.all(found[exact < -20e-6] < 0)
    far = tube.sdf([[0.1, 0.0, 0.0]])
    assert far[0] == pytest.approx(-1e-3, rel=1e-6)


def test_map_carries_the_inscribed_radius(tube: Vessel) -> None:
    branch = tube.map.branches["tube"]
    assert tube.map.ends == ("in", "out")
    assert tube.map.inlet == "in"
    assert branch.length == pytest.approx(LENGTH, rel=0.02)
    assert np.abs(branch.radius - RADIUS).max() < 12e-6
    assert np.diff(branch.arclength).max() <= 0.25e-3 + 1e-9
    assert tube.minimum_lumen == 2 * branch.radius.min()


@pytest.mark.parametrize("suffix", [".obj", ".stl"])
def test_wall_is_written_for_a_printer(tube: Vessel, tmp_path, suffix: str) -> None:
    path = tmp_path / f"wall{suffix}"
    tube.write_obj(path, scale=1e3)
    mesh = trimesh.load(path)
    mesh.merge_vertices()
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(tube.surface.volume * 1e9, rel=1e-5)
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_kind_of_mesh_is_refused(tube: Vessel, tmp_path) -> None:
    with pytest.raises(UserError, match=r"\.obj, \.stl"):
        tube.write_obj(tmp_path / "wall.ply")
    with pytest.raises(UserError, match="cannot write"):
        tube.write_obj(tmp_path / "none" / "wall.stl")


def test_a_branch_thinner_than_the_grid_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="phantom"):
        build_vessel(tube_config(radius=0.05e-3, voxel=0.5e-3))
    assert not list((tmp_path / "phantoms").iterdir())
