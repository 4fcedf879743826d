"""Backgrounds of a bank that a diffusion model has drawn (see `synth.background.bank`)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Image
from mmdtwin.seeding import stream
from mmdtwin.synth.background.bank import SHIPPED, Bank, shipped_bank
from mmdtwin.synth.background.fine_structure import refine
from mmdtwin.synth.background.maps import MATERIALS
from mmdtwin.synth.xray.background import Background, Pose, resampled

SLACK = 1.02  # of a background's side that an imager may see: its rim is repeated


def generated_background(config: ImagerConfig, rng: np.random.Generator) -> Background:
    """Draw a background of a bank, on the pixels of an imager.

    Pixels finer than the bank's show structure of their own, as strong as what the maps have.
    Gantry angles stay as they are configured: what is drawn has none of its own. Its channel is
    drawn too: a scenario whose vessel it shows should have blood in it.

    Raises
    ------
    UserError
        If there is no bank, or the imager sees more than its backgrounds show.
    """
    bank = _open(config.background.path)
    item = bank.draw(rng)
    projection = Projection.from_config(config).ideal
    side = item.maps.shape[-1]
    sees, shows = max(projection.shape) * projection.pixel_size, side * item.pixel_size
    if sees > shows * SLACK:
        raise UserError(
            f"background 'diffusion': the imager sees {sees:.3f} m at the isocentre, the bank "
            f"{bank.folder} shows {shows:.3f} m; use a smaller detector or field, or fill a bank "
            f"by `mmdtwin synth background --field {sees:.3f}`"
        )
    fine = max(round(shows / projection.pixel_size), side)
    texture = stream(int(item.record["seed"]), "fine structure")
    drawn = refine(item.maps, fine, item.pixel_size, texture)
    scale = projection.pixel_size / (shows / fine)
    maps = {
        name: np.maximum(resampled(_smoothed(m, scale), scale, projection.shape), 0.0)
        for name, m in zip(MATERIALS, drawn, strict=True)
    }
    if not maps[MATERIALS[2]].any():
        del maps[MATERIALS[2]]
    name = f"{item.record['prompt']}, seed {item.record['seed']}"
    return Background(maps, Pose(config.primary, config.secondary, name=name))


def _smoothed(image: Image, scale: float) -> Image:
    """Return what pixels `scale` times as large can carry of an image; the rest is averaged."""
    if scale <= 1.0:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 * scale), np.float32)


@lru_cache(maxsize=4)
def _open(path: str | None) -> Bank:
    return Bank(shipped_bank(path or SHIPPED[0]) if path in (None, *SHIPPED) else path)
