"""One training loop for every network here: stretches of limited time, resumed exactly.

What a step draws follows from the seed and the number of the step alone, so that a run which is
stopped and resumed takes the same steps as one that is not.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.files import replacing_dir
from mmdtwin.seeding import stream
from mmdtwin.training.progress import progress_bar

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

KEPT = 2  # checkpoints
FLOOR = 0.05  # of the learning rate, at the end of its cosine
CLIP = 1.0  # largest norm of the gradient
LONGEST_STEP = 60.0  # s that a step counts at most: a process that is suspended does not train


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Parameters
    ----------
    steps, batch : int
        Steps in all, over every stretch, and pairs in each.
    rate : float
        Highest learning rate, reached after `warmup` steps; a cosine takes it down to 5 %.
    ema : float
        Decay of the running average of the weights, which is what is kept.
    seed : int
        Of everything drawn.
    """

    steps: int
    batch: int
    rate: float
    warmup: int = 100
    ema: float = 0.999
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


class Job(Protocol):
    """What is trained on what; `mixed`: whether the accelerator's precision is good enough.

    A job that remembers something from step to step keeps it in tensors of a mapping `memory`,
    which it changes in place: they are part of checkpoints.
    """

    name: str
    modules: Mapping[str, torch.nn.Module]
    mixed: bool

    def loss(self, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """Return the mean loss of a batch of pairs; the generator is on the networks' device."""
        ...

    def size(self) -> int:
        """Return the number of pairs to draw from."""
        ...

    def validate(self) -> tuple[dict[str, float], np.ndarray | None]:
        """Return figures by name, and a picture (h, w) or (h, w, 3) in 0..1."""
        ...


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    finished: bool = False


def train(
    job: Job,
    schedule: Schedule,
    folder: Path,
    accelerator: Accelerator,
    minutes: float = math.inf,
    save_every: float = 300.0,
    validate_every: float = 900.0,
) -> Progress:
    """Train until the schedule or the time ends; begin at the newest checkpoint, if there is one.

    At the end the job's modules hold the averaged weights.

    Parameters
    ----------
    folder : Path
        Holds `checkpoint-N`, `log.jsonl`, validation pictures and TensorBoard's events.
    minutes, save_every, validate_every : float
        Length of this stretch, min; time between checkpoints and between validations, s.

    Raises
    ------
    UserError
        If the checkpoint was made by another schedule or for other networks.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    modules = {name: _placed(module, accelerator) for name, module in job.modules.items()}
    named = _named(modules)
    weights = list(named.values())
    statistics = _statistics(modules)
    averaged = [*weights, *statistics.values()]
    memory: Mapping[str, torch.Tensor] = getattr(job, "memory", {})
    state = _State(named, statistics, memory)
    on_cuda = accelerator.device.type == "cuda"
    optimizer = torch.optim.AdamW(weights, lr=schedule.rate, weight_decay=1e-4, fused=on_cuda)
    prepared = accelerator.prepare(optimizer)  # scales the loss where half precision needs it
    average = _Average(averaged, schedule.ema)
    progress = _load(folder, schedule, state, optimizer, average)
    for module in modules.values():
        module.train()
    started = last = saved = validated = time.monotonic()
    before = progress.step
    log = _Log(folder, job.name)
    with progress_bar(job.name, schedule.steps, progress.step) as move:
        while progress.step < schedule.steps and time.monotonic() - started < minutes * 60.0:
            loss = _step(job, schedule, progress.step, prepared, weights, accelerator)
            average.step(averaged)
            progress.step += 1
            now = time.monotonic()
            progress.seconds += min(now - last, LONGEST_STEP)
            log.add(progress.step, loss, schedule.rate_at(progress.step - 1), progress.seconds)
            move(progress.step, log.line)
            if now - saved > save_every:
                _save(folder, schedule, progress, state, optimizer, average)
                saved = time.monotonic()
            if now - validated > validate_every:
                with _averaged(average, averaged, modules):
                    log.validation(progress.step, *job.validate())
                validated = time.monotonic()
            last = time.monotonic()
    if progress.step > before:
        _save(folder, schedule, progress, state, optimizer, average)
    average.copy_to(averaged)
    for module in modules.values():
        module.eval()
    progress.finished = progress.step >= schedule.steps
    log.validation(progress.step, *job.validate())
    log.close()
    return progress


def _step(
    job: Job,
    schedule: Schedule,
    step: int,
    optimizer: Any,
    weights: Sequence[torch.nn.Parameter],
    accelerator: Accelerator,
) -> torch.Tensor:
    import torch
    from accelerate.utils import AutocastKwargs

    rng = stream(schedule.seed, f"train-{job.name}", step)
    indices = rng.integers(job.size(), size=schedule.batch)
    generator = torch.Generator(accelerator.device).manual_seed(int(rng.integers(2**62)))
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate_at(step)
    # A cache of cast weights would end up in CUDA graphs.
    with accelerator.autocast(AutocastKwargs(enabled=job.mixed, cache_enabled=False)):
        loss = job.loss(indices, generator)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(weights, CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _placed(module: torch.nn.Module, accelerator: Accelerator) -> torch.nn.Module:
    """Move a network to the device, channels last: convolutions of a CPU are faster so."""
    import torch

    return module.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _named(modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.nn.Parameter]:
    return {
        f"{part}.{name}": weight
        for part, module in modules.items()
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }


def _statistics(modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    """Return what layers measure of their inputs, such as the moments of batch normalisation."""
    return {
        f"{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.named_buffers()
        if value.is_floating_point()
    }


@dataclass(frozen=True, eq=False)
class _State:
    """What checkpoints hold beside the optimiser's moments and the average."""

    weights: Mapping[str, torch.nn.Parameter]
    statistics: Mapping[str, torch.Tensor]
    memory: Mapping[str, torch.Tensor]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return them by their names in a checkpoint."""
        kinds = {"weight": self.weights, "statistic": self.statistics, "memory": self.memory}
        return {
            f"{kind}/{name}": value.detach()
            for kind, held in kinds.items()
            for name, value in held.items()
        }


class _Average:
    """Running average of tensors; at first it forgets faster, so that it soon leaves the start."""

    def __init__(self, tensors: Sequence[torch.Tensor], decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = [each.detach().clone() for each in tensors]

    def step(self, tensors: Sequence[torch.Tensor]) -> None:
        """Take in the values after a step."""
        import torch

        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(self.values, [each.detach() for each in tensors], 1.0 - decay)

    def copy_to(self, tensors: Sequence[torch.Tensor]) -> None:
        """Give tensors the average's values."""
        for each, value in zip(tensors, self.values, strict=True):
            each.data.copy_(value)


@contextmanager
def _averaged(
    average: _Average, tensors: Sequence[torch.Tensor], modules: Mapping[str, torch.nn.Module]
) -> Iterator[None]:
    kept = [each.detach().clone() for each in tensors]
    average.copy_to(tensors)
    for module in modules.values():
        module.eval()
    try:
        yield
    finally:
        for each, value in zip(tensors, kept, strict=True):
            each.data.copy_(value)
        for module in modules.values():
            module.train()


def _save(
    folder: Path,
    schedule: Schedule,
    progress: Progress,
    state: _State,
    optimizer: torch.optim.Optimizer,
    average: _Average,
) -> None:
    """Write weights, their average and the optimiser's moments as safetensors: no pickles."""
    from safetensors.torch import save_file

    tensors = state.tensors()
    names = [*state.weights, *state.statistics]
    tensors |= {f"average/{name}": v for name, v in zip(names, average.values, strict=True)}
    for name, weight in state.weights.items():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}/{name}"] = optimizer.state[weight][key]
    facts = {
        "step": progress.step,
        "seconds": progress.seconds,
        "average_step": average.steps,
        "batch": schedule.batch,
        "seed": schedule.seed,
    }
    with replacing_dir(folder / f"checkpoint-{progress.step:07d}") as part:
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, part / "state.safetensors")
        (part / "state.json").write_text(json.dumps(facts))
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


