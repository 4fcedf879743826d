"""Phantom files from a wall that came from elsewhere: YAML, mesh and centrelines beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, arclength
from mmdtwin.sim.phantoms.build import vessel_of
from mmdtwin.sim.phantoms.centreline import traced
from mmdtwin.sim.phantoms.centreline_file import write_centrelines
from mmdtwin.sim.phantoms.curve import Tree, evenly
from mmdtwin.sim.phantoms.surface import Surface
from mmdtwin.sim.phantoms.vessel import Vessel
from mmdtwin.sim.phantoms.voxelised import SplitWall, voxelised

CAP_STEP = 0.05e-3  # m between the points of a centreline where its cap is looked for
# Of room per way, over a quarter of a radius: more is a cap's. Labels of voxels are rough.
CAP_FALL, ROUGH_CAP_FALL = 0.2, 0.5
SLENDER = 2.0  # length over width of a vessel, at least
TRACED_NODES = 2e5  # inside a lumen, at most, where centrelines are looked for
FLOW = {  # assumed, as in the shipped phantoms: slow perfusion of a bench phantom with blood
    "inlet": "inlet",
    "mean_speed": 5.0e-3,  # m/s
    "viscosity": 4.0e-3,  # Pa s
    "density": 1060.0,  # kg/m3
}


def vessel_of_wall(surface: Surface, voxel: float, rough: bool = False) -> Vessel:
    """Return the vessel inside a closed wall, with centrelines that are found from it.

    `rough` is a wall made of labelled voxels, whose centrelines are cut back less before its caps.

    Raises
    ------
    UserError
        If the lumen has no two ends, is no vessel, or the grid would be too large.
    """
    coarse = (surface.volume / TRACED_NODES) ** (1 / 3)
    field, wall = voxelised(surface, max(voxel, coarse))
    tree = _clear_of_caps(traced(field), wall, ROUGH_CAP_FALL if rough else CAP_FALL)
    _check_slender(tree, wall)
    return vessel_of(tree, surface, voxel)


def _clear_of_caps(tree: Tree, wall: SplitWall, fall: float) -> Tree:
    """End centrelines, found on voxels, where a cap begins to take away exact room."""
    curves = {}
    for name, nodes in tree.nodes.items():
        line = tree.curves[name]
        for node, turn in zip(nodes, (-1, 1), strict=True):
            if node in tree.ends:
                line = _clear_of_cap(line[::turn], wall, fall)[::turn]
        curves[name] = line
    return replace(tree, curves=curves)


def _clear_of_cap(line: Array, wall: SplitWall, fall: float) -> Array:
    """The part of a line before the cap at its end, at most a radius shorter."""
    even = evenly(line, CAP_STEP)
    room = wall.distance(even)[::-1]
    radius = max(1, int(np.median(room) / CAP_STEP))
    window = max(1, radius // 4)
    rise = room[window:] - room[:-window]
    falls = rise[:radius] > fall * window * CAP_STEP
    cut = int(np.argmin(np.append(falls, False)))
    return even[: len(even) - cut]


def _check_slender(tree: Tree, wall: SplitWall) -> None:
    """Refuse a lumen whose longest way, its caps included, is less than two of its diameters."""
    ways = {"inlet": 0.0}
    for name, (start, end) in tree.nodes.items():  # away from the inlet
        ways[end] = ways[start] + float(arclength(tree.curves[name])[-1])
    width = 2 * float(np.median(wall.distance(np.concatenate(list(tree.curves.values())))))
    length = max(ways.values()) + width
    if length < SLENDER * width:
        raise UserError(
            f"the lumen is {1e3 * length:.1f} mm long and {1e3 * width:.1f} mm wide; a vessel is "
            f"at least {SLENDER:.0f} times as long as wide"
        )


def files(path: Path) -> tuple[Path, Path, Path]:
    """Return what is written for a phantom: YAML, wall (.obj, mm) and centrelines (.csv, m)."""
    return path, path.with_suffix(".obj"), path.with_suffix(".csv")


@contextmanager
def written(path: Path, vessel: Vessel, source: str) -> Iterator[Path]:
    """Write a phantom's `files`; yield its YAML file in a folder to check, then move all there."""
    with TemporaryDirectory(prefix=".part-", dir=path.parent) as folder:
        parts = files(Path(folder) / path.name)
        config, mesh, table = parts
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
        config.write_text(yaml.safe_dump(data, sort_keys=False))
        yield config
        for part, final in reversed(list(zip(parts, files(path), strict=True))):
            part.replace(final)
