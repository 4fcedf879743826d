"""Pairs on disk: shards to train on here, or a folder of images as diffusers' trainers read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import digest, replacing, write_json
from mmdtwin.seeding import stream
from mmdtwin.synth.background.classes import pack, read_mask, unpack, write_mask
from mmdtwin.synth.background.maps import encode
from mmdtwin.synth.background.pairs import SIZE, SOURCES, Pair, cut_pair, draw_facts, draw_view

SHARD = 512  # pairs in a file
CUTS = 4  # pairs from a projection
TEXTURES = 3  # fine structures of the CT that shards take in turn
Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")
INDEX, METADATA = "pairs.json", "metadata.jsonl"
FORMAT = 1
FULL_SCALE = 65535  # of 16-bit images


@dataclass(frozen=True, eq=False)
class StoredPairs:
    """Pairs as they are stored.

    Parameters
    ----------
    encoded : (n, 3, h, w) float16 array
        Maps by `maps.encode`.
    bits : (n, h, w) uint8 array
        Masks by `classes.pack`.
    captions, sources : list of str
    pixel_sizes : (n,) array
        m.
    """

    encoded: NDArray[np.float16]
    bits: NDArray[np.uint8]
    captions: list[str]
    sources: list[str]
    pixel_sizes: NDArray[np.float32]

    def first(self, count: int) -> StoredPairs:
        """Return the first of them."""
        return StoredPairs(
            self.encoded[:count],
            self.bits[:count],
            self.captions[:count],
            self.sources[:count],
            self.pixel_sizes[:count],
        )


def write_pairs(
    folder: str | Path,
    count: int,
    seed: int = 0,
    *,
    split: Split = "train",
    resolution: Literal["full", "sample"] = "full",
    size: int = SIZE,
    sources: dict[str, float] = SOURCES,
    complete: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write pairs in shards; go on where an earlier call was stopped.

    A shard's pairs are decided by seed, split and number of the shard alone, so that splits share
    no pose and stopping changes nothing.

    Parameters
    ----------
    folder : path
        Made if need be.
    count : int
        Pairs; rounded up to whole shards of 512.
    seed : int
    split : {"train", "held-out"}
        Held-out poses come from another random stream.
    resolution : {"full", "sample"}
        The CT.
    size : int
        Pixels along each side.
    sources : dict of str to float
        Share of each kind of volume.
    complete : bool
        Leave nothing out of any mask, as a segmenter needs it.
    progress : callable, optional
        Called with the number of pairs that are done.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the folder holds pairs of other settings, or the full CT cannot be fetched.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "format": FORMAT,
        "seed": seed,
        "split": split,
        "resolution": resolution,
        "size": size,
        "sources": dict(sources),
        "complete": complete,
    }
    if split not in SPLITS:
        raise UserError(f"pairs: split '{split}'; allowed: {', '.join(SPLITS)}")
    index = folder / INDEX
    if index.is_file() and settings != json.loads(index.read_text()):
        raise UserError(f"pairs {folder}: holds pairs of other settings; name another folder")
    write_json(index, settings)
    for number in range(-(-count // SHARD)):
        path = folder / f"shard-{number:05d}.npz"
        if not path.is_file():
            rng = stream(seed, f"background-pairs-{split}", number)
            drawn = _draw(rng, number % TEXTURES, resolution, size, sources, complete)
            write_shard(path, list(islice(drawn, SHARD)))
        if progress is not None:
            progress((number + 1) * SHARD)
    return folder


def read_pairs(folder: str | Path, limit: int | None = None) -> StoredPairs:
    """Read the pairs of a folder of shards, or of images (see `export_images`), up to a limit.

    Raises
    ------
    UserError
        If there are none, or a file is broken.
    """
    folder = Path(folder)
    if (folder / METADATA).is_file():
        return _read_images(folder, limit)
    parts: list[StoredPairs] = []
    left = limit if limit is not None else 1 << 60
    for part in read_shards(folder):
        parts.append(part.first(left))
        left -= len(part.captions)
        if left <= 0:
            break
    return StoredPairs(
        np.concatenate([p.encoded for p in parts]),
        np.concatenate([p.bits for p in parts]),
        [c for p in parts for c in p.captions],
        [s for p in parts for s in p.sources],
        np.concatenate([p.pixel_sizes for p in parts]),
    )


def read_shards(folder: str | Path) -> Iterator[StoredPairs]:
    """Yield the pairs of each shard of a folder; raises as `read_pairs`."""
    folder = Path(folder)
    files = sorted(folder.glob("shard-*.npz"))
    if not files:
        raise UserError(f"pairs {folder}: no shards and no {METADATA}; write them first")
    for path in files:
        yield read_shard(path)


def read_shard(path: Path) -> StoredPairs:
    """Read one file of pairs; raises as `read_pairs`."""
    try:
        with path.open("rb") as file, np.load(file) as data:
            return StoredPairs(
                data["encoded"],
                data["bits"],
                data["captions"].tolist(),
                data["sources"].tolist(),
                data["pixel_sizes"],
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(f"pairs {path}: broken ({error}); delete it to have it made anew") from None


def pairs_digest(folder: str | Path) -> str:
    """Return a hash of the settings of a folder's pairs and of how many it has."""
    folder = Path(folder)
    if (folder / METADATA).is_file():
        return digest((folder / METADATA).read_text())
    return digest([(folder / INDEX).read_text(), len(list(folder.glob("shard-*.npz")))])


