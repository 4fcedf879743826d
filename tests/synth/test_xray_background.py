"""Backgrounds: the shipped radiographs, those made of the CT, and what they refuse."""

import warnings

import numpy as np
import pytest

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.sim.anatomy import TEST_SLAB_Y, load_anatomy
from mmdtwin.synth.xray import background as module
from mmdtwin.synth.xray.background import (
    TruncatedBackground,
    bank_background,
    bank_poses,
    ct_background,
    decode,
    encode,
    flat_background,
    make_background,
)
from mmdtwin.synth.xray.drr import check_coverage, material_maps
from mmdtwin.synth.xray.volume import load_volume

WHERE = np.array([0.0, -0.2, 0.0])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of its own, so that volumes are made by this code."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMDTWIN_CACHE", str(folder))
        load_volume.cache_clear()
        yield folder / "xray"
    load_volume.cache_clear()


def fluoro(kind="bank", detector=None, background=None, **changes):
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    parts = {
        "detector": config.detector.model_copy(update=detector or {}),
        "background": config.background.model_copy(update={"kind": kind, **(background or {})}),
    }
    return config.model_copy(update=parts | changes)


def test_bank_is_what_the_ct_gives():
    """The bank comes from the full CT with fine structure; the shipped CT without it must give the
    same maps but for detail: median difference of 2 % of the tissue."""
    pose = bank_poses()[0]
    stored = bank_background(fluoro(), 0).maps["soft-tissue"]
    projection = Projection.from_config(fluoro(), pose.primary, pose.secondary)
    fresh = material_maps(load_anatomy(), projection, np.array(pose.isocentre))["soft-tissue"]
    assert np.median(np.abs(stored - fresh)) < 0.02 * stored.mean()
    assert np.corrcoef(stored.ravel(), fresh.ravel())[0, 1] > 0.99
    assert stored.mean() == pytest.approx(fresh.mean(), rel=0.01)


def test_bank_poses_stay_below_the_test_slab():
    poses = bank_poses()
    assert len(poses) == 12
    for pose in poses:
        assert abs(pose.primary) <= np.deg2rad(30) and abs(pose.secondary) <= np.deg2rad(15)
        projection = Projection.from_config(fluoro(), pose.primary, pose.secondary)
        check_coverage(load_anatomy(), projection, np.array(pose.isocentre))
        assert pose.isocentre[1] < TEST_SLAB_Y - 0.06


def test_bank_on_a_finer_detector_is_the_same_picture():
    """Half the pitch and twice the pixels: means of 2 x 2 pixels are the coarse pixels, to 0.2 mm
    of tissue in the median."""
    fine = fluoro(detector={"rows": 1024, "columns": 1024, "pitch": 0.15e-3})
    a = bank_background(fluoro(), 5).maps["soft-tissue"]
    b = bank_background(fine, 5).maps["soft-tissue"].reshape(512, 2, 512, 2).mean(axis=(1, 3))
    assert np.median(np.abs(a - b)) < 0.2e-3


def test_maps_follow_field_and_binning():
    """A smaller field of a panel is its middle, pixel for pixel; binned pixels are means of four
    to 0.2 mm of tissue in the median."""
    whole = bank_background(fluoro(), 3).maps["bone"]
    field = fluoro(detector={"field_sizes": (0.0768,), "field": 0.0768})
    assert bank_background(field, 3).maps["bone"] == pytest.approx(
        whole[128:384, 128:384], abs=1e-7
    )
    binned = fluoro(detector={"binning": 2})
    means = whole.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    assert np.median(np.abs(bank_background(binned, 3).maps["bone"] - means)) < 0.2e-3
    assert flat_background(binned).maps["soft-tissue"].shape == (256, 256)


def test_codec_round_trip():
    maps = np.random.default_rng(0).integers(0, 2**14, (3, 2, 9, 7)).astype(np.uint16)
    assert np.array_equal(decode(*encode(maps)), maps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primary": 0.1}, "background.kind to 'ct'"),
        ({"sod": 0.7}, "sod"),
        ({"sid": 0.9}, "spans"),
        ({"table": (0.0, 0.01, 0.0)}, "table"),
    ],
)
def test_bank_refuses_other_geometries(change, message):
    with pytest.raises(UserError, match=message):
        bank_background(fluoro(**change), 0)


