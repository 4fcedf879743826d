"""The commands of `mmdtwin`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmdtwin import __version__
from mmdtwin.cli import evaluate, field, phantom, synth, train, xray
from mmdtwin.errors import UserError

app = typer.Typer(
    help="Digital twin of miniature magnetic devices steered through vessels under X-ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(field.app, name="field", help="Coil systems and their fields.")
app.add_typer(phantom.app, name="phantom", help="Vessels.")
app.add_typer(xray.app, name="xray", help="X-ray images.")
app.add_typer(synth.app, name="synth", help="Synthetic images.")
app.add_typer(train.app, name="train", help="Train models.")
app.add_typer(evaluate.app, name="eval", help="Measure models.")


class Kind(StrEnum):
    """Kinds of presets."""

    coils = "coils"
    magnets = "magnets"
    arms = "arms"
    devices = "devices"
    phantoms = "phantoms"
    patients = "patients"
    imagers = "imagers"
    instruments = "instruments"
    scenarios = "scenarios"
    rigs = "rigs"


class ControllerName(StrEnum):
    """Controllers that `navigate` can run."""

    follow = "follow"
    nothing = "nothing"
    random = "random"


def _version(show: bool) -> None:
    if show:
        typer.echo(f"mmdtwin {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


@app.command()
def navigate(
    scenario: Annotated[
        str, typer.Argument(help="Name in configs/scenarios, or a YAML file.")
    ] = "soft-sheet-bifurcation",
    rig: Annotated[str | None, typer.Option(help="Rig preset or YAML file.")] = None,
    device: Annotated[str | None, typer.Option(help="Another device, by name or file.")] = None,
    phantom: Annotated[str | None, typer.Option(help="Another phantom, by name or file.")] = None,
    patient: Annotated[str | None, typer.Option(help="Another patient, by name or file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random stream.")] = 0,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Measure: run N episodes with random start, target and view."),
    ] = None,
    controller: Annotated[ControllerName, typer.Option(help="Who steers.")] = ControllerName.follow,
    baselines: Annotated[
        bool, typer.Option(help="With --episodes: also run doing nothing and random currents.")
    ] = True,
    jobs: Annotated[
        int, typer.Option(min=0, help="Worker processes for --episodes; 0: one per core.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the results of one run.")] = Path(
        "runs/navigate"
    ),
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the report(s) there.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override: key.key=value.")
    ] = None,
) -> None:
    """Fly the device to a target, steered by its X-ray image alone."""
    from mmdtwin.cli.navigation.command import Request, run_episodes, run_once
    from mmdtwin.config import load_scenario

    resolved = load_scenario(
        scenario, tuple(assignments or ()), rig=rig, device=device, phantom=phantom, patient=patient
    )
    if resolved.coils is None:
        raise UserError(
            f"navigate: {scenario} has a magnet on an arm, and the controllers that there are steer"
            " by currents of coils; name a scenario with coils"
        )
    if episodes is None:
        request = Request(resolved, controller.value, seed)
        ok = run_once(request, name=Path(scenario).stem, out=out, json_path=json_path)
    else:
        names = ["follow", "nothing", "random"] if baselines else [controller.value]
        ok = run_episodes(resolved, names, seed, episodes, jobs, json_path)
    raise typer.Exit(0 if ok else 1)


@app.command("list")
def list_presets(
    kind: Annotated[Kind | None, typer.Argument(help="Only this kind.")] = None,
) -> None:
    """List the shipped presets."""
    from rich.console import Console
    from rich.table import Table

    from mmdtwin.config import names, read

    table = Table("kind", "name", "source or description")
    for k in [kind] if kind else list(Kind):
        for name in names(k.value):
            data, _ = read(k.value, name)
            about = data.get("description") or data.get("source")
            if not about and isinstance(data.get("vessel"), dict):
                about = data["vessel"].get("source")
            table.add_row(k.value, name, str(about or ""))
    Console().print(table)


@app.command()
def doctor() -> None:
    """Say what this machine has and lacks."""
    from mmdtwin.cli.doctor import report

    raise typer.Exit(0 if report() else 1)
