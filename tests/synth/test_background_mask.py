"""Masks: their colours, what is refused, composed anatomy, and a scenario's own vessel."""

import cv2
import numpy as np
import pytest

from mmdtwin.config import load_scenario
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.sim import World
from mmdtwin.synth.background import masks
from mmdtwin.synth.background.classes import (
    AIR,
    BONE,
    CHANNEL,
    COLOURS,
    LAYERS,
    METAL,
    SOFT,
    mask_colours,
    mask_picture,
    pack,
    read_mask,
    unpack,
    write_mask,
)
from mmdtwin.synth.background.placing import completed
from mmdtwin.synth.background.strokes import stroke


def every_subset():
    """A mask (5, 32, 32) with each of the 32 subsets of layers in a column."""
    bits = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    return unpack(bits)


def test_every_overlap_has_its_own_colour_and_comes_back_from_a_file(tmp_path):
    mask = every_subset()
    colours = mask_colours(mask)[0]
    assert len(np.unique(colours, axis=0)) == 32
    write_mask(tmp_path / "mask.png", mask)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask)
    assert np.array_equal(unpack(pack(mask)), mask)


def test_a_layer_alone_has_its_documented_colour():
    for i, colour in enumerate(COLOURS):
        mask = np.zeros((len(LAYERS), 16, 16), bool)
        mask[i] = True
        assert (mask_colours(mask) == colour).all()


def test_the_picture_is_the_png_from_minus_one_to_one():
    picture = mask_picture(every_subset())
    assert picture.dtype == np.float32
    assert picture.min() == -1.0 and picture.max() == 1.0
    assert np.array_equal(np.rint((picture + 1) * 127.5), mask_colours(every_subset()))


def write_rgb(path, image):
    cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))
    return path


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((64, 64, 3), 85, np.uint8), "colour \\(85, 85, 85\\) at row 0, column 0"),
        (np.zeros((64, 64, 3), np.uint8), "is empty"),
        (np.full((64, 32, 3), (85, 0, 0), np.uint8), "is 32 x 64 px; allowed: square"),
        (np.full((8, 8, 3), (85, 0, 0), np.uint8), "is 8 x 8 px; allowed: square, 16"),
        (np.full((64, 64, 3), 300, np.uint16), "8-bit PNG"),
    ],
)
def test_bad_masks_are_refused(tmp_path, image, says):
    with pytest.raises(UserError, match=says):
        read_mask(write_rgb(tmp_path / "mask.png", image))


def test_files_that_are_no_masks_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_mask(tmp_path / "none.png")
    lossy = write_rgb(tmp_path / "mask.jpg", np.full((64, 64, 3), (85, 0, 0), np.uint8))
    with pytest.raises(UserError, match="is no PNG"):
        read_mask(lossy)
    cut = tmp_path / "cut.png"
    cut.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_mask(cut)


