"""Directories of diffusion pipelines: checked before they are loaded, whole or absent when written.

A broken directory makes diffusers fail deep inside, or reach for the hub. A pickled checkpoint can
run code when it is read. Both are refused here, by looking at names and headers alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdtwin.errors import UserError

PIX2PIX = "StableDiffusionInstructPix2PixPipeline"
TEXT_TO_IMAGE = "StableDiffusionPipeline"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
WEIGHTS = ".safetensors"
NETWORKS = ("unet", "vae", "text_encoder")
CONFIGS = {
    "unet": ("config.json",),
    "vae": ("config.json",),
    "text_encoder": ("config.json",),
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json"),  # either
}


def check_directory(path: Path, allowed: tuple[str, ...] = (PIX2PIX,)) -> dict[str, Any]:
    """Check that a pipeline directory has every part, whole and as safetensors.

    Parameters
    ----------
    path : Path
        The directory.
    allowed : tuple of str
        Pipeline classes that are accepted.

    Returns
    -------
    dict
        What `model_index.json` says.

    Raises
    ------
    UserError
        Naming the part that is missing, broken or pickled.
    """
    if path.suffix.lower() in PICKLES and not path.is_dir():
        raise UserError(f"model {path}: pickle-format checkpoint refused: safetensors only")
    if not path.is_dir():
        raise UserError(f"model {path}: no such folder; name a folder with a model_index.json")
    index = _json(path, path / "model_index.json")
    kind = index.get("_class_name")
    if kind not in allowed:
        raise UserError(f"model {path}: is a {kind}; allowed: {', '.join(allowed)}")
    for part, names in CONFIGS.items():
        _check_part(path, part, names)
    return index


def load_pipeline(path: Path, device: str = "cpu") -> Any:
    """Load a pix2pix or a text-to-image directory, in single precision.

    Nothing but the directory is read: no hub access, no pickles, no code from it.

    Returns
    -------
    StableDiffusionInstructPix2PixPipeline

    Raises
    ------
    UserError
        If a part is missing or broken; see `check_directory`.
    """
    import torch

    check_directory(path, (PIX2PIX, TEXT_TO_IMAGE))
    try:
        with quiet():
            from diffusers import StableDiffusionInstructPix2PixPipeline

            pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(
                str(path),
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                safety_checker=None,
                feature_extractor=None,
                image_encoder=None,
                requires_safety_checker=False,
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        first = str(error).strip().splitlines()[:1]
        raise UserError(f"model {path}: cannot be loaded: {' '.join(first)}") from error
    for name in NETWORKS:
        getattr(pipeline, name).eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from remarks and progress bars: on import and on loading."""
    from transformers.utils import logging as theirs

    theirs.set_verbosity_error()
    from diffusers.utils import logging as ours

    levels = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (ours, theirs)]
    for log, _, _ in levels:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level, bar in levels:
            log.set_verbosity(level)
            if bar:
                log.enable_progress_bar()


def _check_part(path: Path, part: str, names: tuple[str, ...]) -> None:
    folder = path / part
    if not folder.is_dir():
        raise UserError(f"model {path}: part '{part}' is missing")
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise UserError(f"model {path}: part '{part}' has no {' or '.join(names)}")
    _json(path, found[0])
    if part in NETWORKS:
        _check_weights(path, folder)


def _check_weights(path: Path, folder: Path) -> None:
    """Check the headers of a network's weights: lengths are in them, so cuts show."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob(f"*{WEIGHTS}"))
    if not files:
        pickled = [file.name for file in folder.iterdir() if file.suffix.lower() in PICKLES]
        if pickled:
            raise UserError(
                f"model {path}: part '{folder.name}' is a pickle-format checkpoint ({pickled[0]}): "
                "refused, safetensors only"
            )
        raise UserError(f"model {path}: part '{folder.name}' has no weights (*{WEIGHTS})")
    for file in files:
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"model {path}: part '{folder.name}' is broken: {file.name}: {error}"
            ) from error


def _json(path: Path, file: Path) -> dict[str, Any]:
    where = file.relative_to(path)
    try:
        value = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(f"model {path}: {where} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"model {path}: {where} is broken: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"model {path}: {where} is broken: not an object")
    return value
