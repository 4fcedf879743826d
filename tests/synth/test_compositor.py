"""Composites: shapes, contrast, labels, and that a device changes nothing but its own shadow."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmdtwin.config import ImagerConfig, load, parse, read
from mmdtwin.config.randomisation import DEVICES, RandomisationConfig
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.synth.compositor.compose import Asked, compose
from mmdtwin.synth.compositor.compositor import Compositor
from mmdtwin.synth.compositor.contrast import Reach
from mmdtwin.synth.compositor.devices import draw_device, extent
from mmdtwin.synth.compositor.labels import footprint
from mmdtwin.synth.compositor.outline import has_holes, polygons, run_lengths
from mmdtwin.synth.compositor.view import View
from mmdtwin.synth.xray.background import flat_background
from mmdtwin.synth.xray.dicom_write import write_xa
from mmdtwin.synth.xray.imager import Imager

SIDE = 128  # px
NONE = {"low": 0.0, "high": 0.0, "why": "none"}
VESSELS = read("randomisation", "default")[0]["vessel_contrast"]


def randomisation(**changes):
    data = read("randomisation", "default")[0]
    data |= {"size": SIDE, "images_per_background": 2}
    data["background"] = {"weights": {"bank": 1, "flat": 1}, "why": "fast"}
    return parse(RandomisationConfig, data | changes, "test")


def lag(share):
    both = {"share": share, "time": 0.1}
    ranges = {name: {"low": x, "high": x, "why": "test"} for name, x in both.items()}
    return ranges | {"why": "test"}


def view(dose=250e-9, noise=0, **changes):
    """A flat view without instruments, focal spot and gain errors."""
    config = load(ImagerConfig, "imagers", "flat-phantom")
    detector = config.detector.model_copy(update={"rows": SIDE, "columns": SIDE})
    exposure = config.exposure.model_copy(update={"detector_dose": dose})
    update = {"detector": detector, "exposure": exposure, "focal_spot": 0.0, **changes}
    config = config.model_copy(update=update)
    imager = Imager(
        config, np.random.default_rng(0), np.random.default_rng(noise),
        background=flat_background(config),
    )  # fmt: skip
    nothing = np.zeros(imager.projection.shape, bool)
    return View(imager, (), nothing, ~nothing, {})


def asked(seen_from, kind="bead", size=3e-3, contrast=0.1, material=None, seed=0):
    device = draw_device(np.random.default_rng(seed), kind, size)
    there = footprint(device, seen_from.imager.projection)
    row, column, thickness = there.thickest
    lit = seen_from.imager.lit(seen_from.scene(0.0), row, column)
    reach = Reach(seen_from.imager.beam, lit, thickness, device.family, "blood")
    material = material or reach.material(contrast)
    return Asked(device.made_of(material, "blood"), there, contrast, size)


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(DEVICES), seed=st.integers(0, 2**32 - 1), size=st.floats(0.55e-3, 5e-3))
def test_devices_are_as_large_as_asked_and_about_the_origin(kind, seed, size):
    device = draw_device(np.random.default_rng(seed), kind, size)
    # Hulls of boxes and balls are known by their corners and axes: balls to some percent.
    assert extent(device.bodies) == pytest.approx(size, rel=1e-6)
    assert np.abs(device.centre).max() < 1e-9
    assert np.linalg.norm(device.line[-1] - device.line[0]) < 1.5 * size


@pytest.mark.parametrize("contrast", [0.012, 0.05, 0.2])
def test_contrast_is_what_was_asked_for(contrast):
    """Measured on the noise-free signal at the thickest pixel, without any blur."""
    there = view()
    each = asked(there, size=1.5e-3, contrast=contrast)
    before, after = (there.imager.signal(b) for b in ((), each.device.bodies))
    row, column, _ = each.footprint.thickest
    b, d = float(before[row, column]), float(after[row, column])
    # A ball's pixel is not evenly thick, and the fast path is right to .2 %.
    assert (b - d) / (b + d) == pytest.approx(contrast, rel=0.02)
    facts = compose(there, [each], 0.0).instances[0].facts
    assert facts["contrast_object"] == pytest.approx(contrast, rel=1e-4)
    assert 0.0 < facts["contrast_blurred"] <= contrast


def test_contrast_out_of_reach_says_what_can_be_reached():
    with pytest.raises(UserError, match=r"contrast 0.9: .* reach .* to .* here"):
        asked(view(), contrast=0.9)


def test_device_of_no_attenuation_changes_nothing():
    plain = compose(view(), [], 0.0).image
    clear = view()
    assert np.array_equal(plain, compose(clear, [asked(clear, material="blood")], 0.0).image)


def test_fused_in_the_attenuation_domain():
    """What the device takes away is its own transmission, and the mask is where it takes any."""
    there = view()
    each = asked(there, kind="sheet", size=4e-3, contrast=0.1)
    scatter = there.imager.scatter
    before, after = (there.imager.signal(b) - scatter for b in ((), each.device.bodies))
    fused = -np.log(after.astype(float) / before)
    whole = (0, SIDE, 0, SIDE)
    passed = np.ones((SIDE, SIDE))
    for body in each.device.bodies:
        passed *= there.imager.transmission(body, whole)
    assert fused == pytest.approx(-np.log(passed), abs=2e-6)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[each.footprint.window] = each.footprint.mask
    assert np.array_equal(mask, passed < 1.0)


def test_noise_follows_the_dose_within_a_device():
    """Variance over mean of raw frames is the same inside and outside its support."""
    ratios = []
    for inside in (True, False):
        there = view(noise=3)
        each = asked(there, size=5e-3, contrast=0.3)
        frames = np.stack([compose(there, [each], float(i)).image for i in range(300)])
        window = np.zeros((SIDE, SIDE), bool)
        window[each.footprint.window] = each.footprint.share > 0.99
        chosen = window if inside else ~window & (np.hypot(*(np.indices(window.shape) - 64)) > 20)
        values = frames[:, chosen].astype(float)
        noise = values.var(axis=0).mean() - (there.imager.gain * 4.0) ** 2  # less the electronics'
        ratios.append(noise / values.mean())
    assert ratios[0] == pytest.approx(ratios[1], rel=0.05)


def test_labels_of_a_ball():
    there = view()
    label = (
        compose(there, [asked(there, size=3e-3)], 0.0).instances[0].record(there.imager.projection)
    )
    middle = (SIDE - 1) / 2
    assert label["centroid"] == pytest.approx([middle, middle], abs=0.01)
    radius = 1.5e-3 / there.imager.projection.pixel_size
    assert label["area"] == pytest.approx(np.pi * radius**2, rel=0.3)  # any touch counts
    assert label["visible"] == 1.0 and label["occluded"] == 0.0
    mask = coco_mask.decode(
        {**label["run_lengths"], "counts": label["run_lengths"]["counts"].encode()}
    )
    assert mask.sum() == label["area"] and mask[round(middle), round(middle)]
    u, v, wide, high = label["bbox"]
    rows, columns = np.nonzero(mask)
    assert [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] == [u, v, wide, high]


def test_half_out_of_the_image_is_half_visible():
    there = view()
    each = asked(there, size=4e-3)
    rim = there.imager.projection.back_project([-0.5, 64.0], there.imager.projection.sod)
    T = np.eye(4)
    T[:3, 3] = rim
    moved = each.device.placed(T)
    each = replace(each, device=moved, footprint=footprint(moved, there.imager.projection))
    facts = compose(there, [each], 0.0).instances[0].facts
    assert facts["visible"] == pytest.approx(0.5, abs=0.05)


def test_images_follow_from_seed_and_number_alone():
    config = randomisation()
    first = list(Compositor(config, 5).view(3))
    again = Compositor(config, 5)
    list(again.view(0))
    second = list(again.view(3))
    other = list(Compositor(config, 6).view(3))
    for a, b, c in zip(first, second, other, strict=True):
        projection = a.view.imager.projection
        assert np.array_equal(a.image, b.image) and a.about == b.about
        records = [[i.record(projection) for i in x.instances] for x in (a, b)]
        assert records[0] == records[1]
        assert not np.array_equal(a.image, c.image)


def test_hard_cells_are_filled():
    """Every cell of contrast and size is found among few devices, and asked contrasts are met."""
    config = randomisation(devices={"weights": {"3": 1}, "why": "many"})
    found, off = np.zeros((3, 3), int), []
    for number in range(12):
        for composite in Compositor(config, 1).view(number):
            for each in composite.instances:
                facts = each.facts
                i = np.searchsorted(config.cells.contrast, facts["contrast_object"]) - 1
                j = np.searchsorted(config.cells.size, facts["size"]) - 1
                found[np.clip(i, 0, 2), np.clip(j, 0, 2)] += 1
                off.append(facts["contrast_object"] / facts["contrast"] - 1.0)
    assert found.min() >= 2, found
    assert np.mean(np.abs(off) < 0.1) >= 0.95


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blobs=st.integers(1, 6))
def test_outlines_are_exact(seed, blobs):
    """Masks of rectangles and specks: run lengths, and outlines where there are no holes."""
    rng = np.random.default_rng(seed)
    mask = rng.random((24, 30)) < 0.03
    for _ in range(blobs):
        (v, u), (h, w) = rng.integers(0, 20, 2), rng.integers(1, 9, 2)
        mask[v : v + h, u : u + w] ^= True
    runs = run_lengths(mask)
    decoded = coco_mask.decode({**runs, "counts": runs["counts"].encode()})
    assert np.array_equal(decoded, mask)
    loops = polygons(mask)
    assert (loops is None) == has_holes(mask)
    if loops:
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(loops, *mask.shape)))
        assert np.array_equal(drawn.astype(bool), mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dose": {"low": 2.0, "high": 1.0, "why": ""}}, "dose: low: 2 is more than high, 1"),
        ({"blur": {"low": 0.0, "high": 1.0, "log": True, "why": ""}}, "evenly in the log"),
        ({"device": {"weights": {"fish": 1}, "why": ""}}, "unknown 'fish'; allowed: sheet"),
        ({"devices": {"weights": {"1": 0}, "why": ""}}, "at least one must be above 0"),
        ({"devices": {"weights": {"x": 1}, "why": ""}}, "'x' is no number of 0 to 8"),
        ({"dosis": 1}, "dosis: unknown key; allowed: "),
    ],
)
def test_bad_ranges_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        randomisation(**change)


def clear(composite):
    """What arrives without noise and devices."""
    return composite.view.imager.arriving([composite.view.scene(0.0)]).mean.copy()


def test_flow_is_how_the_images_move():
    """A frame warped back by its flow is the one before: anatomy, and the devices' middles."""
    config = randomisation(
        motion={
            "speed": {"low": 0.02, "high": 0.05, "why": "fast"},
            "patient": {"weights": {"resting": 1}, "why": "breathes"},
            "why": "test",
        },
        background={"weights": {"bank": 1}, "why": "has structure"},
        instruments={"weights": {"0": 1}, "why": "they do not move alike"},
        dose={"low": 1e-4, "high": 1e-4, "why": "no noise"},
        gain_error={"low": 0.0, "high": 0.0, "why": "fixed patterns stay"},
        dead_pixels={"low": 0.0, "high": 0.0, "why": "fixed patterns stay"},
        curve={"weights": {"linear": 1}, "why": "plain"},
        edge_enhancement={"low": 0.0, "high": 0.0, "why": "plain"},
        collimator={"share": 0.0, "opening": {"low": 0.5, "high": 0.9, "why": ""}, "why": ""},
        vessel_contrast=VESSELS | {"share": 0.0},
        lag=lag(0.0),
    )
    moved = []
    for number in range(6):
        frames = list(Compositor(config, 2).sequence(number, 5))
        for (before, flow), (after, _) in pairwise(frames):
            shift = np.median(flow.reshape(-1, 2), axis=0)  # of the anatomy, which is most of it
            if np.hypot(*shift) > 0.8:
                v, u = np.indices(before.image.shape).astype(np.float32)
                first, second = clear(before), clear(after)
                at = (u + np.float32(shift[0]), v + np.float32(shift[1]))
                back = cv2.remap(second, *at, cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT_101)
                off, still = ((x - first)[16:-16, 16:-16].std() for x in (back, second))
                assert off < 0.2 * still  # heel and scatter stay where they are
            for a, b in zip(before.instances, after.instances, strict=False):
                if a.facts["size"] != b.facts["size"]:
                    continue
                (cu, cv), (du, dv) = a.footprint.centroid, b.footprint.centroid
                whole = min(a.facts["visible"], b.facts["visible"]) == 1.0
                if whole and a.footprint.mask.sum() > 12:
                    rows, columns = np.nonzero(a.footprint.mask)
                    rows, columns = rows + a.footprint.roi[0], columns + a.footprint.roi[2]
                    step = flow[rows, columns].mean(axis=0)
                    moved.append(np.hypot(cu + step[0] - du, cv + step[1] - dv))
    assert len(moved) > 8 and np.median(moved) < 0.1 and max(moved) < 0.5, moved


