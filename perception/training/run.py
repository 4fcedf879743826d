"""The training of a detector, from samples to a model's folder with its card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdtwin.perception.learned.model import load_weights
from mmdtwin.perception.learned.network import build_network, require_torch
from mmdtwin.perception.training.job import DetectorJob, Strategy
from mmdtwin.perception.training.samples import Sample
from mmdtwin.training.accelerator import Precision, make_accelerator
from mmdtwin.training.loop import Progress, Schedule, train

SCHEDULE = Schedule(steps=12_000, batch=32, rate=3e-3, warmup=300, ema=0.998)


@dataclass(frozen=True)
class Settings:
    """What to train, and how.

    Parameters
    ----------
    run : Path
        Folder of checkpoints and logs. A run that is there is gone on with.
    base : Path, optional
        A model's folder to start from.
    minutes : float
        Length of this stretch.
    schedule : Schedule
    strategy : {"mined", "plain", "whole"}
        What patches are cut from images; see `DetectorJob`.
    device : str
        "cpu" or "cuda".
    precision : {"no", "bf16", "fp16"}, optional
        Of activations; by default what `make_accelerator` takes.
    """

    run: Path
    base: Path | None = None
    minutes: float = math.inf
    schedule: Schedule = SCHEDULE
    strategy: Strategy = "mined"
    device: str = "cpu"
    precision: Precision | None = None


def train_detector(
    settings: Settings, samples: Sequence[Sample], held_out: Sequence[Sample]
) -> tuple[Any, Progress, dict[str, float]]:
    """Train for one stretch.

    Returns
    -------
    network, Progress, dict
        With averaged weights; how far it has come; figures of held-out images (`recall_at`).

    Raises
    ------
    UserError
        If torch is missing, or another run is in the folder.
    """
    require_torch()
    import torch

    accelerator = make_accelerator(settings.device, settings.precision)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.schedule.seed)
        network = build_network()
    if settings.base is not None:
        load_weights(network, settings.base)
    job = DetectorJob(network, samples, held_out, settings.strategy)
    folder = settings.run / settings.strategy
    progress = train(job, settings.schedule, folder, accelerator, settings.minutes)
    return network.cpu(), progress, job.measure()
