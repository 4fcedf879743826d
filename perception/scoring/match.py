"""Predictions and labels of a dataset, read and paired."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

REACH = 5.0  # px from a device's centroid beyond which a prediction is not of it


@dataclass(frozen=True, eq=False)
class Pair:
    """A device, and the prediction that is of it.

    Parameters
    ----------
    truth : dict
        COCO's annotation.
    prediction : dict or None
        COCO's result; None of a device that was missed.
    distance : float
        Between centroids, px; infinite of a missed one.
    iou : float
        Of masks; 0 of a missed one, NaN where the prediction has no mask.
    """

    truth: dict[str, Any]
    prediction: dict[str, Any] | None
    distance: float
    iou: float


@dataclass(frozen=True, eq=False)
class Matched:
    """All devices with their predictions, and the predictions of none.

    Parameters
    ----------
    pairs : list of Pair
        One a device.
    alarms : list of dict
        Predictions that are of no device.
    images : int
    """

    pairs: list[Pair]
    alarms: list[dict[str, Any]]
    images: int


def read_json(path: Path, what: str) -> Any:
    """Read JSON.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{what} {path}: cannot be read as JSON ({error})") from None


def match(truth: dict[str, Any], predictions: list[dict[str, Any]]) -> Matched:
    """Pair each prediction, best first, with the nearest device within reach that is still free.

    So do COCO's own evaluation and its kin. What is left over is a false alarm.

    Parameters
    ----------
    truth : dict
        COCO's annotations.
    predictions : list of dict
        COCO's results: `image_id`, `score`, and `bbox`; `centroid` (px, the first pixel from 0 to
        1) and `segmentation` where there are.

    Raises
    ------
    UserError
        If a prediction is of an image that is not in the truth, or lacks what it needs.
    """
    known = {image["id"] for image in truth["images"]}
    given: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for i, each in enumerate(predictions):
        _check(i, each, known)
        given[each["image_id"]].append(each)
    wanted: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for each in truth["annotations"]:
        wanted[each["image_id"]].append(each)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    pairs: list[Pair] = []
    alarms: list[dict[str, Any]] = []
    for image in sorted(known):
        found = _match_image(wanted[image], given[image], sizes[image])
        pairs += found[0]
        alarms += found[1]
    return Matched(pairs, alarms, len(known))


def centroid(each: dict[str, Any]) -> Array:
    """Return where a label or a prediction is, (u, v) px: its centroid, or its box's middle."""
    if each.get("centroid") is not None:
        return np.asarray(each["centroid"], float)
    u, v, width, height = each["bbox"]
    return np.array([u + width / 2, v + height / 2])


def _match_image(
    truth: list[dict[str, Any]], given: list[dict[str, Any]], size: tuple[int, int]
) -> tuple[list[Pair], list[dict[str, Any]]]:
    if not truth or not given:
        return [Pair(t, None, np.inf, 0.0) for t in truth], list(given)
    places = [np.array([centroid(each) for each in group]) for group in (truth, given)]
    away = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    taken: dict[int, int] = {}
    for j in np.argsort([-each["score"] for each in given], kind="stable").tolist():
        near = [i for i in range(len(truth)) if i not in taken and away[i, j] <= REACH]
        if near:
            taken[min(near, key=lambda i: float(away[i, j]))] = j
    pairs = []
    for i, each in enumerate(truth):
        if i not in taken:
            pairs.append(Pair(each, None, np.inf, 0.0))
            continue
        prediction = given[taken[i]]
        iou = _iou(each, prediction, size)
        pairs.append(Pair(each, prediction, float(away[i, taken[i]]), iou))
    return pairs, [each for j, each in enumerate(given) if j not in taken.values()]


def _iou(truth: dict[str, Any], prediction: dict[str, Any], size: tuple[int, int]) -> float:
    if not prediction.get("segmentation"):
        return float("nan")
    runs = [_runs(each["segmentation"], size) for each in (truth, prediction)]
    return float(coco_mask.iou(runs[1:], runs[:1], [0])[0, 0])


def _runs(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Return compressed run lengths of any of COCO's forms.

    Raises
    ------
    UserError
        If it is none of these, or of another size.
    """
    try:
        if isinstance(segmentation, list):
            return dict(coco_mask.merge(coco_mask.frPyObjects(segmentation, *size)))
        counts = segmentation["counts"]
        if list(segmentation["size"]) != list(size):
            raise UserError(
                f"predictions: a mask is of {segmentation['size']}, not {list(size)} px"
            )
        if isinstance(counts, list):
            return dict(coco_mask.frPyObjects(segmentation, *size))
        return {
            "size": list(size),
            "counts": counts.encode() if isinstance(counts, str) else counts,
        }
    except UserError:
        raise
    except Exception as error:  # pycocotools raises nothing narrower
        raise UserError(f"predictions: a segmentation is none of COCO's ({error!r})") from error


def _check(number: int, each: Any, known: set[int]) -> None:
    if not isinstance(each, dict) or "image_id" not in each:
        raise UserError(f"predictions: number {number} has no image_id")
    image = each["image_id"]
    if not isinstance(image, (int, str)) or image not in known:
        raise UserError(
            f"predictions: number {number} is of image {image}, which the truth has not"
        )
    box, place = each.get("bbox"), each.get("centroid")
    if box is None and place is None:
        raise UserError(f"predictions: number {number} has neither bbox nor centroid")
    numbers = {"score": ([each.get("score")], 1), "bbox": (box, 4), "centroid": (place, 2)}
    for name, (values, count) in numbers.items():
        if values is None:
            continue
        try:
            found = np.array(values, float)
        except (TypeError, ValueError):
            found = np.full(count, np.nan)
        if found.shape != (count,) or not np.isfinite(found).all():
            raise UserError(f"predictions: number {number}: {name} {values} are no numbers")


def truth_array(matched: Matched, name: str) -> NDArray[np.float64]:
    """Return a fact of each device, (n,)."""
    return np.array([pair.truth.get(name, np.nan) for pair in matched.pairs], float)
