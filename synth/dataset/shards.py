"""Shards: some images, their masks, and one record that is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import replacing, write_json
from mmdtwin.synth.compositor.compositor import Composite

IMAGES, MASKS, RECORDS = "images", "masks", "shards"
FORMAT = 1
DEPTH = 16  # bits of the files
LEVEL = 1  # of PNG's compression: higher ones are slower and hardly smaller, for noise
DISK_FULL = 28  # errno


def write_shard(
    folder: Path, number: int, first: int, composites: Sequence[Composite], key: str
) -> None:
    """Write a shard: files of images and masks, then the record that makes it one.

    Parameters
    ----------
    folder : Path
        Of the dataset.
    number : int
        Of the shard.
    first : int
        Number of its first image.
    composites : sequence of Composite
    key : str
        Hash of all that decides the dataset.
    """
    images = []
    for i, composite in enumerate(composites, first):
        name, shift = f"{i:08d}.png", DEPTH - composite.about["bits"]
        files = {
            f"{IMAGES}/{name}": np.left_shift(composite.image, shift),
            f"{MASKS}/{name}": instance_image(composite),
        }
        sums = {path: _write_png(folder / path, image) for path, image in files.items()}
        projection = composite.view.imager.projection
        images.append(
            {
                "id": i,
                "file": f"{IMAGES}/{name}",
                "mask": f"{MASKS}/{name}",
                "sha256": sums,
                "height": projection.shape[0],
                "width": projection.shape[1],
                "about": composite.about,
                "instances": [each.record(projection) for each in composite.instances],
            }
        )
    record = {"format": FORMAT, "number": number, "key": key, "images": images}
    write_json(record_path(folder, number), record)


def instance_image(composite: Composite) -> NDArray[np.uint8]:
    """Return an image (h, w): 0 where there is no device, else its number from 1; last on top."""
    found = np.zeros(composite.view.imager.projection.shape, np.uint8)
    for number, each in enumerate(composite.instances, 1):
        found[each.footprint.window][each.footprint.mask] = number
    return found


def record_path(folder: Path, number: int) -> Path:
    """Return the file of a shard's record."""
    return folder / RECORDS / f"{number:05d}.json"


def whole(folder: Path, number: int, key: str, count: int) -> bool:
    """Return whether a shard of `count` images is there, its files as they were written.

    Raises
    ------
    UserError
        If it is of other settings.
    """
    path = record_path(folder, number)
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text())
        if record["key"] != key:
            raise UserError(f"--out {folder}: holds a dataset of other settings; name another")
        return len(record["images"]) == count and all(
            _checksum(folder / name) == value
            for image in record["images"]
            for name, value in image["sha256"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return what is known of each image of a dataset, in order.

    Raises
    ------
    UserError
        If there is none, or a record is broken.
    """
    paths = sorted((folder / RECORDS).glob("*.json"))
    if not paths:
        raise UserError(f"dataset {folder}: no {RECORDS}/*.json there; `mmdtwin synth dataset`")
    images: list[dict[str, Any]] = []
    for path in paths:
        try:
            images += json.loads(path.read_text())["images"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"dataset: {path} is broken; run the same command again") from error
    return images


def read_image(folder: Path, record: dict[str, Any]) -> NDArray[np.uint16]:
    """Return an image (h, w) of a dataset, grey levels of the detector.

    Raises
    ------
    UserError
        If its file is missing or broken.
    """
    found = cv2.imread(str(folder / record["file"]), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        raise UserError(f"dataset: {folder / record['file']} is missing or broken")
    return np.right_shift(found.astype(np.uint16), DEPTH - int(record["about"]["bits"]))


def _write_png(path: Path, image: NDArray) -> str:
    """Write an image, whole or not at all; return its checksum."""
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, LEVEL])
    if not done:
        raise UserError(f"{path}: cannot be encoded as PNG")
    with replacing(path) as part:
        part.write_bytes(data.tobytes())
    return hashlib.sha256(data.tobytes()).hexdigest()


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
