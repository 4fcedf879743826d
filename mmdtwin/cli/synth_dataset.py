"""`mmdtwin synth dataset|show`: labelled sets of images, and pictures of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmdtwin.synth.dataset.write import Order


class Form(StrEnum):
    """Files of images."""

    png = "png"
    dicom = "dicom"


SHEET = "contact-sheet.png"
PLOTS = "distribution.png"


def dataset(
    config: Annotated[
        str, typer.Argument(help="Randomisation: name of a preset or a YAML file.")
    ] = "default",
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Decides every image.")] = 0,
    sequences: Annotated[
        int, typer.Option(min=0, max=99_999, help="Sequences besides, with optical flow.")
    ] = 0,
    frames: Annotated[int, typer.Option(min=2, max=9999, help="Of each sequence.")] = 16,
    form: Annotated[Form, typer.Option("--format", help="Of the images.")] = Form.png,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster that makes them; 'local': of this machine."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; what is there already is kept.")] = Path(
        "runs/dataset"
    ),
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key: size=256, dose.low=5e-8.")
    ] = None,
) -> None:
    """Write images with masks, COCO and YOLO labels; interrupted, the same command goes on."""
    from mmdtwin.config import override, parse, read
    from mmdtwin.config.randomisation import RandomisationConfig
    from mmdtwin.synth.dataset.write import Order, write_dataset

    data, where = read("randomisation", config)
    drawn = parse(RandomisationConfig, override(data, assignments or []), where)
    order = Order(drawn, count, seed, sequences, frames, form.value)
    with image_progress(order) as progress:
        write_dataset(order, out, workers, progress, ray)
    typer.echo(f"{order.images} images in {out}")


@contextmanager
def image_progress(order: Order) -> Iterator[Callable[[int], None]]:
    """Say how much disk an order takes; yield what shows the number of images that are there."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    side = order.config.size
    typer.echo(
        f"{order.images} images of {side} x {side} px: about {order.disk / 1e9:.2f} GB", err=True
    )
    start, first, last = time.perf_counter(), -1, 0
    columns = (
        TextColumn("images"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns) as bar:
        task = bar.add_task("images", total=order.images, rate="")

        def progress(done: int) -> None:
            nonlocal first, last
            first, last = (done if first < 0 else first), done
            rate = (done - first) / (time.perf_counter() - start)
            bar.update(task, completed=done, rate=f"{rate:.1f} images/s")

        yield progress
    seconds, made = time.perf_counter() - start, last - max(first, 0)
    typer.echo(f"wrote {made} images in {seconds:.1f} s ({made / seconds:.1f} a second)")


def show(
    folder: Annotated[Path, typer.Argument(help="Of a dataset.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Images on the sheet.")] = 24,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures.")] = None,
) -> None:
    """Draw a contact sheet of a dataset with its labels, and how its devices are distributed."""
    from mmdtwin.files import writable_dir
    from mmdtwin.synth.dataset.show import contact_sheet, distribution_plot

    place = writable_dir(folder if out is None else out)
    contact_sheet(folder, place / SHEET, count)
    distribution_plot(folder, place / PLOTS)
    typer.echo(f"wrote {place / SHEET} and {place / PLOTS}")
