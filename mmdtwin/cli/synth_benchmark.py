"""`mmdtwin synth benchmark`: the fixed test, regenerated and compared with what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmdtwin.cli.synth_dataset import image_progress

SHOWN = 5  # numbers of images that differ


def benchmark(
    name: Annotated[str, typer.Argument(help="Its name.")] = "mmd-xray-v1",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder; what is there is kept. By default runs/NAME."),
    ] = None,
) -> None:
    """Write a benchmark's images and labels, and compare them with what ships.

    Exit code 0: labels are equal and means of blocks of 32 px within one grey level, 1: not.
    """
    from mmdtwin.synth.dataset.benchmark import order, regenerate

    folder = Path("runs") / name if out is None else out
    with image_progress(order(name)) as progress:
        found = regenerate(name, folder, workers, progress)
    typer.echo(f"{found.images} images in {folder}")
    for what, numbers in (("labels", found.labels), ("pixels", found.pixels)):
        first = ", ".join(map(str, numbers[:SHOWN]))
        typer.echo(f"{what}: " + (f"{len(numbers)} differ ({first})" if numbers else "as shipped"))
    typer.echo(f"largest difference of a block's mean: {found.worst:.3f} grey levels")
    raise typer.Exit(0 if found.same else 1)
