"""Banks: filled, resumed, deduplicated, drawn from by imagers; the commands that fill them."""

import os

import numpy as np
import pytest
from typer.testing import CliRunner

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytest.importorskip("torch")
pytest.importorskip("diffusers", reason="the extra 'diffusion' is not installed")

from mmdtwin.cli import synth_background, synth_mask
from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.synth.background import bank as module
from mmdtwin.synth.background.bank import STRIP, Bank, Request, contact_sheet, fill_bank, item_key
from mmdtwin.synth.background.classes import read_mask
from mmdtwin.synth.background.generator import BackgroundGenerator
from mmdtwin.synth.background.maps import MATERIALS
from mmdtwin.synth.background.masks import make_mask
from mmdtwin.synth.background.model import Architecture, build_pipeline, save_pipeline
from mmdtwin.synth.background.vocabulary import WORDS
from mmdtwin.synth.xray import Imager
from mmdtwin.synth.xray.background import make_background
from mmdtwin.synth.xray.background_generated import _open

# Untrained, but of the real class: what it draws means nothing, and is decided by its seed.
TINY = Architecture(
    encoder_blocks=(0, 0, 1), decoder_blocks=(1, 0, 0), latent_channels=8, unet_channels=(16, 32),
    text_width=16, text_layers=1, text_length=12, heads=2,
)  # fmt: skip
REQUEST = Request("chest, dense bone", size=64, steps=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    pipeline = build_pipeline(WORDS, TINY)
    pipeline.unet.register_to_config(sample_size=8)  # 32 px
    save_pipeline(pipeline, folder)
    return folder


@pytest.fixture(scope="module")
def generator(model):
    return BackgroundGenerator(model)


def masks(count=3):
    return [make_mask("thorax", seed, 64) for seed in range(count)]


def test_a_bank_holds_what_was_drawn(tmp_path, generator):
    """Stored as float16 channels: tissue comes back to a tenth of a mm, -log T of .003."""
    assert fill_bank(tmp_path, generator, REQUEST, masks(), range(5)) == 5
    bank = Bank(tmp_path)
    assert len(bank) == 5
    drawn = generator.generate(
        REQUEST.prompt, np.stack([masks()[i % 3] for i in range(5)]), range(5), size=64, steps=2
    )
    for i in range(5):
        item = bank[i]
        assert item.maps == pytest.approx(drawn[i].maps, abs=1.2e-4)
        assert np.array_equal(item.mask, masks()[i % 3])
        assert item.pixel_size == pytest.approx(0.15 / 64)
        assert item.record["model"] == generator.digest
        assert (item.record["prompt"], item.record["seed"]) == (REQUEST.prompt, i)


def test_an_interrupted_bank_goes_on_with_nothing_lost_or_doubled(tmp_path, generator, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fill_bank(whole, generator, REQUEST, masks(), range(6))

    def interrupt(done):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_bank(cut, generator, REQUEST, masks(), range(6), interrupt)
    assert len(Bank(cut)) == 4
    assert fill_bank(cut, generator, REQUEST, masks(), range(6)) == 2
    keys = [record["key"] for record in Bank(cut).records]
    assert keys == [record["key"] for record in Bank(whole).records] and len(set(keys)) == 6
    for one, other in zip(map(Bank(cut).__getitem__, range(6)), Bank(whole), strict=True):
        assert one.maps == pytest.approx(other.maps, abs=1.2e-4)
    assert not list(cut.glob(".part-*"))


def test_the_same_is_never_drawn_twice(tmp_path, generator):
    assert fill_bank(tmp_path, generator, REQUEST, masks(), range(3)) == 3
    assert fill_bank(tmp_path, generator, REQUEST, masks(), range(3)) == 0
    assert fill_bank(tmp_path, generator, REQUEST, masks(1), [7, 7, 7]) == 1
    assert fill_bank(tmp_path, generator, REQUEST, masks(1), range(6, 9)) == 2
    assert len(Bank(tmp_path)) == 6


def test_everything_that_decides_a_background_is_in_its_key():
    mask = masks(1)[0]
    keys = {
        item_key(REQUEST, mask, 0, "a"),
        item_key(REQUEST, mask, 1, "a"),
        item_key(REQUEST, mask, 0, "b"),
        item_key(REQUEST, ~mask, 0, "a"),
        *(
            item_key(Request(**{**vars(REQUEST), key: value}), mask, 0, "a")
            for key, value in {
                "prompt": "limb", "size": 65, "field": 0.2, "steps": 3, "guidance": 3.0,
                "image_guidance": 2.5, "scheduler": "lcm",
            }.items()
        ),
    }  # fmt: skip
    assert len(keys) == 11


def test_what_is_no_bank_is_refused(tmp_path, generator):
    with pytest.raises(UserError, match=r"no bank.json there"):
        Bank(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty and no bank"):
        fill_bank(tmp_path, generator, REQUEST, masks(), [0])
    folder = tmp_path / "bank"
    fill_bank(folder, generator, REQUEST, masks(), [0])
    shard = next(folder.glob("shard-*.npz"))
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"shard-.* is broken"):
        Bank(folder)
    (folder / "bank.json").write_text("{")
    with pytest.raises(UserError, match=r"bank.json: cannot be read"):
        Bank(folder)
    shard.unlink()
    (folder / "bank.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="is empty"):
        Bank(folder)


def test_a_contact_sheet_shows_mask_and_image_of_each(tmp_path, generator):
    fill_bank(tmp_path, generator, REQUEST, masks(), range(3))
    sheet = contact_sheet(list(Bank(tmp_path)), columns=2, side=32)
    assert sheet.shape == (4 * 32 + 2 * STRIP, 2 * 32, 3) and sheet.dtype == np.uint8
    assert sheet[:32, :32].any() and not sheet[64 + STRIP :, 32:].any()


def imager_config(**changes):
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    detector = config.detector.model_copy(update={"rows": 128, "columns": 128, "pitch": 1.2e-3})
    background = config.background.model_copy(update={"kind": "diffusion", **changes})
    return config.model_copy(update={"detector": detector, "background": background})


def test_an_imager_shows_a_bank(tmp_path, generator):
    """The middle of the maps is in the middle of the image, at the imager's own pixel size."""
    request = Request("chest", size=128, field=0.15, steps=2)
    fill_bank(tmp_path, generator, request, masks(), range(3))
    config = imager_config(path=str(tmp_path))
    background = make_background(config, np.random.default_rng(0))
    assert set(background.maps) == set(MATERIALS)
    item = Bank(tmp_path).draw(np.random.default_rng(0))
    size = 128 * 1.2e-3 * config.sod / config.sid / item.pixel_size  # px of the bank that it sees
    inner = slice(round(64 - size / 2), round(64 + size / 2))
    expected = item.maps[0][inner, inner].mean()
    assert background.maps["soft-tissue"].mean() == pytest.approx(expected, rel=0.02)
    rngs = [np.random.default_rng(i) for i in range(2)]
    assert np.isfinite(Imager(config, *rngs).expected()).all()
    names = {make_background(config, np.random.default_rng(i)).pose.name for i in range(12)}
    assert len(names) == 3


def test_an_imager_that_sees_more_than_the_bank_shows_is_refused(tmp_path, generator):
    fill_bank(tmp_path, generator, Request("chest", size=64, field=0.05, steps=2), masks(), [0])
    _open.cache_clear()
    with pytest.raises(UserError, match=r"sees 0.105 m at the isocentre.*shows 0.050 m"):
        make_background(imager_config(path=str(tmp_path)), np.random.default_rng(0))
    with pytest.raises(UserError, match=r"no bank.json"):
        make_background(imager_config(path=str(tmp_path / "none")), np.random.default_rng(0))


@pytest.fixture(scope="module")
def app():
    import typer

    found = typer.Typer()
    found.command("mask")(synth_mask.mask)
    found.command("background")(synth_background.background)
    return found


def run(app, *arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, UserError):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_make_a_mask_and_fill_a_bank_from_it(tmp_path, app, model):
    png, bank = tmp_path / "mask.png", tmp_path / "bank"
    text = run(app, "mask", "limb", "--out", png, "--size", 64, "--wire", 1e-3, "--seed", 3)
    assert "metal" in text and read_mask(png).shape == (5, 64, 64)
    arguments = (
        "background", "--prompt", "limb with guidwire", "--mask", png, "-n", 3, "--size", 64,
        "--seed", 5, "--out", bank, "--background-model", model, "--steps", 2, "--preview",
    )  # fmt: skip
    text = run(app, *arguments)
    assert "drew 3" in text and "unknown word 'guidwire'; did you mean guidewire" in text
    assert (bank / "contact-sheet.png").is_file()
    assert [record["seed"] for record in Bank(bank).records] == [5, 6, 7]
    assert "drew 0" in run(app, *arguments)


def test_without_a_mask_one_is_composed_for_each(tmp_path, app, model):
    run(
        app, "background", "--prompt", "phantom tank", "-n", 2, "--size", 64, "--out", tmp_path,
        "--background-model", model, "--steps", 1,
    )  # fmt: skip
    first, second = Bank(tmp_path)
    assert first.mask.any() and not np.array_equal(first.mask, second.mask)
    assert np.array_equal(first.mask, make_mask("tank", 0, 64))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("background", "--prompt", " "), "--prompt: is empty"),
        (("background", "--mask", "none.png"), "mask none.png: no such file"),
        (("background", "--background-model", "none"), "model none: no such folder"),
        (("mask", "limb", "--out", "mask.jpg"), "must end in .png"),
        (("mask", "plain", "--scenario", "nothing"), "unknown name 'nothing'"),
        (("mask", "ct", "--primary", "80"), "up to 45 deg"),
    ],
)
def test_bad_input_of_commands(app, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert says in run(app, *arguments)


def test_a_scenario_s_mask_has_its_imager_s_pixels(app, tmp_path):
    png = tmp_path / "mask.png"
    text = run(app, "mask", "plain", "--scenario", "soft-sheet-bifurcation", "--out", png)
    mask = read_mask(png)
    assert mask.shape[1:] == (512, 512) and mask[4].any()
    assert "0.205 mm" in text and "--field 0.1047" in text
