"""Pairs: what maps, masks and captions say of each other; coding; shards; projections."""

import json

import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.sim.anatomy import TEST_SLAB_Y
from mmdtwin.synth.background import pair_files, phantoms
from mmdtwin.synth.background.classes import AIR, BONE, CHANNEL, METAL, SOFT
from mmdtwin.synth.background.instruments import INSTRUMENTS, Canvas, draw_vessels
from mmdtwin.synth.background.maps import (
    LARGEST,
    MATERIALS,
    contrast_equivalent,
    decode,
    depth,
    encode,
)
from mmdtwin.synth.background.matter import ARTERY, Matter, covered, matter_of, project
from mmdtwin.synth.background.pair_files import export_images, read_pairs, write_pairs
from mmdtwin.synth.background.pairs import (
    DENSE,
    OSTEOPOROTIC,
    SIDES,
    Facts,
    View,
    cut_pair,
    draw_pair,
    draw_view,
)
from mmdtwin.synth.background.vocabulary import WORDS, caption, unknown_words, words_of
from mmdtwin.synth.xray.drr import material_maps
from mmdtwin.synth.xray.materials import attenuation
from mmdtwin.synth.xray.volume import load_native, make_volume

ANALYTIC = {"limb": 0.5, "tank": 0.5}


@pytest.fixture(scope="module")
def volume():
    """The shipped CT on cubes, without the fine structure, which takes long to make."""
    return make_volume(load_native("sample"), None)


@pytest.fixture(scope="module")
def matter(volume):
    return matter_of(volume)


def ct_view(matter, primary=0.2):
    projection = Projection.from_carm(1.1, 0.75, 0.00115, (200, 200), primary)
    where = np.array([0.02, -0.215, 0.0])
    return View(project(matter, projection, where), "ct", "chest", (primary, 0.0), "ct-sample")


def test_projections_are_those_of_the_exact_ones(volume, matter):
    """Against `drr`, which interpolates HU, not materials: tissue to 1 % of its mean at every
    pixel but edges, bone to a tenth: it is thin, and the split bends at its threshold."""
    projection = Projection.from_carm(1.1, 0.75, 2e-3, (64, 64), 0.3, 0.05)
    where = np.array([0.02, -0.215, 0.0])
    assert covered(matter, projection, where)
    mine = project(matter, projection, where).maps
    exact = material_maps(volume, projection, where)
    soft, bone = exact["soft-tissue"], exact["bone"]
    assert np.median(np.abs(mine[0] - soft)) < 0.01 * soft.mean()
    assert mine[0].mean() == pytest.approx(soft.mean(), rel=0.005)
    assert mine[1].mean() == pytest.approx(bone.mean(), rel=0.1)
    assert np.corrcoef(mine[1].ravel(), bone.ravel())[0, 1] > 0.99


def test_a_block_casts_the_shadow_of_a_block():
    """Thickness and lengths on the central ray are the block's, to half a voxel."""
    fractions = np.zeros((60, 60, 60, 2), np.int16)
    kinds = np.zeros((60, 60, 60), np.uint8)
    fractions[20:40, 20:40, 15:45] = (500, 250)
    kinds[20:40, 20:40, 15:45] = ARTERY
    block = Matter(fractions, kinds, np.full(3, 1e-3), np.full(3, -0.0295))
    projection = Projection.from_carm(1.1, 0.75, 1e-3, (9, 9))
    shadow = project(block, projection, np.zeros(3))
    assert shadow.maps[:, 4, 4] == pytest.approx([0.015, 0.0075], rel=0.02)
    assert shadow.paths[ARTERY, 4, 4] == pytest.approx(0.03, rel=0.02)
    assert not shadow.cut.any()
    with pytest.raises(UserError, match="along the volume's slabs"):
        project(block, Projection.from_carm(1.1, 0.75, 1e-3, (9, 9), 1.5), np.zeros(3))


def test_the_test_slab_is_out_of_reach(matter):
    assert matter.origin[1] + (matter.kinds.shape[1] - 0.5) * matter.spacing[1] < (
        TEST_SLAB_Y + 1.3e-3  # the CT's slices are 2.5 mm thick
    )
    projection = Projection.from_carm(1.1, 0.75, 2e-3, (64, 64))
    assert not covered(matter, projection, np.array([0.0, TEST_SLAB_Y, 0.0]))


def test_maps_are_coded_one_to_one_and_in_order():
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 1, (2, 3, 8, 8)).astype(np.float32) * np.reshape(LARGEST, (3, 1, 1))
    channels = encode(maps)
    assert channels.min() >= -1.0 and channels.max() <= 1.0
    assert decode(channels) == pytest.approx(maps, abs=1e-6)
    ramp = np.linspace(-1, 1, 50)[None, None].repeat(3, 0)
    assert (np.diff(decode(ramp), axis=-1) > 0).all()
    assert decode(np.full((3, 1, 1), 3.0)).ravel() == pytest.approx(LARGEST)


