"""`mmdtwin synth reader-study`: blinded images and a page for experts to mark devices on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmdtwin.cli.synth_dataset import image_progress


def reader_study(
    dataset: Annotated[
        Path | None,
        typer.Argument(help="Of `synth dataset`; by default the benchmark's first images."),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=2000, help="Images.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of their choice and order.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/reader-study"),
) -> None:
    """Write blinded images with a page to mark them on, and the labels to score marks with."""
    from dataclasses import replace

    from mmdtwin.synth.dataset.benchmark import BENCHMARKS, order
    from mmdtwin.synth.dataset.reader_study import LABELS, READERS, write_study
    from mmdtwin.synth.dataset.write import write_dataset

    if dataset is None:
        dataset = out / "dataset"
        wanted = replace(order(BENCHMARKS[0]), count=count, sequences=0)
        with image_progress(wanted) as progress:
            write_dataset(wanted, dataset, workers, progress)
    found = write_study(dataset, out, count, seed)
    typer.echo(f"{found} images; give readers {out / READERS}, they open index.html there")
    typer.echo(
        f"score what they save: mmdtwin eval detector --truth {out / LABELS} --predictions FILE"
    )
