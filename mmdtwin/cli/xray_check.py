"""`mmdtwin xray check`: the checks of the X-ray physics, as a table and as plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdtwin.cli.figures import save_figure
from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from mmdtwin.synth.xray.checks import Check


def check(
    areas: Annotated[
        list[str] | None, typer.Argument(help="Areas to check; all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of noise and cases.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the plots.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
) -> None:
    """Check the X-ray physics against closed forms and tables. Exit code 0: all hold, 1: not."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from mmdtwin.files import writable_dir, writable_file, write_json
    from mmdtwin.synth.xray.checks import run_checks

    known = all_areas()
    for area in areas or ():
        if area not in known:
            raise UserError(f"area '{area}': unknown; allowed: {', '.join(known)}")
    chosen = {area: known[area] for area in areas or known}
    if out is not None:
        writable_dir(out, "--out")
    if json is not None:
        writable_file(json, "--json")

    console = Console()
    table = Table("area", "claim", "result", "accepted", "holds")
    rows: list[dict[str, Any]] = []
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("checking", total=None)
        for area, found in run_checks(chosen, seed):
            progress.update(task, description=f"{area}: {found.claim}")
            table.add_row(area, found.claim, found.result, found.acceptance, verdict(found))
            row = {"area": area, "skipped": found.skipped, "holds": bool(found.holds)}
            texts = ("claim", "parameters", "reference", "acceptance", "result", "limits")
            rows.append(row | {name: getattr(found, name) for name in texts})
            if out is not None and found.draw is not None:
                _draw(out / f"{area}-{len(rows):02d}.png", found)
    console.print(table)
    passed = all(row["holds"] for row in rows if not row["skipped"])
    if json is not None:
        write_json(json, {"seed": seed, "passed": passed, "checks": rows})
    raise typer.Exit(0 if passed else 1)


def all_areas() -> dict[str, str]:
    """Return the modules of all areas by name: those of the images, and the calibration's."""
    from mmdtwin.synth.xray.checks import AREAS

    return AREAS | {"calibration": "mmdtwin.hardware.twin.calibration_check"}


def verdict(found: Check) -> str:
    """Return whether a check holds, or why it could not be run."""
    if found.skipped:
        return f"skipped: {found.skipped}"
    return "yes" if found.holds else "NO"


def _draw(path: Path, found: Check) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    assert found.draw is not None
    found.draw(axes)
    axes.set_title(found.claim, fontsize=9)
    save_figure(figure, path, dpi=100)
