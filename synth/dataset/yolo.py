"""YOLO's labels of a dataset: outlines of segments, a text file an image, and `data.yaml`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.ndimage import binary_fill_holes

from mmdtwin.config.randomisation import DEVICES
from mmdtwin.files import replacing
from mmdtwin.synth.compositor.outline import decoded, polygons
from mmdtwin.synth.dataset.coco import Splits

LABELS = "labels"


def write_yolo(folder: Path, splits: Splits) -> None:
    """Write `labels/*.txt`, `SPLIT.txt` of each split and `data.yaml`.

    A line holds the class and one outline, as shares of the image's sides. Of a device in several
    parts the largest is given, and holes are filled: the format has neither.
    """
    (folder / LABELS).mkdir(exist_ok=True)
    for record in chain(*splits.values()):
        lines = [_line(record, each) for each in record["instances"]]
        name = Path(record["file"]).with_suffix(".txt").name
        with replacing(folder / LABELS / name) as part:
            part.write_text("".join(f"{line}\n" for line in lines))
    for split, records in splits.items():
        with replacing(folder / f"{split}.txt") as part:
            part.write_text("".join(f"./{record['file']}\n" for record in records))
    # Without "path", which would be the caller's folder, loaders take that of this file.
    data = {**{split: f"{split}.txt" for split in splits}, "names": dict(enumerate(DEVICES))}
    with replacing(folder / "data.yaml") as part:
        part.write_text(yaml.safe_dump(data, sort_keys=False))


def _line(record: dict[str, Any], instance: dict[str, Any]) -> str:
    loops = instance["polygons"]
    if loops is None:
        loops = polygons(binary_fill_holes(decoded(instance["run_lengths"]))) or []
    largest = max(loops, key=_area)
    sides = (record["width"], record["height"])
    places = " ".join(f"{x / sides[i % 2]:.6f}" for i, x in enumerate(largest))
    return f"{DEVICES.index(instance['kind'])} {places}"


def _area(loop: list[float]) -> float:
    u, v = np.array(loop).reshape(-1, 2).T
    return float(abs(u @ np.roll(v, -1) - v @ np.roll(u, -1))) / 2
