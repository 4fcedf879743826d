"""Phantom files from a wall that came from elsewhere: YAML, mesh and centrelines beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.sim.phantoms.build import vessel_of
from mmdtwin.sim.phantoms.centreline import traced
from mmdtwin.sim.phantoms.centreline_file import write_centrelines
from mmdtwin.sim.phantoms.surface import Surface
from mmdtwin.sim.phantoms.vessel import Vessel
from mmdtwin.sim.phantoms.voxelised import voxelised

TRACED_NODES = 2e5  # inside a lumen, at most, where centrelines are looked for
FLOW = {  # assumed, as in the shipped phantoms: slow perfusion of a bench phantom with blood
    "inlet": "inlet",
    "mean_speed": 5.0e-3,  # m/s
    "viscosity": 4.0e-3,  # Pa s
    "density": 1060.0,  # kg/m3
}


def vessel_of_wall(surface: Surface, voxel: float) -> Vessel:
    """Return the vessel inside a closed wall, with centrelines that are found from it.

    Raises
    ------
    UserError
        If the lumen has no two ends, or the grid would be too large.
    """
    coarse = (surface.volume / TRACED_NODES) ** (1 / 3)
    tree = traced(voxelised(surface, max(voxel, coarse))[0])
    return vessel_of(tree, surface, voxel)


def write_phantom(path: Path, vessel: Vessel, source: str) -> None:
    """Write a phantom's YAML file, and its wall (.obj, mm) and centrelines (.csv, m) beside it.

    Raises
    ------
    UserError
        If the name does not end in .yaml.
    """
    if path.suffix != ".yaml":
        raise UserError(f"--out {path}: a phantom is a YAML file; use a name ending in .yaml")
    mesh, table = path.with_suffix(".obj"), path.with_suffix(".csv")
    vessel.surface.write(mesh, scale=1e3)
    write_centrelines(table, vessel.map)
    data: dict[str, Any] = {
        "vessel": {
            "kind": "mesh",
            "source": source,
            "wall": mesh.name,
            "units": "mm",
            "centreline": table.name,
            "branches": {n: [b.start, b.end] for n, b in vessel.map.branches.items()},
            "voxel": vessel.distance.voxel,
        },
        "flow": FLOW,
    }
    with replacing(path) as part:
        part.write_text(yaml.safe_dump(data, sort_keys=False))
