"""The model and the bank that ship with the package."""

import os

import cv2
import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from mmdtwin.config import ImagerConfig, load
from mmdtwin.sim.scene import Scene
from mmdtwin.synth.background.bank import Bank, shipped_bank
from mmdtwin.synth.background.classes import BONE, CHANNEL, LAYERS, METAL, SOFT
from mmdtwin.synth.background.generator import embedded_model
from mmdtwin.synth.xray.imager import Imager

LARGEST = 16e6  # bytes


def test_model_is_small_safe_and_has_a_card():
    files = [path for path in embedded_model().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    card = (embedded_model() / "MODEL_CARD.md").read_text()
    assert "CC BY 3.0" in card and "mmdtwin train background" in card and "Limits" in card


def bar(layer, rows, columns):
    mask = np.zeros((len(LAYERS), 128, 128), bool)
    mask[SOFT] = True
    mask[layer, rows, columns] = True
    return mask


def test_model_draws_what_masks_and_prompts_say():
    """The same maps for the same seed; bone, contrast medium and metal where the mask has them."""
    pytest.importorskip("diffusers", reason="the extra 'diffusion' is not installed")
    from mmdtwin.synth.background.generator import BackgroundGenerator

    generator = BackgroundGenerator()
    wide = slice(40, 88)
    masks = np.stack(
        [
            bar(BONE, wide, slice(None)),
            bar(CHANNEL, slice(58, 70), slice(None)),
            bar(METAL, slice(62, 65), slice(None)),
        ]
    )
    prompts = ["chest, dense bone", "chest, with contrast", "chest, with instruments"]
    first, again = (generator.generate(prompts, masks, [1, 2, 3], size=256) for _ in range(2))
    for a, b, kind in zip(first, again, (1, 2, 2), strict=True):
        assert np.array_equal(a.maps, b.maps) and a.maps.shape == (3, 256, 256)
        small = cv2.resize(a.maps[kind], (128, 128), interpolation=cv2.INTER_AREA)
        layer = a.mask[[BONE, CHANNEL, METAL][first.index(a)]]
        far = ~(cv2.dilate(layer.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0)
        assert small[layer].mean() > 3.0 * small[far].mean()
    dense, light = (
        generator.generate(f"chest, {kind} bone", masks[0], 5, size=128)[0].maps[1]
        for kind in ("dense", "osteoporotic")
    )
    assert dense[wide].mean() > 1.15 * light[wide].mean()


def test_bank_is_of_the_model_and_shows_all_kinds():
    bank = Bank(shipped_bank())
    size = sum(path.stat().st_size for path in shipped_bank().iterdir())
    assert len(bank) >= 24 and size <= LARGEST
    prompts = {record["prompt"].partition(",")[0] for record in bank.records}
    assert {"chest", "abdomen", "limb", "phantom tank"} <= prompts
    pytest.importorskip("diffusers", reason="the extra 'diffusion' is not installed")
    from mmdtwin.synth.background.generator import BackgroundGenerator

    digest = BackgroundGenerator().digest
    assert {record["model"] for record in bank.records} == {digest}


def test_first_run_shows_a_generated_background():
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    behind = config.background.model_copy(update={"kind": "diffusion"})
    config = config.model_copy(update={"background": behind})
    imager = Imager(config, np.random.default_rng(0), np.random.default_rng(1))
    image = imager.expose([Scene(0.0, ())]).image
    assert image.shape == (512, 512) and "seed" in imager.background.pose.name
    assert 50 < np.median(image) < 4000 and image.std() > 20