@pytest.mark.parametrize("kind", masks.KINDS)
def test_composed_masks_are_decided_by_their_seed(kind):
    first, again, other = (masks.make_mask(kind, seed, 96) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first[SOFT].mean() > 0.2
    shows = {"abdomen": BONE, "thorax": AIR, "limb": BONE, "tank": CHANNEL}[kind]
    assert first[shows].any()


def test_a_composed_thorax_keeps_its_size_in_millimetres():
    """The spine is 35 to 60 mm wide with its processes, whatever the pixels are."""
    for size, field in ((96, 0.15), (192, 0.15), (128, 0.2)):
        mask = masks.make_mask("abdomen", 0, size, field)
        low = mask[BONE][-size // 8 :]  # below the ribs
        assert 0.03 < low.any(axis=0).sum() * field / size < 0.065


def test_unknown_kinds_and_poses_are_refused():
    with pytest.raises(UserError, match="unknown; allowed: abdomen, thorax, limb, tank, ct"):
        masks.make_mask("head")
    with pytest.raises(UserError, match="up to 45 deg"):
        masks.ct_mask(np.zeros(3), primary=1.0)


def test_a_vessel_and_a_wire_have_their_widths():
    plain = np.zeros((len(LAYERS), 256, 256), bool)
    plain[SOFT] = True
    rng = np.random.default_rng(1)
    found = masks.add_wire(masks.add_channel(plain, rng, 0.1, 6e-3), rng, 0.1, 0.2e-3)
    pixel = 0.1 / 256
    for layer, width in ((CHANNEL, 6e-3), (METAL, 2 * masks.THINNEST * pixel)):
        distance = cv2.distanceTransform(found[layer].astype(np.uint8), cv2.DIST_L2, 5)
        # The largest distance to the outside is half the width, to a pixel.
        assert abs(distance.max() - width / 2 / pixel) < 1.0


def test_a_stroke_holds_what_a_tube_holds():
    """Thickness over the image is length times the circle's area; ends are rounded."""
    points = np.array([[20.3, 30.7], [80.1, 55.2]])
    for radius, inner in ((0.3, 0.0), (2.5, 0.0), (6.0, 0.7)):
        thickness, gap = stroke((96, 96), points, radius, inner)
        length = np.hypot(*(points[1] - points[0]))
        area = np.pi * radius**2 * (1 - inner**2)
        ends = 4 / 3 * np.pi * radius**3 * (1 - inner**3)
        # Averaging across but not along a rounded end: a percent of the length's volume and more.
        assert thickness.sum() == pytest.approx(length * area + ends, rel=0.04)
        assert gap.min() < -0.5 * radius


@pytest.fixture(scope="module")
def fork():
    scenario = load_scenario("soft-sheet-bifurcation")
    return World.from_config(scenario), scenario.imager


@pytest.mark.parametrize(("primary", "secondary"), [(0.0, 0.0), (0.5, -0.2)])
def test_the_drawn_channel_is_where_the_vessel_is(fork, primary, secondary):
    """Within the radius about each projected centreline is channel; beyond it, by a pixel, none."""
    world, imager = fork
    projection = Projection.from_config(imager, primary, secondary)
    mask = masks.phantom_mask(world, projection)
    distance = cv2.distanceTransform((~mask[CHANNEL]).astype(np.uint8), cv2.DIST_L2, 5)
    hits = 0
    T = world.T_world_rest
    for branch in world.vessel.map.branches.values():
        uv = np.rint(projection.project(branch.points @ T[:3, :3].T + T[:3, 3])).astype(int)
        seen = ((uv >= 0) & (uv < projection.shape[0])).all(axis=1)
        hits += int(seen.sum())
        # Centrelines may end a voxel beyond a cap.
        inner = uv[seen][5:-5]
        assert (distance[inner[:, 1], inner[:, 0]] <= 1.0).all()
    assert hits > 100
    assert mask[SOFT].all() and not mask[AIR].any()


def test_a_phantom_is_drawn_into_what_is_around_it(fork):
    world, imager = fork
    projection = Projection.from_config(imager)
    size = projection.shape[0]
    around = masks.make_mask("abdomen", 2, size, size * projection.pixel_size)
    mask = masks.phantom_mask(world, projection, around)
    assert np.array_equal(mask[BONE], around[BONE]) and mask[CHANNEL].any()
    with pytest.raises(UserError, match="the mask has 32 x 32 px, the imager 512 x 512"):
        masks.phantom_mask(world, projection, around[:, :32, :32])


def lungs():
    mask = np.zeros((len(LAYERS), 128, 128), bool)
    mask[LAYERS.index("soft-tissue"), :, 16:] = True
    return mask


@pytest.mark.parametrize(
    ("prompt", "added"),
    [
        ("chest, dense bone", set()),
        ("chest, with contrast", {"channel"}),
        ("Chest, with Strong CONTRAST, with instruments", {"channel", "metal"}),
        ("chest, guidewire", {"metal"}),
        ("chest, without contrast, no metal", set()),
        ("chest, without any contrast, with a stent", {"metal"}),
    ],
)
def test_what_prompts_name_is_given_a_place(prompt, added):
    """In every seed, by the seed alone, and nothing that is not named."""
    for seed in range(20):
        found = completed(lungs(), prompt, seed, 0.12)
        changed = {n for n, a, b in zip(LAYERS, lungs(), found, strict=True) if (a != b).any()}
        assert changed == added
        assert np.array_equal(found, completed(lungs(), prompt, seed, 0.12))
        assert not found[LAYERS.index("channel"), :, :16].any(), "contrast outside of the body"
    if added:
        other = completed(lungs(), prompt, 99, 0.12)
        assert not np.array_equal(found, other)


def test_layers_that_a_mask_has_stay():
    mask = lungs()
    mask[LAYERS.index("channel"), 60:64] = True
    mask[LAYERS.index("metal"), :, 60] = True
    assert np.array_equal(completed(mask, "chest, with contrast, catheter", 1, 0.12), mask)
