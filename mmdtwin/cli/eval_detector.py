"""`mmdtwin eval detector`: any detector's predictions against labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

CELLS = {"contrast_object": "contrast", "size": "size", "occluded": "occluded"}
SETTINGS = "dataset.json"


def detector(
    truth: Annotated[
        Path, typer.Option(help="COCO annotations, or a folder of `synth dataset`: its val split.")
    ],
    predictions: Annotated[
        Path, typer.Option(help="COCO results: image_id, score, bbox; centroid, segmentation.")
    ],
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = (
        None
    ),
) -> None:
    """Score predictions of any tool: recall, precision, errors, by how visible devices are.

    Those that are given count: leave out what lies below your detector's threshold.
    """
    from rich.console import Console

    from mmdtwin.errors import UserError
    from mmdtwin.files import writable_file, write_json
    from mmdtwin.perception.scoring.match import match, read_json
    from mmdtwin.perception.scoring.scores import scores

    if json_path is not None:
        writable_file(json_path, "--json")
    cells = _cells(truth)
    labels = read_json(truth / "coco-val.json" if truth.is_dir() else truth, "--truth")
    results = read_json(predictions, "--predictions")
    if not isinstance(labels, dict) or not {"images", "annotations"} <= labels.keys():
        raise UserError(f"--truth {truth}: is no file of COCO annotations")
    if not isinstance(results, list):
        raise UserError(f"--predictions {predictions}: must be a list of COCO results")
    found = scores(match(labels, results), cells)
    console = Console()
    console.print(_table(found))
    typer.echo(
        f"{found['devices']} devices in {found['images']} images; "
        f"{found['false_alarms_per_frame']:.3f} false alarms a frame; average precision "
        f"{found['average_precision']:.3f} within 2 px"
    )
    if json_path is not None:
        write_json(json_path, found)


def _cells(truth: Path) -> dict[str, Any] | None:
    """Return the grid that a dataset was drawn for, by the names of its labels' facts."""
    from mmdtwin.perception.scoring.match import read_json

    settings = (truth if truth.is_dir() else truth.parent) / SETTINGS
    if not settings.is_file():
        return None
    grid = read_json(settings, "dataset")["config"]["cells"]
    return {fact: grid[name] for fact, name in CELLS.items()}


def _table(found: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("d'", "devices", "recall 1 px", "2 px", "5 px", "ideal", "error, px", "IoU")
    rows = [*found["by_d_prime"], {**found, "d_prime": None, "ideal_recall": None}]
    for row in rows:
        shares = row["recall"].values()
        if next(iter(shares))["count"] == 0:
            continue
        edges = row["d_prime"]
        name = "all" if edges is None else f"{edges[0]:g} to {_text(edges[1], '{:g}')}"
        table.add_row(
            name,
            str(next(iter(shares))["count"]),
            *(f"{s['value']:.2f} ({s['low']:.2f}-{s['high']:.2f})" for s in shares),
            _text(row["ideal_recall"], "{:.2f}"),
            _text(row["centroid_rmse_px"], "{:.2f}"),
            _text(row["mask_iou"], "{:.2f}"),
        )
    return table


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
