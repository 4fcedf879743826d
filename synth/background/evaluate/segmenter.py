"""An independent segmenter: it finds a mask's layers in maps; its features compare sets of maps.

It is trained on projections alone and never sees a generated image. One kind sees the three maps,
another the standardised -log T, for radiographs that have no maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.synth.background.classes import LAYERS, unpack
from mmdtwin.synth.background.evaluate.measures import dice
from mmdtwin.synth.background.maps import decode, depth, encode
from mmdtwin.training.loop import Schedule

if TYPE_CHECKING:
    import torch

    from mmdtwin.synth.background.pair_files import StoredPairs

Kind = Literal["maps", "grey"]
KINDS: tuple[Kind, ...] = ("maps", "grey")
# Channels at each level, each half as fine as the one before. Maps need more: in them a catheter
# and a thin vessel full of contrast medium differ little.
WIDTHS: dict[Kind, tuple[int, ...]] = {"maps": (32, 64, 96, 128), "grey": (16, 32, 64, 96)}
MEASURED = 256  # pairs for figures
SCHEDULE = Schedule(steps=6000, batch=12, rate=2e-3, warmup=200, ema=0.995)
# Of layers in the loss: thin ones have few pixels.
WEIGHTS = (1.0, 0.5, 1.0, 5.0, 2.0)
BATCH_OUT = 32
SOFTENED = 1.0  # px, largest Gaussian sigma of the maps that are trained on
NOISE = (0.5e-3, 0.05e-3, 0.02e-3)  # m, largest rms of the noise on each
TEXTURED = 3  # levels whose features compare sets


class Segmenter:
    """A small U-Net.

    Parameters
    ----------
    kind : {"maps", "grey"}
        What it sees.
    network : torch.nn.Module
    """

    def __init__(self, kind: Kind, network: Any) -> None:
        self.kind, self.network = kind, network.eval()

    def masks(self, images: NDArray) -> NDArray[np.bool_]:
        """Return masks (n, 5, h, w) of maps (n, 3, h, w) in m, or of -log T (n, h, w)."""
        return np.concatenate([part[0] for part in self._batches(images)]) > 0.0

    def features(self, images: NDArray) -> NDArray[np.float64]:
        """Return features (n, m): mean and spread of each channel of the three finest levels.

        The coarsest, which sees where the body ends, tells anatomies apart better than textures.
        """
        return np.concatenate([part[1] for part in self._batches(images)]).astype(float)

    def _batches(self, images: NDArray) -> list[tuple[NDArray, NDArray]]:
        import torch

        prepared = self.prepare(images)
        device = next(self.network.parameters()).device
        found = []
        with torch.inference_mode():
            for start in range(0, len(prepared), BATCH_OUT):
                part = torch.from_numpy(prepared[start : start + BATCH_OUT]).to(device)
                logits, levels = self.network(part)
                parts = [x.flatten(2) for x in levels[:TEXTURED]]
                both = [s for x in parts for s in (x.mean(2), x.std(2))]
                found.append((logits.cpu().numpy(), torch.cat(both, dim=1).cpu().numpy()))
        return found

    def prepare(self, images: NDArray) -> NDArray[np.float32]:
        """Return what the network sees of maps, or of -log T."""
        return prepare(self.kind, images)

    def save(self, path: Path) -> None:
        """Write the weights in half precision; whole or absent."""
        import torch
        from safetensors.torch import save_file

        halves = {k: v.to(torch.float16).contiguous() for k, v in self.network.state_dict().items()}
        with replacing(path) as part:
            save_file(halves, part, {"kind": self.kind})


def load_segmenter(kind: Kind = "maps", path: Path | None = None) -> Segmenter:
    """Load the shipped segmenter, or one from a file.

    Raises
    ------
    UserError
        If the file is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = path or shipped_segmenter(kind)
    network = build_network(kind)
    try:
        network.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"segmenter {path}: is missing or broken ({first})") from error
    return Segmenter(kind, network)


def shipped_segmenter(kind: Kind) -> Path:
    """Return the file of the segmenter that ships with the package."""
    folder = Path(str(resources.files("mmdtwin.synth") / "data"))
    return folder / f"background-segmenter-{kind}.safetensors"


