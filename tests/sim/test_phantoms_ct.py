"""The arteries of the CT as a phantom."""

import copy

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from mmdtwin.config import PhantomConfig, load, parse, read
from mmdtwin.errors import ConfigError
from mmdtwin.sim.anatomy import load_artery_labels
from mmdtwin.sim.phantoms import Vessel, build_vessel
from mmdtwin.sim.phantoms.ct import signed_distance

ENDS = {
    "descending-aorta", "left-subclavian", "right-subclavian", "left-carotid", "right-carotid",
}  # fmt: skip
WORKSPACE = 27e-3


@pytest.fixture(scope="module")
def vessel(tmp_path_factory: pytest.TempPathFactory) -> Vessel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMDTWIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return build_vessel(load(PhantomConfig, "phantoms", "ct-aorta"))


def test_it_has_exactly_the_five_ends(vessel: Vessel) -> None:
    assert set(vessel.map.ends) == ENDS
    nodes = [n for b in vessel.map.branches.values() for n in (b.start, b.end)]
    assert {n for n in nodes if nodes.count(n) == 1} == ENDS
    assert set(vessel.map.branches) == {
        "aorta", "arch", "brachiocephalic", "left-subclavian", "left-carotid",
        "right-subclavian", "right-carotid",
    }  # fmt: skip
    assert len(vessel.map.junctions) == 3


def test_wall_is_one_closed_surface_without_handles(vessel: Vessel) -> None:
    mesh = trimesh.Trimesh(vessel.vertices, vessel.faces, process=False)
    assert vessel.surface.watertight
    assert vessel.surface.volume > 0
    assert mesh.body_count == 1
    # A handle would be a short cut between two vessels that the labels have fused.
    assert mesh.euler_number == 2


def test_everything_lies_in_the_workspace(vessel: Vessel) -> None:
    assert np.linalg.norm(vessel.vertices, axis=1).max() < WORKSPACE


def test_the_device_passes_everywhere(vessel: Vessel) -> None:
    assert np.all(vessel.map.radius > 0)
    assert vessel.minimum_lumen >= 2.4e-3
    assert np.all(vessel.sdf(vessel.map.points) > 0)


def test_anatomy_is_where_it_belongs(vessel: Vessel) -> None:
    """In the CT's frame x points to the patient's left, y to the head, z to the front."""
    placed = load(PhantomConfig, "phantoms", "ct-aorta").vessel
    rotation = Rotation.from_rotvec(placed.rotation).as_matrix()
    lines = {
        n: (b.points + np.array(placed.centre)) @ rotation for n, b in vessel.map.branches.items()
    }
    tip = {n: line[-1] for n, line in lines.items()}
    assert tip["left-subclavian"][0] > tip["left-carotid"][0] > tip["right-carotid"][0]
    assert tip["right-carotid"][0] > tip["right-subclavian"][0]
    aorta = vessel.map.branches["aorta"]
    assert tip["left-carotid"][1] > lines["aorta"][:, 1].max() + 20e-3
    assert lines["aorta"][0, 2] < tip["arch"][2] - 10e-3  # descends behind the arch
    assert aorta.radius.min() > 2 * vessel.map.branches["left-carotid"].radius.min()


def test_tasks_from_the_aorta_are_long_enough(vessel: Vessel) -> None:
    start = vessel.map.branches["aorta"].points[-1]
    for end in ENDS - {"descending-aorta"}:
        path = vessel.map.path(start, vessel.map.branches[end].points[-1])
        assert path.length > 20e-3
        assert path.junctions >= 1
        assert 2 * path.radius.min() > 1.5e-3  # wider than the device
        assert 2 * path.radius.min() <= 2.5 * 1.5e-3


def test_interpolated_field_keeps_the_labels_volume() -> None:
    """Where a label is thick (the aorta), interpolation and smoothing keep its size."""
    labels = load_artery_labels()
    field = signed_distance(labels, 0.8e-3, 0.7e-3)
    voxels = labels.labels > 0
    counted = voxels.sum() * np.prod(labels.spacing)
    measured = (field.values > 0).sum() * field.voxel**3
    # Smoothing by sigma shrinks a tube of radius R by sigma^2/2R = 0.02 mm in the aorta (R =
    # 11 mm) and 0.1 mm in the arteries (R = 2.5 mm), which hold a twentieth of the volume.
    assert measured == pytest.approx(counted, rel=0.03)


def test_scale_outside_the_range_is_one_clear_line() -> None:
    data = copy.deepcopy(read("phantoms", "ct-aorta")[0])
    data["vessel"]["scale"] = 0.6
    with pytest.raises(ConfigError, match=r"scale.*0\.5.*0\.6"):
        parse(PhantomConfig, data, "test")


def test_an_inlet_that_is_no_end_is_one_clear_line() -> None:
    data = copy.deepcopy(read("phantoms", "ct-aorta")[0])
    data["flow"]["inlet"] = "aortic-root"
    with pytest.raises(ConfigError, match="unknown end 'aortic-root'; allowed: descending-aorta"):
        parse(PhantomConfig, data, "test")
