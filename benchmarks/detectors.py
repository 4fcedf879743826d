"""Classical detectors on single images of the benchmark, beside the ideal observer.

    python -m benchmarks.detectors runs/mmd-xray-v1 --out runs/baselines

The folder is that of `mmdtwin synth benchmark`. Thresholds are set on images of the default
randomisation, so that a quarter of a false alarm is in an image; predictions are written as COCO
results, which `mmdtwin eval detector --benchmark mmd-xray-v1 --predictions FILE` scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config import load
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.files import write_json
from mmdtwin.perception.matched_filter import MatchedFilterDetector
from mmdtwin.perception.scoring.match import match
from mmdtwin.perception.scoring.scores import scores
from mmdtwin.synth.compositor.compositor import Compositor
from mmdtwin.synth.dataset.benchmark import BENCHMARKS, labels
from mmdtwin.synth.dataset.shards import read_image, read_records

Find = tuple[float, float, float, float]  # u, v, side (px), score
Detect = Callable[[NDArray[np.uint16]], list[Find]]
TUNED_ON = 40  # views
ALARMS = 0.25  # in an image of those
SIZES = (2.0, 3.0, 4.5, 7.0, 10.0)  # px, sigmas of blobs
LOCAL = 24  # px over which the noise is measured
MOST = 20  # finds in an image
MATCHED = (16.0, 6.0)  # px, the device that filters are matched to: a sheet of 3 mm


def blobs(image: NDArray[np.uint16]) -> list[Find]:
    """Find dark blobs: normalised Laplacians of log grey levels, over their local deviation."""
    log = np.log(np.maximum(image.astype(np.float32), 1.0))
    best = np.full(log.shape, -np.inf, np.float32)
    size = np.zeros(log.shape, np.float32)
    for sigma in SIZES:
        smooth = cv2.GaussianBlur(log, (0, 0), sigma)
        response = cv2.Laplacian(smooth, cv2.CV_32F) * sigma**2
        spread = np.sqrt(cv2.blur(response**2, (8 * LOCAL, 8 * LOCAL))) + 1e-6
        response /= spread
        size[response > best] = sigma
        best = np.maximum(best, response)
    peaks = best == cv2.dilate(best, np.ones((2 * LOCAL + 1, 2 * LOCAL + 1)))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-best[rows, columns])[:MOST]
    return [
        (float(c), float(r), 3.0 * float(size[r, c]), float(best[r, c]))
        for r, c in zip(rows[order], columns[order], strict=True)
    ]


def matched() -> Detect:
    """Return the matched filter, a new scene for each image."""
    detector = MatchedFilterDetector(*MATCHED, max_detections=MOST)

    def detect(image: NDArray[np.uint16]) -> list[Find]:
        detector.reset()
        found: Any = SimpleNamespace(image=image)
        return [(*map(float, d.position), MATCHED[0], d.score) for d in detector.detect(found)]

    return detect


def threshold_of(detect: Detect) -> float:
    """Return the score that lets so many false alarms pass as are allowed."""
    compositor = Compositor(load(RandomisationConfig, "randomisation", "default"), seed=77)
    alarms, images = [], 0
    for number in range(TUNED_ON):
        for composite in compositor.view(number):
            images += 1
            places = np.array([each.footprint.centroid for each in composite.instances])
            for u, v, _, score in detect(composite.image):
                away = np.linalg.norm(places.reshape(-1, 2) - (u, v), axis=1)
                if not (away < 5.0).any():
                    alarms.append(score)
    return float(np.sort(alarms)[::-1][min(int(ALARMS * images), len(alarms) - 1)])


def results(folder: Path, detect: Detect) -> list[dict[str, Any]]:
    """Return COCO results of every image, `MOST` at most in each."""
    found = []
    for record in read_records(folder):
        for u, v, side, score in detect(read_image(folder, record)):
            box = [u + 0.5 - side / 2, v + 0.5 - side / 2, side, side]
            found.append({"image_id": record["id"], "category_id": 1, "bbox": box, "score": score})
    return found


def main() -> None:
    """Write predictions of each detector; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    truth = labels(BENCHMARKS[0])
    detectors: dict[str, Detect] = {"blobs": blobs, "matched-filter": matched()}
    print(f"| detector | d' | devices | recall, 5 px | among its best {MOST} | ideal |")
    print("|---|---|---|---|---|---|")
    for name, detect in detectors.items():
        every, threshold = results(options.folder, detect), threshold_of(detect)
        given = [each for each in every if each["score"] >= threshold]
        write_json(options.out / f"{name}.json", given)
        scored, among = (scores(match(truth, each)) for each in (given, every))
        for row, other in zip(scored["by_d_prime"], among["by_d_prime"], strict=True):
            recall, best = row["recall"]["5 px"], other["recall"]["5 px"]
            low, high = row["d_prime"]
            edges = f"{low:g} to {high:g}" if high is not None else f"above {low:g}"
            print(
                f"| {name} | {edges} | {recall['count']} | {recall['value']:.2f} "
                f"({recall['low']:.2f}-{recall['high']:.2f}) | {best['value']:.2f} "
                f"| {row['ideal_recall']:.2f} |"
            )
        print(f"{name}: {scored['false_alarms_per_frame']:.2f} false alarms a frame")


if __name__ == "__main__":
    main()
