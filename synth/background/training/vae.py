"""Train the autoencoder: maps and mask pictures through one code, thin classes weighted.

Its decoder can be trained further alone: latents stay what they are, and so does what a UNet has
learnt to draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdtwin.synth.background.classes import CHANNEL, METAL
from mmdtwin.synth.background.model import encode_images
from mmdtwin.synth.background.training.pair_set import depth_slope, depths
from mmdtwin.synth.background.training.vae_start import SPREAD

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from mmdtwin.synth.background.training.pair_set import PairSet

CROP = 64  # px, side of the patches that are trained on
DETAIL = 9  # px; what is finer than this is texture
SCALES = (1, 2, 4)  # px, over which gradients are compared
GRADIENT_WEIGHT = 0.3  # of each of them
DEPTH_WEIGHT = 0.3  # of the error of detail in -log T
THIN_WEIGHT = 8.0  # of a pixel with contrast medium or metal, beside 1 elsewhere
PICTURE_WEIGHT = 0.3  # of mask pictures: what is drawn is decoded, masks are only encoded
TAIL, TAIL_WEIGHT = 4 * SPREAD, 0.5  # where latents get costly: a UNet draws few outliers
SPREAD_WEIGHT = 0.1  # of how far the latents are from mean 0 and their spread
NOISE = 0.002  # on latents, so that the decoder is smooth where the UNet errs a little
# Largest deviation of noise on the latents, of unit variance, that a decoder trained further sees:
# about what a UNet errs by.
DRAWN_NOISE = 0.1
MEASURED = 64  # pairs for figures
PROMINENCE = 0.4  # power of what a channel shows, with which it spreads


class VaeJob:
    """Reconstruction of patches, two thirds of them of maps and one of mask pictures.

    Parameters
    ----------
    vae : AutoencoderTiny
        Trained in place.
    pairs, held_out : PairSet
        To train on, and to validate on.
    """

    name = "vae"
    mixed = False  # bfloat16 rounds -log T to .02

    def __init__(self, vae: Any, pairs: PairSet, held_out: PairSet) -> None:
        self.vae, self.pairs, self.held_out = vae, pairs, held_out
        self.modules: Mapping[str, torch.nn.Module] = {"vae": vae}
        vae.requires_grad_(True)

    def size(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def loss(self, indices: NDArray, generator: torch.Generator) -> torch.Tensor:
        """Weighted L1 of values, of gradients, of detail in -log T; spread and tails of latents."""
        import torch

        split = max(1, len(indices) * 2 // 3)
        maps = self.pairs.images(indices[:split])
        pictures = self.pairs.pictures(indices[split:])
        slopes = np.concatenate([depth_slope(maps), np.zeros_like(pictures)])
        both = np.concatenate([np.concatenate([maps, pictures]), slopes], axis=1)
        cut = _crop(torch.from_numpy(both), generator).to(self.vae.device)
        images, slopes_t = cut[:, :3], cut[:, 3:]
        latents = encode_images(self.vae, images)
        noise = NOISE * torch.randn(latents.shape, generator=generator, device=generator.device)
        error = self.vae.decode(latents + noise).sample - images
        importance = torch.ones_like(images)
        importance[split:] = PICTURE_WEIGHT
        loss = _reconstruction_loss(error, images, slopes_t, importance, split)
        excess = (latents[:split].abs() - TAIL).clamp(min=0.0)
        loss = loss + TAIL_WEIGHT * excess.square().mean()
        mean = latents[:split].mean((0, 2, 3))
        spread = latents[:split].std((0, 2, 3))
        return loss + SPREAD_WEIGHT * (mean.square() + (spread - SPREAD).square()).mean()

    def validate(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Return `reconstruction` of held-out pairs, and pictures of some beside themselves."""
        import torch

        figures = reconstruction(self.vae, self.held_out)
        shown = np.arange(min(4, len(self.held_out)))
        images = np.concatenate([self.held_out.images(shown), self.held_out.pictures(shown)])
        with torch.no_grad():
            latents = encode_images(self.vae, torch.from_numpy(images).to(self.vae.device))
            found = self.vae.decode(latents).sample.cpu().numpy()
        rows = [np.concatenate(list(x), axis=-1) for x in (images, found)]
        sheet = np.concatenate(rows, axis=-2).transpose(1, 2, 0) / 2 + 0.5
        return figures, sheet.astype(np.float32)


class DecoderJob(VaeJob):
    """Reconstruction of patches of maps from noisy latents, by the decoder alone.

    Without noise a decoder hands on what a UNet errs by: wires came out uneven, and the thin ones
    among them narrower than they are.
    """

    name = "decoder"

    def __init__(self, vae: Any, pairs: PairSet, held_out: PairSet) -> None:
        super().__init__(vae, pairs, held_out)
        self.modules = {"decoder": vae.decoder}
        vae.encoder.requires_grad_(False)

    def loss(self, indices: NDArray, generator: torch.Generator) -> torch.Tensor:
        """Weighted L1 of values, of gradients, and of detail in -log T."""
        import torch

        maps = self.pairs.images(indices)
        both = torch.from_numpy(np.concatenate([maps, depth_slope(maps)], axis=1))
        cut = _crop(both, generator).to(self.vae.device)
        images, slopes = cut[:, :3], cut[:, 3:]
        with torch.no_grad():
            latents = encode_images(self.vae, images)
        on = generator.device
        deviation = torch.rand(len(images), generator=generator, device=on)[:, None, None, None]
        noise = torch.randn(latents.shape, generator=generator, device=on) * deviation
        noise *= DRAWN_NOISE / self.vae.config.scaling_factor
        error = self.vae.decode(latents + noise).sample - images
        return _reconstruction_loss(error, images, slopes, torch.ones_like(images), len(images))


