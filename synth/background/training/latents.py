"""Latents of all pairs, encoded once and kept on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdtwin.files import replacing, write_json
from mmdtwin.synth.background.classes import BITS, CHANNEL, METAL
from mmdtwin.synth.background.model import encode_images
from mmdtwin.training.progress import progress_bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmdtwin.synth.background.training.pair_set import PairSet

BATCH = 32
THIN_WEIGHT = 10  # of places with an instrument or a channel in the mask, which are few
HIDDEN_WEIGHT = 3  # of all places, where the caption has what the mask lacks


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents of maps, unit variance, and of their masks' pictures, as the pipeline takes them.

    Parameters
    ----------
    maps, masks : (n, c, h, w) float16 array
        Memory-mapped.
    places : (n, h, w) uint8 array
        How much each place counts in the loss.
    captions : list of str
        Of each pair.
    """

    maps: NDArray[np.float16]
    masks: NDArray[np.float16]
    places: NDArray[np.uint8]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def cached_latents(vae: Any, pairs: PairSet, folder: Path, name: str) -> Latents:
    """Return the latents of `pairs`; encode them unless `folder` has them from this very VAE."""
    folder.mkdir(parents=True, exist_ok=True)
    key = {"vae": weights_digest(vae), "pairs": pairs.digest}
    note = folder / f"{name}.json"
    files = {kind: folder / f"{name}-{kind}.npy" for kind in ("maps", "masks")}
    if not (note.is_file() and json.loads(note.read_text()) == key):
        note.unlink(missing_ok=True)
        scale = vae.config.scaling_factor
        _encode(vae, pairs.images, len(pairs), scale, files["maps"], f"latents of {name} maps")
        _encode(vae, pairs.pictures, len(pairs), 1.0, files["masks"], f"latents of {name} masks")
        write_json(note, key)
    maps, masks = (np.load(files[kind], mmap_mode="c") for kind in ("maps", "masks"))
    return Latents(maps, masks, _places(pairs, maps.shape[-1]), pairs.captions)


def _places(pairs: PairSet, side: int) -> NDArray[np.uint8]:
    """Return how much places of masks count, (n, side, side).

    By what a model is told alone: were places chosen by what the maps have, it would learn to draw
    too much of that.
    """
    block = pairs.bits.shape[-1] // side
    blocks = pairs.bits.reshape(len(pairs), side, block, side, block)
    thin = (blocks & BITS[[METAL, CHANNEL]].sum()).any(axis=(2, 4))
    places = np.where(thin, THIN_WEIGHT, 1).astype(np.uint8)
    for layer, fact in ((METAL, "instruments"), (CHANNEL, "contrast")):
        told = np.array([fact in caption for caption in pairs.captions])
        hidden = told & ~(pairs.bits & BITS[layer]).any(axis=(1, 2))
        places[hidden] = np.maximum(places[hidden], HIDDEN_WEIGHT)
    return places


def weights_digest(module: Any) -> str:
    """Return a hash of a network's weights."""
    import hashlib

    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().float().numpy().tobytes())
    return found.hexdigest()[:16]


def _encode(vae: Any, read: Any, count: int, scale: float, path: Path, label: str) -> None:
    import torch

    device = next(vae.parameters()).device
    with replacing(path) as part, progress_bar(label, count) as move, torch.no_grad():
        out: Any = None
        for start in range(0, count, BATCH):
            indices = np.arange(start, min(start + BATCH, count))
            found = encode_images(vae, torch.from_numpy(read(indices)).to(device))
            values = (found * scale).cpu().numpy().astype(np.float16)
            if out is None:
                shape = (count, *values.shape[1:])
                out = np.lib.format.open_memmap(part, "w+", np.float16, shape)
            out[indices] = values
            move(start + len(indices))
        out.flush()
