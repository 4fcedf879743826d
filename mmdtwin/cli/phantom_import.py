"""`mmdtwin phantom from-ct` and `from-mesh`: phantoms from a user's own data."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmdtwin.errors import UserError
from mmdtwin.files import writable_file

if TYPE_CHECKING:
    from mmdtwin.sim.phantoms.surface import Surface

VOXELS = (0.1e-3, 0.5e-3)  # m, between which a voxel is chosen
FINER = 0.67  # of a voxel of the CT: facets then follow its steps
NODES = 4e5  # of the distance field inside a lumen of a CT, at most, if --voxel is not given
SLICES = 200  # voxels across a mesh, at most, if --voxel is not given

LARGEST_SCALE = 1e3
LARGEST_SMOOTHING = 50e-3  # m


def _finite(value: float | None) -> float | None:
    """Refuse nan, which passes any minimum and maximum."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number")
    return value


Out = Annotated[Path, typer.Option(help="Phantom to write; .obj and .csv go beside it.")]
Scale = Annotated[
    float,
    typer.Option(min=1e-3, max=LARGEST_SCALE, callback=_finite, help="Factor on all lengths."),
]
Voxel = Annotated[
    float | None,
    typer.Option(
        min=0.05e-3, max=1e-3, callback=_finite, help="m, of the distance field, after scaling."
    ),
]


class Units(StrEnum):
    """Units of a mesh file."""

    m = "m"
    cm = "cm"
    mm = "mm"
    um = "um"
    inch = "inch"


def from_ct(
    ct: Annotated[Path, typer.Argument(help="CT, NIfTI.")],
    mask: Annotated[Path, typer.Argument(help="Its segmentation, NIfTI, a label per voxel.")],
    label: Annotated[
        list[str], typer.Option(help="Number or name of what belongs to the lumen; repeat it.")
    ],
    names: Annotated[
        Path | None, typer.Option(help="CSV of the labels' numbers and names.")
    ] = None,
    scale: Scale = 1.0,
    voxel: Voxel = None,
    smoothing: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=LARGEST_SMOOTHING,
            callback=_finite,
            help="m before scaling, Gaussian sigma; default: one CT voxel.",
        ),
    ] = None,
    out: Out = Path("phantom.yaml"),
) -> None:
    """Make a phantom of labelled vessels: wall, centrelines and radii."""
    from mmdtwin.sim.phantoms.segmentation import lumen_wall, read_segmentation

    _check_name(out, ct, mask, names)
    lumen = read_segmentation(ct, mask, label, names)
    finest = float(lumen.spacing.min())
    size = voxel or _within(
        max(FINER * finest * scale, (lumen.volume * scale**3 / NODES) ** (1 / 3))
    )
    source = f"{mask.name} labels {', '.join(label)} of {ct.name}, scale {scale:g}"
    surface, shift = lumen_wall(lumen, scale, size, finest if smoothing is None else smoothing)
    try:
        _finish(surface, size, out, source, rough=True)
    except UserError as error:
        raise UserError(f"{mask}: labels {', '.join(label)}: {error}") from error
    kept = f"largest of {lumen.pieces} pieces, {lumen.kept:.1%}" if lumen.pieces > 1 else "1 piece"
    volume = lumen.volume * scale**3
    typer.echo(f"labels         {kept}; median {lumen.hounsfield:.0f} HU in the CT")
    typer.echo(
        f"volume         {surface.volume * 1e9:.1f} mm3, of the labels {volume * 1e9:.1f} "
        f"({surface.volume / volume - 1:+.1%}); wall moved {shift * 1e6:+.0f} um for it"
    )


def from_mesh(
    wall: Annotated[Path, typer.Argument(help="Closed wall of the lumen: .stl, .obj or .ply.")],
    units: Annotated[Units, typer.Option(help="Of the mesh.")],
    scale: Scale = 1.0,
    voxel: Voxel = None,
    centre: Annotated[bool, typer.Option(help="Move the middle of its box to the origin.")] = True,
    out: Out = Path("phantom.yaml"),
) -> None:
    """Check a mesh and make a phantom of it: wall, centrelines and radii."""
    import numpy as np

    from mmdtwin.sim.phantoms.surface import Surface
    from mmdtwin.sim.phantoms.wall_file import read_wall

    _check_name(out, wall)
    surface = read_wall(wall, units.value, scale)
    if surface.handles:
        raise UserError(
            f"{wall}: has {surface.handles} loops, but a vessel map is a tree; part vessels that "
            "touch, fill holes through the lumen, or cut a ring open and cap it"
        )
    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    if centre:
        surface = Surface(surface.vertices - 0.5 * (low + high), surface.faces)
    size = _within(float(np.max(high - low)) / SLICES) if voxel is None else voxel
    try:
        _finish(surface, size, out, f"{wall.name} in {units.value}, scale {scale:g}")
    except UserError as error:
        raise UserError(f"{wall}: {error}") from error


def _check_name(out: Path, *inputs: Path | None) -> None:
    from mmdtwin.sim.phantoms.imported import files

    if out.suffix != ".yaml":
        raise UserError(f"--out {out}: a phantom is a YAML file; use a name ending in .yaml")
    writable_file(out, "--out")
    read = [p.resolve() for p in inputs if p is not None]
    for path in files(out):
        if path.resolve() in read:
            raise UserError(f"--out {out}: would overwrite {path}, which it is made of; rename it")


def _within(voxel: float) -> float:
    return round(min(max(voxel, VOXELS[0]), VOXELS[1]), 6)


def _finish(surface: Surface, voxel: float, out: Path, source: str, rough: bool = False) -> None:
    """Find the centrelines, write the phantom, load it as a scenario would, and print it."""
    from rich.console import Console

    from mmdtwin.cli.phantom_show import lines, summary, table
    from mmdtwin.config import PhantomConfig, load
    from mmdtwin.sim.phantoms import build_vessel
    from mmdtwin.sim.phantoms.imported import files, vessel_of_wall, written

    with written(out, vessel_of_wall(surface, voxel, rough), source) as part:
        config = load(PhantomConfig, "phantoms", part)
        figures = summary(str(out), build_vessel(config), config)
    Console().print(table(figures))
    for line in lines(figures):
        typer.echo(line)
    if surface.handles:
        typer.echo(
            f"warning: {surface.handles} loops: vessels touch beside the tree that was found; "
            "part them in the labels, or expect short cuts"
        )
    typer.echo("wrote " + ", ".join(str(path) for path in files(out)))