def test_metal_is_the_contrast_medium_that_attenuates_alike():
    mm = 1e-3
    for material in ("stainless-steel", "titanium", "platinum"):
        maps = np.zeros((3, 1, 1), np.float32)
        maps[2] = mm * contrast_equivalent(material)
        assert depth(maps)[0, 0] == pytest.approx(mm * float(attenuation(material, 50.0)), rel=1e-4)
    assert MATERIALS[:2] == ("soft-tissue", "bone")


def test_densities_change_bone_and_what_stands_in_for_it(matter):
    """Bone scales; the tissue takes the place that bone leaves."""
    view = ct_view(matter)
    base, dense = (
        cut_pair(np.random.default_rng(1), view, 64, Facts(bone=factor)) for factor in (1.0, 1.4)
    )
    assert np.array_equal(base.mask, dense.mask)
    assert dense.maps[1] == pytest.approx(1.4 * base.maps[1], rel=1e-4)
    assert dense.maps[:2].sum(0) == pytest.approx(base.maps[:2].sum(0), rel=1e-3, abs=1e-6)
    assert "dense bone" in dense.caption and "bone" not in base.caption.replace("normal bone", "")
    thin = cut_pair(np.random.default_rng(1), view, 64, Facts(bone=OSTEOPOROTIC[0]))
    assert "osteoporotic bone" in thin.caption and DENSE[0] / OSTEOPOROTIC[1] > 1.15


def test_contrast_medium_fills_the_channel_and_nothing_else(matter):
    view = ct_view(matter)
    for seed in range(4):
        pair = cut_pair(np.random.default_rng(seed), view, 96, Facts(contrast=0.5))
        assert pair.mask[CHANNEL].any()
        inside, outside = pair.maps[2][pair.mask[CHANNEL]], pair.maps[2][~pair.mask[CHANNEL]]
        assert np.median(inside) > 5 * np.median(outside) and inside.min() > 0
        assert outside.max() < 2e-3


@pytest.mark.parametrize(
    ("facts", "layer", "words"),
    [
        (Facts(contrast=0.4, hide_contrast=True), CHANNEL, "with contrast"),
        (Facts(instruments=True, hide_instruments=True), METAL, "with instruments"),
    ],
)
def test_what_a_mask_leaves_out_the_caption_names(matter, facts, layer, words):
    pair = cut_pair(np.random.default_rng(5), ct_view(matter), 96, facts)
    assert not pair.mask[layer].any()
    assert words in pair.caption
    assert pair.maps[2].max() > 1e-4


def test_neither_mask_nor_caption_nor_map_has_what_is_not_there(matter):
    for seed in range(5):
        pair = cut_pair(np.random.default_rng(seed), ct_view(matter), 64, Facts())
        assert pair.maps[2].max() == 0.0
        assert not pair.mask[[METAL, CHANNEL]].any()
        assert "contrast" not in pair.caption and "instruments" not in pair.caption


def test_a_chest_has_lungs_before_tissue_and_bone(matter):
    pair = cut_pair(np.random.default_rng(0), ct_view(matter), 96, Facts())
    lung, soft, bone = (pair.mask[i] for i in (AIR, SOFT, BONE))
    assert soft.all() and lung.any() and bone.any()
    assert pair.maps[0][lung].mean() < pair.maps[0][~lung].mean()
    assert np.median(pair.maps[1][bone]) > 5 * np.median(pair.maps[1][~bone])


@pytest.mark.parametrize("source", ANALYTIC)
def test_analytic_phantoms_are_what_they_are_called(source):
    pairs = [draw_pair(np.random.default_rng(seed), 64, source) for seed in range(4)]
    for pair in pairs:
        assert pair.source.startswith(source)
        assert np.isfinite(pair.maps).all() and pair.maps.min() >= 0.0
        assert not pair.mask[AIR].any()
        assert 0.08 < pair.pixel_size * 64 <= SIDES[1]
    bones = [pair.mask[BONE].any() for pair in pairs]
    assert all(bones) if source == "limb" else not any(bones)


