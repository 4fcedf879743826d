"""`mmdtwin train background`: train the embedded model, or fine-tune a full-size one."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmdtwin.synth.background.pair_files import StoredPairs
    from mmdtwin.synth.background.training.pair_set import PairSet
    from mmdtwin.synth.background.training.run import Outcome, Settings


class Precision(StrEnum):
    """What activations are rounded to."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


HELD_OUT = 512  # pairs that are not trained on, at most
OWN = (
    "Radiographs of one chest CT (LIDC-IDRI-0001) and of drawn limbs and tanks, by `write_pairs`; "
    "none from the part of the CT that is kept for tests, and held-out pairs share no pose with "
    "the others. One patient: what the model draws says nothing about how anatomy varies"
)
EMBEDDED = "embedded"  # names the shipped model for --base


def background(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of pairs: of `write_pairs`, or image, mask and caption files."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=16, help="Without --data: pairs to make.")] = 20_480,
    size: Annotated[
        int, typer.Option(min=32, max=1024, help="Without --data: pixels along their sides.")
    ] = 128,
    base: Annotated[
        str | None,
        typer.Option(help="Start from this pipeline folder ('embedded': the shipped one)."),
    ] = None,
    run: Annotated[
        Path, typer.Option(help="Folder of checkpoints and logs; goes on there.")
    ] = Path("runs/background"),
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("runs/background/model"),
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after this time; run again to go on.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Steps of the UNet, in all.")] = None,
    vae_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the autoencoder, in all.")
    ] = None,
    decoder_steps: Annotated[
        int,
        typer.Option(min=0, help="Steps of the base's decoder alone, before the UNet."),
    ] = 0,
    batch: Annotated[int | None, typer.Option(min=1, help="Pairs in a step of the UNet.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-8, max=0.1, help="Learning rate of the UNet.")
    ] = None,
    lora: Annotated[
        int, typer.Option(min=0, help="Train adapters of this rank, not all weights (peft).")
    ] = 0,
    gradient_checkpointing: Annotated[
        bool, typer.Option(help="Recompute activations: slower, less memory.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    mixed_precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the UNet; by default bf16 on CUDA, none on a CPU (bf16 is faster where it has "
            "AMX, else much slower)."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn.")] = 0,
) -> None:
    """Train a background model; stopped or interrupted, the same command goes on.

    Exit code 0: all steps are done, 1: time was up before (the model so far is written).
    """
    from mmdtwin.errors import UserError
    from mmdtwin.files import writable_dir
    from mmdtwin.synth.background.directory import check_directory
    from mmdtwin.synth.background.generator import embedded_model
    from mmdtwin.synth.background.model import require_diffusion
    from mmdtwin.synth.background.training.run import (
        DECODER,
        UNET,
        VAE,
        Settings,
        train_background,
        write_model,
    )
    from mmdtwin.training.accelerator import check_device

    require_diffusion()
    if decoder_steps and base is None:
        raise UserError("--decoder-steps: trains the decoder of a --base further; name one")
    check_device(device)
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        check_directory(out)  # nothing else is replaced
    writable_dir(run, "--run")
    writable_dir(out.parent, "--out")
    use_threads(threads)
    given: dict[str, Any] = {"steps": steps, "batch": batch, "rate": rate}
    unet = replace(UNET, seed=seed, **{k: v for k, v in given.items() if v is not None})
    settings = Settings(
        run=run,
        base=embedded_model() if base == EMBEDDED else Path(base) if base else None,
        minutes=math.inf if minutes is None else minutes,
        vae=replace(VAE, seed=seed, **({} if vae_steps is None else {"steps": vae_steps})),
        decoder=replace(DECODER, seed=seed, steps=decoder_steps),
        unet=unet,
        lora=lora,
        checkpointing=gradient_checkpointing,
        device=device,
        precision=None if mixed_precision is None else mixed_precision.value,
    )
    if settings.base is not None:
        _say_memory(settings)
    train_set, held_out = _pairs(data, pairs, size, seed, run)
    pipeline, outcome = train_background(settings, train_set, held_out)
    record = _record(pipeline, settings, len(train_set), len(held_out), train_set.digest, data)
    write_model(pipeline, outcome, settings, out, record)
    _say(outcome, out)
    raise typer.Exit(0 if outcome.vae.finished and outcome.unet.finished else 1)


def _say_memory(settings: Settings) -> None:
    from mmdtwin.synth.background.directory import PIX2PIX, TEXT_TO_IMAGE, check_directory
    from mmdtwin.synth.background.memory import GIB, check_memory

    assert settings.base is not None
    check_directory(settings.base, (PIX2PIX, TEXT_TO_IMAGE))
    needed = check_memory(settings.base, settings.device, training=True).training
    typer.echo(f"{settings.base}: training needs about {needed / GIB:.1f} GB at one pair a step")


def _pairs(
    data: Path | None, count: int, size: int, seed: int, run: Path
) -> tuple[PairSet, PairSet]:
    """Return the pairs to train on and those held out; without `data` they are made in `run`.

    Of a folder that is given, the last part is held out.
    """
    from mmdtwin.synth.background.pair_files import pairs_digest, read_pairs
    from mmdtwin.synth.background.training.pair_set import PairSet

    if data is not None:
        found, name = read_pairs(data), pairs_digest(data)
        kept = len(found.captions) - max(1, min(HELD_OUT, len(found.captions) // 10))
        parts = slice(None, kept), slice(kept, None)
        first, last = (
            PairSet(found.encoded[p], found.bits[p], found.captions[p], name) for p in parts
        )
        return first, last
    made = make_splits(run, count, seed=seed, size=size)
    first, last = (
        PairSet(found.encoded, found.bits, found.captions, pairs_digest(folder))
        for folder, found in made.items()
    )
    return first, last


def make_splits(run: Path, count: int, **settings: Any) -> dict[Path, StoredPairs]:
    """Make pairs to train on, and those held out, by folder; what is there already is kept."""
    from mmdtwin.synth.background.pair_files import SPLITS, read_pairs, write_pairs
    from mmdtwin.training.progress import progress_bar

    made = {}
    for split, number in zip(SPLITS, (count, HELD_OUT), strict=True):
        folder = run / f"pairs-{split}"
        with progress_bar(f"pairs, {split}", number) as move:
            write_pairs(folder, number, split=split, progress=move, **settings)
        made[folder] = read_pairs(folder, number)
    return made


def _record(
    pipeline: Any, settings: Settings, pairs: int, held_out: int, digest: str, data: Path | None
) -> dict[str, Any]:
    """Return what the model's card says beside the figures."""
    import diffusers
    import torch
    import transformers

    from mmdtwin.synth.background.model import parameters
    from mmdtwin.synth.background.pair_files import INDEX
    from mmdtwin.training.accelerator import machine_name

    own = data is None or (data / INDEX).is_file()
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    return {
        "command": " ".join(["mmdtwin", *sys.argv[1:]]),
        "seed": settings.unet.seed,
        "batch": settings.unet.batch,
        "machine": machine_name(settings.device),
        "versions": f"torch {torch.__version__}, diffusers {diffusers.__version__}, "
        f"transformers {transformers.__version__}",
        "weights": parameters(pipeline),
        "native_size": side,
        "prediction_type": pipeline.scheduler.config.prediction_type,
        "pairs": pairs,
        "held_out": held_out,
        "digest": digest,
        "own_pairs": own,
        "data": OWN if own else "A folder named by --data",
    }


def use_threads(count: int) -> None:
    """Let torch use so many threads; 0 leaves it what it has."""
    import torch

    if count:
        torch.set_num_threads(count)


def _say(outcome: Outcome, out: Path) -> None:
    for name, progress in (("autoencoder", outcome.vae), ("UNet", outcome.unet)):
        if progress.step:
            state = "done" if progress.finished else "to be gone on with"
            typer.echo(f"{name}: step {progress.step}, {progress.seconds / 60:.1f} min, {state}")
    for name, value in outcome.figures.items():
        typer.echo(f"{name}: {value:.4g}")
    typer.echo(f"wrote {out}")
