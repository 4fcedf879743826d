"""Shards: some images, their masks, and one record that is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import replacing, write_json
from mmdtwin.synth.compositor.compose import Composite

FOLDERS = IMAGES, MASKS, FLOWS, RECORDS = "images", "masks", "flow", "shards"
FORMAT = 1
DEPTH = 16  # bits of the files
LEVEL = 1  # of PNG's compression: higher ones are slower and hardly smaller, for noise
DISK_FULL = 28  # errno
FLOW_STEPS, FLOW_ZERO = 64, 1 << 15  # per px, and the value of no flow, of KITTI's files


Form = Literal["png", "dicom"]


@dataclass(frozen=True, eq=False)
class Entry:
    """An image of a shard: its number in the dataset, and the flow (h, w, 2) px of sequences."""

    id: int
    composite: Composite
    flow: NDArray[np.float32] | None = None


def write_shard(
    folder: Path, name: str, entries: Iterable[Entry], key: str, form: Form = "png"
) -> None:
    """Write a shard: files of images and masks, then the record that makes it one.

    Parameters
    ----------
    folder : Path
        Of the dataset.
    name : str
        Of the shard.
    entries : iterable of Entry
    key : str
        Hash of all that decides the dataset.
    form : {"png", "dicom"}
        Of the images.
    """
    images = []
    for entry in entries:
        composite, i = entry.composite, entry.id
        name_of, shift = f"{i:08d}.png", DEPTH - composite.about["bits"]
        files: dict[str, NDArray[Any]] = {f"{MASKS}/{name_of}": instance_image(composite)}
        if form == "png":
            image = f"{IMAGES}/{name_of}"
            files[image] = np.left_shift(composite.image, shift)
        else:
            image = f"{IMAGES}/{i:08d}.dcm"
        if entry.flow is not None:
            files[f"{FLOWS}/{name_of}"] = encode_flow(entry.flow)
        sums = {path: _write_png(folder / path, pixels) for path, pixels in files.items()}
        if form == "dicom":
            from mmdtwin.synth.xray.dicom_write import write_xa  # pydicom only if needed

            write_xa(folder / image, [composite.frame], composite.view.imager.config, key)
            sums[image] = _checksum(folder / image)
        projection = composite.view.imager.projection
        images.append(
            {
                "id": i,
                "file": image,
                "mask": f"{MASKS}/{name_of}",
                "flow": f"{FLOWS}/{name_of}" if entry.flow is not None else None,
                "sha256": sums,
                "height": projection.shape[0],
                "width": projection.shape[1],
                "about": composite.about,
                "instances": [each.record(projection) for each in composite.instances],
            }
        )
    write_json(record_path(folder, name), {"format": FORMAT, "key": key, "images": images})


def encode_flow(flow: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return a flow (h, w, 2) px as KITTI's image (h, w, 3): OpenCV's order, valid first."""
    steps = np.rint(flow * FLOW_STEPS + FLOW_ZERO).clip(0, 2 * FLOW_ZERO - 1).astype(np.uint16)
    return np.dstack([np.ones(flow.shape[:2], np.uint16), steps[..., 1], steps[..., 0]])


def read_flow(folder: Path, record: dict[str, Any]) -> NDArray[np.float32]:
    """Return the flow (h, w, 2) px to the next frame of a sequence.

    Raises
    ------
    UserError
        If there is none.
    """
    path = folder / str(record["flow"])
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if record["flow"] else None
    if found is None:
        raise UserError(f"dataset: image {record['id']} has no flow, or its file is broken")
    return ((found[..., [2, 1]].astype(np.float32) - FLOW_ZERO) / FLOW_STEPS).astype(np.float32)


def instance_image(composite: Composite) -> NDArray[np.uint8]:
    """Return an image (h, w): 0 where there is no device, else its number from 1; last on top."""
    found = np.zeros(composite.view.imager.projection.shape, np.uint8)
    for number, each in enumerate(composite.instances, 1):
        found[each.footprint.window][each.footprint.mask] = number
    return found


def record_path(folder: Path, name: str) -> Path:
    """Return the file of a shard's record."""
    return folder / RECORDS / f"{name}.json"


def whole(folder: Path, name: str, key: str, count: int) -> bool:
    """Return whether a shard of `count` images is there, its files as they were written.

    Raises
    ------
    UserError
        If it is of other settings.
    """
    path = record_path(folder, name)
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text())
        if record["key"] != key:
            raise UserError(f"--out {folder}: holds a dataset of other settings; name another")
        return len(record["images"]) == count and all(
            _checksum(folder / file) == value
            for image in record["images"]
            for file, value in image["sha256"].items()
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
    images = [image for path in paths for image in read_shard(folder, path.stem)]
    return sorted(images, key=lambda image: image["id"])


def read_shard(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return what is known of the images of a shard; raises as `read_records`."""
    path = record_path(folder, name)
    try:
        return list(json.loads(path.read_text())["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"dataset: {path} is broken; run the same command again") from error


def read_image(folder: Path, record: dict[str, Any]) -> NDArray[np.uint16]:
    """Return an image (h, w) of a dataset, grey levels of the detector.

    Raises
    ------
    UserError
        If its file is missing or broken.
    """
    if record["file"].endswith(".dcm"):
        from pydicom import dcmread

        return np.asarray(dcmread(folder / record["file"]).pixel_array, np.uint16)
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
