"""COCO's annotations of a dataset, for detection, segmentation and keypoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmdtwin.config.randomisation import DEVICES
from mmdtwin.files import write_json
from mmdtwin.synth.compositor.labels import KEYPOINTS

TRAIN, VAL = "train", "val"
VALIDATION = 10  # one view in so many
Record = dict[str, Any]  # what is known of an image
Splits = dict[str, list[Record]]
CATEGORIES = tuple(enumerate(DEVICES, 1))
# What COCO has no place for, kept under the same names.
FACTS = (
    "origin", "size", "thickness", "contrast", "contrast_object", "contrast_blurred", "cnr",
    "d_prime", "occluded", "visible", "centroid", "position", "direction", "material", "polygons",
)  # fmt: skip


def splits_of(records: Sequence[Record], only: str | None = None) -> Splits:
    """Return the records of each split; images of one view, or sequence, are never in two.

    Parameters
    ----------
    records : sequence of dict
    only : str, optional
        The split that all are of; by default one view in ten is for validation.
    """
    if only is not None:
        return {only: list(records)}
    found: Splits = {TRAIN: [], VAL: []}
    for record in records:
        last = record["about"]["view"] % VALIDATION == VALIDATION - 1
        found[VAL if last else TRAIN].append(record)
    return found


def coco(records: Iterable[Record]) -> dict[str, Any]:
    """Return COCO's annotations of images.

    `segmentation` holds run lengths, exact for every shape; `polygons` the outlines, if it has no
    holes. Places are COCO's: the first pixel reaches from 0 to 1, so that those of keypoints and
    centroids are more by half a pixel than this project's.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in records:
        images.append(
            {
                "id": record["id"],
                "file_name": record["file"],
                "height": record["height"],
                "width": record["width"],
                **record["about"],
                **({} if record["flow"] is None else {"flow_file": record["flow"]}),
            }
        )
        for each in record["instances"]:
            points = [x for u, v, seen in each["keypoints"] for x in (u + 0.5, v + 0.5, seen)]
            centre = [x + 0.5 for x in each["centroid"]]
            annotations.append(
                {
                    **{name: each[name] for name in FACTS},
                    "id": len(annotations) + 1,
                    "image_id": record["id"],
                    "category_id": DEVICES.index(each["kind"]) + 1,
                    "bbox": each["bbox"],
                    "area": each["area"],
                    "segmentation": each["run_lengths"],
                    "iscrowd": 0,
                    "keypoints": points,
                    "num_keypoints": len(KEYPOINTS),
                    "centroid": centre,
                }
            )
    return {
        "info": {"description": "Devices under X-ray, by mmdtwin", "version": "1"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {
                "id": number,
                "name": name,
                "supercategory": "device",
                "keypoints": list(KEYPOINTS),
                "skeleton": [[i, i + 1] for i in range(1, len(KEYPOINTS))],
            }
            for number, name in CATEGORIES
        ],
    }


def write_coco(folder: Path, splits: Splits) -> None:
    """Write `coco-SPLIT.json` of each split."""
    for split, records in splits.items():
        write_json(folder / f"coco-{split}.json", coco(records))