def test_doses_are_taken_in_turn():
    """What is asked of the tube; it may not be able to give so much behind thick tissue."""
    edges = (20e-9, 60e-9, 200e-9, 500e-9)
    cells = read("randomisation", "default")[0]["cells"] | {"dose": edges}
    compositor = Compositor(randomisation(cells=cells), seed=2)
    for number in (0, 1, 2, 3):
        low, high = edges[number % 3 : number % 3 + 2]
        for composite in compositor.view(number):
            assert low <= composite.view.imager.config.exposure.detector_dose <= high


def test_lag_drags_in_sequences_alone():
    """The same draws with and without: a still has nothing of the one before, a frame has."""
    images = []
    for share in (0.0, 0.3):
        compositor = Compositor(randomisation(lag=lag(share)), seed=5)
        stills = [composite.image for composite in compositor.view(0)]
        moving = [composite.image for composite, _ in compositor.sequence(0, 3)]
        images.append((stills, moving))
    (still, moving), (late_still, late_moving) = images
    for plain, late in zip(still, late_still, strict=True):
        assert np.abs(plain.astype(int) - late).max() <= 1  # rounding
    assert np.abs(moving[0].astype(int) - late_moving[0]).max() <= 1
    assert np.abs(moving[1].astype(int) - late_moving[1]).max() > 1