def export_images(pairs: StoredPairs, folder: str | Path) -> Path:
    """Write pairs as the folder of images that diffusers' trainers take.

    ``image-*.png`` are encoded maps, RGB of 16 bits; ``mask-*.png`` the masks' colours;
    ``metadata.jsonl`` has for each pair ``file_name``, ``mask_file_name``, ``caption`` and
    ``pixel_size``, m.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, text in enumerate(pairs.captions):
        image, mask = f"image-{i:06d}.png", f"mask-{i:06d}.png"
        levels = (pairs.encoded[i].astype(np.float32) + 1.0) / 2.0 * FULL_SCALE
        pixels = np.rint(levels).clip(0, FULL_SCALE).astype(np.uint16).transpose(1, 2, 0)
        cv2.imwrite(str(folder / image), np.ascontiguousarray(pixels[..., ::-1]))
        write_mask(folder / mask, unpack(pairs.bits[i]))
        row = {"file_name": image, "mask_file_name": mask, "caption": text}
        lines.append(json.dumps({**row, "pixel_size": float(pairs.pixel_sizes[i])}))
    with replacing(folder / METADATA) as part:
        part.write_text("\n".join(lines) + "\n")
    return folder


def _read_images(folder: Path, limit: int | None) -> StoredPairs:
    rows = [json.loads(line) for line in (folder / METADATA).read_text().splitlines() if line]
    encoded, bits = [], []
    for row in rows[:limit]:
        image = cv2.imread(str(folder / row["file_name"]), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"pairs {folder}: {row['file_name']} is no RGB image")
        scale = float(FULL_SCALE if image.dtype == np.uint16 else 255)
        encoded.append((image[..., ::-1].transpose(2, 0, 1) / scale * 2 - 1).astype(np.float16))
        bits.append(pack(read_mask(folder / row["mask_file_name"])))
    if not encoded:
        raise UserError(f"pairs {folder}: {METADATA} names none")
    return StoredPairs(
        np.stack(encoded),
        np.stack(bits),
        [row["caption"] for row in rows[:limit]],
        [row.get("source", "") for row in rows[:limit]],
        np.array([row.get("pixel_size", 0.0) for row in rows[:limit]], np.float32),
    )


def _draw(
    rng: np.random.Generator,
    texture_seed: int,
    resolution: Literal["full", "sample"],
    size: int,
    sources: dict[str, float],
    complete: bool,
) -> Iterator[Pair]:
    while True:
        kind = str(rng.choice(list(sources), p=list(sources.values())))
        view = draw_view(rng, kind, resolution, texture_seed)
        for _ in range(CUTS):
            facts = draw_facts(rng)
            if complete:
                facts = replace(facts, hide_contrast=False, hide_instruments=False)
            pair = cut_pair(rng, view, size, facts)
            if pair is not None:
                yield pair


def write_shard(path: Path, pairs: Sequence[Pair]) -> None:
    """Write one file of pairs; whole or absent."""
    with replacing(path) as part:
        np.savez(
            part,
            allow_pickle=False,
            encoded=np.stack([encode(pair.maps) for pair in pairs]).astype(np.float16),
            bits=np.stack([pack(pair.mask) for pair in pairs]),
            captions=np.array([pair.caption for pair in pairs]),
            sources=np.array([pair.source for pair in pairs]),
            pixel_sizes=np.array([pair.pixel_size for pair in pairs], np.float32),
        )
