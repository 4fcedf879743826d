"""Drawn branches must lie apart: each is a way of its own for a device."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np
from scipy.spatial import cKDTree

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

FORK_REACH = 3.0  # radii from a junction, within which branches may lie in each other
CLOSEST = 0.5  # of the thinner radius: centrelines nearer than this are one vessel


def check_apart(
    curves: Mapping[str, tuple[Array, Array]],
    nodes: Mapping[str, tuple[str, str]],
    ends: tuple[str, ...],
) -> None:
    """Raise UserError where branches lie in each other, naming both.

    They do where centrelines come nearer than half the thinner radius out of the reach of a
    junction, or where an open end lies in another branch. Narrow forks, whose branches part
    slowly, are not affected; branches that touch and so close a loop show as handles of the wall.

    Parameters
    ----------
    curves : mapping of name to ((n, 3), (n,)) arrays
        Centreline and radii of each branch, m.
    nodes : mapping of name to (str, str)
        The nodes that each branch joins, first to last.
    ends : tuple of str
        Nodes that are open ends.
    """
    for name, other in permutations(curves, 2):
        (points, radius), (others, other_radius) = curves[name], curves[other]
        distance, nearest = cKDTree(others).query(points)
        thinner = np.minimum(radius, other_radius[nearest])
        reach = FORK_REACH * max(float(radius.max()), float(other_radius.max()))
        inside = distance < CLOSEST * thinner
        for curve, pair in ((points, nodes[name]), (others, nodes[other])):
            for node, at in zip(pair, (curve[0], curve[-1]), strict=True):
                if node not in ends:
                    inside &= np.linalg.norm(points - at, axis=1) > reach
        for node, i in zip(nodes[name], (0, -1), strict=True):
            if node in ends:
                inside[i] |= distance[i] < other_radius[nearest[i]]
        if inside.any():
            at = ", ".join(f"{x * 1e3:.1f}" for x in points[int(inside.argmax())])
            raise UserError(
                f"vessel.branches: '{name}' lies in '{other}' at ({at}) mm, away from their "
                "junctions; move their way points apart"
            )
