"""Backgrounds drawn by a diffusion model from a prompt and a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.seeding import stream
from mmdtwin.synth.background.classes import LAYERS, MaskStack, mask_picture
from mmdtwin.synth.background.directory import check_directory, load_pipeline
from mmdtwin.synth.background.fine_structure import refine
from mmdtwin.synth.background.maps import decode
from mmdtwin.synth.background.memory import check_memory
from mmdtwin.synth.background.model import require_diffusion
from mmdtwin.synth.background.placing import completed
from mmdtwin.synth.background.sampling import (
    GUIDANCE,
    IMAGE_GUIDANCE,
    SCHEDULERS,
    draw,
    make_scheduler,
)
from mmdtwin.synth.background.vocabulary import unknown_words
from mmdtwin.training.accelerator import check_device

FIELD = 0.15  # m at the isocentre that a background shows, unless told otherwise
SIZES = (64, 2048)  # px, smallest and largest side of a background
STEPS = 20
BATCH = 16  # drawn at a time
THIN = 0.25  # share of a pixel that metal or a channel must cover to be in a coarser mask


@dataclass(frozen=True, eq=False)
class GeneratedMaps:
    """A generated background.

    Parameters
    ----------
    maps : (3, h, w) float32 array
        Thickness of soft tissue, bone, and contrast medium or metal along the rays, m.
    mask : (5, h, w) bool array
        What it was drawn from: with places for what the prompt names besides.
    pixel_size : float
        At the isocentre, m.
    prompt : str
        What was asked for.
    seed : int
        Of its noise.
    """

    maps: NDArray[np.float32]
    mask: MaskStack
    pixel_size: float
    prompt: str
    seed: int


def embedded_model() -> Path:
    """Return the directory of the model that is shipped."""
    return Path(str(resources.files("mmdtwin.synth") / "data" / "background"))


class BackgroundGenerator:
    """Draws backgrounds with a diffusers `StableDiffusionInstructPix2PixPipeline` directory.

    Parameters
    ----------
    model : str or Path, optional
        The directory; by default the one that is shipped. The hub is never asked.
    device : str
        "cpu", "cuda" or "cuda:N".
    scheduler : str
        "ddim", "dpm++" or "lcm" (which needs a model distilled for it to be good in few steps).

    Raises
    ------
    UserError
        If diffusers is not installed, a part of the directory is missing, broken or pickled, the
        device is not there or too small for the model, or the scheduler is unknown.
    """

    def __init__(
        self, model: str | Path | None = None, device: str = "cpu", scheduler: str = "ddim"
    ) -> None:
        require_diffusion()
        self.path = embedded_model() if model is None else Path(model)
        if scheduler not in SCHEDULERS:
            raise UserError(f"scheduler '{scheduler}': unknown; allowed: {', '.join(SCHEDULERS)}")
        check_device(device)
        check_directory(self.path)
        check_memory(self.path, device)
        self.pipeline = load_pipeline(self.path, device)
        self.pipeline.scheduler = make_scheduler(scheduler, self.pipeline.scheduler)

    @property
    def native_size(self) -> int:
        """Pixels along each side that the model itself draws."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)

    @cached_property
    def digest(self) -> str:
        """A hash of the model's weights."""
        import hashlib

        found = hashlib.sha256()
        for file in sorted(self.path.rglob("*.safetensors")):
            found.update(file.read_bytes())
        return found.hexdigest()[:16]

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """Return the words of a prompt that the tokenizer lacks, each with the nearest it has.

        A tokenizer of pieces of words, as full-size models have, lacks none.
        """
        tokenizer = self.pipeline.tokenizer
        if "<s>" not in tokenizer.get_vocab():
            return {}
        return unknown_words(prompt, tokenizer.get_vocab())

    def generate(
        self,
        prompt: str | Sequence[str],
        mask: NDArray[np.bool_],
        seed: int | Sequence[int] = 0,
        size: int = 256,
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE,
        image_guidance_scale: float = IMAGE_GUIDANCE,
        field: float = FIELD,
        place: bool = True,
    ) -> list[GeneratedMaps]:
        """Draw backgrounds: one per prompt, mask and seed, single ones used for all.

        Parameters
        ----------
        prompt : str or sequence of str
            Words that the model does not know are left out, with a warning.
        mask : (5, h, w) or (n, 5, h, w) bool array
            Layers of `classes.LAYERS`, square.
        seed : int or sequence of int
            Of each background's noise. The same seeds in the same call give the same maps.
        size : int
            Pixels along each side. The model draws at its own size; finer pixels are filled with
            the structure of `refine`, coarser ones averaged.
        steps : int
            Of denoising.
        guidance_scale, image_guidance_scale : float
            How much more than learnt to heed the prompt and the mask; 1 and 1 is as learnt.
        field : float
            Side of what is shown, at the isocentre, m.
        place : bool
            Whether contrast medium and instruments that the prompt names, and the mask lacks, are
            given places (see `completed`); otherwise the model itself has to find some.

        Raises
        ------
        UserError
            If the mask is empty or of another shape, or a number is out of range.
        """
        masks = checked_masks(mask)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        seeds = [seed] if isinstance(seed, (int, np.integer)) else [int(s) for s in seed]
        count = max(len(prompts), len(masks), len(seeds))
        for name, values in (("prompts", prompts), ("masks", masks), ("seeds", seeds)):
            if len(values) not in (1, count):
                raise UserError(f"{len(values)} {name} for {count} backgrounds: give 1 or {count}")
        _check_numbers(seeds, size, steps, guidance_scale, image_guidance_scale, field)
        for text in dict.fromkeys(prompts):
            self._warn(text)
        found: list[GeneratedMaps] = []
        for start in range(0, count, BATCH):
            chosen = range(start, min(start + BATCH, count))
            texts = [prompts[i % len(prompts)] for i in chosen]
            numbers = [seeds[i % len(seeds)] for i in chosen]
            given = [masks[i % len(masks)] for i in chosen]
            if place:
                given = [
                    completed(m, text, number, field)
                    for m, text, number in zip(given, texts, numbers, strict=True)
                ]
            batch = [resized_mask(mask, self.native_size) for mask in given]
            pictures = np.moveaxis(mask_picture(np.stack(batch)), -1, -3)
            channels = draw(
                self.pipeline, pictures, texts, numbers, steps, guidance_scale, image_guidance_scale
            )
            for text, number, mask, maps in zip(
                texts, numbers, given, decode(channels), strict=True
            ):
                fine = _resized(maps, size, field, stream(number, "fine structure"))
                found.append(GeneratedMaps(fine, mask, field / size, text, number))
        return found

    def _warn(self, prompt: str) -> None:
        import warnings

        for word, near in self.unknown_words(prompt).items():
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            warnings.warn(f"prompt: unknown word '{word}'{hint}", UserWarning, stacklevel=3)


