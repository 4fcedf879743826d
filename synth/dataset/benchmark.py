"""The fixed test `mmd-xray-v1`: regenerated here, compared with what ships.

Everything that decides it ships: its randomisation, its bank of backgrounds, its seed. Labels of
every image are compared by hash, pixels by the means of blocks.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config import load
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.files import digest, replacing
from mmdtwin.synth.dataset.coco import coco
from mmdtwin.synth.dataset.shards import read_image, read_records
from mmdtwin.synth.dataset.write import Order, write_dataset

BENCHMARKS = ("mmd-xray-v1",)
IMAGES, SEQUENCES, FRAMES = 2000, 40, 16
SEED = 2026
BLOCK = 32  # px, sides of what means are taken of
STEPS = 16  # of a stored mean, per grey level
TOLERANCE = 1.0  # grey levels that means may be off
LABELS, MEANS = "labels.json.gz", "means.npz"


@dataclass(frozen=True)
class Comparison:
    """How what was regenerated compares with what ships.

    Parameters
    ----------
    images : int
    labels : list of int
        Numbers of images whose labels differ.
    pixels : list of int
        Numbers of images with a block whose mean is off by more than a grey level.
    worst : float
        Largest difference of a block's mean, grey levels.
    """

    images: int
    labels: list[int]
    pixels: list[int]
    worst: float

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.labels and not self.pixels


def order(name: str) -> Order:
    """Return what to write for a benchmark.

    Raises
    ------
    UserError
        If it is unknown.
    """
    if name not in BENCHMARKS:
        raise UserError(f"benchmark '{name}': allowed: {', '.join(BENCHMARKS)}")
    config = load(RandomisationConfig, "randomisation", name)
    return Order(config, IMAGES, SEED, SEQUENCES, FRAMES)


def regenerate(
    name: str, folder: Path, workers: int = 1, progress: Callable[[int], None] | None = None
) -> Comparison:
    """Write a benchmark's images and labels, and compare them with what ships.

    Parameters
    ----------
    name : str
    folder : Path
        What is there already is kept, as `write_dataset` does.
    workers : int
        Processes.
    progress : callable, optional
        Called with the number of images that are there.

    Raises
    ------
    UserError
        As `write_dataset`, or if the benchmark is unknown.
    """
    write_dataset(order(name), folder, workers, progress)
    return compare(name, folder)


def compare(name: str, folder: Path) -> Comparison:
    """Compare a benchmark in a folder with what ships; all of its images must be there."""
    records = read_records(folder)
    with np.load(shipped(name) / MEANS) as data:
        ids, sums, wanted = data["ids"], data["labels"], data["means"]
    places = {int(number): i for i, number in enumerate(ids)}
    labels, pixels, worst = [], [], 0.0
    for record in records:
        i = places.pop(record["id"], None)
        if i is None:
            raise UserError(f"benchmark {folder}: image {record['id']} is not of '{name}'")
        if label_sum(record) != sums[i]:
            labels.append(record["id"])
        off = np.abs(means(read_image(folder, record)) - wanted[i].astype(float) / STEPS).max()
        worst = max(worst, float(off))
        if off > TOLERANCE:
            pixels.append(record["id"])
    if places:
        raise UserError(f"benchmark {folder}: image {min(places)} of '{name}' is missing")
    return Comparison(len(records), labels, pixels, worst)


def labels(name: str) -> dict[str, Any]:
    """Return a benchmark's labels as COCO has them, of every image.

    Raises
    ------
    UserError
        If it is unknown.
    """
    order(name)
    return dict(json.loads(gzip.decompress((shipped(name) / LABELS).read_bytes())))


def means(image: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the mean of each block of an image (h, w) whose sides are multiples of a block's."""
    rows, columns = (side // BLOCK for side in image.shape)
    blocks = image.reshape(rows, BLOCK, columns, BLOCK).astype(np.float64)
    return np.asarray(blocks.mean(axis=(1, 3)))


def label_sum(record: dict[str, Any]) -> str:
    """Return the hash of an image's labels: classes, boxes and masks, which are whole numbers."""
    return digest(
        [[each["kind"], each["bbox"], each["run_lengths"]] for each in record["instances"]]
    )


def write_reference(name: str, folder: Path) -> None:
    """Write what ships of a benchmark, from its images in a folder. Its version changes with it."""
    records = read_records(folder)
    out = shipped(name)
    out.mkdir(parents=True, exist_ok=True)
    found = [np.rint(means(read_image(folder, record)) * STEPS) for record in records]
    with replacing(out / MEANS) as part:
        np.savez_compressed(
            part,
            allow_pickle=False,
            ids=np.array([record["id"] for record in records]),
            labels=np.array([label_sum(record) for record in records]),
            means=np.array(found, np.uint32).astype(np.uint16),
        )
    plain = coco(records)
    for each in plain["annotations"]:
        del each["polygons"]  # run lengths have it
    with replacing(out / LABELS) as part:
        text = json.dumps(_rounded(plain), separators=(",", ":"))
        part.write_bytes(gzip.compress(text.encode(), mtime=0))


def shipped(name: str) -> Path:
    """Return the folder of what ships of a benchmark."""
    return Path(str(resources.files("mmdtwin.synth") / "data" / name))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(each) for each in value]
    return value
