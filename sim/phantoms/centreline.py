"""Centrelines of any lumen with open ends found by themselves, by cheapest paths.

The ends are found one by one as the point farthest along the lumen from the tree grown so far
(Sato et al. 2000, "TEASAR", doi 10.1109/PCCGA.2000.883951); the paths to them keep to the middle
because a step costs the inverse square of the distance to the wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, arclength, unit
from mmdtwin.sim.phantoms.curve import Tree, Voxel, last_shared, smoothed
from mmdtwin.sim.phantoms.grid import Grid

COVER = 1.4  # local radii about a path that count as its vessel
COVER_MORE = 2.0  # voxels, in addition
PROTRUDES = 4.0  # own radii that a branch must reach beyond the balls in the vessel it leaves
SMOOTHING = 0.7  # of the median radius along a branch: sigma, at least ...
LEAST_SMOOTHING = 3.0  # ... this many voxels, which hides the steps of the path
THINNEST = 1.0  # voxels of depth along the middle of a branch; less is the labels' roughness
LEAST_DEPTH = 2.0  # voxels, of a branch
APART = 0.5  # local radii between two paths from which they are two branches
PROBE = 0.3  # local radii to both sides, at which depths are compared to find the middle
CENTRINGS = 2  # times that a line is moved to the middle and smoothed again
CUT = 1.2  # radii at an end where a path leaves the middle, towards the farthest corner
REACH = 6.0  # largest radii of a branch from its end, over which the radius there is taken
RIDGE = 0.5  # voxels, by which a depth on the middle reads low: interpolation cuts the ridge
STEP = 0.25  # voxels between points of a centreline


@dataclass(frozen=True, eq=False)
class _Lumen:
    """Nodes of a grid inside the lumen, their positions in voxels and depths in voxels."""

    depth: NDArray[np.float32]
    nodes: NDArray[np.int64]

    @classmethod
    def of(cls, distance: Grid) -> _Lumen:
        depth = distance.values / distance.voxel
        return cls(depth, np.argwhere(depth > 0))

    def lengths(self, source: Voxel) -> Array:
        """Length in voxels of the shortest way from a node to each of `nodes`."""
        from skimage.graph import MCP_Geometric

        walk = MCP_Geometric(np.where(self.depth > 0, 1.0, -1.0))
        lengths = walk.find_costs([source])[0]
        return np.asarray(lengths[tuple(self.nodes.T)])

    def farthest(self, lengths: Array) -> Voxel:
        return tuple(map(int, self.nodes[int(np.argmax(lengths))]))

    def cover(self, path: list[Voxel], lengths: Array) -> None:
        """Set the lengths of what lies about a path to -1."""
        open_nodes = np.flatnonzero(lengths >= 0.0)
        gap, index = cKDTree(np.array(path)).query(self.nodes[open_nodes])
        radii = COVER * self.depth[tuple(np.array(path).T)] + COVER_MORE
        lengths[open_nodes[gap <= radii[index]]] = -1.0


def traced(distance: Grid) -> Tree:
    """Return the centrelines of a lumen, away from the widest end.

    Parameters
    ----------
    distance : Grid
        Signed distance to the wall, m, positive inside one connected lumen. Where it has loops the
        tree is cut open at one place of each.

    Returns
    -------
    Tree
        Branches `branch-1`, ..., which stop one radius before the caps; ends `inlet`, the widest,
        and `outlet-1`, ...

    Raises
    ------
    UserError
        If the lumen is too small for its voxels to have two ends.
    """
    lumen = _Lumen.of(distance)
    if len(lumen.nodes) == 0:
        raise UserError("the lumen is empty at this voxel; choose a smaller one")
    middle = tuple(map(int, np.unravel_index(lumen.depth.argmax(), lumen.depth.shape)))
    first = lumen.farthest(lumen.lengths(middle))
    ends = _ends(lumen, first)
    if len(ends) < 2:
        raise UserError(
            "no centreline: the lumen is not longer than it is wide at "
            f"{distance.voxel * 1e3:.2f} mm voxels; choose a smaller voxel"
        )
    widths = {end: _width(lumen, path) for end, path in ends.items()}
    root = max(widths, key=lambda end: widths[end])
    paths = _paths(lumen, root, [end for end in ends if end != root])
    return _tree(distance, lumen, paths)


def _ends(lumen: _Lumen, first: Voxel) -> dict[Voxel, list[Voxel]]:
    """The ends of the lumen, each with its path from the tree grown before it."""
    lengths = lumen.lengths(first)
    walk = _walk(lumen, first)
    ends: dict[Voxel, list[Voxel]] = {}
    on_tree: set[Voxel] = set()
    while lengths.max() >= 0:
        end = lumen.farthest(lengths)
        path = _back(walk, end)
        new = [v for v in path if v not in on_tree]
        lumen.cover([*new, end], lengths)
        if not ends:
            ends[first] = path[::-1]  # seen from the other end
        elif not _protrudes(lumen, list(on_tree), new):
            continue
        ends[end] = path
        on_tree.update(path)
    return ends


def _protrudes(lumen: _Lumen, tree: list[Voxel], new: list[Voxel]) -> bool:
    """True if a path reaches out of the balls about a tree by enough to be a branch of it."""
    own, grown = np.array(new), np.array(tree)
    gaps = cdist(own, grown) - lumen.depth[tuple(grown.T)]
    outside = own[gaps.min(axis=1) > 0.0]
    if len(outside) < 2:
        return False
    depths = lumen.depth[tuple(outside.T)]
    if np.median(depths) < THINNEST:
        return False
    width = float(depths.max())
    length = float(np.linalg.norm(np.diff(outside, axis=0), axis=1).sum())
    return length > PROTRUDES * max(width, LEAST_DEPTH)


def _walk(lumen: _Lumen, source: Voxel):  # type: ignore[no-untyped-def]
    from skimage.graph import MCP_Geometric

    cost = np.where(lumen.depth > 0, 1.0 / np.maximum(lumen.depth, 0.5) ** 2, -1.0)
    walk = MCP_Geometric(cost)
    walk.find_costs([source])
    return walk


def _back(walk, end: Voxel) -> list[Voxel]:  # type: ignore[no-untyped-def]
    return [tuple(map(int, v)) for v in walk.traceback(end)]


def _width(lumen: _Lumen, path: list[Voxel]) -> float:
    """Median depth in voxels of the last stretch towards an end, five radii long."""
    depths = lumen.depth[tuple(np.array(path).T)]
    return float(np.median(depths[-max(3, int(5 * depths.max())) :]))


def _paths(lumen: _Lumen, root: Voxel, ends: list[Voxel]) -> dict[str, list[Voxel]]:
    walk = _walk(lumen, root)
    paths: dict[str, list[Voxel]] = {}
    for i, end in enumerate(ends, 1):
        paths[f"outlet-{i}"] = _merged(_back(walk, end), list(paths.values()), lumen)
    return paths


def _merged(path: list[Voxel], others: list[list[Voxel]], lumen: _Lumen) -> list[Voxel]:
    """Let a path run along the one among others that it stays nearest to, until they part.

    Cheapest paths to two ends may run side by side for long before they do.
    """
    best, parts = path, 0
    own = np.array(path)
    limits = np.maximum(APART * lumen.depth[tuple(own.T)], 1.0)
    for other in others:
        distance, index = cKDTree(np.array(other)).query(own)
        last = int(np.flatnonzero(distance <= limits)[-1])
        if last >= parts:
            best, parts = other[: int(index[last]) + 1] + path[last + 1 :], last
    return best


def _tree(distance: Grid, lumen: _Lumen, paths: dict[str, list[Voxel]]) -> Tree:
    """Share out paths that begin together into branches, and smooth these."""
    tree = Tree({}, {}, ("inlet", *paths))
    todo = [("inlet", 0, paths)]
    while todo:
        node, first, group = todo.pop(0)
        shared = last_shared(group, first)
        voxels = np.array(next(iter(group.values()))[first : shared + 1])
        name = f"branch-{len(tree.curves) + 1}"
        end = next(iter(group)) if len(group) == 1 else f"junction-{len(tree.curves) + 1}"
        free = (node == "inlet", len(group) == 1)
        tree.curves[name] = _line(distance, lumen, voxels, free)
        tree.nodes[name] = (node, end)
        if len(group) == 1:
            continue
        parted: dict[Voxel, dict[str, list[Voxel]]] = {}
        for key, path in group.items():
            parted.setdefault(path[shared + 1], {})[key] = path
        todo += [(end, shared, part) for part in parted.values()]
    return tree


def _line(
    distance: Grid, lumen: _Lumen, voxels: NDArray[np.int64], free: tuple[bool, bool]
) -> Array:
    """A smooth curve in the middle of the lumen along a path; `free` of its ends are open ends."""
    radius = distance.voxel * float(np.median(lumen.depth[tuple(voxels.T)]))
    sigma = max(LEAST_SMOOTHING * distance.voxel, SMOOTHING * radius)
    step = STEP * distance.voxel
    line = smoothed(distance.origin + distance.voxel * voxels.astype(float), sigma, step)
    for _ in range(CENTRINGS):
        line = smoothed(_centred(distance, line, radius), 0.5 * sigma, step)
    if free[1]:
        line = _before_cap(distance, line)
    if free[0]:
        line = _before_cap(distance, line[::-1])[::-1]
    for _ in range(CENTRINGS):  # the last stretch went straight on from where the path had bent
        line = smoothed(_centred(distance, line, radius, free), 0.5 * sigma, step)
    return line


def _centred(
    distance: Grid, line: Array, radius: float, free: tuple[bool, bool] = (False, False)
) -> Array:
    """Move points to the middle of their sections; ends stay that are not `free`.

    Off the middle of a circle by e, the depths at both sides differ by 2 e.
    """
    tangents = unit(np.gradient(line, axis=0))
    across = unit(np.cross(tangents, np.eye(3)[np.argmin(np.abs(tangents).mean(axis=0))]))
    probe = PROBE * np.maximum(distance.at(line), distance.voxel)[:, None]
    s = arclength(line)
    held = np.where(free, np.inf, np.stack([s, s[-1] - s], axis=1))
    hold = np.clip(held.min(axis=1) / radius, 0.0, 1.0)
    shift = np.zeros_like(line)
    for axis in (across, np.cross(tangents, across)):
        uneven = distance.at(line + probe * axis) - distance.at(line - probe * axis)
        shift += 0.5 * (hold * uneven)[:, None] * axis
    return line + shift


def _before_cap(distance: Grid, line: Array) -> Array:
    """Let a line go straight on where its path leaves the middle; end it a radius before the cap.

    There the ball about its last point touches the cap, be it flat or a hemisphere.
    """
    s = arclength(line)
    depth = distance.at(line)
    radius = float(np.median(depth[s > max(0.5 * s[-1], s[-1] - REACH * depth.max())]))
    kept = line[s <= max(s[-1] - CUT * radius, 0.5 * s[-1])]
    back = kept[max(0, len(kept) - 1 - int(radius / s[1]))]
    direction = unit(kept[-1] - back)
    ahead = np.arange(1, int(3 * CUT * radius / s[1]) + 2) * s[1]
    beyond = kept[-1] + ahead[:, None] * direction
    outside = np.flatnonzero(distance.at(beyond) <= 0.0)
    exit_at = ahead[outside[0]] if len(outside) else ahead[-1]
    radius = float(distance.at(kept[-1])[0]) + RIDGE * distance.voxel
    if exit_at < radius:  # what was cut off was little: end farther back
        return kept[: max(2, len(kept) - int((radius - exit_at) / s[1]))]
    return np.concatenate([kept, beyond[ahead <= exit_at - radius]])
