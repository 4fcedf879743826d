"""How fast labelled images are written, end to end, and the memory of it.

    python -m benchmarks.datasets -n 2000 --workers 2

The shipped randomisation, with all labels; the pool of the twin's shapes is made before.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from mmdtwin.config import load
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.files import write_json
from mmdtwin.synth.compositor.simulated import SCENARIOS, shapes
from mmdtwin.synth.dataset.write import Order, write_dataset

PAPER = 24_803  # images of the set that MicroSyn-X (2026) was trained on


def measure(count: int, workers: int) -> dict[str, Any]:
    """Write a dataset with masks, COCO, YOLO and 16-bit PNG; return its rate, size and memory."""
    for kind in SCENARIOS:
        shapes(kind)  # the pool of shapes is made once for all datasets
    order = Order(load(RandomisationConfig, "randomisation", "default"), count)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        write_dataset(order, folder, workers)
        seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    whose = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
    peak = resource.getrusage(whose).ru_maxrss / 1024 * workers
    return {
        "images": order.images,
        "workers": workers,
        "images_per_s": order.images / seconds,
        "minutes_of_the_paper's": PAPER * seconds / order.images / 60,
        "disk_GB_of_the_paper's": PAPER * size / order.images / 1e9,
        "peak_MB_at_most": peak,
    }


def figures() -> dict[str, float]:
    """Return what `make bench` shows: of a few images, on two processes."""
    return {"dataset_images_per_s": measure(256, 2)["images_per_s"]}


def main() -> None:
    """Print the figures; write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--count", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.count, options.workers)
    for name, value in found.items():
        print(f"{name.replace('_', ' ')}: {value:.4g}")
    if options.json is not None:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
