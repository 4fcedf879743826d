"""A study with human readers: blinded images and a page to mark devices on.

What the page saves are COCO results of the study's numbers, which are scored against the study's
labels as any detector's are.
"""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import replacing, writable_dir, write_json
from mmdtwin.seeding import stream
from mmdtwin.synth.dataset.coco import coco
from mmdtwin.synth.dataset.shards import read_image, read_records

READERS, LABELS, KEY = "reader", "labels.json", "key.json"
PAGE = "index.html"
WINDOW = (0.5, 99.5)  # percentiles that black and white show
PLACEHOLDER = "/*IMAGES*/[]"


def write_study(dataset: Path, folder: Path, count: int, seed: int = 0) -> int:
    """Write a study from a dataset's still images.

    Parameters
    ----------
    dataset : Path
        Of `write_dataset`.
    folder : Path
        Gets `reader/`, which readers are given (images numbered in random order, and the page),
        `labels.json`, COCO's of these numbers, and `key.json`, the dataset's numbers of them.
    count : int
        Images at most.
    seed : int
        Of choice and order.

    Returns
    -------
    int
        Images.

    Raises
    ------
    UserError
        If there is no dataset, or the folder holds something else or cannot be written.
    """
    records = [record for record in read_records(dataset) if record["flow"] is None]
    if not records:
        raise UserError(f"reader study: {dataset} has no still images")
    out = folder / READERS
    ours = (folder / KEY).is_file() and (out / PAGE).is_file()
    if folder.is_dir() and any(p.name != "dataset" for p in folder.iterdir()) and not ours:
        raise UserError(f"--out {folder}: is not empty and no reader study; name another folder")
    shutil.rmtree(out / "images", ignore_errors=True)  # what readers saved beside stays
    writable_dir(out / "images")
    order = stream(seed, "reader-study").permutation(len(records))[:count]
    chosen: list[dict[str, Any]] = []
    for number, i in enumerate(order, 1):
        file = f"images/{number:04d}.png"
        cv2.imwrite(str(out / file), shown(read_image(dataset, records[i])))
        chosen.append({**records[i], "id": number, "file": file})
    write_json(folder / LABELS, coco(chosen))
    write_json(folder / KEY, {str(n): records[i]["id"] for n, i in enumerate(order, 1)})
    page = (resources.files("mmdtwin.synth") / "data" / "reader-study.html").read_text()
    files = [{"id": each["id"], "file": each["file"]} for each in chosen]
    with replacing(out / PAGE) as part:
        part.write_text(page.replace(PLACEHOLDER, json.dumps(files)))
    return len(chosen)


def shown(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return grey levels as a display shows them, 8 bits."""
    low, high = np.percentile(image, WINDOW)
    grey = (image.astype(np.float32) - low) / max(float(high - low), 1.0)
    return np.rint(255.0 * grey.clip(0.0, 1.0)).astype(np.uint8)