def _load(
    folder: Path,
    schedule: Schedule,
    state: _State,
    optimizer: torch.optim.Optimizer,
    average: _Average,
) -> Progress:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = _checkpoints(folder)
    if not found:
        return Progress()
    newest = found[-1]
    try:
        facts = json.loads((newest / "state.json").read_text())
        tensors = load_file(newest / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{newest}: broken checkpoint ({error}); delete it to go on") from error
    for key in ("batch", "seed"):
        if facts[key] != getattr(schedule, key):
            raise UserError(
                f"{newest}: was trained with {key} {facts[key]}; go on with that, or name a new run"
            )
    expected = {name: tuple(value.shape) for name, value in state.tensors().items()}
    kinds = ("weight/", "statistic/", "memory/")
    held = {k: tuple(v.shape) for k, v in tensors.items() if k.startswith(kinds)}
    if held != expected:
        raise UserError(f"{newest}: is of other networks; name a new run")
    with torch.no_grad():
        for name, value in state.tensors().items():
            value.copy_(tensors[name])
        for i, name in enumerate([*state.weights, *state.statistics]):
            average.values[i].copy_(tensors[f"average/{name}"])
        for name, weight in state.weights.items():
            optimizer.state[weight] = {
                "step": torch.tensor(float(facts["step"]), device=weight.device),
                "exp_avg": tensors[f"exp_avg/{name}"].to(weight.device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(weight.device),
            }
    average.steps = facts["average_step"]
    return Progress(facts["step"], facts["seconds"])


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))


class _Log:
    """Lines of JSON, and TensorBoard's events where it is installed."""

    def __init__(self, folder: Path, name: str, every: int = 20) -> None:
        self._folder, self._name, self._every = folder, name, every
        self._losses: list[torch.Tensor] = []
        self.line = name  # what there is to say
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def add(self, step: int, loss: torch.Tensor, rate: float, seconds: float) -> None:
        self._losses.append(loss)  # a tensor: to ask for its value is to wait for the device
        if step % self._every:
            return
        mean = float(sum(self._losses)) / len(self._losses)
        self._losses.clear()
        self.line = f"{self._name}, loss {mean:.4f}"
        self._write({"step": step, "loss": mean, "rate": rate, "seconds": round(seconds, 1)})
        if self._board is not None:
            self._board.add_scalar(f"{self._name}/loss", mean, step)

    def validation(self, step: int, figures: dict[str, float], picture: Any) -> None:
        self._write({"step": step, **figures})
        if picture is not None:
            import cv2

            grey = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
            cv2.imwrite(str(self._folder / f"validation-{step:07d}.png"), grey)
        if self._board is not None:
            for key, value in figures.items():
                self._board.add_scalar(f"{self._name}/{key}", value, step)
            if picture is not None:
                layout = "HW" if picture.ndim == 2 else "HWC"
                self._board.add_image(f"{self._name}/samples", picture, step, dataformats=layout)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _write(self, row: dict[str, Any]) -> None:
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
