"""Where the autoencoder's training starts: not at random weights, but as a good linear code.

Trained from random weights, an autoencoder needs most of its steps to learn to copy. So its layers
first pass the pixels of each patch on, the latents are the patches' principal components, and each
layer of the decoder is fitted by least squares to what it should put out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmdtwin.synth.background.training.pair_set import depth_slope

if TYPE_CHECKING:
    import torch

    from mmdtwin.synth.background.training.pair_set import PairSet

SPREAD = 0.15  # standard deviation of the latents, whose tails are long: beyond 3 they are squashed
USED = 48  # pairs to fit on
LEAST = 0.15  # weight of an image channel in the components, beside the one that matters most
POSITIONS = 60_000  # pixels that a layer is fitted at
RIDGE = 1e-6  # of the mean variance of its inputs


def start_from_patches(vae: Any, pairs: PairSet) -> None:
    """Set the weights of an `AutoencoderTiny` from pairs.

    Parameters
    ----------
    vae : AutoencoderTiny
        Changed in place. Its width must hold all pixels of a patch: 3 x 4 x 4 for a factor of 4.
    pairs : PairSet
        Some are used, their maps and their masks.
    """
    import torch

    chosen = np.unique(np.linspace(0, len(pairs) - 1, USED).astype(int))
    maps = pairs.images(chosen)
    slope = np.sqrt(np.mean(depth_slope(maps) ** 2, axis=(0, 2, 3)))
    weight = np.maximum(slope / slope.max(), LEAST)
    with torch.no_grad():
        _start_encoder(vae, torch.from_numpy(maps), torch.from_numpy(weight))
        _start_decoder(vae, torch.from_numpy(np.concatenate([maps, pairs.pictures(chosen[::8])])))


def _start_encoder(vae: Any, images: torch.Tensor, weight: torch.Tensor) -> None:
    """Make it move pixels into channels, then project on principal components."""
    import torch

    layers = vae.encoder.layers
    convolutions: list[Any] = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    _silence(layers)
    first, last = convolutions[0], convolutions[-1]
    count = images.shape[1]
    first.weight[:count] = 0.0
    first.bias[:count] = 0.0
    for channel in range(count):
        first.weight[channel, channel, 1, 1] = 1.0
    for layer in convolutions[1:-1]:
        layer.weight[: 4 * count] = 0.0
        for phase in range(4):
            for channel in range(count):
                row, column = 1 + phase // 2, 1 + phase % 2
                layer.weight[phase * count + channel, channel, row, column] = 1.0
        count *= 4
    patches = _to_channels(images / 2 + 0.5, len(convolutions) - 2)
    scale = weight.double().repeat(count // len(weight))
    flat = patches.permute(0, 2, 3, 1).reshape(-1, count).double() * scale
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((flat - mean).T))
    kept = last.out_channels
    largest = vectors.flip(1)[:, :kept] * (SPREAD / values.flip(0)[:kept].clamp(min=1e-9).sqrt())
    last.weight.zero_()
    last.weight[:, :count, 1, 1] = (scale[:, None] * largest).T.float()
    last.bias.copy_(-(mean @ largest))


def _start_decoder(vae: Any, images: torch.Tensor) -> None:
    import torch

    layers = vae.decoder.layers
    _silence(layers)
    halvings = int(np.log2(images.shape[-1] // vae.encode(images[:1]).latents.shape[-1]))
    targets = [_to_channels(images / 2 + 0.5, n) for n in (*range(halvings, -1, -1), 0)]
    features = torch.tanh(vae.encode(images).latents / 3) * 3
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            _fit(layer, features, targets.pop(0))
        features = layer(features)


def _to_channels(pixels: torch.Tensor, times: int) -> torch.Tensor:
    """Move the pixels of 2 x 2 patches into channels, as the encoder's layers do, repeatedly."""
    import torch

    for _ in range(times):
        pixels = torch.cat([pixels[:, :, i::2, j::2] for i in range(2) for j in range(2)], 1)
    return pixels


def _fit(layer: Any, features: torch.Tensor, target: torch.Tensor) -> None:
    """Fit a convolution's first outputs to a target; the others pass their inputs on."""
    import torch

    side, channels = layer.kernel_size[0], features.shape[1]
    share = max(1, POSITIONS // (features.shape[0] * 16))
    rng = np.random.default_rng(0)
    height, width = features.shape[-2:]
    padded = torch.nn.functional.pad(features, (side // 2,) * 4)
    inputs, outputs = [], []
    for image in range(len(features)):
        for _ in range(16):  # runs of pixels, so that no image is unfolded whole
            i = int(rng.integers(height))
            j = rng.integers(width, size=share)
            rows = padded[image, :, i : i + side]
            window = torch.stack([rows[:, :, x : x + side] for x in j])
            inputs.append(window.reshape(len(j), -1))
            outputs.append(target[image, :, i, j].T)
    x, y = torch.cat(inputs).double(), torch.cat(outputs).double()
    has_bias = layer.bias is not None
    x_mean = x.mean(0) if has_bias else torch.zeros(x.shape[1], dtype=x.dtype)
    y_mean = y.mean(0) if has_bias else torch.zeros(y.shape[1], dtype=y.dtype)
    centred = x - x_mean
    gram = centred.T @ centred / len(x)
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (y - y_mean) / len(x))
    count = y.shape[1]
    layer.weight[:count] = weight.T.reshape(count, channels, side, side).float()
    if has_bias:
        layer.bias[:count] = (y_mean - x_mean @ weight).float()
    for channel in range(count, min(layer.out_channels, channels)):
        layer.weight[channel] = 0.0
        layer.weight[channel, channel, side // 2, side // 2] = 1.0


def _silence(layers: Any) -> None:
    """Let residual blocks pass on what they get."""
    for layer in layers:
        if type(layer).__name__ == "AutoencoderTinyBlock":
            layer.conv[-1].weight.zero_()
            layer.conv[-1].bias.zero_()
