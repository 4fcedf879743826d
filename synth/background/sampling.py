"""Sampling of a pipeline: schedulers by name, and drawing with seeds of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEDULERS = ("ddim", "dpm++", "lcm")
# How much more than learnt to heed prompt and mask. Without, thin metal is drawn where its mask has
# it with breaks; from 2 on, contrast medium gets as dense as metal.
GUIDANCE, IMAGE_GUIDANCE = 1.5, 1.5


def make_scheduler(name: str, trained: Any) -> Any:
    """Return one of `SCHEDULERS` for the noise that a model was trained with."""
    import diffusers

    if name == "dpm++":
        spacing = trained.config.get("timestep_spacing", "leading")
        return diffusers.DPMSolverMultistepScheduler.from_config(
            trained.config, algorithm_type="dpmsolver++", timestep_spacing=spacing
        )
    kind = {"ddim": diffusers.DDIMScheduler, "lcm": diffusers.LCMScheduler}[name]
    return kind.from_config(trained.config)


def draw(
    pipeline: Any,
    pictures: NDArray[np.float32],
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    guidance: float = 1.0,
    image_guidance: float = 1.0,
) -> NDArray[np.float32]:
    """Draw one image per mask picture, prompt and seed.

    Parameters
    ----------
    pipeline : StableDiffusionInstructPix2PixPipeline
        On any device.
    pictures : (n, 3, h, w) float32 array
        Pictures of masks, -1..1.
    prompts, seeds : sequence of n str, n int
        The noise of a seed is the same on every device.
    steps : int
        Of denoising.
    guidance, image_guidance : float
        How much more than learnt to heed prompt and mask.

    Returns
    -------
    (n, 3, h, w) float32 array
        Image channels, -1..1.
    """
    import torch

    sides = [side // pipeline.vae_scale_factor for side in pictures.shape[-2:]]
    shape = (pipeline.vae.config.latent_channels, *sides)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        # The pipeline maps 0..1 to -1..1 itself; of values below 0 it would think it done.
        found = pipeline(
            prompt=list(prompts),
            image=torch.from_numpy(np.ascontiguousarray(pictures, np.float32)) / 2 + 0.5,
            num_inference_steps=steps,
            guidance_scale=guidance,
            image_guidance_scale=image_guidance,
            latents=noise.to(pipeline.unet.device),
            generator=generators,
            output_type="np",
        ).images
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2) * 2.0 - 1.0, np.float32)
