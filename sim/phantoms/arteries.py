"""Centrelines of the arteries of the CT, by cheapest paths from the descending aorta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import Labels
from mmdtwin.sim.phantoms.curve import Tree, Voxel, last_shared, smoothed
from mmdtwin.sim.phantoms.grid import Grid

SOURCE = "descending-aorta"
LABEL_OF_END = {
    "left-subclavian": "subclavian_artery_left",
    "left-carotid": "common_carotid_artery_left",
    "right-subclavian": "subclavian_artery_right",
    "right-carotid": "common_carotid_artery_right",
}
ROOT = "aortic-root"  # where the ascending aorta leaves the heart; a phantom is closed before it
# Branches that lead to several ends; one that leads to a single end has the end's name.
SHARED = {
    frozenset(LABEL_OF_END): "aorta",
    frozenset(LABEL_OF_END) - {"left-subclavian"}: "arch",
    frozenset({"right-subclavian", "right-carotid"}): "brachiocephalic",
}
WIDEST_GAP = 4e-3  # m between labelled pieces that a path may bridge, before scaling
FLOOR = 0.5e-3  # m to the wall: the least that a step is charged for
OUTSIDE_COST = 3.0  # of a step outside the labels, over one inside
SMOOTHING = 3e-3  # m, Gaussian sigma along a branch, before scaling
STEP = 0.25e-3  # m between points of a centreline, before scaling


def artery_tree(labels: Labels, field: Grid) -> tuple[Tree, Array]:
    """Return the centrelines of a CT's arteries, in its frame.

    Parameters
    ----------
    labels : Labels
        The arteries' labels.
    field : Grid
        Their signed distance on cubic voxels.

    Returns
    -------
    tree : Tree
        Centrelines, m, running away from the descending aorta.
    ascending : (n, 3) array
        Centreline of the ascending aorta, m, from where the brachiocephalic trunk's leaves it.
    """
    paths = _paths(labels, field)
    root = paths.pop(ROOT)
    tree = Tree({}, {}, (SOURCE, *paths))
    _grow(tree, paths, SOURCE, 0)
    curves = {name: _line(voxels, field) for name, voxels in tree.curves.items()}
    shared = max(last_shared({"root": root, end: path}, 0) for end, path in paths.items())
    return Tree(curves, tree.nodes, tree.ends), _line(np.array(root[shared:], float), field)


def _line(voxels: Array, field: Grid) -> Array:
    return smoothed(field.origin + field.voxel * voxels, SMOOTHING, STEP)


def _paths(labels: Labels, field: Grid) -> dict[str, list[Voxel]]:
    """Cheapest path of voxels from the descending aorta to each end and to the root.

    A step costs the inverse square of the distance to the wall, which keeps paths in the middle and
    together until the vessels part.
    """
    from skimage.graph import MCP_Geometric

    start, ends = _terminals(labels, field)
    cost = (FLOOR / np.maximum(field.values, FLOOR)) ** 2
    walk = MCP_Geometric(np.where(field.values > -WIDEST_GAP / 2, cost, -1.0))
    walk.find_costs([start], ends.values())
    return {end: [tuple(map(int, v)) for v in walk.traceback(at)] for end, at in ends.items()}


def _terminals(labels: Labels, field: Grid) -> tuple[Voxel, dict[str, Voxel]]:
    """The lowest voxel of the aorta, and the voxel of each end's label farthest from it.

    Lengths are walked along the lumen on every second node, which is enough for an end.
    """
    from skimage.graph import MCP_Geometric

    coarse = Grid(field.values[::2, ::2, ::2], field.origin, 2 * field.voxel)
    lumen = coarse.values > 0
    aorta = np.argwhere(_on_grid(labels, coarse, "aorta") & lumen)
    start = tuple(aorta[aorta[:, 1].argmin()])
    cost = np.where(lumen, 1.0, OUTSIDE_COST)
    lengths, _ = MCP_Geometric(np.where(coarse.values > -WIDEST_GAP / 2, cost, -1.0)).find_costs(
        [start]
    )
    ends = {}
    for end, label in {**LABEL_OF_END, ROOT: "aorta"}.items():
        mask = _on_grid(labels, coarse, label) & lumen & np.isfinite(lengths)
        farthest = np.unravel_index(np.where(mask, lengths, -1.0).argmax(), mask.shape)
        ends[end] = tuple(2 * int(i) for i in farthest)
    return tuple(2 * int(i) for i in start), ends


def _on_grid(labels: Labels, field: Grid, name: str) -> NDArray[np.bool_]:
    """A label's mask at the nodes of another grid, by nearest voxel."""
    mask = labels.mask(name)
    index, valid = [], []
    for axis in range(3):
        position = field.origin[axis] + field.voxel * np.arange(field.values.shape[axis])
        i = np.rint((position - labels.origin[axis]) / labels.spacing[axis]).astype(int)
        index.append(np.clip(i, 0, mask.shape[axis] - 1))
        valid.append((i >= 0) & (i < mask.shape[axis]))
    return mask[np.ix_(*index)] & np.logical_and.outer(np.logical_and.outer(*valid[:2]), valid[2])


def _grow(tree: Tree, paths: dict[str, list[Voxel]], node: str, first: int) -> None:
    """Add the branch that `paths` share from voxel `first` on, and what follows it."""
    shared = last_shared(paths, first)
    name = SHARED.get(frozenset(paths)) or "+".join(paths)
    voxels = next(iter(paths.values()))[first : shared + 1]
    tree.curves[name] = np.array(voxels, float)
    if len(paths) == 1:
        tree.nodes[name] = (node, next(iter(paths)))
        return
    end = f"{name}-junction"
    tree.nodes[name] = (node, end)
    groups: dict[Voxel, dict[str, list[Voxel]]] = {}
    for key, path in paths.items():
        groups.setdefault(path[shared + 1], {})[key] = path
    for group in groups.values():
        _grow(tree, group, end, shared)
