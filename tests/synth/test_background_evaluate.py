"""The evaluation of backgrounds: its measures, its controls, its segmenter, its command."""

import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytest.importorskip("torch")
pytest.importorskip("diffusers", reason="the extra 'diffusion' is not installed")

from mmdtwin.cli.app import app
from mmdtwin.errors import UserError
from mmdtwin.synth.background import pair_files
from mmdtwin.synth.background.classes import BONE, CHANNEL, METAL, SOFT, pack, unpack
from mmdtwin.synth.background.evaluate import measures
from mmdtwin.synth.background.evaluate.controls import Paint, blurred, noisy
from mmdtwin.synth.background.evaluate.measures import (
    FINE,
    Whitening,
    centreline_offsets,
    dice,
    fine_rms,
    histogram_distance,
    kid,
    nearest_correlation,
)
from mmdtwin.synth.background.evaluate.segmenter import (
    SegmenterJob,
    load_segmenter,
    new_segmenter,
    shipped_segmenter,
)
from mmdtwin.synth.background.maps import decode, depth, encode
from mmdtwin.synth.background.model import Architecture, build_pipeline, save_pipeline
from mmdtwin.synth.background.pair_files import StoredPairs, read_pairs, write_pairs
from mmdtwin.synth.background.vocabulary import WORDS
from mmdtwin.training.accelerator import make_accelerator
from mmdtwin.training.loop import Schedule, train

SIDE = 64  # px