class SegmenterJob:
    """Training of a segmenter on projections, turned and mirrored.

    Parameters
    ----------
    segmenter : Segmenter
        Trained in place.
    pairs, held_out : StoredPairs
        To train on, and to validate on; their masks leave nothing out
        (`write_pairs(..., complete=True)`).
    """

    mixed = True

    def __init__(self, segmenter: Segmenter, pairs: StoredPairs, held_out: StoredPairs) -> None:
        self.name = f"segmenter-{segmenter.kind}"
        self.segmenter, self.pairs, self.held_out = segmenter, pairs, held_out
        self.modules: Mapping[str, torch.nn.Module] = {"segmenter": segmenter.network}

    def size(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs.captions)

    def loss(self, indices: NDArray, generator: torch.Generator) -> torch.Tensor:
        """Cross-entropy and overlap of each layer, thin ones weighted."""
        import torch

        on = generator.device
        quarters = int(torch.randint(4, (), generator=generator, device=on))
        flip = bool(torch.rand((), generator=generator, device=on) < 0.5)
        images = self._softened(decode(self.pairs.encoded[indices]), generator)
        images = self.segmenter.prepare(images if self.segmenter.kind == "maps" else depth(images))
        x, wanted = (
            torch.from_numpy(_turned(a, quarters, flip)).to(on)
            for a in (images, unpack(self.pairs.bits[indices]))
        )
        logits, _ = self.segmenter.network(x)
        return _loss(logits, wanted.float(), torch.tensor(WEIGHTS, device=on))

    def _softened(
        self, maps: NDArray[np.float32], generator: torch.Generator
    ) -> NDArray[np.float32]:
        """Blur maps a little and put noise on them: not all that is judged is as sharp."""
        import torch

        on = generator.device
        width = float(torch.rand((), generator=generator, device=on)) * SOFTENED
        noise = torch.randn(maps.shape, generator=generator, device=on).cpu().numpy()
        level = np.array(NOISE, np.float32) * float(torch.rand((), generator=generator, device=on))
        found = [[cv2.GaussianBlur(m, (0, 0), width + 0.01) for m in each] for each in maps]
        return np.maximum(np.asarray(found) + level[:, None, None] * noise, 0.0)

    def validate(self) -> tuple[dict[str, float], None]:
        """Return Dice's coefficient of each layer of held-out pairs."""
        chosen = np.arange(min(MEASURED, len(self.held_out.captions)))
        found = self.segmenter.masks(_seen(self.segmenter.kind, self.held_out, chosen))
        scores = dice(found, unpack(self.held_out.bits[chosen]))
        return {f"dice_{n}": float(s) for n, s in zip(LAYERS, scores, strict=True)}, None


def _seen(kind: Kind, pairs: StoredPairs, indices: NDArray) -> NDArray[np.float32]:
    """Return the images of pairs that a kind of segmenter is shown."""
    maps = decode(pairs.encoded[indices])
    return maps if kind == "maps" else depth(maps)


def prepare(kind: Kind, images: NDArray) -> NDArray[np.float32]:
    """Return what a network of a kind sees of maps (n, 3, h, w) in m, or of -log T (n, h, w)."""
    if kind == "maps":
        return encode(images)
    grey = np.asarray(images, np.float32)[:, None]
    spread = grey.std(axis=(2, 3), keepdims=True)
    return (grey - grey.mean(axis=(2, 3), keepdims=True)) / np.maximum(spread, 1e-3)


def new_segmenter(kind: Kind, seed: int = 0) -> Segmenter:
    """Return an untrained segmenter."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Segmenter(kind, build_network(kind))


def build_network(kind: Kind) -> Any:
    """Return a U-Net: maps or -log T to logits of the layers and features."""
    import torch
    from torch import nn

    def block(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in (inputs, outputs):
            layers += [nn.Conv2d(i, outputs, 3, padding=1, padding_mode="replicate"),
                       nn.GroupNorm(4, outputs), nn.SiLU()]  # fmt: skip
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = WIDTHS[kind]
            self.down = nn.ModuleList(map(block, (3 if kind == "maps" else 1, *widths), widths))
            self.up = nn.ModuleList(block(fine + coarse, fine) for fine, coarse in pairwise(widths))
            self.last = nn.Conv2d(widths[0], len(LAYERS), 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            levels: list[torch.Tensor] = []
            for layer in self.down:
                x = layer(nn.functional.max_pool2d(x, 2) if levels else x)
                levels.append(x)
            for layer, skip in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
                grown = nn.functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
                x = layer(torch.cat([skip, grown], dim=1))
            return self.last(x), levels

    return UNet()


def _loss(logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    import torch

    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    found = torch.sigmoid(logits)
    overlap = (2 * (found * wanted).sum((0, 2, 3)) + 1) / ((found + wanted).sum((0, 2, 3)) + 1)
    return ((each.mean((0, 2, 3)) * 3 + 1 - overlap) * weights).sum() / weights.sum()


def _turned(images: NDArray, quarters: int, flip: bool) -> NDArray:
    found = np.rot90(images, quarters, axes=(-2, -1))
    return np.ascontiguousarray(found[..., ::-1] if flip else found)
