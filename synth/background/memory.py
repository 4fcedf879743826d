"""How much memory a full-size model needs, from its configuration alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdtwin.errors import UserError

FLOAT = 4  # bytes
TRAINED = 5 * FLOAT  # bytes a weight: itself, gradient, two moments of AdamW, running average
GUIDANCE = 3  # passes of the UNet side by side: with prompt and mask, with mask, with neither
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Estimate, bytes.

    Parameters
    ----------
    weights : int
        Of all networks, single precision.
    sampling, training : int
        In all, for one image at the model's own size: weights and the largest activations; and
        trained weights with what the optimiser keeps, and all activations.
    """

    weights: int
    sampling: int
    training: int


def estimate_memory(path: Path) -> Memory:
    """Estimate from `unet/config.json` and its siblings; no weight is read.

    The networks are built on PyTorch's meta device and the UNet is run there once, so that its
    activations are counted, not guessed.
    """
    import torch
    from diffusers import UNet2DConditionModel

    configs = {
        name: json.loads((path / name / "config.json").read_text())
        for name in ("unet", "vae", "text_encoder")
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(configs["unet"])
        counts = {name: _weights(name, config, unet) for name, config in configs.items()}
        kept, largest = _activations(unet, configs["text_encoder"])
    weights = FLOAT * sum(counts.values())
    return Memory(
        weights=weights,
        sampling=weights + GUIDANCE * 3 * largest,
        training=weights + (TRAINED - FLOAT) * counts["unet"] + kept,
    )


def check_memory(path: Path, device: str, training: bool = False) -> Memory:
    """Refuse a model that this machine cannot hold.

    Raises
    ------
    UserError
        With how much it needs, and how much there is.
    """
    found = estimate_memory(path)
    needed = found.training if training else found.sampling
    free = free_memory(device)
    if needed > free:
        what = "training" if training else "sampling"
        raise UserError(
            f"model {path}: {what} needs about {needed / GIB:.1f} GB, "
            f"and {device} has {free / GIB:.1f} GB free"
        )
    return found


def free_memory(device: str) -> int:
    """Return the free memory of a device, bytes."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    import psutil

    return int(psutil.virtual_memory().available)


def _weights(name: str, config: dict[str, Any], unet: Any) -> int:
    from diffusers import AutoencoderKL, AutoencoderTiny
    from transformers import CLIPTextConfig, CLIPTextModel

    if name == "unet":
        network = unet
    elif name == "vae":
        tiny = config.get("_class_name") == "AutoencoderTiny"
        own = {
            key: value for key, value in config.items() if key != "block_out_channels" or not tiny
        }
        network = (AutoencoderTiny if tiny else AutoencoderKL).from_config(own)
    else:
        network = CLIPTextModel(CLIPTextConfig.from_dict(config))
    return sum(weight.numel() for weight in network.parameters())


def _activations(unet: Any, text: dict[str, Any]) -> tuple[int, int]:
    """Return the bytes of all layers' outputs for one image, and of the largest."""
    import torch

    sizes: list[int] = []

    def count(_module: Any, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() * FLOAT)

    for module in unet.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    side = unet.config.sample_size
    latents = torch.empty(1, unet.config.in_channels, side, side)
    length, width = text["max_position_embeddings"], text["hidden_size"]
    unet(latents, torch.zeros(1), torch.empty(1, length, width))
    return sum(sizes), max(sizes)
