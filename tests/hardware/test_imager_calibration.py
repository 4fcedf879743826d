"""Calibration of an imager with beads; its accuracy on the twin's images is in the checks.

Images are drawn here without the twin: discs of soft edge with white noise.
"""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import erfc

from mmdtwin.cli.xray_calibrate import calibrate as command
from mmdtwin.config.base import load, override, parse, read
from mmdtwin.config.bead_phantom import BeadPhantomConfig
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.frame import Frame, Projection
from mmdtwin.geometry import random_offset
from mmdtwin.hardware.imager_calibration.accuracy import accuracy
from mmdtwin.hardware.imager_calibration.calibration import ImagerCalibration, calibrate
from mmdtwin.hardware.imager_calibration.correspondence import pair
from mmdtwin.hardware.imager_calibration.find_beads import find_beads
from mmdtwin.hardware.imager_calibration.solve import Tolerance

PHANTOM = load(BeadPhantomConfig, "bead_phantoms", "helix-64")
TUBE = "detector.intensifier={pincushion: 0.05, s_distortion: -0.03}"
ANGLES = ((0.0, 0.0), (0.5, 0.1), (-0.4, 0.3), (0.2, -0.5))


def imager(*assignments):
    data, where = read("imagers", "carm-fluoro")
    return parse(ImagerConfig, override(data, assignments), where)


def draw(projection, rng, level=600.0, noise=0.05, slope=0.2):
    """A noisy image of the phantom, brighter to the right."""
    height, width = projection.shape
    v, u = np.mgrid[:height, :width].astype(float)
    image = 1.0 + slope * (u / width - 0.5)
    uv = projection.project(PHANTOM.positions)
    radii = PHANTOM.diameters / 2 * projection.sid / projection.pitch
    radii = radii / projection.depth(PHANTOM.positions)
    for (cu, cv), r in zip(uv, radii, strict=True):
        near = (abs(u - cu) < 2 * r + 6) & (abs(v - cv) < 2 * r + 6)
        disc = 0.5 * erfc((np.hypot(u[near] - cu, v[near] - cv) - r) / 1.2)
        image[near] *= 1.0 - 0.6 * disc
    image += noise * np.sqrt(image) * rng.standard_normal(image.shape)
    return np.clip(level * image, 0, 65535).astype(np.uint16)


def session(seed, *assignments, angles=ANGLES, change=None, noise=0.05):
    """Images, nominal projections whose distortion is not known, and true ones."""
    rng = np.random.default_rng(seed)
    config = imager(*assignments)
    place = random_offset(rng, 8e-3, np.deg2rad(5.0))
    true = [Projection.from_config(config, *a, place) for a in angles]
    nominal = [unbent(Projection.from_config(config, *a)) for a in angles]
    if change is not None:
        true = [change(p) for p in true]
    return [draw(p, rng, noise=noise) for p in true], nominal, true


def unbent(p):
    bent = p.distortion
    return p if bent is None else replace(
        p, distortion=replace(bent, pincushion=0.0, s_distortion=0.0)
    )  # fmt: skip


def test_beads_are_found_to_a_tenth_of_a_pixel_on_any_grey_scale():
    rng = np.random.default_rng(0)
    p = Projection.from_config(imager())
    for level in (60.0, 3000.0, 50000.0):
        finds = find_beads(draw(p, rng, level), PHANTOM.diameters / 2 / p.pixel_size)
        uv = p.project(PHANTOM.positions)
        distance = np.linalg.norm(finds.pixels[:, None] - uv, axis=-1).min(axis=1)
        assert len(finds) > 50
        # 5 % noise on discs of 7 and 12 px: 0.03 px along each axis; beads that touch do worse.
        assert np.median(distance) < 0.06
        assert np.mean(distance > 1.0) < 0.05  # false ones


def test_large_and_small_beads_are_told_apart():
    p = Projection.from_config(imager())
    finds = find_beads(draw(p, np.random.default_rng(1)), PHANTOM.diameters / 2 / p.pixel_size)
    uv = p.project(PHANTOM.positions)
    nearest = np.linalg.norm(finds.pixels[:, None] - uv, axis=-1)
    hit = nearest.min(axis=1) < 0.3
    large = PHANTOM.diameters[nearest.argmin(axis=1)] > 2e-3
    assert finds.radii[hit & large].min() > finds.radii[hit & ~large].max()


def test_noise_alone_pairs_with_no_phantom():
    rng = np.random.default_rng(2)
    p = Projection.from_config(imager())
    noise = (600 + 60 * rng.standard_normal(p.shape)).astype(np.uint16)
    finds = find_beads(noise, PHANTOM.diameters / 2 / p.pixel_size)
    with pytest.raises(UserError, match=r"plate: .* fit the phantom's 64 beads"):
        pair(finds, PHANTOM, p, "plate")


