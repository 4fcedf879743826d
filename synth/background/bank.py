"""Banks: folders of generated backgrounds, filled once and drawn from at video rate.

A bank is a folder of shards, each written whole. A background's key is a hash of all that decides
it (prompt, mask, seed, size, field, steps, guidance, scheduler, weights of the model), so that the
same is never drawn twice, and an interrupted filling goes on where it stopped.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import digest, replacing, writable_dir, write_json
from mmdtwin.synth.background.classes import MaskStack, pack, unpack
from mmdtwin.synth.background.maps import decode, encode
from mmdtwin.synth.background.sampling import GUIDANCE, IMAGE_GUIDANCE

if TYPE_CHECKING:
    from mmdtwin.synth.background.generator import BackgroundGenerator, GeneratedMaps

# Banks that ship: what the embedded model has drawn, and projections of what nothing is trained on.
SHIPPED = ("background-bank", "benchmark-bank")
INDEX = "bank.json"
FORMAT = 1
SHARD = 8  # backgrounds in a file, and lost at most when filling is interrupted
STRIP = 16  # px of a contact sheet that a prompt is written on


@dataclass(frozen=True)
class Request:
    """What backgrounds are asked for.

    Parameters
    ----------
    prompt : str
    size : int
        Pixels along each side.
    field : float
        Side at the isocentre, m.
    steps : int
        Of denoising.
    guidance, image_guidance : float
        How much more than learnt to heed prompt and mask.
    scheduler : str
    """

    prompt: str
    size: int = 256
    field: float = 0.15
    steps: int = 20
    guidance: float = GUIDANCE
    image_guidance: float = IMAGE_GUIDANCE
    scheduler: str = "ddim"


@dataclass(frozen=True, eq=False)
class Item:
    """A background of a bank.

    Parameters
    ----------
    maps : (3, h, w) float32 array
        Thickness of `maps.MATERIALS`, m.
    mask : (5, h, w) bool array
        What it was drawn from: with places for what the prompt names besides.
    record : dict
        Prompt, seed, pixel_size (m), model (hash of its weights), key and the rest.
    """

    maps: NDArray[np.float32]
    mask: MaskStack
    record: dict[str, Any]

    @property
    def pixel_size(self) -> float:
        """At the isocentre, m."""
        return float(self.record["pixel_size"])


class Bank:
    """A folder of generated backgrounds, open for reading.

    Parameters
    ----------
    folder : path
        Made by `fill_bank`.

    Raises
    ------
    UserError
        If it is no bank, or has nothing in it yet, or a shard is broken.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = self.folder / INDEX
        if not index.is_file():
            raise UserError(
                f"bank {folder}: no {INDEX} there; fill one by `mmdtwin synth background --out DIR`"
            )
        if _read_index(index).get("format") != FORMAT:
            raise UserError(f"bank {folder}: of another format than {FORMAT}; fill a new one")
        self.records: list[dict[str, Any]] = []  # what is known of each background
        self._places: list[tuple[Path, int]] = []
        for path in _shards(self.folder):
            found = _records(path)
            self.records += found
            self._places += [(path, i) for i in range(len(found))]
        if not self._places:
            raise UserError(f"bank {folder}: is empty; fill it by `mmdtwin synth background`")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Item:
        path, i = self._places[index]
        try:
            with path.open("rb") as file, np.load(file) as data:
                maps, bits = data[f"maps{i:03d}"], data[f"bits{i:03d}"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _broken(path, error) from None
        return Item(decode(maps), unpack(bits), self.records[index])

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a random one."""
        return self[int(rng.integers(len(self)))]


def shipped_bank(name: str = SHIPPED[0]) -> Path:
    """Return the folder of a bank that ships with the package, one of `SHIPPED`."""
    return Path(str(resources.files("mmdtwin.synth") / "data" / name))


def fill_bank(
    folder: str | Path,
    generator: BackgroundGenerator,
    request: Request,
    masks: Sequence[MaskStack],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> int:
    """Add backgrounds to a bank, one per seed; what it has already is not drawn again.

    Parameters
    ----------
    folder : path
        Of the bank; made if need be.
    generator : BackgroundGenerator
        Draws them.
    request : Request
    masks : sequence of (5, h, w) bool array
        Taken in turn.
    seeds : sequence of int
    progress : callable, optional
        Called with the number of backgrounds that are there.

    Returns
    -------
    int
        How many were drawn.

    Raises
    ------
    UserError
        If the folder holds something else, cannot be written, or the generator refuses.
    """
    folder = _open_for_filling(Path(folder))
    model = generator.digest
    known = {record["key"] for path in _shards(folder) for record in _records(path)}
    wanted = []
    for i, seed in enumerate(seeds):
        mask = masks[i % len(masks)]
        key = item_key(request, mask, int(seed), model)
        if key not in known:
            known.add(key)
            wanted.append((key, mask, int(seed)))
    there = len(seeds) - len(wanted)
    report = progress or (lambda _: None)
    report(there)
    for start in range(0, len(wanted), SHARD):
        chosen = wanted[start : start + SHARD]
        found = generator.generate(
            [request.prompt] * len(chosen),
            np.stack([mask for _, mask, _ in chosen]),
            [seed for *_, seed in chosen],
            size=request.size,
            steps=request.steps,
            guidance_scale=request.guidance,
            image_guidance_scale=request.image_guidance,
            field=request.field,
        )
        _write_shard(folder, request, model, chosen, found)
        there += len(chosen)
        report(there)
    return len(wanted)


def item_key(request: Request, mask: MaskStack, seed: int, model: str) -> str:
    """Return the hash of all that decides a background."""
    return digest([asdict(request), mask.shape, pack(mask).tobytes().hex(), seed, model])


def contact_sheet(items: Sequence[Item], columns: int = 8, side: int = 160) -> NDArray[np.uint8]:
    """Return a picture (h, w, 3) of masks, below each the prompt, and -log T of what was drawn."""
    import cv2

    from mmdtwin.synth.background.classes import mask_colours
    from mmdtwin.synth.background.maps import depth

    tiles = []
    for item in items:
        mask = cv2.resize(mask_colours(item.mask), (side, side), interpolation=cv2.INTER_NEAREST)
        dark = depth(item.maps)
        low, high = np.percentile(dark, (0.5, 99.5))
        grey = 1.0 - np.clip((dark - low) / max(float(high - low), 1e-6), 0.0, 1.0)
        shown = cv2.resize(np.rint(255 * grey).astype(np.uint8), (side, side))
        strip = np.full((STRIP, side, 3), 255, np.uint8)
        text, place = item.record["prompt"], (3, STRIP - 5)
        cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, side / 500, (0,) * 3, 1,
                    cv2.LINE_AA)  # fmt: skip
        tiles.append(np.concatenate([mask, strip, np.repeat(shown[..., None], 3, axis=-1)]))
    blank = np.zeros_like(tiles[0])
    columns = min(columns, len(tiles))
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def _open_for_filling(folder: Path) -> Path:
    index = folder / INDEX
    if not index.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"--out {folder}: is not empty and no bank; name another folder")
        writable_dir(folder)
        write_json(index, {"format": FORMAT})
    elif _read_index(index).get("format") != FORMAT:
        raise UserError(f"bank {folder}: of another format than {FORMAT}; name another folder")
    return folder


def _write_shard(
    folder: Path,
    request: Request,
    model: str,
    chosen: Sequence[tuple[str, MaskStack, int]],
    found: Sequence[GeneratedMaps],
) -> None:
    arrays: dict[str, NDArray] = {}
    records = []
    for i, ((key, _, seed), drawn) in enumerate(zip(chosen, found, strict=True)):
        arrays[f"maps{i:03d}"] = encode(drawn.maps).astype(np.float16)
        arrays[f"bits{i:03d}"] = pack(drawn.mask)
        about = {"key": key, "seed": seed, "model": model, "pixel_size": drawn.pixel_size}
        records.append({**about, **asdict(request)})
    # Shards are named by their first key: two processes that fill one bank do not meet.
    path = folder / f"shard-{len(_shards(folder)):06d}-{chosen[0][0]}.npz"
    with replacing(path) as part:
        np.savez(part, allow_pickle=False, records=np.array(json.dumps(records)), **arrays)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.npz"))


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file, np.load(file) as data:
            found = json.loads(str(data["records"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _broken(path, error) from None
    return list(found)


def _read_index(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        raise UserError(f"bank {path}: cannot be read; delete it, or name another folder") from None


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(f"bank: {path} is broken ({error}); delete it and fill the bank again")
