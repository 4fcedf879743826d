"""Pictures of a dataset: images with their labels, and how its devices are distributed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.base import parse
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.synth.compositor.outline import decoded
from mmdtwin.synth.dataset.shards import read_image, read_records

SIDE, COLUMNS = 320, 6  # px of a tile, and tiles in a row
COLOUR, HIDDEN_COLOUR = (80, 220, 255), (90, 90, 255)  # BGR
FACTS = (
    ("contrast_object", "contrast", True),
    ("size", "size, m", True),
    ("occluded", "share hidden", False),
    ("d_prime", "d'", True),
    ("cnr", "CNR", True),
    ("area", "area, px", True),
)


def contact_sheet(folder: Path, path: Path, count: int) -> None:
    """Write a picture of images spread over a dataset, devices outlined, d' beside them."""
    records = read_records(folder)
    chosen = np.unique(np.linspace(0, len(records) - 1, count).astype(int))
    tiles = [_tile(folder, records[i]) for i in chosen]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[i : i + COLUMNS], 1) for i in range(0, len(tiles), COLUMNS)]
    with replacing(path) as part:
        cv2.imwrite(str(part), np.concatenate(rows))


def distribution_plot(folder: Path, path: Path) -> None:
    """Write histograms of what is measured of devices, and how many are in each cell."""
    from matplotlib.figure import Figure

    from mmdtwin.synth.dataset.card import distribution
    from mmdtwin.synth.dataset.write import SETTINGS

    records = read_records(folder)
    instances = [each for record in records for each in record["instances"]]
    if not instances:
        raise UserError(f"dataset {folder}: has no devices to show")
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(3, 3).ravel()
    for ax, (name, label, log) in zip(axes, FACTS, strict=False):
        values = np.array([each[name] for each in instances], float)
        values = values[values > 0.0] if log else values
        edges = np.geomspace(values.min(), values.max(), 30) if log else 30
        ax.hist(values, edges)
        ax.set(xlabel=label, xscale="log" if log else "linear", ylabel="devices")
    kinds = sorted({each["kind"] for each in instances})
    axes[6].bar(kinds, [sum(each["kind"] == k for each in instances) for k in kinds])
    axes[6].set(ylabel="devices")
    backgrounds = sorted({record["about"]["background"] for record in records})
    axes[7].bar(
        backgrounds, [sum(r["about"]["background"] == b for r in records) for b in backgrounds]
    )
    axes[7].set(ylabel="images")
    settings = json.loads((folder / SETTINGS).read_text())
    cells = parse(RandomisationConfig, settings["config"], SETTINGS).cells
    counts = distribution(cells, records).sum(axis=2)
    axes[8].imshow(counts, cmap="viridis", vmin=0)
    for (i, j), number in np.ndenumerate(counts):
        axes[8].text(j, i, str(number), ha="center", va="center", color="white")
    axes[8].set(xlabel="cell of size", ylabel="cell of contrast")
    with replacing(path) as part:
        figure.savefig(part, dpi=100)


def _tile(folder: Path, record: dict[str, Any]) -> NDArray[np.uint8]:
    image = read_image(folder, record).astype(np.float32)
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.rint(np.clip((image - low) / max(float(high - low), 1.0), 0, 1) * 255)
    scale = SIDE / image.shape[0]
    tile = cv2.resize(grey.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    tile = cv2.cvtColor(tile, cv2.COLOR_GRAY2BGR)
    for each in record["instances"]:
        mask = decoded(each["run_lengths"]).astype(np.uint8)
        large = cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR_EXACT)
        outlines, _ = cv2.findContours(
            np.asarray(large > 0, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        colour = HIDDEN_COLOUR if each["occluded"] > 0.1 else COLOUR
        cv2.drawContours(tile, outlines, -1, colour, 1)
        u, v = (int(x * scale) for x in each["bbox"][:2])
        text = f"{each['kind']} {each['d_prime']:.0f}"
        cv2.putText(tile, text, (u, max(v - 4, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1)
    return np.asarray(tile, np.uint8)
