"""Labelled images in memory, from a folder with COCO's annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.perception.learned.finds import bounds
from mmdtwin.perception.learned.network import KINDS
from mmdtwin.perception.learned.seen import brightness

READERS = 2  # threads
PLAIN = 1e3  # d' of devices whose labels do not say


@dataclass(frozen=True, eq=False)
class Device:
    """A device in an image.

    Parameters
    ----------
    centre : (2,) array
        Of its thickness, (u, v) px.
    ends : (2, 2) array
        Of its centreline, px.
    kind : int
        Place in `network.KINDS`, or -1 if it is none of these.
    d_prime : float
    box : (int, int, int, int)
        First row, end row, first column, end column.
    mask : (h, w) bool array
        In the box.
    """

    centre: Array
    ends: Array
    kind: int
    d_prime: float
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image (h, w), grey levels, with its devices."""

    image: NDArray[np.uint16]
    bright: float
    devices: tuple[Device, ...]
    number: int


def read_samples(
    folder: Path,
    split: str,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Sample]:
    """Read a split of a dataset: `coco-SPLIT.json` and the images that it names.

    Annotations need `bbox` and `segmentation`; `centroid`, `keypoints` (the first and the last are
    the ends of the centreline) and `d_prime` are used where they are.

    Parameters
    ----------
    folder : Path
    split : str
    limit : int, optional
        Images at most, spread evenly over the split.
    progress : callable, optional
        Called with the number of images that are read.

    Raises
    ------
    UserError
        If there is no such file, or an image is missing.
    """
    path = folder / f"coco-{split}.json"
    try:
        labels = json.loads(path.read_text())
        images: list[dict[str, Any]] = labels["images"]
        names = {each["id"]: str(each["name"]) for each in labels["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--data {folder}: {path.name} is missing or broken ({error})") from error
    devices: dict[int, list[dict[str, Any]]] = {}
    for each in labels["annotations"]:
        devices.setdefault(each["image_id"], []).append(each)
    if limit is not None and limit < len(images):
        images = [images[int(i)] for i in np.linspace(0, len(images) - 1, limit)]

    def read(image: dict[str, Any]) -> Sample:
        pixels = cv2.imread(str(folder / image["file_name"]), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 2:
            raise UserError(f"--data {folder}: {image['file_name']} is missing or not grey")
        known = tuple(_device(each, pixels.shape, names) for each in devices.get(image["id"], ()))
        return Sample(pixels.astype(np.uint16), brightness(pixels), known, int(image["id"]))

    found = []
    with ThreadPoolExecutor(READERS) as pool:
        for sample in pool.map(read, images):
            found.append(sample)
            if progress is not None:
                progress(len(found))
    if not found:
        raise UserError(f"--data {folder}: {path.name} names no image")
    return found


def _device(label: dict[str, Any], shape: Sequence[int], names: dict[int, str]) -> Device:
    runs = label["segmentation"]
    if isinstance(runs, list):
        runs = coco_mask.merge(coco_mask.frPyObjects(runs, *shape))
    elif isinstance(runs["counts"], list):
        runs = coco_mask.frPyObjects(runs, *shape)
    whole = coco_mask.decode(runs).astype(bool)
    box = bounds(whole)
    if box is None:
        u, v, w, h = label["bbox"]
        box = (int(v), int(v + h), int(u), int(u + w))
    mask = whole[box[0] : box[1], box[2] : box[3]]
    middle = np.array([box[2] + box[3] - 1, box[0] + box[1] - 1]) / 2.0
    centre = np.array(label["centroid"], float) - 0.5 if "centroid" in label else middle
    points = np.array(label.get("keypoints") or [], float).reshape(-1, 3)[:, :2] - 0.5
    ends = points[[0, -1]] if len(points) else np.stack([centre, centre])
    name = names.get(label["category_id"], "")
    kind = KINDS.index(name) if name in KINDS else -1
    d_prime = label.get("d_prime")
    return Device(centre, ends, kind, PLAIN if d_prime is None else float(d_prime), box, mask)
