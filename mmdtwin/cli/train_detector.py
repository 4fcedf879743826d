"""`mmdtwin train detector`: the patch detector, trained on labelled images."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mmdtwin.cli.train_background import Precision, use_threads

HELD_OUT = 800  # images that figures are of, at most


class Strategy(StrEnum):
    """What is cut from images."""

    mined = "mined"
    plain = "plain"
    whole = "whole"


def detector(
    config: Annotated[
        str, typer.Argument(help="Without --data: randomisation, a preset or a YAML file.")
    ] = "default",
    data: Annotated[
        Path | None, typer.Option(help="Folder of `synth dataset`, or coco-train.json and -val.")
    ] = None,
    images: Annotated[int, typer.Option(min=40, help="Without --data: images to make.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that make them.")] = 2,
    base: Annotated[Path | None, typer.Option(help="Start from this model's folder.")] = None,
    run: Annotated[
        Path, typer.Option(help="Folder of images, checkpoints and logs; goes on there.")
    ] = Path("runs/detector"),
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("runs/detector/model"),
    strategy: Annotated[
        Strategy,
        typer.Option(help="Patches with hard places among them, patches, or whole images shrunk."),
    ] = Strategy.mined,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after this time; run again to go on.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Patches in a step.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-8, max=0.1, help="Highest learning rate.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    mixed_precision: Annotated[
        Precision | None, typer.Option(help="By default bf16 on CUDA, none on a CPU.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn.")] = 0,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the randomisation.")
    ] = None,
) -> None:
    """Train the detector; stopped or interrupted, the same command goes on.

    Exit code 0: all steps are done, 1: time was up before (the model so far is written).
    """
    from mmdtwin.errors import UserError
    from mmdtwin.files import writable_dir
    from mmdtwin.perception.learned.model import RECORD, Record, read_record, save_model
    from mmdtwin.perception.learned.network import require_torch
    from mmdtwin.perception.training.run import SCHEDULE, Settings, train_detector
    from mmdtwin.perception.training.samples import read_samples
    from mmdtwin.training.accelerator import check_device, machine_name
    from mmdtwin.training.progress import progress_bar

    require_torch()
    check_device(device)  # before images are made
    before = None if base is None else read_record(base)
    if out.exists() and not (out / RECORD).is_file() and any(out.iterdir()):
        raise UserError(f"--out {out}: holds something else; name another folder")
    writable_dir(run, "--run")
    writable_dir(out.parent, "--out")
    use_threads(threads)
    folder = data or _images(config, assignments or [], images, seed, workers, run / "data")
    sets = []
    for split, limit in (("train", None), ("val", HELD_OUT)):
        with progress_bar(f"reading {split}", images) as move:
            sets.append(read_samples(folder, split, limit, move))
    given: dict[str, Any] = {"steps": steps, "batch": batch, "rate": rate}
    settings = Settings(
        run=run,
        base=base,
        minutes=math.inf if minutes is None else minutes,
        schedule=replace(SCHEDULE, seed=seed, **{k: v for k, v in given.items() if v is not None}),
        strategy=strategy.value,
        device=device,
        precision=None if mixed_precision is None else mixed_precision.value,
    )
    network, progress, figures = train_detector(settings, *sets)
    record = Record(
        threshold=round(figures.pop("threshold"), 6),
        command=" ".join(["mmdtwin", *sys.argv[1:]]),
        data=_data(folder, len(sets[0])),
        machine=machine_name(device),
        versions=_versions(),
        seed=seed,
        steps=progress.step,
        batch=settings.schedule.batch,
        seconds=round(progress.seconds + (before.seconds if before else 0.0), 1),
        figures={name: round(value, 5) for name, value in figures.items() if value == value},
    )
    save_model(network, out, record)
    for name, value in record.figures.items():
        typer.echo(f"{name}: {value:.3f}")
    typer.echo(f"step {progress.step}, {progress.seconds / 60:.1f} min; wrote {out}")
    raise typer.Exit(0 if progress.finished else 1)


def _images(
    config: str, assignments: list[str], count: int, seed: int, workers: int, folder: Path
) -> Path:
    """Make images to train on; what is there already is kept."""
    from mmdtwin.cli.synth_dataset import image_progress
    from mmdtwin.config import override, parse, read
    from mmdtwin.config.randomisation import RandomisationConfig
    from mmdtwin.synth.dataset.write import Order, write_dataset

    data, where = read("randomisation", config)
    order = Order(parse(RandomisationConfig, override(data, assignments), where), count, seed)
    with image_progress(order) as progress:
        write_dataset(order, folder, workers, progress)
    return folder


def _data(folder: Path, count: int) -> str:
    import json

    from mmdtwin.synth.dataset.write import SETTINGS

    settings = folder / SETTINGS
    if not settings.is_file():
        return f"{count} images of a folder named by --data"
    known = json.loads(settings.read_text())
    return f"{count} images of `synth dataset`, seed {known['seed']}, {known['key']}"


def _versions() -> str:
    import torch

    return f"torch {torch.__version__}"
