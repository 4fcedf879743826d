"""Train the UNet that takes noise away, told by prompt and mask what is to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdtwin.errors import UserError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from mmdtwin.synth.background.training.latents import Latents

DROPOUT = 0.05  # of the prompt, of the mask, and of both: what guidance is measured from
# Signal-to-noise ratio above which a step's weight stays. Hang et al. (2023) have 5, for latents
# that all spread alike; the narrowest here have a tenth of the mean variance.
GAMMA = 40.0
SMALL = 10_000_000  # weights; a smaller text encoder is trained too, a larger one is kept
PROBES = 10  # times at which the loss of held-out pairs is measured
ROOM = 0.25  # of free memory of a GPU that latents may take

Sampler = Callable[[Any], "tuple[dict[str, float], NDArray[np.float32]]"]


class UnetJob:
    """Denoising of cached latents.

    Parameters
    ----------
    pipeline : StableDiffusionInstructPix2PixPipeline
        Its UNet is trained in place: the weights that want gradients; its text encoder too, if it
        is small.
    latents, held_out : Latents
        Of the pairs to train on, and to validate on.
    sampler : callable, optional
        Draws with the pipeline: figures and a picture for validation.
    """

    name = "unet"
    mixed = True

    def __init__(
        self, pipeline: Any, latents: Latents, held_out: Latents, sampler: Sampler | None = None
    ) -> None:
        self.pipeline, self.latents, self.held_out = pipeline, latents, held_out
        self.sampler = sampler
        self.modules: Mapping[str, torch.nn.Module] = {"unet": pipeline.unet}
        if sum(weight.numel() for weight in pipeline.text_encoder.parameters()) < SMALL:
            pipeline.text_encoder.requires_grad_(True)
            self.modules = {**self.modules, "text_encoder": pipeline.text_encoder}
            use_plain_attention(pipeline.unet)
        tokenizer = pipeline.tokenizer
        self._words = {id(part): _tokens(tokenizer, part.captions) for part in (latents, held_out)}
        self.empty = _tokens(tokenizer, [""])[0]
        self._held: dict[int, tuple[torch.Tensor, ...]] = {}
        self._denoise: Any = None

    def size(self) -> int:
        """Return the number of pairs."""
        return len(self.latents)

    def loss(self, indices: NDArray, generator: torch.Generator) -> torch.Tensor:
        """Mean weighted squared error of what the UNet predicts (noise, or velocity)."""
        import torch

        steps, device = self.pipeline.scheduler.config.num_train_timesteps, generator.device
        times = torch.randint(steps, (len(indices),), generator=generator, device=device)
        fate = torch.rand(len(indices), generator=generator, device=device)
        without_text = fate < 2 * DROPOUT
        without_mask = (fate >= DROPOUT) & (fate < 3 * DROPOUT)
        return self._loss(self.latents, indices, times, generator, without_text, without_mask)

    def validate(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Return the loss of held-out pairs at fixed times and noise, and samples."""
        import torch

        device = self.pipeline.unet.device
        generator = torch.Generator(device).manual_seed(0)
        count = min(len(self.held_out), 32)
        steps = self.pipeline.scheduler.config.num_train_timesteps
        none = torch.zeros(count, dtype=torch.bool, device=device)
        losses = []
        with torch.no_grad():
            for k in range(PROBES):
                times = torch.full((count,), int((k + 0.5) / PROBES * steps), device=device)
                found = self._loss(self.held_out, np.arange(count), times, generator, none, none)
                losses.append(float(found))
        figures = {"held_out_loss": float(np.mean(losses))}
        if self.sampler is None:
            return figures, None
        sampled, picture = self.sampler(self.pipeline)
        return figures | sampled, picture

    def _loss(
        self,
        latents: Latents,
        indices: NDArray,
        times: torch.Tensor,
        generator: torch.Generator,
        without_text: torch.Tensor,
        without_mask: torch.Tensor,
    ) -> torch.Tensor:
        import torch

        scheduler, device = self.pipeline.scheduler, generator.device
        clean, condition, places, tokens = self._batch(latents, indices, device)
        condition = condition * (~without_mask).float()[:, None, None, None]
        noise = torch.randn(clean.shape, generator=generator, device=device)
        noisy = scheduler.add_noise(clean, noise, times)
        velocity = scheduler.config.prediction_type == "v_prediction"
        goal = scheduler.get_velocity(clean, noise, times) if velocity else noise
        weight = snr_weight(scheduler.alphas_cumprod.to(device)[times], velocity)
        tokens = torch.where(without_text[:, None], self.empty.to(device), tokens)
        told = self.pipeline.text_encoder(tokens)[0]
        found = self._denoised(torch.cat([noisy, condition], 1), times, told)
        error = (found.float() - goal).square().mean(1)
        return (weight * (places * error).sum((1, 2))).sum() / places.sum()

    def _batch(
        self, latents: Latents, indices: NDArray, device: torch.device
    ) -> tuple[torch.Tensor, ...]:
        """Return maps, masks, places and tokens, of latents that are kept where they fit."""
        import torch

        if id(latents) not in self._held:
            arrays = latents.maps, latents.masks, latents.places
            room = device.type == "cuda" and (
                sum(a.nbytes for a in arrays) < ROOM * torch.cuda.mem_get_info(device)[0]
            )
            home = device if room else torch.device("cpu")
            tensors = *(torch.from_numpy(a) for a in arrays), self._words[id(latents)]
            self._held[id(latents)] = tuple(t.to(home) for t in tensors)
        held = self._held[id(latents)]
        rows = torch.from_numpy(indices).to(held[0].device)
        maps, masks, places, tokens = (t[rows].to(device) for t in held)
        return maps.float(), masks.float(), places.float(), tokens

    def _denoised(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return what the UNet predicts of latents, times and prompt."""
        import torch

        unet = self.pipeline.unet
        if not (unet.training and inputs[0].is_cuda and "text_encoder" in self.modules):
            return unet(*inputs).sample
        if self._denoise is None:  # a small network waits for its launches: they become one
            examples = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in inputs)
            self._denoise = torch.cuda.make_graphed_callables(
                _denoiser(unet), examples, allow_unused_input=True
            )
        return self._denoise(*inputs)


def _denoiser(unet: Any) -> Any:
    """Return a module that calls the UNet and returns its sample."""
    import torch

    class Denoiser(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = unet

        def forward(
            self, noisy: torch.Tensor, times: torch.Tensor, told: torch.Tensor
        ) -> torch.Tensor:
            return self.unet(noisy, times, told).sample

    return Denoiser()


def snr_weight(alphas: torch.Tensor, velocity: bool) -> torch.Tensor:
    """Weight of a step by its signal-to-noise ratio, which the loss would overrate without it.

    The error of the clean latents counts min(SNR, 40) for noise prediction (Hang et al. 2023, arXiv
    2303.09556) and min(SNR, 40) + 1 for velocity, so that the step without any signal counts too.

    Parameters
    ----------
    alphas : (n,) tensor
        Share of the signal in the variance.
    velocity : bool
        Whether the network predicts velocity, not noise.
    """
    ratio = alphas / (1.0 - alphas)
    if velocity:
        return (ratio.clamp(max=GAMMA) + 1.0) / (ratio + 1.0)
    return ratio.clamp(max=GAMMA) / ratio.clamp(min=1e-8)


def use_plain_attention(unet: Any) -> None:
    """Let attention be plain matrix products, whose gradient a CPU finds faster than the fused one.

    They hold all pairs of places in memory: for small networks.
    """
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())


def widen_input(unet: Any, channels: int) -> None:
    """Give the UNet's first layer more input channels; the new weights are zero.

    It then computes what it did before, whatever the new channels hold (Brooks et al. 2023).

    Raises
    ------
    UserError
        If it has more channels already.
    """
    import torch

    old = unet.conv_in
    if old.in_channels == channels:
        return
    if old.in_channels > channels:
        raise UserError(
            f"base: its UNet takes {old.in_channels} channels; {channels // 2} or {channels} fit "
            "its autoencoder"
        )
    new: Any = torch.nn.Conv2d(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding,
        device=old.weight.device, dtype=old.weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)


def balance_input(unet: Any, latents: Latents) -> None:
    """Let an untrained UNet hear the mask as loud as the noise.

    The pipeline scales the latents of what is drawn, but not those of the mask: so the weights that
    see these are, each channel to unit variance.
    """
    import torch

    count = latents.masks.shape[1]
    spread = np.asarray(latents.masks[:256], np.float32).std(axis=(0, 2, 3))
    scale = torch.from_numpy(spread.clip(1e-3)).to(unet.device)
    with torch.no_grad():
        unet.conv_in.weight[:, -count:] /= scale[:, None, None]


def add_lora(unet: Any, rank: int) -> None:
    """Freeze the UNet but for low-rank adapters of its attention, and its first layer.

    Raises
    ------
    UserError
        If peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("--lora needs peft: pip install peft; or train all weights") from error

    unet.requires_grad_(False)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))
    unet.conv_in.requires_grad_(True)


def merge_lora(unet: Any) -> None:
    """Add the adapters into the weights that they adapt, and take them off."""
    unet.fuse_lora()
    unet.unload_lora()


def _tokens(tokenizer: Any, captions: Sequence[str]) -> torch.Tensor:
    length = tokenizer.model_max_length
    found: torch.Tensor = tokenizer(
        list(captions), padding="max_length", max_length=length, truncation=True,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    return found
