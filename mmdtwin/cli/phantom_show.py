"""`mmdtwin phantom show`: a vessel's sizes, its flow and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdtwin.cli.figures import save_figure
from mmdtwin.errors import UserError
from mmdtwin.files import writable_file

if TYPE_CHECKING:
    from rich.table import Table

    from mmdtwin.sim.phantoms import Vessel

LAMINAR = 2000.0  # Re up to which flow in a pipe stays laminar
DRAWN_STEP = 3  # voxels between the triangles of the wall in the picture


def show(
    phantom: Annotated[
        str, typer.Argument(help="Name in configs/phantoms, or a YAML file.")
    ] = "bifurcation",
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("phantom.png"),
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    mesh: Annotated[
        Path | None, typer.Option(help="Write the wall in mm to this .stl or .obj file.")
    ] = None,
) -> None:
    """Build a phantom, print its branches and flow, draw it."""
    from rich.console import Console

    from mmdtwin.config import PhantomConfig, load
    from mmdtwin.files import write_json
    from mmdtwin.sim.phantoms import build_vessel

    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: the picture is written as PNG; use a name ending in .png")
    if mesh is not None and mesh.suffix.lower() not in (".stl", ".obj"):
        raise UserError(f"--mesh {mesh}: cannot write this kind of mesh; allowed: .obj, .stl")
    config = load(PhantomConfig, "phantoms", phantom)
    for option, path in (("--out", out), ("--json", json), ("--mesh", mesh)):
        if path is not None:
            writable_file(path, option)
    try:
        vessel = build_vessel(config)
    except UserError as error:
        raise UserError(f"{phantom}: {error}") from error
    figures = summary(phantom, vessel, config)
    Console().print(table(figures))
    for line in lines(figures):
        typer.echo(line)
    draw(vessel, f"Phantom {phantom}", out)
    if mesh is not None:
        vessel.write_obj(mesh, scale=1e3)
    if json is not None:
        write_json(json, figures)
    typer.echo("wrote " + ", ".join(str(p) for p in (out, mesh, json) if p is not None))


def summary(name: str, vessel: Vessel, config: Any) -> dict[str, Any]:
    """Return the figures of a phantom, SI, as they go into the JSON file."""
    from mmdtwin.sim.flow import Flow

    flow = Flow(vessel.map, config.flow)
    reynolds, entrance = flow.reynolds(), flow.entrance_length()
    branches = {
        key: {
            "start": branch.start,
            "end": branch.end,
            "length": branch.length,
            "minimum_lumen": 2 * float(branch.radius.min()),
            "maximum_lumen": 2 * float(branch.radius.max()),
            "mean_speed": branch.mean_speed,
            "flow_rate": flow.flow_rates[key],
            "reynolds": reynolds[key],
            "entrance_length": entrance[key],
        }
        for key, branch in flow.map.branches.items()
    }
    return {
        "phantom": name,
        "ends": list(vessel.map.ends),
        "inlet": config.flow.inlet,
        "junctions": list(vessel.map.junctions),
        "branches": branches,
        "minimum_lumen": vessel.minimum_lumen,
        "watertight": vessel.surface.watertight,
        "triangles": len(vessel.faces),
        "volume": vessel.surface.volume,
    }


def table(figures: dict[str, Any]) -> Table:
    """Return the branches as a table: length, lumen, mean speed, Re, entrance length.

    Names fold where 80 columns are too few; figures do not.
    """
    from rich.table import Column, Table

    result = Table(
        Column("branch", no_wrap=True),
        *(Column(header, overflow="fold") for header in ("from", "to")),
        *(
            Column(header, no_wrap=True, justify="right")
            for header in ("mm", "lumen mm", "mm/s", "Re", "entry mm")
        ),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name, branch in figures["branches"].items():
        result.add_row(
            name,
            branch["start"],
            branch["end"],
            f"{branch['length'] * 1e3:.1f}",
            f"{branch['minimum_lumen'] * 1e3:.2f}-{branch['maximum_lumen'] * 1e3:.2f}",
            f"{branch['mean_speed'] * 1e3:.1f}",
            f"{branch['reynolds']:.1f}",
            f"{branch['entrance_length'] * 1e3:.1f}",
        )
    return result


def lines(figures: dict[str, Any]) -> list[str]:
    """Return what the table does not say."""
    fast = [name for name, b in figures["branches"].items() if b["reynolds"] > LAMINAR]
    warning = (
        f"warning: Re is above {LAMINAR:.0f} in {', '.join(fast)}: flow may be turbulent there, "
        "and is modelled as laminar"
    )
    return [
        f"ends           {', '.join(figures['ends'])} (inlet: {figures['inlet']})",
        f"minimum lumen  {figures['minimum_lumen'] * 1e3:.2f} mm",
        f"wall           {figures['triangles']} triangles, "
        f"watertight: {'yes' if figures['watertight'] else 'NO'}, "
        f"volume {figures['volume'] * 1e9:.0f} mm3",
        *([warning] if fast else []),
    ]


def draw(vessel: Vessel, title: str, path: Path) -> None:
    """Draw wall, centrelines and names in 3-D, axes in mm, to a PNG file.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure
    from skimage.measure import marching_cubes

    figure = Figure(figsize=(9, 8), layout="constrained")
    axes: Any = figure.add_subplot(projection="3d")
    grid = vessel.distance
    corners, faces, _, _ = marching_cubes(grid.values, 0.0, step_size=DRAWN_STEP)
    x, y, z = (grid.origin + grid.voxel * corners).T * 1e3
    axes.plot_trisurf(x, y, z, triangles=faces, color="tab:red", alpha=0.15, linewidth=0)
    for name, branch in vessel.map.branches.items():
        points = branch.points * 1e3
        axes.plot(*points.T, linewidth=2)
        axes.text(*points[len(points) // 2], name, fontsize=8)
    for branch in vessel.map.branches.values():
        for node, point in ((branch.start, branch.points[0]), (branch.end, branch.points[-1])):
            if node in vessel.map.ends:
                axes.text(*(point * 1e3), node, fontsize=8, color="tab:blue")
    axes.set(title=title, xlabel="x (mm)", ylabel="y (mm)", zlabel="z (mm)", aspect="equal")
    axes.view_init(elev=60, azim=-90)
    try:
        save_figure(figure, path)
    except OSError as error:
        raise UserError(f"--out {path}: cannot write there ({error.strerror})") from error
