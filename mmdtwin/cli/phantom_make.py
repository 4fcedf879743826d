"""`mmdtwin phantom make`: a phantom's files for a printer, a planner and a scenario."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmdtwin.errors import UserError
from mmdtwin.files import making

if TYPE_CHECKING:
    from mmdtwin.config import PhantomConfig


class ConnectorKind(StrEnum):
    """What is put on the open ends of a printed wall."""

    none = "none"
    cylinder = "cylinder"
    barbed = "barbed"


def make(
    phantom: Annotated[
        str, typer.Argument(help="Name in configs/phantoms, or a YAML file.")
    ] = "random-tree",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of a random tree, instead of its own.")
    ] = None,
    wall: Annotated[
        float, typer.Option(min=0.3e-3, max=20e-3, help="m, thickness of the printed wall.")
    ] = 1.5e-3,
    connector: Annotated[
        ConnectorKind, typer.Option(help="On the open ends of the print.")
    ] = ConnectorKind.none,
    connector_radius: Annotated[
        float | None, typer.Option(help="m, outer; by default that of the wall.")
    ] = None,
    connector_length: Annotated[
        float | None, typer.Option(min=1e-3, max=0.1, help="m; 10 mm by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("runs/phantom"),
) -> None:
    """Build a phantom and write what others need of it.

    lumen.stl is the wall that devices touch, print.stl the solid to print, both in mm;
    centreline.csv holds branch, s, x, y, z, radius in m; phantom.yaml, of a random tree, can be
    named by scenarios.
    """
    from mmdtwin.config import PhantomConfig as Model
    from mmdtwin.config import load
    from mmdtwin.sim.phantoms import build_vessel
    from mmdtwin.sim.phantoms.centreline_file import write_centrelines
    from mmdtwin.sim.phantoms.printing import Connector, check_radius, printable

    if connector is ConnectorKind.none:
        for option, value in (("radius", connector_radius), ("length", connector_length)):
            if value is not None:
                raise UserError(f"--connector-{option}: needs --connector cylinder or barbed")
    check_radius(connector_radius, "--connector-radius")
    config = _seeded(load(Model, "phantoms", phantom), seed, phantom)
    try:
        vessel = build_vessel(config)
    except UserError as error:
        raise UserError(f"{phantom}: {error}") from error
    pipe = None
    if connector is not ConnectorKind.none:
        barbed = connector is ConnectorKind.barbed
        pipe = Connector(barbed, connector_radius, connector_length or Connector.length)
    with making(out):
        typer.echo("making the print; thick walls and fine ones take a minute", err=True)
        try:
            solid = printable(vessel, wall, pipe)
        except UserError as error:
            raise UserError(f"--wall {wall:g}: {error}") from error
        written = ["lumen.stl", "print.stl", "centreline.csv"]
        vessel.write_obj(out / "lumen.stl", scale=1e3)
        solid.write(out / "print.stl", scale=1e3)
        write_centrelines(out / "centreline.csv", vessel.map)
        if config.vessel.kind == "random":
            _write_yaml(out / "phantom.yaml", config)
            written.append("phantom.yaml")
    typer.echo(f"minimum lumen  {vessel.minimum_lumen * 1e3:.2f} mm")
    typer.echo(
        f"print          {solid.volume * 1e9:.0f} mm3, {len(solid.faces)} triangles, "
        f"watertight: {'yes' if solid.watertight else 'NO'}"
    )
    typer.echo(f"wrote {', '.join(written)} to {out}")


def _seeded(config: PhantomConfig, seed: int | None, name: str) -> PhantomConfig:
    if seed is None:
        return config
    if config.vessel.kind != "random":
        raise UserError(f"--seed: {name} is no random tree; vessel.kind is {config.vessel.kind}")
    vessel = config.vessel.model_copy(update={"seed": seed})
    return config.model_copy(update={"vessel": vessel})


def _write_yaml(path: Path, config: PhantomConfig) -> None:
    """Write a random tree as the procedural phantom that it is."""
    import yaml

    from mmdtwin.config.phantom import RandomTreeConfig
    from mmdtwin.files import replacing
    from mmdtwin.sim.phantoms.random_tree import random_tree

    assert isinstance(config.vessel, RandomTreeConfig)
    drawn = config.model_copy(update={"vessel": random_tree(config.vessel)})
    data = drawn.model_dump(mode="json", exclude_defaults=True)
    with replacing(path) as part:
        part.write_text(yaml.safe_dump(data, sort_keys=False))
