"""`mmdtwin field map`: pictures of a field, of what coils can do, and of the set-up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from mmdtwin.cli.field_pictures import (
    Slice,
    draw_capability,
    draw_field,
    draw_setup,
    evaluated,
    write_interactive,
)
from mmdtwin.cli.figures import save_figure
from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from mmdtwin.field import FieldModel
    from mmdtwin.geometry import Array
    from mmdtwin.sim.magnetics import CoilSystem

FIELD = "0,0,0.01"  # T
POSE = "0,0,0.08,0,0,0"  # m and rad
MOMENT = 6.4e-5  # A m2, of the soft sheet
TAKES = {  # options that do something
    "coil system": ("--currents", "--field", "--moment", "--beyond", "--interactive"),
    "magnet": ("--pose", "--interactive"),
    "calibration": ("--currents", "--field"),
}
MISSED = 0.01  # of a field: more is said
NOTHING = 0.99  # of a field: a miss as large is no field at all


def draw(
    system: Annotated[
        str, typer.Argument(help="Coil system, magnet or calibration: a name or a YAML file.")
    ] = "octomag-like",
    currents: Annotated[
        str | None, typer.Option(help="A, one per coil: 5,0,0,0,0,0,0,0. By default --field.")
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(help=f"T to make with the coils at --at: x,y,z. By default {FIELD}."),
    ] = None,
    pose: Annotated[
        str | None,
        typer.Option(
            help=f"Of a magnet: x,y,z in m, then rotation vector in rad. By default {POSE}."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Centre of the slices: x,y,z in m. By default that of the workspace."),
    ] = None,
    radius: Annotated[
        float | None, typer.Option(min=1e-4, help="Half side of the slices, m.")
    ] = None,
    moment: Annotated[
        float | None,
        typer.Option(
            min=1e-12, help=f"Of the device, A m2, for the forces. By default {MOMENT:g}."
        ),
    ] = None,
    beyond: Annotated[
        bool, typer.Option(help="Draw coils' fields outside the workspace too (slow).")
    ] = False,
    interactive: Annotated[
        bool, typer.Option(help="Also write the 3-D view as a page for the browser.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("runs/field"),
) -> None:
    """Draw slices of the field, what the coils can do, and the set-up in 3-D."""
    from mmdtwin.files import making
    from mmdtwin.sim.magnetics import CoilSystem
    from mmdtwin.sim.magnetics.load import load_field

    model = load_field(system, "magpylib" if beyond else "refuse")
    options = {
        "--currents": currents is not None,
        "--field": field is not None,
        "--pose": pose is not None,
        "--moment": moment is not None,
        "--beyond": beyond,
        "--interactive": interactive,
    }
    _refuse_unused(model, system, [option for option, given in options.items() if given])
    middle, reach = view(model)
    centre = middle if at is None else numbers("--at", at, 3)
    wanted = numbers("--field", FIELD if field is None else field, 3)
    if model.saturation is None:
        pose = POSE if pose is None else pose
        inputs, about = numbers("--pose", pose, 6), f"pose {pose}"
    elif currents is not None:
        inputs, about = numbers("--currents", currents, model.n_inputs), f"currents {currents} A"
        _warn_of_limits(model, inputs)
    else:
        inputs, about = _for_field(model, centre, wanted)
    slices = [Slice(plane, centre, radius or reach) for plane in range(3)]
    values = [evaluated(model.at(inputs), s.points, ((3,), (3, 3))) for s in slices]
    if not any(np.isfinite(field).any() for field, _ in values):
        raise UserError(
            f"--at {','.join(f'{x:g}' for x in centre)}: no point of the slices is where the field"
            f" is known, {_known(model)}"
        )
    name = Path(system).stem
    pictures = {"field.png": draw_field(slices, values, f"{name}: {about}")}
    if model.saturation is not None:
        cases = {}
        if isinstance(model, CoilSystem):  # others know no limits
            cases = _force_cases(model, centre, moment or MOMENT, float(np.linalg.norm(wanted)))
        pictures["capability.png"] = draw_capability(model, middle, reach, cases)
    objects = model.to_magpylib(inputs) if hasattr(model, "to_magpylib") else None
    if objects is not None:
        pictures["setup.png"] = draw_setup(objects, name)
    with making(out):
        for file, figure in pictures.items():
            save_figure(figure, out / file)
        if interactive:
            write_interactive(objects, out / "setup.html")
    files = [*pictures, *(["setup.html"] if interactive else [])]
    typer.echo("wrote " + ", ".join(str(out / file) for file in files))


def kind_of(model: FieldModel) -> str:
    """Return what a model is of: "coil system" (as drawn), "magnet" or "calibration"."""
    from mmdtwin.sim.magnetics import CoilSystem

    if model.saturation is None:
        return "magnet"
    return "coil system" if isinstance(model, CoilSystem) else "calibration"


def view(model: FieldModel) -> tuple[Array, float]:
    """Return the centre (3,) and the half side, m, of slices that show all of the workspace."""
    from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel

    if isinstance(model, MultipoleModel) and model.workspace_radius <= 0:  # origin outside
        region = model.region
        return region.centre, float(min(np.max(region.high - region.low) / 2, region.radius))
    return np.zeros(3), model.workspace_radius


def _known(model: FieldModel) -> str:
    from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel

    if isinstance(model, MultipoleModel):
        return str(model.region)
    outside = " and outside the magnet" if model.saturation is None else ""
    return f"within a radius of {model.workspace_radius * 1e3:g} mm about the origin{outside}"


def _refuse_unused(model: FieldModel, system: str, given: list[str]) -> None:
    kind = kind_of(model)
    allowed = [*TAKES[kind], "--at", "--radius", "--out"]
    if {"--currents", "--field"} <= set(given) and kind == "calibration":
        raise UserError("--field: does nothing beside --currents; give one of them")
    for option in given:
        if option not in allowed:
            raise UserError(
                f"{option}: {system} is a {kind}, for which it does nothing;"
                f" allowed are {', '.join(allowed)}"
            )


def numbers(option: str, text: str, n: int) -> Array:
    """Return n numbers of a comma-separated option.

    Raises
    ------
    UserError
        If there are not n finite ones.
    """
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        values = np.empty(0)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise UserError(f"{option} {text}: expected {n} finite numbers with commas between")
    return values


def _for_field(model: FieldModel, point: Array, field: Array) -> tuple[Array, str]:
    from mmdtwin.control import allocate
    from mmdtwin.sim.magnetics import CoilSystem

    limits = model.config.limits if isinstance(model, CoilSystem) else None
    made = allocate(model, point, field=field, limits=limits)
    asked, got = (f"{_listed(b * 1e3)} mT" for b in (field, made.field))
    size, miss = np.linalg.norm(field), np.linalg.norm(made.field - field)
    if miss > NOTHING * size > 0:
        raise UserError(f"--field: these coils make nothing of {asked} there; give --currents")
    if miss > MISSED * size:
        limit = f", limited by {', '.join(made.binding)}" if made.limited else ""
        typer.echo(f"asked for {asked}, made {got}{limit}")
    return made.inputs, f"{got} at {_listed(point * 1e3)} mm"


def _warn_of_limits(model: FieldModel, currents: Array) -> None:
    from mmdtwin.safety import scale_to_limits
    from mmdtwin.sim.magnetics import CoilSystem

    if isinstance(model, CoilSystem) and scale_to_limits(currents, model.config.limits) < 1.0:
        typer.echo("these currents are more than the coils' limits allow")


def _listed(values: Array) -> str:
    return f"[{', '.join(f'{x + 0.0:g}' for x in np.round(values, 2))}]"


def _force_cases(
    coils: CoilSystem, point: Array, moment: float, field: float
) -> dict[str, Callable[[], Array]]:
    """Return titles, and functions that give forces (k, 3) N on a moment (A m2) along x.

    Once with the field free and once with `field` T held along the moment.
    """
    from mmdtwin.control.capability import achievable_forces

    x = np.eye(3)[0]
    where = f"at {_listed(point * 1e3)} mm"
    about, limits = f"forces on {moment:.2g} A m2 along x {where}, ", coils.config.limits
    cases = {"field free": None, f"{field * 1e3:g} mT held along it": field * x}
    return {
        about + name: partial(achievable_forces, coils, point, moment * x, limits, held)
        for name, held in cases.items()
    }