def test_another_phantom_is_not_taken_for_this_one():
    rng = np.random.default_rng(3)
    p = Projection.from_config(imager())
    image = draw(p, rng)[:, ::-1]  # as in a mirror: no motion makes the helix so
    finds = find_beads(image, PHANTOM.diameters / 2 / p.pixel_size)
    with pytest.raises(UserError, match="fit the phantom's 64 beads"):
        pair(finds, PHANTOM, p)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((512, 512)), "uniform"),
        (np.zeros((3, 512, 512)), "shape"),
        (np.full((512, 512), np.nan), "finite"),
    ],
)
def test_images_that_are_none_are_refused(image, message):
    with pytest.raises(UserError, match=message):
        find_beads(image, [4.0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wrong_finds_and_missing_beads_do_no_harm(seed):
    rng = np.random.default_rng(seed)
    images, nominal, true = session(seed, TUBE, angles=ANGLES[:1])
    for u, v, r in rng.uniform((20, 20, 3), (490, 490, 8), (25, 3)):  # dirt, and lost beads
        cv2.circle(images[0], (int(u), int(v)), int(r), int(rng.choice([150, 700])), -1)
    finds = find_beads(images[0], PHANTOM.diameters / 2 / nominal[0].pixel_size)
    pairs = pair(finds, PHANTOM, nominal[0])
    uv = true[0].project(PHANTOM.positions[pairs.beads])
    distance = np.linalg.norm(finds.pixels[pairs.finds] - uv, axis=1)
    assert len(pairs.beads) > 30
    assert np.mean(distance < 1.0) > 0.9


@pytest.mark.parametrize("tube", [True, False])
def test_pose_and_distortion_are_found_within_their_stated_errors(tube):
    images, nominal, true = session(4, *([TUBE] if tube else []))
    found = calibrate(images, nominal, PHANTOM).calibration
    worst = accuracy(found, true)
    assert worst.isocentre < 0.3e-3
    assert worst.turn < np.deg2rad(0.2)
    assert worst.distortion < 0.2
    assert (found.distortion is not None) == tube
    shift = [p.isocentre - q.isocentre for p, q in zip(found.projections, true, strict=True)]
    errors = [image.shift_error for image in found.record.images]
    assert np.abs(np.array(shift) / np.array(errors)).max() < 4  # standard errors
    assert found.reprojection_at_isocentre < 0.02e-3


def test_a_wrong_nominal_distance_is_noticed_and_left_free():
    def longer(p):
        return Projection.from_axes(p.source, p.axes, 1.12, p.sod, p.pitch, p.shape)

    images, nominal, true = session(5, change=longer, noise=0.02)
    found = calibrate(images, nominal, PHANTOM).calibration
    assert found.record.released == ("sid",)
    assert found.record.sid == pytest.approx(1.12, abs=4 * found.record.sid_error)
    assert accuracy(found, true).isocentre < 2e-3  # distance is now told by perspective alone


def test_a_wrong_principal_point_is_found_where_nothing_is_said_of_it():
    def aside(p):
        return replace(
            Projection.from_axes(p.source, p.axes, p.sid, p.sod, p.pitch, p.shape, (275.5, 245.5))
        )

    images, nominal, _ = session(6, change=aside, noise=0.02)
    found = calibrate(images, nominal, PHANTOM, Tolerance(0.2e-3, 0.1)).calibration
    errors = np.array(found.record.principal_error)
    assert np.all(np.abs(np.array(found.record.principal) - (275.5, 245.5)) < 4 * errors)
    assert errors.max() < 4.0


def test_a_file_holds_all_of_it(tmp_path):
    images, nominal, _ = session(7, TUBE, angles=ANGLES[:2])
    found = calibrate(images, nominal, PHANTOM, source="mine").calibration
    found.save(tmp_path / "c.yaml")
    again = ImagerCalibration.load(tmp_path / "c.yaml")
    assert again.record == found.record
    point = np.array([0.01, 0.02, -0.01])
    for p, q in zip(again.projections, found.projections, strict=True):
        np.testing.assert_array_equal(p.project(point), q.project(point))
    registration = again.registration
    assert registration.id == found.record.id
    assert np.linalg.eigvalsh(registration.covariance).min() > 0


def test_the_registration_is_where_the_gantry_stands():
    images, nominal, true = session(8)
    found = calibrate(images, nominal, PHANTOM).calibration
    T = found.registration.T
    placed = Projection.from_config(imager(), *ANGLES[1], T)
    assert np.linalg.norm(placed.isocentre - true[1].isocentre) < 0.3e-3
    assert np.abs(placed.axes - true[1].axes).max() < np.deg2rad(0.2)


@pytest.mark.parametrize("text", ["- 1", "id: x", "{", "\x00"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=r"c\.yaml"):
        ImagerCalibration.load(tmp_path / "c.yaml")


def test_images_must_fit_their_geometry():
    images, nominal, _ = session(9, angles=ANGLES[:2])
    with pytest.raises(UserError, match="image 2: 100 x 512 px"):
        calibrate([images[0], images[1][:100]], nominal, PHANTOM)
    with pytest.raises(UserError, match="2 images, 1 geometries"):
        calibrate(images, nominal[:1], PHANTOM)
    other = Projection.from_config(imager("sid=1.2"))
    with pytest.raises(UserError, match="differ from those of image 1"):
        calibrate(images, [nominal[0], other], PHANTOM)


@pytest.mark.parametrize(
    ("beads", "message"),
    [
        ([[0.0, 0.0, 0.0, 1e-3]] * 5, "12 and more"),
        ([[0.01 * i, 0.01 * (i % 3), 0.0, 1e-3] for i in range(20)], "in a plane"),
        ([[0.0, 0.0, 0.0, -1e-3]] * 20, "greater than 0"),
    ],
)
def test_phantoms_that_cannot_calibrate_are_refused(beads, message):
    with pytest.raises(ConfigError, match=message):
        parse(BeadPhantomConfig, {"source": "test", "beads": beads}, "test.yaml")


@pytest.mark.parametrize("values", [(0.0, 1e-3), (1e-3, -1.0), (np.nan, 1e-3)])
def test_tolerances_must_be_positive(values):
    with pytest.raises(UserError, match="tolerance"):
        Tolerance(*values)


def run(tmp_path, *images, **options):
    defaults = {
        "phantom": "helix-64", "imager": "carm-fluoro", "angles": None, "simulate": 0, "seed": 0,
        "sid_tolerance": 2e-4, "principal_tolerance": 1.5e-4, "assignments": None,
        "out": tmp_path / "c.yaml", "json": tmp_path / "c.json",
    }  # fmt: skip
    command(images=list(images), **(defaults | options))


def test_command_reads_png_and_arrays(tmp_path):
    images, _, true = session(10, angles=ANGLES[:2])
    cv2.imwrite(str(tmp_path / "a.png"), images[0])
    np.save(tmp_path / "b.npy", images[1])
    texts = [",".join(str(np.rad2deg(x)) for x in angles) for angles in ANGLES[:2]]
    run(tmp_path, tmp_path / "a.png", tmp_path / "b.npy", angles=texts)
    found = ImagerCalibration.load(tmp_path / "c.yaml")
    assert accuracy(found, true).isocentre < 0.5e-3  # of two images
    assert json.loads((tmp_path / "c.json").read_text())["reprojection_mm"] < 0.02
    assert cv2.imread(str(tmp_path / "c.png")) is not None


def test_command_takes_geometry_from_dicom(tmp_path):
    from mmdtwin.synth.xray.dicom import write_xa

    images, nominal, true = session(11, angles=ANGLES[1:2])
    frame = Frame(np.minimum(images[0], 4095), 0, 0.0, 0.1, nominal[0])
    write_xa(tmp_path / "a.dcm", [frame], imager())
    run(tmp_path, tmp_path / "a.dcm")
    found = ImagerCalibration.load(tmp_path / "c.yaml")
    assert accuracy(found, true).isocentre < 0.5e-3  # of one image


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (None, {}, "either images or --simulate"),
        ("no.png", {}, "no such file"),
        ("a.txt", {}, r"\.png, \.npy and \.dcm"),
        ("bad.png", {}, "not a grey PNG"),
        ("bad.npy", {}, "not a NumPy array"),
        ("bad.npy", {"angles": ["1,2", "3,4"]}, "2 given for 1 images"),
        ("bad.npy", {"angles": ["1;2"]}, "PRIMARY,SECONDARY"),
        ("bad.npy", {"out": Path("c.txt")}, "must end in"),
        ("bad.npy", {"phantom": "none"}, "unknown name 'none'"),
    ],
)
def test_command_refuses_bad_input(tmp_path, name, options, message):
    for file in ("a.txt", "bad.png", "bad.npy"):
        (tmp_path / file).write_text("nothing")
    images = [] if name is None else [tmp_path / name]
    with pytest.raises(UserError, match=message):
        run(tmp_path, *images, **options)


def test_command_simulates(tmp_path):
    run(tmp_path, simulate=2, seed=3, assignments=["detector.intensifier={}"])
    errors = json.loads((tmp_path / "c.json").read_text())["errors"]
    assert errors["isocentre_mm"] < 0.5  # of two images
    assert errors["turn_deg"] < 0.2
    assert errors["distortion_px"] < 0.2