def checked_masks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return masks as (n, 5, h, w) bool.

    Raises
    ------
    UserError
        If a mask is of another shape or type, or empty.
    """
    masks = np.asarray(mask)
    masks = masks[None] if masks.ndim == 3 else masks
    if masks.ndim != 4 or masks.shape[1] != len(LAYERS):
        raise UserError(
            f"mask of shape {np.shape(mask)}: expected ({len(LAYERS)}, h, w), the layers "
            f"{', '.join(LAYERS)}, or a stack of such masks"
        )
    if masks.shape[2] != masks.shape[3] or masks.shape[2] < 8:
        raise UserError(f"mask of {masks.shape[3]} x {masks.shape[2]} px: must be square, >= 8 px")
    if masks.dtype != np.bool_:
        if not np.isin(masks, (0, 1)).all():
            raise UserError(f"mask of {masks.dtype}: layers are binary, 0 or 1")
        masks = masks.astype(bool)
    for i, each in enumerate(masks):
        if not each.any():
            raise UserError(f"mask {i}: is empty: no pixel belongs to any layer")
    return masks


def resized_mask(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return a mask (5, side, side); a pixel is set where at least half of it was, wires kept.

    What is thinner than a pixel would be lost, so that any hit counts for metal and channels.
    """
    if mask.shape[-1] == side:
        return mask
    shrinks = mask.shape[-1] > side
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    share = np.stack(
        [cv2.resize(m.astype(np.float32), (side, side), interpolation=way) for m in mask]
    )
    level = np.full(len(mask), 0.5, np.float32)
    if shrinks:
        level[[LAYERS.index("metal"), LAYERS.index("channel")]] = THIN
    return share >= level[:, None, None]


def _resized(
    maps: NDArray[np.float32], size: int, field: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    side = maps.shape[-1]
    if size < side:
        return np.stack([cv2.resize(m, (size, size), interpolation=cv2.INTER_AREA) for m in maps])
    return refine(maps, size, field / side, rng)


def _check_numbers(
    seeds: Sequence[int],
    size: int,
    steps: int,
    guidance: float,
    image_guidance: float,
    field: float,
) -> None:
    if min(seeds) < 0:
        raise UserError(f"seed {min(seeds)}: must be >= 0")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"size {size}: must be within {SIZES[0]} and {SIZES[1]} px")
    if not 1 <= steps <= 1000:
        raise UserError(f"steps {steps}: must be within 1 and 1000")
    for name, value in (("guidance scale", guidance), ("image guidance scale", image_guidance)):
        if not 1.0 <= value <= 30.0:
            raise UserError(f"{name} {value}: must be within 1 and 30")
    if not 0.02 <= field <= 0.5:
        raise UserError(f"field {field} m: must be within 0.02 and 0.5 m")
