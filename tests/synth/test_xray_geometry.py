"""Path lengths and material maps against closed forms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import unit
from mmdtwin.sim.anatomy import TEST_SLAB_Y, Anatomy, load_anatomy
from mmdtwin.sim.shapes import Solids
from mmdtwin.synth.xray.background import (
    bank_background,
    bank_poses,
    ct_background,
    decode,
    encode,
)
from mmdtwin.synth.xray.drr import check_coverage, material_fractions, material_maps
from mmdtwin.synth.xray.materials import attenuation
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths


def carm(**changes):
    geometry = {"sid": 1.1, "sod": 0.75, "pitch": 0.3e-3, "shape": (512, 512)} | changes
    return Projection.from_carm(**geometry)


def box(centre, rotation, half, material="water"):
    return Solids(
        np.array([centre], float),
        np.asarray(rotation, float)[None],
        np.array([half], float),
        material,
    )


def whole(projection):
    return (0, projection.shape[0], 0, projection.shape[1])


def test_box_turned_by_45_degrees():
    """A square bar of side a turned 45 deg about y: the central ray crosses its diagonal, a ray
    at x crosses sqrt(2) a - 2 |x| (the beam is nearly parallel: 1 mm in 750)."""
    projection = carm(shape=(65, 65), pitch=0.05e-3)
    a = 1e-3
    bar = box((0, 0, 0), Rotation.from_rotvec([0, np.pi / 4, 0]).as_matrix(), [a / 2, 0.02, a / 2])
    path = path_lengths(bar, projection, whole(projection), supersampling=1)[0][32]
    x = (np.arange(65) - 32) * projection.pixel_size
    expected = np.maximum(np.sqrt(2) * a - 2 * np.abs(x), 0.0)
    assert path[32] == pytest.approx(np.sqrt(2) * a, rel=1e-6)
    assert np.abs(path - expected).max() < 3e-6


def test_box_seen_at_an_angle():
    """A wide slab of thickness h tilted by 60 deg is h / cos 60 thick to the central ray."""
    projection = carm(shape=(65, 65))
    rotation = Rotation.from_rotvec([np.deg2rad(60), 0, 0]).as_matrix()
    slab = box((0, 0, 0), rotation, [0.1, 0.1, 0.5e-3])
    path, share = path_lengths(slab, projection, whole(projection))
    assert share.min() == 1.0
    assert path[32, 32] == pytest.approx(2e-3, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_an_ellipsoid_has_its_chord_and_its_volume(seed):
    """The ray through the centre is inside for 2 / |A^-1 d|; lengths times the pixel's area at the
    ellipsoid's depth add up to the volume (within 0.3 %: nine rays per pixel at the rim)."""
    half = np.array([0.5e-3, 0.8e-3, 1.1e-3])
    rotation = Rotation.random(random_state=seed).as_matrix()
    projection = carm(shape=(129, 129), pitch=0.05e-3)
    ellipsoid = Solids(np.zeros((1, 3)), rotation[None], half[None], "water", shape="ellipsoid")
    path, share = path_lengths(ellipsoid, projection, whole(projection))
    direction = unit(projection.source)
    assert path[64, 64] == pytest.approx(2 / np.linalg.norm(rotation.T @ direction / half), 2e-3)
    volume = path.sum() * projection.pixel_size**2
    assert volume == pytest.approx(4 / 3 * np.pi * half.prod(), rel=3e-3)
    assert share.max() == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_shadow_lies_where_the_projection_says(seed):
    """A small ball-like box anywhere, any gantry angle: the shadow's centroid is the projected
    centre within 0.02 px (perspective across a 1 mm box)."""
    rng = np.random.default_rng(seed)
    offset = np.eye(4)
    offset[:3, 3] = rng.normal(0, 2e-3, 3)
    projection = carm(
        primary=rng.uniform(-0.5, 0.5), secondary=rng.uniform(-0.3, 0.3), T_world_imager=offset
    )
    centre = rng.uniform(-0.03, 0.03, 3)
    rotation = Rotation.random(random_state=seed).as_matrix()
    cube = box(centre, rotation, [0.5e-3] * 3)
    roi = covered_roi(cube, projection, margin=2)
    path, _ = path_lengths(cube, projection, roi, supersampling=5)
    assert path[0].max() == path[-1].max() == path[:, 0].max() == path[:, -1].max() == 0.0
    v, u = np.mgrid[roi[0] : roi[1], roi[2] : roi[3]]
    found = np.array([(u * path).sum(), (v * path).sum()]) / path.sum()
    assert found == pytest.approx(projection.project(centre), abs=0.02)
    # Volume is kept: path times the pixel's area at the depth of the box, 1 %.
    size = projection.pitch * projection.depth(centre) / projection.sid
    cosine = projection.rays(found) @ projection.axes[2]
    assert path.sum() * size**2 * cosine == pytest.approx(1e-9, rel=0.01)


def test_boxes_beside_the_image_or_behind_the_source_cast_nothing():
    projection = carm()
    for centre in ((1.0, 0, 0), (0, 0, 0.75), (0, 0, 2.0)):
        assert covered_roi(box(centre, np.eye(3), [1e-3] * 3), projection) is None


def test_material_split_keeps_attenuation():
    """At the CT's effective energy the two shares must give back r = 1 + HU/1000."""
    hu = np.array([-1000, -850, -100, 0, 40, 51, 300, 900, 1500], np.int16)
    soft, bone = material_fractions(hu)
    mu = soft * attenuation("soft-tissue", 70.0) + bone * attenuation("bone", 70.0)
    assert mu / attenuation("water", 70.0) == pytest.approx(1 + hu / 1000, abs=1e-5)
    assert np.all(bone[hu <= 40] == 0.0)
    assert bone[-1] == pytest.approx(1.0, abs=0.15)


