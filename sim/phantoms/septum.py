"""Walls between vessels that the labels of a CT have fused.

At 2.5 mm between slices, arteries that leave the aorta side by side share voxels. The lumen is
parted half-way between two centrelines from where the tubes about them no longer overlap.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.curve import Tree
from mmdtwin.sim.phantoms.grid import Grid

THICKNESS = 0.6e-3  # m: two voxels, so that the wall is closed on the grid

REACH = 2e-3  # m outside both vessels' inscribed tubes, within which they may be fused


def parted(field: Grid, tree: Tree) -> Grid:
    """Return the field with walls between vessels that do not follow from one another."""
    nodes = np.nonzero(field.values > -field.voxel)
    points = field.nodes(nodes)
    radius = {name: np.maximum(field.at(line), field.voxel) for name, line in tree.curves.items()}
    values = field.values.copy()
    wall = values[nodes]
    gaps = {name: _outside(points, tree.curves[name], radius[name]) for name in tree.curves}
    for a, b in combinations(tree.curves, 2):
        if a in _upstream(b, tree) or b in _upstream(a, tree):
            continue
        near = np.flatnonzero(np.maximum(gaps[a], gaps[b]) < REACH)
        wall[near] = np.minimum(wall[near], _halfway(a, b, points[near], tree, radius))
    values[nodes] = wall
    return replace(field, values=values)


def _halfway(a: str, b: str, points: Array, tree: Tree, radius: dict[str, Array]) -> Array:
    """Distance (n,) m of points from the wall between two vessels; inf where there is none."""
    free = {name: np.zeros(len(line), bool) for name, line in tree.curves.items()}
    free[a] = _apart(tree.curves[a], radius[a], tree.curves[b], radius[b])
    free[b] = _apart(tree.curves[b], radius[b], tree.curves[a], radius[a])
    if len(points) == 0 or not (free[a].any() and free[b].any()):
        return np.full(len(points), np.inf)
    gap_a, gap_b = (
        _outside(points, tree.curves[name][free[name]], radius[name][free[name]]) for name in (a, b)
    )
    others = _outside(
        points,
        np.concatenate([line[~free[name]] for name, line in tree.curves.items()]),
        np.concatenate([radius[name][~free[name]] for name in tree.curves]),
    )
    # The wall ends gradually where another vessel is nearer; cut off, it leaks between voxels.
    beyond = np.maximum(gap_a, gap_b) - others
    return np.maximum(np.abs(gap_a - gap_b) / 2 - THICKNESS / 2, beyond)


def _upstream(name: str, tree: Tree) -> set[str]:
    """Branches that lead to a branch."""
    start = tree.nodes[name][0]
    parents = {n for n, (_, end) in tree.nodes.items() if end == start}
    return parents.union(*(_upstream(parent, tree) for parent in parents))


def _apart(line: Array, radius: Array, other: Array, other_radius: Array) -> NDArray[np.bool_]:
    """Where a vessel, followed from its start, no longer overlaps the tube of another."""
    distance, index = cKDTree(other).query(line)
    apart = distance > radius + other_radius[index]
    return np.maximum.accumulate(apart)


def _outside(points: Array, line: Array, radius: Array) -> Array:
    """Distance (n,) m of points outside the ball about the nearest point of a line."""
    distance, index = cKDTree(line).query(points)
    return distance - radius[index]
