"""`mmdtwin field calibrate` and `mmdtwin field import`: coils as measured."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from mmdtwin.geometry import Array
    from mmdtwin.sim.magnetics.calibration.calibration import Calibration
    from mmdtwin.sim.magnetics.calibration.mpem import Imported

RAD_TO_DEG = 180 / math.pi
PLAUSIBLE_GAIN = (0.5, 2.0)  # over the drawing; beyond it, wiring is likelier than winding


class Model(StrEnum):
    """What `calibrate` may change of the coils."""

    harmonics = "harmonics"
    parametric = "parametric"


def calibrate(
    samples: Annotated[Path, typer.Argument(help="CSV: x,y,z (m), i1..in (A), bx,by,bz (T).")],
    coils: Annotated[
        str | None, typer.Option(help="Coil system to start from: name in configs/coils or YAML.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Calibration to write; plots go to .png beside.")
    ] = Path("calibration.yaml"),
    model: Annotated[
        Model, typer.Option(help="parametric: coils lie as drawn, gains and saturation are fitted.")
    ] = Model.harmonics,
    fiducials: Annotated[
        Path | None,
        typer.Option(help="CSV: x,y,z of the sensor's stage and x_coils,y_coils,z_coils (m)."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Of the cross-validation.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Fit coils to measured fields, robustly, and write a calibration that replaces the drawing."""
    from rich.console import Console

    from mmdtwin.config.base import load
    from mmdtwin.config.coils import CoilsConfig
    from mmdtwin.files import write_json
    from mmdtwin.sim.magnetics.calibration.calibrate import calibrate as fit
    from mmdtwin.sim.magnetics.calibration.registration import read_fiducials
    from mmdtwin.sim.magnetics.calibration.report import calibration_of, plot
    from mmdtwin.sim.magnetics.calibration.samples import read_samples

    _check_yaml(out, json)
    config = load(CoilsConfig, "coils", coils) if coils is not None else None
    rows = read_samples(samples, len(config.coils) if config is not None else None)
    registration = read_fiducials(fiducials) if fiducials is not None else None
    if registration is not None:
        rows = rows.moved(registration.T_coils_stage)
    fitted = fit(rows, config, rigid=model is Model.parametric, folds=folds)
    calibration = calibration_of(fitted, coils, registration)
    calibration.save(out)
    picture = out.with_suffix(".png")
    plot(fitted, picture)
    console = Console()
    figures = calibration.record.figures
    for table in (_figures_table(figures), _coils_table(figures)):
        console.print(table)
    typer.echo(_worst(figures))
    for line in _suspects(figures):
        typer.echo(line)
    typer.echo(f"wrote {calibration.id} to {out}, workspace {_radius(calibration)}, and {picture}")
    if json is not None:
        write_json(json, _head(calibration) | figures)


