"""`mmdtwin eval detector`: any detector's predictions against labelled images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

CELLS = {"contrast_object": "contrast", "size": "size", "occluded": "occluded"}
SETTINGS = "dataset.json"
LEAST = 0.01  # score of what --all-scores writes
LOOKED_AT = 16  # images from which to tell their polarity


class Polarity(StrEnum):
    """How devices look."""

    auto = "auto"
    dark = "dark"
    bright = "bright"


def detector(
    images: Annotated[
        Path | None,
        typer.Option(help="Run on these: a dataset, a folder or file of images, DICOM, videos."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model that runs; the shipped one by default.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="In place of --images: COCO results, with image_id, score, bbox; centroid, "
            "segmentation."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="COCO annotations, or a folder of `synth dataset`: its val or test split."
        ),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Labels that ship: mmd-xray-v1; see `synth benchmark`.")
    ] = None,
    predictions_out: Annotated[
        Path | None, typer.Option(help="Write what was found as COCO results.")
    ] = None,
    all_scores: Annotated[
        bool, typer.Option("--all-scores", help="Also write what is below the threshold.")
    ] = False,
    polarity: Annotated[
        Polarity, typer.Option(help="How devices look in --images.")
    ] = Polarity.auto,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the network.")] = 2,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = (
        None
    ),
) -> None:
    """Score a detector: recall, precision, errors, by how visible devices are.

    The shipped one or another --model on --images, or any tool's --predictions; these all count, so
    leave out what lies below your threshold. Scores need --truth or --benchmark.
    """
    from rich.console import Console

    from mmdtwin.errors import UserError
    from mmdtwin.files import writable_file, write_json
    from mmdtwin.perception.scoring.match import match, read_json
    from mmdtwin.perception.scoring.scores import scores

    for path, option in ((json_path, "--json"), (predictions_out, "--predictions-out")):
        if path is not None:
            writable_file(path, option)
    if (images is None) == (predictions is None):
        raise UserError("eval detector: give --images or --predictions, one of them")
    scored = truth is not None or benchmark is not None
    if not scored and (predictions is not None or predictions_out is None):
        raise UserError("eval detector: give --truth or --benchmark, or --predictions-out")
    labels, cells = _labels(truth, benchmark) if scored else (None, None)
    if predictions is not None:
        every = read_json(predictions, "--predictions")
        if not isinstance(every, list):
            raise UserError(f"--predictions {predictions}: must be a list of COCO results")
        results, speed = every, dict[str, Any]()
    else:
        assert images is not None
        every, threshold, speed = _run(images, model, labels, polarity.value, threads, all_scores)
        results = [each for each in every if each["score"] >= threshold]
    if predictions_out is not None:
        write_json(predictions_out, every)
        typer.echo(f"wrote {len(every)} results to {predictions_out}")
    if labels is None:
        return
    found = scores(match(labels, results), cells) | speed
    console = Console()
    console.print(_table(found))
    typer.echo(
        f"{found['devices']} devices in {found['images']} images; "
        f"{found['false_alarms_per_frame']:.3f} false alarms a frame; average precision "
        f"{found['average_precision']:.3f} within 2 px"
    )
    if json_path is not None:
        write_json(json_path, found)


def _run(
    place: Path,
    model: Path | None,
    labels: dict[str, Any] | None,
    polarity: Any,
    threads: int,
    all_scores: bool,
) -> tuple[list[dict[str, Any]], float, dict[str, Any]]:
    """Run a detector on images; return COCO results, its threshold, and how long it took."""
    import time

    import numpy as np

    from mmdtwin.errors import UserError
    from mmdtwin.perception.images import find_images, read_pictures, turned_over
    from mmdtwin.perception.learned.detector import LearnedDetector
    from mmdtwin.perception.learned.polarity import looks_inverted
    from mmdtwin.perception.learned.predict import coco_result
    from mmdtwin.training.progress import progress_bar

    found = LearnedDetector(model, threads=threads)
    numbers, categories = {}, None
    if labels is not None:
        numbers = {Path(each["file_name"]).name: each["id"] for each in labels["images"]}
        categories = {each["name"]: each["id"] for each in labels.get("categories", [])}
    files = find_images(place)
    if labels is not None:
        files = [path for path in files if path.name in numbers]
        if not files:
            raise UserError(f"--images {place}: none of its images is named by the truth")
    least = min(LEAST, found.threshold) if all_scores else found.threshold
    bright = polarity == "bright"
    if polarity == "auto":
        some = files[:: -(-len(files) // LOOKED_AT)]
        first = (next(iter(read_pictures(path))) for path in some)
        bright = looks_inverted(found, (each.image for each in first if each.inverted is None))
    results, seconds, turned = [], [], []
    with progress_bar("images", len(files)) as move:
        for count, path in enumerate(files, 1):
            for picture in read_pictures(path):
                image, inverted = picture.image, picture.inverted
                if bright if inverted is None or polarity != "auto" else inverted:
                    image = turned_over(image)
                    turned.append(picture.name)
                start = time.perf_counter()
                finds = found.find(image, least=least)
                seconds.append(time.perf_counter() - start)
                number = numbers.get(picture.name, picture.name)
                shape = (int(image.shape[0]), int(image.shape[1]))
                results += [coco_result(find, number, shape, categories) for find in finds]
            move(count)
    if turned:
        typer.echo(
            f"{len(turned)} images are inverted (what attenuates is bright) and were turned over, "
            f"{turned[0]} among them; --polarity dark keeps them",
            err=True,
        )
    middle, late = np.quantile(seconds, [0.5, 0.95])
    typer.echo(f"{len(seconds)} images, {1e3 * middle:.1f} ms each (95 %: {1e3 * late:.1f} ms)")
    speed = {"seconds_median": float(middle), "seconds_p95": float(late),
             "threshold": found.threshold}  # fmt: skip
    return results, found.threshold, speed


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