@pytest.fixture(scope="module")
def drawn_pairs(tmp_path_factory):
    """A few drawn limbs and tanks: no CT is needed for them."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_files, "SHARD", 24)
        write_pairs(folder, 24, 5, size=SIDE, sources={"limb": 0.5, "tank": 0.5}, complete=True)
    return read_pairs(folder)


def features(count, dimensions=24, shift=0.0, seed=0):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dimensions))


def test_dice_is_two_overlaps_over_both_areas():
    found, wanted = np.zeros((2, 1, 5, 4, 4), bool)
    found[0, BONE, :2] = True
    wanted[0, BONE, 1:3] = True
    scores = dice(found, wanted)
    assert scores[BONE] == pytest.approx(0.5)
    assert np.isnan(scores[METAL])


@pytest.mark.parametrize(("wavelength", "counts"), [(4.0, True), (8.0, True), (24.0, False)])
def test_fine_texture_is_that_below_nine_pixels(wavelength, counts):
    u = np.arange(128)
    wave = np.sin(2 * np.pi * u / wavelength)[None, None] * np.ones((1, 128, 1))
    found = float(fine_rms(0.1 * wave)[0])
    assert wavelength < FINE if counts else wavelength > FINE
    assert found == pytest.approx(0.1 / np.sqrt(2) if counts else 0.0, abs=0.006)


def test_kernel_distance_of_like_sets_is_nothing_and_grows_with_what_is_apart():
    rng = np.random.default_rng(0)
    first = features(200)
    same, low, high = kid(first, features(200, seed=1), rng, 50)
    near, far = (kid(first, features(200, shift=s, seed=2), rng, 2)[0] for s in (0.2, 0.5))
    assert low < 0.01 and abs(same) < 0.02 and high > same
    assert same < near < far


def test_kernel_distance_is_that_of_the_definition():
    """Sums over all pairs but those of a sample with itself (Binkowski et al. 2018, eq. 4)."""
    x, y = features(12, 5), features(9, 5, 0.3, 1)

    def k(a, b):
        return (a @ b / 5 + 1) ** 3

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    found = kid(x, y, np.random.default_rng(0), 2)[0]
    assert found == pytest.approx(xx + yy - 2 * xy)


def test_whitened_features_have_unit_covariance(monkeypatch):
    mixed = features(4000, 6) @ np.random.default_rng(3).normal(size=(6, 6)) + 5.0
    shrunk = np.cov(Whitening.of(mixed)(mixed), rowvar=False)
    assert np.linalg.eigvalsh(shrunk).max() < 1.12  # directions that hardly vary get less
    monkeypatch.setattr(measures, "SHRINKAGE", 1e-9)
    covariance = np.cov(Whitening.of(mixed)(mixed), rowvar=False)
    assert np.allclose(covariance, np.eye(6), atol=1e-3)


def textures(count, seed):
    rng = np.random.default_rng(seed)
    k = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(SIDE)])) + 0.01
    white = np.fft.fft2(rng.normal(size=(count, SIDE, SIDE)))
    return np.fft.ifft2(white / k**1.5).real.astype(np.float32)


def test_a_copy_is_found_though_shifted_and_mirrored():
    known = textures(40, 0)
    copies = np.stack([np.roll(known[3], (4, -3), axis=(0, 1)), known[7][:, ::-1]])
    noise = 0.02 * known.std() * np.random.default_rng(1).normal(size=copies.shape)
    assert nearest_correlation(copies + noise, known).min() > 0.98
    assert nearest_correlation(textures(8, 5), known).max() < 0.98


def test_histograms_are_compared_up_to_brightness_and_contrast():
    first = textures(6, 2)
    assert histogram_distance(first, 3.0 * first + 1.0) == pytest.approx(0.0, abs=1e-5)
    assert histogram_distance(first, np.exp(first / first.std())) > 0.1


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_a_shifted_channel_is_that_far_off_its_line(shift):
    u = np.arange(SIDE)[None] * np.ones((SIDE, 1))
    contrast = np.sqrt(np.maximum(5.0**2 - (u - 30.0 - shift) ** 2, 0.0)) * 1e-4
    line = np.stack([np.full(40, 30.0), np.linspace(8, 55, 40)], axis=1)
    assert centreline_offsets(contrast, line).mean() == pytest.approx(shift, abs=0.1)
    assert len(centreline_offsets(np.zeros_like(contrast), line)) == 0


def test_painted_maps_have_the_means_of_their_layers(drawn_pairs):
    paint = Paint.of(drawn_pairs)
    maps = decode(drawn_pairs.encoded)
    drawn = paint(drawn_pairs.bits)
    assert drawn.shape == maps.shape
    for subset in np.unique(drawn_pairs.bits):
        here = drawn_pairs.bits == subset
        for channel in range(3):
            assert drawn[:, channel][here].std() < 1e-6
            assert drawn[:, channel][here].mean() == pytest.approx(
                maps[:, channel][here].mean(), abs=1e-5
            )


def test_controls_change_texture_and_nothing_else(drawn_pairs):
    maps = decode(drawn_pairs.encoded)
    loud = noisy(maps, np.random.default_rng(0))
    assert np.median(fine_rms(depth(loud))) > 2 * np.median(fine_rms(depth(maps)))
    assert np.array_equal(loud[:, 1:], maps[:, 1:])
    soft = blurred(maps)
    assert np.median(fine_rms(depth(soft)) / fine_rms(depth(maps))) < 0.6
    assert soft.mean() == pytest.approx(maps.mean(), rel=0.01)


@pytest.mark.parametrize("kind", ["maps", "grey"])
def test_a_segmenter_learns_and_comes_back_from_its_file(drawn_pairs, tmp_path, kind):
    found = new_segmenter(kind, 0)
    job = SegmenterJob(found, drawn_pairs, drawn_pairs)
    before = job.validate()[0]
    train(job, Schedule(40, 8, 3e-3, 5, 0.9), tmp_path / "run", make_accelerator("cpu"))
    after = job.validate()[0]
    assert after["dice_soft-tissue"] > max(before["dice_soft-tissue"], 0.8)
    found.save(tmp_path / "segmenter.safetensors")
    again = load_segmenter(kind, tmp_path / "segmenter.safetensors")
    images = decode(drawn_pairs.encoded) if kind == "maps" else depth(decode(drawn_pairs.encoded))
    assert np.allclose(again.features(images), found.features(images), atol=0.05)
    assert np.mean(again.masks(images) != found.masks(images)) < 0.002


def test_the_shipped_segmenter_knows_what_it_never_saw(drawn_pairs):
    """Drawn limbs and tanks of another seed, at half its pixels: bone, channel and tissue."""
    found = load_segmenter("maps").masks(decode(drawn_pairs.encoded))
    scores = dice(found, unpack(drawn_pairs.bits))
    assert scores[[SOFT, BONE, CHANNEL]].min() > 0.75


def test_broken_segmenters_are_refused(tmp_path):
    path = tmp_path / "segmenter.safetensors"
    path.write_bytes(shipped_segmenter("maps").read_bytes()[:1000])
    with pytest.raises(UserError, match="missing or broken"):
        load_segmenter("maps", path)
    with pytest.raises(UserError, match="missing or broken"):
        load_segmenter("grey", shipped_segmenter("maps"))


def test_command_prints_every_figure_of_an_untrained_model(tmp_path, monkeypatch):
    """What an untrained model draws keeps to no mask, and the command says so: exit code 1."""
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path / "cache"))
    sizes = Architecture(
        encoder_blocks=(0, 0, 1), decoder_blocks=(1, 0, 0), latent_channels=8,
        unet_channels=(16, 32), text_width=16, text_layers=1, text_length=12, heads=2,
    )  # fmt: skip
    pipeline = build_pipeline(WORDS, sizes)
    pipeline.unet.register_to_config(sample_size=8)
    save_pipeline(pipeline, tmp_path / "model")
    arguments = [
        "eval", "background", "--background-model", tmp_path / "model", "-n", 8, "--steps", 1,
        "--resolution", "sample", "--json", tmp_path / "figures.json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 1
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    held = {figure["name"]: figure["holds"] for figure in figures}
    assert [held[name] for name in held if name.startswith("mask fidelity")] == [False]
    assert "skipped" in next(f["result"] for f in figures if f["name"].startswith("copies"))


def test_pairs_of_one_class_alone_can_be_painted():
    maps = np.full((1, 3, 8, 8), 0.01, np.float32)
    mask = np.zeros((1, 5, 8, 8), bool)
    mask[:, SOFT] = True
    pairs = StoredPairs(
        encode(maps).astype(np.float16), pack(mask), [""], [""], np.array([1e-3], np.float32)
    )
    both = mask.copy()
    both[:, BONE] = True
    paint = Paint.of(pairs)
    assert np.allclose(paint(pack(both)), paint(pack(mask)))