def test_a_tank_s_channel_is_in_its_block():
    tank = phantoms.tank(np.random.default_rng(3))
    channel = tank.kinds == ARTERY
    assert channel.any()
    assert tank.fractions[..., 1].max() == 0
    assert (tank.fractions[channel][:, 0] == round(phantoms.WATER * 1000)).all()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_each_instrument_shows_where_its_mask_says(name):
    """Most of what attenuates lies in the mask, and everywhere in it something does."""
    seen = 0
    for seed in range(6):
        canvas = Canvas(np.random.default_rng(seed), 128, 1e-3)
        INSTRUMENTS[name](canvas)
        seen += bool(canvas.mask.any())
        if canvas.mask.sum() > 10:
            assert canvas.thickness[canvas.mask].sum() > 0.5 * canvas.thickness.sum()
            assert np.median(canvas.thickness[canvas.mask]) > 2e-5
    assert seen >= 4


def test_vessels_are_as_thick_as_they_are_wide():
    length, mask = draw_vessels(np.random.default_rng(2), 128, 1e-3)
    assert 1e-3 < length.max() < 16e-3
    assert length[mask].min() >= 0 and length[~mask].max() < 2e-3


def test_same_seed_same_pair():
    first, again, other = (draw_pair(np.random.default_rng(s), 48, "tank") for s in (7, 7, 8))
    assert np.array_equal(first.maps, again.maps) and first.caption == again.caption
    assert not np.array_equal(first.maps, other.maps)


def test_unknown_sources_are_refused():
    with pytest.raises(UserError, match="source 'head': allowed: ct, limb, tank, ct-sample"):
        draw_view(np.random.default_rng(0), "head")


def test_shards_resume_and_differ_between_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_files, "SHARD", 6)
    done = []
    write_pairs(tmp_path / "a", 12, 3, size=32, sources=ANALYTIC, progress=done.append)
    assert done == [6, 12]
    whole = read_pairs(tmp_path / "a")
    assert whole.encoded.shape == (12, 3, 32, 32) and whole.encoded.dtype == np.float16
    lost, kept = sorted((tmp_path / "a").glob("shard-*.npz"))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    write_pairs(tmp_path / "a", 12, 3, size=32, sources=ANALYTIC)
    again = read_pairs(tmp_path / "a")
    assert np.array_equal(again.encoded, whole.encoded) and again.captions == whole.captions
    assert kept.stat().st_mtime_ns == before
    write_pairs(tmp_path / "b", 6, 3, split="held-out", size=32, sources=ANALYTIC)
    assert not set(read_pairs(tmp_path / "b").sources) & set(whole.sources)
    with pytest.raises(UserError, match="holds pairs of other settings"):
        write_pairs(tmp_path / "a", 12, 4, size=32, sources=ANALYTIC)
    lost.write_bytes(b"PK no shard")
    with pytest.raises(UserError, match="broken"):
        read_pairs(tmp_path / "a")
    with pytest.raises(UserError, match="no shards"):
        read_pairs(tmp_path / "none")


def test_complete_pairs_hide_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_files, "SHARD", 24)
    write_pairs(tmp_path, 24, 0, size=32, sources={"tank": 1.0}, complete=True)
    pairs = read_pairs(tmp_path)
    for text, bits, maps in zip(pairs.captions, pairs.bits, decode(pairs.encoded), strict=True):
        if "instruments" in text:
            assert (bits >> METAL & 1).any()
        if maps[2].max() > 1e-3:
            assert (bits >> METAL & 1 | bits >> CHANNEL & 1).any()


def test_images_for_trainers_come_back(tmp_path, monkeypatch):
    """16-bit images hold encoded maps to 2^-15, less than float16's own step near 1."""
    monkeypatch.setattr(pair_files, "SHARD", 4)
    pairs = read_pairs(write_pairs(tmp_path / "a", 4, 0, size=32, sources={"tank": 1.0}))
    folder = export_images(pairs, tmp_path / "images")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert {"file_name", "mask_file_name", "caption"} <= set(rows[0])
    again = read_pairs(folder, limit=3)
    assert again.captions == pairs.captions[:3]
    assert np.array_equal(again.bits, pairs.bits[:3])
    assert np.abs(again.encoded - pairs.encoded[:3]).max() < 1e-3


def test_captions_use_known_words(matter):
    rng = np.random.default_rng(0)
    view = ct_view(matter)
    texts = [p.caption for p in (cut_pair(rng, view, 32) for _ in range(60)) if p is not None]
    texts += [draw_pair(rng, 32, source).caption for source in ANALYTIC]
    texts.append(caption(rng, "abdomen", [*INSTRUMENTS]))
    assert not set().union(*(words_of(text) for text in texts)) - set(WORDS)


def test_unknown_words_come_with_the_nearest_known():
    assert unknown_words("Chest with cathether, dense bonne") == {
        "cathether": ["catheter"],
        "bonne": ["bone", "bones"],
    }
    assert unknown_words("chest, with strong contrast") == {}
    assert unknown_words("zzzz") == {"zzzz": []}
