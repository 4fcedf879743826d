"""The training of a background model, from pairs to a pipeline directory with its card."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdtwin.errors import UserError
from mmdtwin.synth.background.directory import (
    PIX2PIX,
    TEXT_TO_IMAGE,
    check_directory,
    load_pipeline,
)
from mmdtwin.synth.background.memory import check_memory
from mmdtwin.synth.background.model import (
    Architecture,
    build_pipeline,
    require_diffusion,
    save_pipeline,
)
from mmdtwin.synth.background.vocabulary import WORDS
from mmdtwin.training.accelerator import Precision, make_accelerator
from mmdtwin.training.loop import Progress, Schedule, train

if TYPE_CHECKING:
    from mmdtwin.synth.background.training.pair_set import PairSet

VAE = Schedule(steps=4000, batch=12, rate=3e-4, warmup=200, ema=0.99)
DECODER = Schedule(steps=0, batch=12, rate=3e-4, warmup=200, ema=0.99)
UNET = Schedule(steps=16_000, batch=8, rate=4e-4, warmup=200)
EMBEDDED = Architecture()
RECORD = "training.json"  # beside the weights: what they were trained on, and for how long


@dataclass(frozen=True)
class Settings:
    """What to train, and how.

    Parameters
    ----------
    run : Path
        Folder of checkpoints, logs and latents. A run that is there is gone on with.
    base : Path, optional
        Pipeline directory to start from: a text-to-image one, whose UNet is widened to see the
        mask, or one of this kind, which is trained further. Without it the embedded architecture
        starts from nothing, its autoencoder first.
    minutes : float
        Length of this stretch.
    vae, unet : Schedule
        Of the two stages.
    decoder : Schedule
        Of a base's decoder, trained further alone before its UNet is.
    lora : int
        Rank of adapters to train in place of the UNet's weights; 0: train these.
    checkpointing : bool
        Recompute activations, for less memory.
    device : str
        "cpu" or "cuda".
    precision : {"no", "bf16", "fp16"}, optional
        Of the UNet's activations; by default what `make_accelerator` takes.
    """

    run: Path
    base: Path | None = None
    minutes: float = math.inf
    vae: Schedule = VAE
    decoder: Schedule = DECODER
    unet: Schedule = UNET
    architecture: Architecture = EMBEDDED
    lora: int = 0
    checkpointing: bool = False
    device: str = "cpu"
    precision: Precision | None = None


@dataclass
class Outcome:
    """How far training has come: each stage (of the autoencoder, or its decoder), and figures."""

    vae: Progress
    unet: Progress
    figures: dict[str, float]


def train_background(settings: Settings, pairs: PairSet, held_out: PairSet) -> tuple[Any, Outcome]:
    """Train for one stretch.

    Parameters
    ----------
    settings : Settings
        Where a run of these settings has been stopped, it goes on.
    pairs, held_out : PairSet
        To train on, and to measure on.

    Returns
    -------
    pipeline, Outcome
        With the averaged weights so far.

    Raises
    ------
    UserError
        If the base is missing, broken, pickled or too large for the machine, or another run is in
        the folder.
    """
    require_diffusion()
    from mmdtwin.synth.background.training.latents import cached_latents
    from mmdtwin.synth.background.training.samples import sample
    from mmdtwin.synth.background.training.unet import UnetJob, balance_input, merge_lora

    started = time.monotonic()
    accelerator = make_accelerator(settings.device, settings.precision)
    pipeline = start(settings)
    outcome = Outcome(Progress(finished=True), Progress(), {})
    if settings.base is None or settings.decoder.steps:
        first = _train_vae if settings.base is None else _train_decoder
        outcome.vae, outcome.figures = first(settings, pipeline, pairs, held_out, accelerator)
        if not outcome.vae.finished:
            return pipeline, outcome
    if not settings.unet.steps:
        outcome.unet = Progress(finished=True)
        return pipeline, outcome
    pipeline.vae.to(accelerator.device)
    folder = settings.run / "latents"
    latents = cached_latents(pipeline.vae, pairs, folder, "train")
    unseen = cached_latents(pipeline.vae, held_out, folder, "held-out")
    pipeline.to(accelerator.device)
    pipeline.unet.register_to_config(sample_size=latents.maps.shape[-1])
    if settings.base is None:
        balance_input(pipeline.unet, latents)
    job = UnetJob(pipeline, latents, unseen, lambda drawing: sample(drawing, held_out))
    left = settings.minutes - (time.monotonic() - started) / 60.0
    outcome.unet = train(job, settings.unet, settings.run / "unet", accelerator, left)
    if settings.lora:
        merge_lora(pipeline.unet)
    outcome.figures |= job.validate()[0]
    return pipeline, outcome


def start(settings: Settings) -> Any:
    """Return the pipeline that training starts from, its weights ready to be trained."""
    from mmdtwin.synth.background.training.unet import add_lora, widen_input

    if settings.base is None:
        if settings.lora:
            raise UserError("--lora adapts a model: name it by --base")
        pipeline = build_pipeline(WORDS, settings.architecture, settings.unet.seed)
    else:
        check_directory(settings.base, (PIX2PIX, TEXT_TO_IMAGE))
        check_memory(settings.base, settings.device, training=True)
        pipeline = load_pipeline(settings.base)
        widen_input(pipeline.unet, 2 * pipeline.vae.config.latent_channels)
    pipeline.unet.requires_grad_(True)
    if settings.lora:
        add_lora(pipeline.unet, settings.lora)
    if settings.checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    return pipeline


def _train_vae(
    settings: Settings, pipeline: Any, pairs: PairSet, held_out: PairSet, accelerator: Any
) -> tuple[Progress, dict[str, float]]:
    from mmdtwin.synth.background.training.vae import VaeJob, balance_latents
    from mmdtwin.synth.background.training.vae_start import start_from_patches

    vae = pipeline.vae
    folder = settings.run / "vae"
    if not list(folder.glob("checkpoint-*")):
        start_from_patches(vae, pairs)
    job = VaeJob(vae, pairs, held_out)
    progress = train(job, settings.vae, folder, accelerator, settings.minutes)
    vae.requires_grad_(False)
    balance_latents(vae, pairs)
    return progress, job.validate()[0]


def _train_decoder(
    settings: Settings, pipeline: Any, pairs: PairSet, held_out: PairSet, accelerator: Any
) -> tuple[Progress, dict[str, float]]:
    from mmdtwin.synth.background.training.vae import DecoderJob

    vae = pipeline.vae.to(accelerator.device)  # its encoder, which is not trained, too
    job = DecoderJob(vae, pairs, held_out)
    folder = settings.run / job.name
    progress = train(job, settings.decoder, folder, accelerator, settings.minutes)
    vae.requires_grad_(False)
    return progress, job.validate()[0]


def write_model(
    pipeline: Any, outcome: Outcome, settings: Settings, out: Path, record: dict[str, Any]
) -> None:
    """Write the pipeline directory with its record and card; whole or not at all."""
    from mmdtwin.synth.background.model_card import model_card

    before = {}
    if settings.base is not None and (settings.base / RECORD).is_file():
        before = json.loads((settings.base / RECORD).read_text())
    seconds = outcome.vae.seconds + outcome.unet.seconds
    full = {
        **record,
        "steps": {"vae": outcome.vae.step, "unet": outcome.unet.step},
        "seconds": round(seconds, 1),
        "seconds_before": before.get("seconds", 0.0) + before.get("seconds_before", 0.0),
        "base": None if settings.base is None else settings.base.name,
        "figures": {**before.get("figures", {}), **outcome.figures},
    }
    save_pipeline(
        pipeline,
        out,
        {RECORD: json.dumps(full, indent=2) + "\n", "MODEL_CARD.md": model_card(full)},
    )