def import_mpem(
    file: Annotated[Path, typer.Argument(help="MPEM calibration (YAML) as ETH's programs write.")],
    nodes: Annotated[
        Path | None,
        typer.Option(help="CSV: coil,x,y,z (m),bx,by,bz (T/A); their box is then the workspace."),
    ] = None,
    coils: Annotated[
        str | None, typer.Option(help="Coil system that it must match in number of coils.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Calibration to write.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Read a multipole calibration of all orders, and check it against measured nodes."""
    from mmdtwin.config.base import load
    from mmdtwin.config.coils import CoilsConfig
    from mmdtwin.files import write_json
    from mmdtwin.sim.magnetics.calibration.calibration import Calibration
    from mmdtwin.sim.magnetics.calibration.mpem import errors_at, read_mpem, read_nodes
    from mmdtwin.sim.magnetics.calibration.reading import sha256_of
    from mmdtwin.sim.magnetics.calibration.records import DataRecord, MultipoleRecord

    if out is not None or json is not None:
        _check_yaml(out, json)
    grid = read_nodes(nodes) if nodes is not None else None
    imported = read_mpem(file, grid.box if grid is not None else None)
    data = DataRecord(file=file.name, sha256=sha256_of(file), coils=coils)
    calibration = Calibration.new(MultipoleRecord.of(imported.model), data)
    if coils is not None:
        calibration.check_matches(len(load(CoilsConfig, "coils", coils).coils))
    errors = errors_at(imported.model, grid) if grid is not None else None
    for line in _describe(imported, errors):
        typer.echo(line)
    if out is not None:
        calibration.save(out)
        typer.echo(f"wrote {calibration.id} to {out}")
    if json is not None:
        write_json(
            json,
            _head(calibration)
            | {
                "name": imported.name,
                "region": str(imported.model.region),
                "coils": calibration.n_coils,
                "nearest_source": imported.nearest[0],
                "node_errors": None if errors is None else errors.tolist(),
            },
        )


def _check_yaml(out: Path | None, json: Path | None) -> None:
    from mmdtwin.files import writable_file

    if out is not None:
        if out.suffix not in (".yaml", ".yml"):
            raise UserError(f"--out {out}: a calibration is YAML; use a name ending in .yaml")
        writable_file(out, "--out")
        writable_file(out.with_suffix(".png"), "--out")  # the plots
    if json is not None:
        writable_file(json, "--json")


def _head(calibration: Calibration) -> dict[str, Any]:
    return {
        "id": calibration.id,
        "date": calibration.record.date,
        "sha256": calibration.record.data.sha256,
        "workspace_radius": calibration.model.workspace_radius,
    }


def _radius(calibration: Calibration) -> str:
    return f"{calibration.model.workspace_radius * 1e3:.1f} mm about the origin"


def _figures_table(figures: dict[str, Any]) -> Any:
    from rich.table import Table

    def field(value: float | None) -> str:
        return "-" if value is None else f"{value * 1e3:.3f} mT"

    sensor = figures["sensor"]
    position = sensor["position_offset"]
    table = Table("figure", "value", "note")
    table.add_row("model", figures["model"], f"degree {figures['degree']}")
    table.add_row(
        "samples", str(figures["samples"]), f"{len(figures['outliers'])} of them outliers"
    )
    table.add_row(
        "RMSE held out",
        field(figures["rmse_held_out"]),
        f"vector, outliers left out; a component {field(figures['rmse_held_out_component'])}",
    )
    table.add_row("RMSE held out, all", field(figures["rmse_held_out_all"]), "outliers too")
    table.add_row("RMSE of the fit", field(figures["rmse_fit"]), "outliers left out")
    table.add_row("RMSE as drawn", field(figures["rmse_nominal"]), "nominal model, unfitted")
    table.add_row("R2 held out", f"{figures['r2_held_out']:.6f}", "outliers left out")
    table.add_row("noise", field(figures["noise_component"]), "of a component, robust")
    table.add_row("condition number", f"{figures['condition_number']:.2f}", "coils told apart: 1")
    table.add_row("sensor rotation", *_with_error(sensor, "rotation", RAD_TO_DEG, "deg"))
    table.add_row("sensor offset", *_with_error(sensor, "offset", 1e3, "mT"))
    if position["value"] is None:
        table.add_row("position offset", "-", position["from"])
    else:
        value, error = _with_error(
            position | {"value_error": position["error"]}, "value", 1e3, "mm"
        )
        table.add_row("position offset", value, f"{error}, from {position['from']}")
    if figures["registration"] is not None:
        for row in _registration_rows(figures["registration"]):
            table.add_row(*row)
    return table


def _registration_rows(placed: dict[str, Any]) -> list[tuple[str, str, str]]:
    fiducials = f"{placed['fiducials']} fiducials, rms {placed['rms'] * 1e3:.3f} mm"
    if placed["origin_error"] is None:
        origin = ", ".join(f"{x * 1e3:.3f}" for x in placed["origin"])
        unknown = "error unknown: three tell nothing across their plane"
        return [("stage's origin", f"{origin} mm", f"{fiducials}; {unknown}")]
    origin, error = _with_error(placed, "origin", 1e3, "mm")
    samples = f"+- {placed['samples_error'] * 1e3:.3f} mm"
    return [
        ("stage's origin", origin, f"{error}, from {fiducials}"),
        ("samples' places", samples, "error of the registration there, rms length"),
    ]


def _with_error(values: dict[str, Any], key: str, factor: float, unit: str) -> tuple[str, str]:
    shown = ", ".join(f"{x * factor:.3f}" for x in values[key])
    errors = ", ".join(f"{x * factor:.3f}" for x in values[f"{key}_error"])
    return f"{shown} {unit}", f"+- {errors}"


def _coils_table(figures: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table("coil", "gain over the drawing", "core", "knee", "share that saturates")
    for row in figures["saturation"]:
        gain = "-" if row["gain"] is None else f"{row['gain']:.3f}"
        knee = "-" if row["knee"] is None else f"{row['knee']:.2f} A"
        table.add_row(str(row["coil"]), gain, row["law"], knee, f"{row['share']:.2f}")
    return table


def _suspects(figures: dict[str, Any]) -> list[str]:
    return [
        f"coil {row['coil']}: gain {row['gain']:.2f} of the drawing; check its sign, its number and"
        " its turns before using this calibration"
        for row in figures["saturation"]
        if row["gain"] is not None and not PLAUSIBLE_GAIN[0] <= row["gain"] <= PLAUSIBLE_GAIN[1]
    ]


def _worst(figures: dict[str, Any]) -> str:
    rows = (
        f"{row['row']} ({row['residual'] * 1e3:.2f} mT{', outlier' if row['outlier'] else ''})"
        for row in figures["worst"]
    )
    return "worst rows: " + ", ".join(rows)


def _describe(imported: Imported, errors: Array | None) -> list[str]:
    import numpy as np

    model = imported.model
    distance, source = imported.nearest
    orders = max(coil.growing.shape[1] for coil in model.coils)
    lines = [
        f"system      {imported.name}, {model.n_coils} coils,"
        f" {sum(len(coil.position) for coil in model.coils)} sources, orders up to {orders}",
        f"nearest     {source}, {distance * 1e3:.2f} mm from the middle of the region",
        f"region      {model.region}; outside, points are refused",
    ]
    field, gradient = model.units(model.region.centre[None])
    lines += [
        f"{name:<11} {np.linalg.norm(field[0, k]) * 1e3:.4f} mT/A,"
        f" {np.linalg.norm(gradient[0, k], 2) * 1e3:.3f} mT/(m A) in the middle"
        + ("" if errors is None else f"; nodes reproduced to {errors[k]:.1e} T")
        for k, name in enumerate(imported.coil_names)
    ]
    if imported.background is not None:
        lines.append(
            "offset      a field at zero current is in the file; it is no part of the coils"
        )
    return lines
