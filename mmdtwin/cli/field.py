"""`mmdtwin field`: coils, magnets and their fields."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmdtwin.cli import field_calibrate, field_map
from mmdtwin.errors import UserError

app = typer.Typer(no_args_is_help=True)
app.command("map")(field_map.draw)
app.command("calibrate")(field_calibrate.calibrate)
app.command("import")(field_calibrate.import_mpem)


@app.command()
def check(
    coils: Annotated[
        str, typer.Argument(help="Name in configs/coils, or a YAML file.")
    ] = "octomag-like",
    points: Annotated[int, typer.Option(min=100, help="Random points in the workspace.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the points.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Compare the fitted fields with Magpylib. Exit code 0: all within limits, 1: not."""
    from rich.console import Console
    from rich.table import Table

    from mmdtwin.files import writable_file, write_json
    from mmdtwin.sim.magnetics import CoilSystem
    from mmdtwin.sim.magnetics.check import check as measure
    from mmdtwin.sim.magnetics.load import load_field

    if json is not None:
        writable_file(json, "--json")
    system = load_field(coils)
    if not isinstance(system, CoilSystem):
        raise UserError(
            f"{coils}: is a {field_map.kind_of(system)}; check is for coils as drawn,"
            " a name in configs/coils or a YAML file of windings"
        )
    figures = measure(system, points, seed)
    passed = all(figure.passed for figure in figures)

    table = Table("figure", "measured", "limit", "pass")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:.2e}",
            f"{figure.limit:.0e}",
            "yes" if figure.passed else "NO",
        )
    console = Console()
    console.print(table)
    bound = system.error
    console.print(
        f"degree {system.degree}; errors in the workspace at most"
        f" {bound.field * 1e6:.2g} uT and {bound.gradient * 1e3:.2g} mT/m per ampere"
    )
    if json is not None:
        rows = [asdict(figure) | {"passed": figure.passed} for figure in figures]
        write_json(
            json,
            {
                "coils": coils,
                "points": points,
                "seed": seed,
                "workspace_radius": system.workspace_radius,
                "degree": system.degree,
                "bound": asdict(bound),
                "passed": passed,
                "figures": rows,
            },
        )
    raise typer.Exit(0 if passed else 1)