def test_maps_of_a_homogeneous_block():
    """A block of water 80 mm deep: each ray crosses depth / cos; soft share is mu_w / mu_soft.

    Half a plane of 1 mm is lost or won at each face: 1.3 %; the cosine to 1e-3.
    """
    shape = (301, 301, 81)
    block = Anatomy(
        labels=np.zeros(shape, np.uint8),
        spacing=np.array([1e-3, 1e-3, 1e-3]),
        origin=np.array([-0.15, -0.15, -0.04]),
        names={},
        hounsfield=np.zeros(shape, np.int16),
    )
    projection = carm(primary=0.3)
    maps = material_maps(block, projection, np.zeros(3), below_test_slab=False)
    share = attenuation("water", 70.0) / attenuation("soft-tissue", 70.0)
    v, u = np.mgrid[0:512:37, 0:512:37]
    slant = 1 / np.abs(projection.rays(np.stack([u, v], axis=-1))[..., 2])
    got = maps["soft-tissue"][::37, ::37] / share / slant
    assert got.max() - got.min() < 2e-4
    assert got.mean() == pytest.approx(0.08, rel=0.015)
    assert maps["bone"].max() == 0.0


def test_a_marker_in_the_ct_projects_where_the_projection_says():
    """One dense voxel at a known CT point must land on its projected pixel, within 0.3 px (the
    voxel is 5 px wide and maps have half the detector's sampling)."""
    shape = (201, 101, 101)
    hu = np.full(shape, -1000, np.int16)
    hu[120, 40, 70] = 2000
    ct = Anatomy(
        np.zeros(shape, np.uint8),
        np.array([1e-3, 2e-3, 1e-3]),
        np.array([-0.1, -0.1, -0.05]),
        {},
        hu,
    )
    marker = ct.origin + ct.spacing * np.array([120, 40, 70])
    isocentre = np.array([0.01, -0.02, 0.005])
    projection = carm(primary=0.2, secondary=-0.1)
    maps = material_maps(ct, projection, isocentre, below_test_slab=False)
    weight = maps["bone"]
    v, u = np.mgrid[0:512, 0:512]
    found = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    assert found == pytest.approx(projection.project(marker - isocentre), abs=0.3)


def test_bank_is_what_the_ct_gives():
    """The bank comes from the full CT; the coarser sample must give the same maps but for detail:
    median difference of 2 % of the tissue."""
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    pose = bank_poses()[0]
    stored = bank_background(config, 0).maps["soft-tissue"]
    projection = carm(primary=pose.primary, secondary=pose.secondary)
    fresh = material_maps(load_anatomy(), projection, np.array(pose.isocentre))["soft-tissue"]
    assert np.median(np.abs(stored - fresh)) < 0.02 * stored.mean()
    assert np.corrcoef(stored.ravel(), fresh.ravel())[0, 1] > 0.99


def test_bank_poses_stay_below_the_test_slab():
    ct = load_anatomy()
    z = ct.extent[:, 2]
    body = (z[0] + 0.01, z[1] - 0.01)
    poses = bank_poses()
    assert len(poses) == 12
    for pose in poses:
        assert abs(pose.primary) <= np.deg2rad(30) and abs(pose.secondary) <= np.deg2rad(15)
        projection = carm(primary=pose.primary, secondary=pose.secondary)
        check_coverage(ct, projection, np.array(pose.isocentre), body)
        assert pose.isocentre[1] < TEST_SLAB_Y - 0.06


def test_bank_on_a_finer_detector_is_the_same_picture():
    """Half the pitch and twice the pixels: means of 2 x 2 pixels are the coarse pixels, to 0.2 mm
    of tissue in the median."""
    coarse = load(ImagerConfig, "imagers", "carm-fluoro")
    detector = coarse.detector.model_copy(update={"rows": 1024, "columns": 1024, "pitch": 0.15e-3})
    fine = coarse.model_copy(update={"detector": detector})
    a = bank_background(coarse, 5).maps["soft-tissue"]
    b = bank_background(fine, 5).maps["soft-tissue"].reshape(512, 2, 512, 2).mean(axis=(1, 3))
    assert np.median(np.abs(a - b)) < 0.2e-3


def test_codec_round_trip():
    maps = np.random.default_rng(0).integers(0, 2**14, (3, 2, 9, 7)).astype(np.uint16)
    assert np.array_equal(decode(*encode(maps)), maps)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"primary": 0.1}, "background.kind to 'ct'"), ({"sod": 0.7}, "sod"), ({"sid": 0.9}, "spans")],
)
def test_bank_refuses_other_geometries(change, message):
    config = load(ImagerConfig, "imagers", "carm-fluoro").model_copy(update=change)
    with pytest.raises(UserError, match=message):
        bank_background(config, 0)


def test_ct_background_is_cached_and_refuses_what_it_cannot_see(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    config = load(ImagerConfig, "imagers", "carm-fluoro").model_copy(update={"primary": 0.2})
    first = ct_background(config, np.array([0.0, -0.2, 0.0]))
    files = list((tmp_path / "xray").iterdir())
    second = ct_background(config, np.array([0.0, -0.2, 0.0]))
    assert len(files) == 1 and list((tmp_path / "xray").iterdir()) == files
    assert np.array_equal(first.maps["bone"], second.maps["bone"])
    assert first.pose.primary == 0.2
    with pytest.raises(UserError, match="rays leave the CT"):
        ct_background(config, np.array([0.0, -0.1, 0.0]))
    steep = config.model_copy(update={"primary": 0.9})
    with pytest.raises(UserError, match="45 deg"):
        ct_background(steep, np.array([0.0, -0.2, 0.0]))
