"""`mmdtwin eval background`: how good a background model is, in figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmdtwin.cli.synth_mask import Resolution

if TYPE_CHECKING:
    from mmdtwin.synth.background.evaluate.figure import Figure


def background(
    model: Annotated[
        Path | None,
        typer.Option("--background-model", help="Pipeline folder; the shipped one by default."),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", min=8, max=2000, help="Masks, of poses not trained on.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of poses and noise.")] = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Of denoising.")] = 20,
    training: Annotated[
        Path | None, typer.Option(help="Pairs it was trained on, to look for copies in.")
    ] = None,
    resolution: Annotated[
        Resolution, typer.Option(help="CT: the whole one, fetched once, or the one that ships.")
    ] = Resolution.full,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = (
        None
    ),
) -> None:
    """Measure mask fidelity, texture, response to prompts, and distances to other images.

    Exit code 0: every bound is kept, 1: one is not.
    """
    from rich.console import Console
    from rich.table import Table

    from mmdtwin.files import writable_file, write_json
    from mmdtwin.synth.background.evaluate.evaluation import evaluate
    from mmdtwin.synth.background.generator import BackgroundGenerator

    if json_path is not None:
        writable_file(json_path, "--json")
    generator = BackgroundGenerator(model, device)
    start = time.perf_counter()
    console = Console()
    figures: list[Figure] = []
    with Console(stderr=True).status("drawing") as status:
        for figure in evaluate(
            generator,
            count=count,
            seed=seed,
            steps=steps,
            resolution=resolution.value,
            training=training,
            progress=lambda done: status.update(f"{done} backgrounds drawn"),
        ):
            figures.append(figure)
            status.update(figure.name)
    table = Table("figure", "result", "asked", "holds")
    words = {True: "yes", False: "NO", None: "-"}
    for figure in figures:
        table.add_row(figure.name, figure.result, figure.asked, words[figure.holds])
    console.print(table)
    seconds = time.perf_counter() - start
    kept = [figure.holds for figure in figures if figure.holds is not None]
    typer.echo(f"{sum(kept)} of {len(kept)} bounds kept, in {seconds:.0f} s")
    if json_path is not None:
        write_json(
            json_path,
            {
                "model": generator.digest,
                "count": count,
                "seed": seed,
                "steps": steps,
                "seconds": seconds,
                "figures": [vars(figure) for figure in figures],
            },
        )
    raise typer.Exit(0 if all(kept) else 1)
