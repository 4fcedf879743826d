"""`mmdtwin train segmenter`: the network that judges backgrounds, trained on projections alone."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmdtwin.cli.train_background import Precision, make_splits, use_threads


class Kind(StrEnum):
    """What a segmenter sees."""

    maps = "maps"
    grey = "grey"


def segmenter(
    kind: Annotated[Kind, typer.Argument(help="What it sees: three maps, or -log T.")] = Kind.maps,
    pairs: Annotated[int, typer.Option(min=16, help="Projections to make.")] = 10_240,
    run: Annotated[
        Path, typer.Option(help="Folder of projections, checkpoints and logs; goes on there.")
    ] = Path("runs/segmenter"),
    out: Annotated[
        Path | None, typer.Option(help="File of the weights; by default in --run.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after this time; run again to go on.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Projections in a step.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    mixed_precision: Annotated[
        Precision | None,
        typer.Option(
            help="By default bf16 on CUDA, none on a CPU (bf16 is faster where it has AMX, else "
            "much slower)."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn.")] = 1,
) -> None:
    """Train the segmenter of `eval background`; stopped or interrupted, the same command goes on.

    Exit code 0: all steps are done, 1: time was up before (the weights so far are written).
    """
    from mmdtwin.files import writable_dir
    from mmdtwin.synth.background.evaluate.segmenter import SCHEDULE, SegmenterJob, new_segmenter
    from mmdtwin.synth.background.model import require_diffusion
    from mmdtwin.training.accelerator import check_device, make_accelerator
    from mmdtwin.training.loop import train

    require_diffusion()
    check_device(device)
    writable_dir(run, "--run")
    path = run / f"background-segmenter-{kind.value}.safetensors" if out is None else out
    writable_dir(path.parent, "--out")
    use_threads(threads)
    known, unseen = make_splits(run, pairs, seed=seed, complete=True).values()
    found = new_segmenter(kind.value, seed)
    job = SegmenterJob(found, known, unseen)
    given = {"steps": steps, "batch": batch}
    schedule = replace(SCHEDULE, seed=seed, **{k: v for k, v in given.items() if v is not None})
    limit = math.inf if minutes is None else minutes
    accelerator = make_accelerator(
        device, None if mixed_precision is None else mixed_precision.value
    )
    progress = train(job, schedule, run / kind.value, accelerator, limit)
    found.save(path)
    for name, value in job.validate()[0].items():
        typer.echo(f"{name}: {value:.3f}")
    typer.echo(f"step {progress.step}, {progress.seconds / 60:.1f} min; wrote {path}")
    raise typer.Exit(0 if progress.finished else 1)
