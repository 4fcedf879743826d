"""`mmdtwin synth background`: fill a bank of backgrounds drawn from a prompt and masks."""

from __future__ import annotations

import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmdtwin.synth.background.bank import Bank, Request
    from mmdtwin.synth.background.classes import MaskStack

SHEET = "contact-sheet.png"
SHOWN = 32  # backgrounds on a contact sheet
# Masks that are composed where none is given: the first whose words are in the prompt.
COMPOSED = {
    "limb": ("limb", "leg", "arm", "forearm", "thigh"),
    "tank": ("tank", "phantom", "plastic", "block"),
    "abdomen": ("abdomen",),
    "thorax": (),
}


class Scheduler(StrEnum):
    """How noise is taken away."""

    ddim = "ddim"
    dpm = "dpm++"
    lcm = "lcm"


def background(
    prompt: Annotated[str, typer.Option(help="What to draw, e.g. 'chest, dense bone'.")] = "chest",
    mask: Annotated[
        Path | None,
        typer.Option(help="PNG that says where; without it one is composed for each background."),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Backgrounds.")] = 16,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Pixels along each side.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; the next have the next.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the bank; what is there stays.")] = Path(
        "runs/backgrounds"
    ),
    model: Annotated[
        Path | None,
        typer.Option("--background-model", help="Pipeline folder; the shipped one by default."),
    ] = None,
    preview: Annotated[bool, typer.Option(help=f"Also write {SHEET} into the bank.")] = False,
    field: Annotated[
        float, typer.Option(min=0.02, max=0.5, help="Side at the isocentre, m.")
    ] = 0.15,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Of denoising.")] = 20,
    guidance: Annotated[
        float, typer.Option(min=1.0, max=30.0, help="How much to heed the prompt; 1: as learnt.")
    ] = 1.5,
    image_guidance: Annotated[
        float, typer.Option(min=1.0, max=30.0, help="How much to heed the mask; 1: as learnt.")
    ] = 1.5,
    scheduler: Annotated[Scheduler, typer.Option(help="Of denoising.")] = Scheduler.ddim,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Fill a bank with backgrounds: material maps drawn from a prompt and a mask.

    Interrupted, the same command goes on; what a bank has already is not drawn again.
    """
    from mmdtwin.synth.background.bank import Bank, Request, fill_bank
    from mmdtwin.synth.background.classes import read_mask
    from mmdtwin.synth.background.generator import BackgroundGenerator
    from mmdtwin.training.progress import progress_bar

    if not prompt.strip():
        raise UserError("--prompt: is empty; say what to draw, e.g. 'chest, dense bone'")
    request = Request(prompt, size, field, steps, guidance, image_guidance, scheduler.value)
    seeds = range(seed, seed + count)
    masks = [read_mask(mask)] if mask is not None else compose(request, seeds)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        generator = BackgroundGenerator(model, device, scheduler.value)
        start = time.perf_counter()
        with progress_bar("backgrounds", count) as move:
            drawn = fill_bank(out, generator, request, masks, seeds, move)
        seconds = time.perf_counter() - start
    for text in dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning):
        typer.echo(f"warning: {text}", err=True)
    bank = Bank(out)
    typer.echo(
        f"drew {drawn} in {seconds:.1f} s, {count - drawn} were there; {out} holds {len(bank)}"
    )
    if preview:
        typer.echo(f"wrote {_write_sheet(bank, out / SHEET)}")


def compose(request: Request, seeds: Sequence[int]) -> list[MaskStack]:
    """Return a mask for each seed, of what the prompt names: a thorax unless it names another."""
    from mmdtwin.synth.background.masks import make_mask
    from mmdtwin.synth.background.vocabulary import words_of

    words = set(words_of(request.prompt))
    kind = next(k for k, names in COMPOSED.items() if words & set(names) or not names)
    return [make_mask(kind, seed, request.size, request.field) for seed in seeds]


def _write_sheet(bank: Bank, path: Path) -> Path:
    import cv2

    from mmdtwin.files import replacing
    from mmdtwin.synth.background.bank import contact_sheet

    first = max(0, len(bank) - SHOWN)
    sheet = contact_sheet([bank[i] for i in range(first, len(bank))])
    with replacing(path) as part:
        cv2.imwrite(str(part), sheet[..., ::-1])
    return path
