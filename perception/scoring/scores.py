"""Figures of matched predictions: recall, precision, errors, overlap, with intervals, by cell."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mmdtwin.geometry import Array
from mmdtwin.perception.scoring.match import Matched, Pair, truth_array

RADII = (1.0, 2.0, 5.0)  # px within which a prediction counts as a find
VISIBILITIES = (0.0, 3.0, 4.5, 7.0, 10.0, 15.0, 30.0, np.inf)  # edges of d'
Z = 1.96  # of 95 % intervals
# Places in an image that a device may be taken for, which do not go by each other: 512 px squared
# over the 25 px of a small device. Assumed; the observer's recall depends on its logarithm.
PLACES = 10_000
ALARM_RATE = 0.05  # of the observer, a frame


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval (Wilson, JASA 22, 1927, 209) and of how many it is."""

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, hits: NDArray[np.bool_]) -> Share:
        """Return the share of hits."""
        n = len(hits)
        if n == 0:
            return cls(float("nan"), 0.0, 1.0, 0)
        p = float(np.mean(hits))
        middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return cls(p, float(max(middle - half, 0.0)), float(min(middle + half, 1.0)), n)


def scores(matched: Matched, cells: dict[str, Sequence[float]] | None = None) -> dict[str, Any]:
    """Return every figure as JSON takes it.

    Parameters
    ----------
    matched : Matched
    cells : dict of str to sequence of float, optional
        Edges of facts of labels, over whose grid recall is given too.
    """
    d_prime = truth_array(matched, "d_prime")
    bins = []
    for low, high in itertools.pairwise(VISIBILITIES):
        chosen = [p for p, d in zip(matched.pairs, d_prime, strict=True) if low <= d < high]
        ideal = float(np.mean(ideal_recall(d_prime[(d_prime >= low) & (d_prime < high)]))) \
            if chosen else None  # fmt: skip
        bins.append({"d_prime": [low, _json(high)], "ideal_recall": ideal, **_of(chosen)})
    found = {
        "images": matched.images,
        "devices": len(matched.pairs),
        "false_alarms_per_frame": len(matched.alarms) / max(matched.images, 1),
        **_of(matched.pairs),
        "precision": {f"{radius:g} px": _share(_precision(matched, radius)) for radius in RADII},
        "average_precision": average_precision(matched, RADII[1]),
        "by_d_prime": bins,
    }
    if cells:
        found["cells"] = _cells(matched, cells)
    return found


def ideal_recall(d_prime: Array) -> Array:
    """Return the recall of an observer who knows device and background, but not the place.

    Each of `PLACES` gives a normal score, the device's is d' higher; the threshold lets
    `ALARM_RATE` false alarms a frame pass.
    """
    threshold = ndtri(1.0 - ALARM_RATE / PLACES)
    return np.asarray(ndtr(np.asarray(d_prime, float) - threshold))


def average_precision(matched: Matched, radius: float) -> float:
    """Return the area under precision over recall, predictions within `radius` px being right.

    Interpolated as COCO does, at 101 recalls.
    """
    right = [(p.prediction["score"], p.distance <= radius)
             for p in matched.pairs if p.prediction is not None]  # fmt: skip
    every = right + [(each["score"], False) for each in matched.alarms]
    if not every or not matched.pairs:
        return 0.0
    every.sort(key=lambda each: -each[0])
    hits = np.cumsum([hit for _, hit in every]).astype(float)
    precision = hits / np.arange(1, len(hits) + 1)
    # A threshold lets all of one score pass, or none.
    values = np.array([score for score, _ in every])
    last = np.append(values[1:] != values[:-1], True)
    hits, precision = hits[last], precision[last]
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = hits / len(matched.pairs)
    at = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean([precision[i] if i < len(precision) else 0.0 for i in at]))


def _of(pairs: Sequence[Pair]) -> dict[str, Any]:
    distance = np.array([pair.distance for pair in pairs])
    near = distance[distance <= RADII[-1]]
    overlap = np.array([pair.iou for pair in pairs])[distance <= RADII[-1]] if len(pairs) else near
    overlap = overlap[np.isfinite(overlap)]
    return {
        "recall": {f"{radius:g} px": _share(distance <= radius) for radius in RADII},
        "centroid_rmse_px": float(np.sqrt(np.mean(near**2))) if len(near) else None,
        "mask_iou": float(overlap.mean()) if len(overlap) else None,
    }


def _precision(matched: Matched, radius: float) -> NDArray[np.bool_]:
    right = [p.distance <= radius for p in matched.pairs if p.prediction is not None]
    return np.array(right + [False] * len(matched.alarms), bool)


def _cells(matched: Matched, edges: dict[str, Sequence[float]]) -> list[dict[str, Any]]:
    names = list(edges)
    places = [
        np.clip(np.searchsorted(edges[n], truth_array(matched, n), side="right") - 1, 0,
                len(edges[n]) - 2)
        for n in names
    ]  # fmt: skip
    found = []
    for index in np.ndindex(*(len(edges[n]) - 1 for n in names)):
        inside = np.all([p == i for p, i in zip(places, index, strict=True)], axis=0)
        pairs = [pair for pair, here in zip(matched.pairs, inside, strict=True) if here]
        where = {n: [float(edges[n][i]), float(edges[n][i + 1])]
                 for n, i in zip(names, index, strict=True)}  # fmt: skip
        found.append({**where, **_of(pairs)})
    return found


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    share = asdict(Share.of(np.asarray(hits, bool)))
    share["value"] = None if share["count"] == 0 else share["value"]
    return share


def _json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