def test_own_images_are_backgrounds(tmp_path):
    """DICOM files that this project has written, without devices, and the devices of another."""
    empty = {"weights": {"0": 1}, "why": "own images"}
    plain = {"curve": {"weights": {"linear": 1}, "why": "raw"}, "edge_enhancement": NONE}
    source = Compositor(randomisation(devices=empty, lag=lag(0.0), **plain), seed=1)
    for number in range(2):
        composite = next(source.view(number))
        write_xa(tmp_path / f"{number}.dcm", [composite.frame], composite.view.imager.config, "1")
    own = {"weights": {"file": 1}, "why": "own"}
    narrow = {"low": 0.1e-3, "high": 0.1e-3, "why": "files are smaller than images else"}
    config = randomisation(background=own, files={"folder": str(tmp_path)}, pitch=narrow)
    names = set()
    for number in range(6):
        for composite in Compositor(config, seed=2).view(number):
            names.add(composite.about["background_name"])
            assert composite.about["background"] == "file"
            assert np.ptp(composite.image) > 0
    assert names == {"0.dcm", "1.dcm"}
    nowhere = {"folder": str(tmp_path / "no")}
    with pytest.raises(UserError, match="no files there"):
        next(Compositor(randomisation(background=own, files=nowhere), 1).view(0))
    with pytest.raises(ConfigError, match="name the folder that background 'file'"):
        randomisation(background=own)
