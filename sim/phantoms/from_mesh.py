"""Phantoms whose wall is a mesh from a file and whose centrelines are a table beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmdtwin.config.phantom import MeshConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.centreline_file import read_centrelines
from mmdtwin.sim.phantoms.curve import Tree
from mmdtwin.sim.phantoms.surface import Surface
from mmdtwin.sim.phantoms.wall_file import UNITS, read_wall

OUTSIDE = 0.05  # share of a branch's points outside the wall that a table of it may have


def load(config: MeshConfig) -> tuple[Tree, Surface]:
    """Return the centrelines and the wall of a configuration.

    Raises
    ------
    UserError
        If a file cannot be used, or the table and the configuration name different branches.
    """
    surface = read_wall(Path(config.wall), config.units)
    path = Path(config.centreline)
    table = read_centrelines(path)
    curves = {name: values[:, :3] for name, values in table.items()}
    if set(curves) != set(config.branches):
        raise UserError(
            f"{path}: has the branches {', '.join(curves)}, but vessel.branches names "
            f"{', '.join(config.branches)}"
        )
    _check_joined(path, table, config.branches)
    box = np.array([surface.vertices.min(axis=0), surface.vertices.max(axis=0)])
    for name, line in curves.items():
        outside = np.any((line < box[0]) | (line > box[1]), axis=1)
        if outside.mean() > OUTSIDE:
            raise UserError(
                f"{path}: branch '{name}' lies outside the wall of {config.wall}; the table is in "
                f"m (vessel.units: {config.units} is {UNITS[config.units]:g} m)"
            )
    return Tree(curves, dict(config.branches), config.ends), surface


def _check_joined(path: Path, table: dict[str, Array], nodes: dict[str, tuple[str, str]]) -> None:
    """Refuse branches whose ends at a shared node lie farther apart than the radius there."""
    met: dict[str, Array] = {}
    for name, pair in nodes.items():
        for node, end in zip(pair, table[name][[0, -1]], strict=True):
            first = met.setdefault(node, end)
            gap = float(np.linalg.norm(end[:3] - first[:3]))
            if gap > max(end[3], first[3]):
                raise UserError(
                    f"{path}: branch '{name}' is {gap * 1e3:.1f} mm from the others at '{node}'; "
                    "branches that share a node must meet there within its radius"
                )
