"""`mmdtwin synth mask`: masks for backgrounds, composed, from the CT, or of a scenario's vessel."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from mmdtwin.cli.xray_show import check_writable, save
from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from mmdtwin.frame import Projection
    from mmdtwin.sim import World
    from mmdtwin.synth.background.classes import MaskStack


class MaskKind(StrEnum):
    """What a mask shows."""

    abdomen = "abdomen"
    thorax = "thorax"
    limb = "limb"
    tank = "tank"
    ct = "ct"
    plain = "plain"


class Resolution(StrEnum):
    """Of the CT."""

    sample = "sample"
    full = "full"


def mask(
    kind: Annotated[
        MaskKind, typer.Argument(help="Composed anatomy or tank, the CT, or plain tissue.")
    ],
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("mask.png"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another patient or place.")] = 0,
    size: Annotated[int, typer.Option(min=16, max=2048, help="Pixels along each side.")] = 256,
    field: Annotated[
        float, typer.Option(min=0.02, max=0.5, help="Side at the isocentre, m.")
    ] = 0.15,
    channel: Annotated[
        float | None, typer.Option(min=2e-4, max=0.05, help="Add a vessel of this diameter, m.")
    ] = None,
    wire: Annotated[
        float | None, typer.Option(min=5e-5, max=0.02, help="Add a wire of this diameter, m.")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(help="Add its vessel as its imager sees it; sets size and field."),
    ] = None,
    isocentre: Annotated[
        tuple[float, float, float], typer.Option(help="ct: its point at the isocentre, m.")
    ] = (0.0, -0.21, 0.0),
    primary: Annotated[float, typer.Option(help="ct: gantry angle about y, deg.")] = 0.0,
    secondary: Annotated[float, typer.Option(help="ct: gantry angle about x, deg.")] = 0.0,
    vessels: Annotated[bool, typer.Option(help="ct: its arteries are channels.")] = False,
    resolution: Annotated[
        Resolution, typer.Option(help="ct: the one that ships, or the whole one, fetched once.")
    ] = Resolution.sample,
) -> None:
    """Make a mask that `mmdtwin synth background --mask` takes."""
    from mmdtwin.synth.background import masks
    from mmdtwin.synth.background.classes import LAYERS, SOFT, write_mask

    check_writable(out, "--out", (".png",))
    world = projection = None
    if scenario is not None:
        world, projection, angles = _seen(scenario)
        size, field = projection.shape[0], projection.shape[0] * projection.pixel_size
        primary, secondary = np.rad2deg(angles).tolist()
    found: MaskStack
    if kind is MaskKind.ct:
        found = masks.ct_mask(
            np.array(isocentre), float(np.deg2rad(primary)), float(np.deg2rad(secondary)),
            size, field, vessels=vessels, resolution=resolution.value,
        )  # fmt: skip
    elif kind is MaskKind.plain:
        found = np.zeros((len(LAYERS), size, size), bool)
        found[SOFT] = True
    else:
        found = masks.make_mask(kind.value, seed, size, field)
    rng = np.random.default_rng([seed, 1])
    if channel is not None:
        found = masks.add_channel(found, rng, field, channel)
    if wire is not None:
        found = masks.add_wire(found, rng, field, wire)
    if world is not None and projection is not None:
        found = masks.phantom_mask(world, projection, found)
    save(out, lambda part: write_mask(part, found))
    shares = ", ".join(f"{n} {s:.0%}" for n, s in zip(LAYERS, found.mean((1, 2)), strict=True))
    typer.echo(f"layers      {shares}")
    typer.echo(f"image       {size} x {size} px, {field / size * 1e3:.3f} mm at the isocentre")
    typer.echo(f"wrote {out}; draw from it by --mask {out} --field {field:.4f}")


def _seen(scenario: str) -> tuple[World, Projection, tuple[float, float]]:
    """A scenario's world, the geometry of its imager, and the gantry's angles, rad."""
    from mmdtwin.config import load_scenario
    from mmdtwin.frame import Projection
    from mmdtwin.sim import World

    resolved = load_scenario(scenario)
    projection = Projection.from_config(resolved.imager).ideal
    height, width = projection.shape
    if height != width:
        raise UserError(
            f"--scenario {scenario}: its imager has {width} x {height} px; masks are square"
        )
    angles = resolved.imager.primary, resolved.imager.secondary
    return World.from_config(resolved), projection, angles