def _reconstruction_loss(
    error: torch.Tensor,
    images: torch.Tensor,
    slopes: torch.Tensor,
    importance: torch.Tensor,
    maps: int,
) -> torch.Tensor:
    """Weighted L1 of values and of gradients, and of detail in -log T of the first `maps` images.

    `slopes` are those of -log T, `importance` weighs values, all (n, 3, h, w).
    """
    weight = importance.clone()
    weight[:maps, 2] += (THIN_WEIGHT - 1.0) * (images[:maps, 2] > -0.99)
    loss = (weight * error.abs()).mean()
    for scale in SCALES:
        for axis in (-1, -2):
            step = error - error.roll(scale, axis)
            loss = loss + GRADIENT_WEIGHT * (weight * step.abs()).mean()
    depth = (error * slopes)[:maps].sum(1, keepdim=True)
    return loss + DEPTH_WEIGHT * _detail(depth).abs().mean()


def reconstruction(vae: Any, pairs: PairSet) -> dict[str, float]:
    """Measure what an autoencoder loses.

    Returns
    -------
    dict
        `detail_error`: rms error of -log T finer than 9 px without contrast medium and metal;
        `detail`: rms of what it is an error of; `thin_contrast`: contrast of thin contrast medium
        and metal that is left, of 1; `mask_error`: rms of mask pictures, whose range is 2.
    """
    import torch

    chosen = np.arange(min(MEASURED, len(pairs)))
    images, pictures = pairs.images(chosen), pairs.pictures(chosen)
    with torch.no_grad():
        found, shown = (
            vae.decode(encode_images(vae, torch.from_numpy(x).to(vae.device))).sample.cpu().numpy()
            for x in (images, pictures)
        )
    before, after = (torch.from_numpy(depths(x)) for x in (images, found))
    tissue, tissue_found = (_detail(x[:, :2].sum(1, keepdim=True)) for x in (before, after))
    thin, thin_found = (_detail(x[:, 2:]) for x in (before, after))
    strong = thin > (0.3 * thin.amax((2, 3), keepdim=True)).clamp(min=0.01)
    contrast = (thin * thin_found)[strong].sum() / thin[strong].square().sum().clamp(min=1e-12)
    return {
        "detail_error": float((tissue_found - tissue).square().mean().sqrt()),
        "detail": float(tissue.square().mean().sqrt()),
        "thin_contrast": float(contrast),
        "mask_error": float(np.sqrt(np.mean((shown - pictures) ** 2))),
    }


def balance_latents(vae: Any, pairs: PairSet) -> None:
    """Let channels of the latents spread the wider the more they show; scale all to unit variance.

    Were all alike, as they come out of training, an error of a tenth of a standard deviation would
    be .1 in -log T in one channel and .0003 in another: a UNet, whose noise and loss are the same
    for all, would spend itself on what nobody sees, and err where everybody does. What a channel
    shows is measured by leaving it out: the rms change of -log T, over all pixels, over those of
    metal, or over those of contrast medium, whichever is largest, so that what shows few things
    counts too. The factors are folded into the layers that write and read the latents:
    reconstruction does not change.

    Parameters
    ----------
    vae : AutoencoderTiny
        Trained; changed in place, its scaling factor too.
    pairs : PairSet
        Some are used.
    """
    import torch

    chosen = np.unique(np.linspace(0, len(pairs) - 1, MEASURED).astype(int))
    masks = pairs.masks(chosen)
    places = [np.ones_like(masks[:, 0]), masks[:, METAL], masks[:, CHANNEL]]
    with torch.no_grad():
        latents = encode_images(vae, torch.from_numpy(pairs.images(chosen)).to(vae.device))
        spread = latents.std((0, 2, 3))
        plain = depths(vae.decode(latents).sample.cpu().numpy()).sum(1)
        shown = []
        for channel in range(latents.shape[1]):
            without = latents.clone()
            without[:, channel] = latents[:, channel].median()
            change = depths(vae.decode(without).sample.cpu().numpy()).sum(1) - plain
            shown.append(max(np.sqrt(np.mean(change[p] ** 2)) for p in places if p.any()))
        share = torch.tensor(shown, device=spread.device, dtype=spread.dtype) / max(shown)
        factor = share**PROMINENCE * spread[int(share.argmax())] / spread
        last, first = vae.encoder.layers[-1], vae.decoder.layers[0]
        last.weight *= factor[:, None, None, None]
        last.bias *= factor
        first.weight /= factor[:, None, None]
        scale = 1.0 / float((latents * factor[:, None, None]).std())
    vae.register_to_config(scaling_factor=round(scale, 4))


def _detail(depth: torch.Tensor) -> torch.Tensor:
    import torch

    smooth = torch.nn.functional.avg_pool2d(depth, DETAIL, 1, DETAIL // 2, count_include_pad=False)
    return depth - smooth


def _crop(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Cut one patch out of each image, at the same place in all, mirrored half of the time."""
    import torch

    height, width = images.shape[-2:]
    side = min(CROP, height, width)
    on = generator.device
    i = int(torch.randint(height - side + 1, (), generator=generator, device=on))
    j = int(torch.randint(width - side + 1, (), generator=generator, device=on))
    cut = images[..., i : i + side, j : j + side]
    return cut.flip(-1) if torch.rand((), generator=generator, device=on) < 0.5 else cut