def test_ct_background_is_cached(cache):
    config = fluoro("ct", primary=0.2)
    first = ct_background(config, WHERE)
    files = sorted(cache.iterdir())
    load_volume.cache_clear()
    second = ct_background(config, WHERE)
    assert sorted(cache.iterdir()) == files
    assert np.array_equal(first.maps["bone"], second.maps["bone"])
    assert first.pose.primary == 0.2
    assert first.pose.name == "ct-sample" and first.note == second.note == ""


def test_ct_background_without_texture_is_the_same_anatomy():
    """Switched off, fine structure is gone: what is left differs by less than 3 % of the tissue
    in the median, and hardly changes between pixels."""
    fine = ct_background(fluoro("ct"), WHERE).maps["soft-tissue"]
    plain = ct_background(fluoro("ct", background={"texture": False}), WHERE).maps["soft-tissue"]
    assert fine.mean() == pytest.approx(plain.mean(), rel=5e-3)
    assert 1e-4 < np.median(np.abs(fine - plain)) < 0.03 * plain.mean()
    second = [np.abs(np.diff(m, 2, axis=0)).mean() for m in (fine, plain)]
    assert second[0] > 1.5 * second[1]


def test_other_texture_seeds_are_other_structure():
    first = ct_background(fluoro("ct"), WHERE).maps["soft-tissue"]
    other = fluoro("ct", background={"texture_seed": 1})
    second = ct_background(other, WHERE).maps["soft-tissue"]
    assert np.abs(first - second).mean() > 1e-4
    assert first.mean() == pytest.approx(second.mean(), rel=2e-3)


def test_ct_follows_the_table_and_the_gantry():
    """The table moved by 20 mm towards the head, with the patient, shows what lies 20 mm further
    down. A lateral view is longer than a frontal one: a chest is wider than deep."""
    lower = ct_background(fluoro("ct"), WHERE - [0.0, 0.02, 0.0])
    moved = ct_background(fluoro("ct", table=(0.0, 0.02, 0.0)), WHERE)
    assert np.abs(lower.maps["bone"] - moved.maps["bone"]).max() < 1e-5
    lateral = ct_background(fluoro("ct", primary=np.pi / 2), WHERE)
    assert lateral.maps["soft-tissue"].mean() > 1.1 * lower.maps["soft-tissue"].mean()


def test_ct_refuses_what_it_does_not_hold():
    with pytest.raises(UserError, match="rays leave the CT"):
        ct_background(fluoro("ct"), np.array([0.0, -0.1, 0.0]))
    with pytest.raises(UserError, match="along the body"):
        ct_background(fluoro("ct", secondary=1.3), WHERE)


def test_truncated_views_say_so():
    """At the armpits the body goes on beyond the CT's right side (`sim.anatomy`)."""
    config = fluoro("ct", detector={"pitch": 0.1e-3}, primary=np.pi / 2)
    with pytest.warns(TruncatedBackground, match="truncated"):
        background = ct_background(config, np.array([0.0, -0.115, -0.01]))
    assert background.note.startswith("truncated: ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ct_background(fluoro("ct"), WHERE).note == ""


def test_kinds_are_drawn_once_each(monkeypatch):
    """Each kind draws from its stream once, and the same seed draws the same."""
    rng = [np.random.default_rng(4) for _ in range(2)]
    poses = [make_background(fluoro("bank"), r).pose for r in rng]
    assert poses[0] == poses[1]
    monkeypatch.setattr(module, "ct_background", lambda _, isocentre: isocentre)
    drawn = np.array([make_background(fluoro("ct"), r) for r in rng])
    assert np.array_equal(drawn[0], drawn[1])
    assert np.all((drawn[0] >= module.CT_BOX[0]) & (drawn[0] <= module.CT_BOX[1]))
