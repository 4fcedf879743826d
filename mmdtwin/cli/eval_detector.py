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
    predictions: Annotated[
        Path, typer.Option(help="COCO results: image_id, score, bbox; centroid, segmentation.")
    ],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="COCO annotations, or a folder of `synth dataset`: its val or test split."
        ),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Labels that ship: mmd-xray-v1; see `synth benchmark`.")
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = (
        None
    ),
) -> None:
    """Score predictions of any tool: recall, precision, errors, by how visible devices are.

    Needs --truth or --benchmark.
    Those that are given count: leave out what lies below your detector's threshold.
    """
    from rich.console import Console

    from mmdtwin.errors import UserError
    from mmdtwin.files import writable_file, write_json
    from mmdtwin.perception.scoring.match import match, read_json
    from mmdtwin.perception.scoring.scores import scores

    if json_path is not None:
        writable_file(json_path, "--json")
    labels, cells = _labels(truth, benchmark)
    results = read_json(predictions, "--predictions")
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


def _labels(
    truth: Path | None, benchmark: str | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return COCO's annotations, and the grid that they were drawn for, by its facts' names."""
    from mmdtwin.errors import UserError
    from mmdtwin.perception.scoring.match import read_json

    if (truth is None) == (benchmark is None):
        raise UserError("eval detector: give --truth or --benchmark, one of them")
    if benchmark is not None:
        from mmdtwin.synth.dataset.benchmark import labels, order

        return labels(benchmark), _grid(order(benchmark).config.cells.model_dump())
    assert truth is not None
    split = "test" if (truth / "coco-test.json").is_file() else "val"
    found = read_json(truth / f"coco-{split}.json" if truth.is_dir() else truth, "--truth")
    if not isinstance(found, dict) or not {"images", "annotations"} <= found.keys():
        raise UserError(f"--truth {truth}: is no file of COCO annotations")
    settings = (truth if truth.is_dir() else truth.parent) / SETTINGS
    if not settings.is_file():
        return found, None
    return found, _grid(read_json(settings, "dataset")["config"]["cells"])


def _grid(cells: dict[str, Any]) -> dict[str, Any]:
    return {fact: cells[name] for fact, name in CELLS.items()}


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
