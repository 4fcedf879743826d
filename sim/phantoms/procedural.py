"""Phantoms drawn as a tree of tubes through way points."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from mmdtwin.config.branch import BranchConfig
from mmdtwin.config.phantom import ProceduralConfig
from mmdtwin.geometry import Array, arclength
from mmdtwin.sim.phantoms.apart import check_apart
from mmdtwin.sim.phantoms.curve import Tree, evenly
from mmdtwin.sim.phantoms.grid import Grid, blended
from mmdtwin.sim.phantoms.lesions import check_bends, diseased, waved
from mmdtwin.sim.phantoms.surface import BAND

STEP = 0.1e-3  # m; a chord of this length leaves a 10 mm bend by 0.13 um
MARGIN = 3  # voxels of grid kept round the lumen


def trace(config: ProceduralConfig) -> tuple[Tree, Grid]:
    """Return the centrelines and a field that is positive inside the lumen.

    Each branch is a cubic spline through its way points, with waves if it is tortuous; its radius
    is linear along it but for lesions. Branches end in hemispheres, and meet with a rounding of
    `blend`.

    Raises
    ------
    UserError
        If a lesion does not fit its branch or the voxel, waves bend a branch too sharply, branches
        lie in each other, or the grid would be too large.
    """
    curves = {name: _curve(name, b, config.voxel) for name, b in config.branches.items()}
    nodes = {name: (b.start, b.end) for name, b in config.branches.items()}
    check_apart(curves, nodes, config.ends)
    points = np.concatenate([p for p, _ in curves.values()])
    reach = max(float(r.max()) for _, r in curves.values()) + MARGIN * config.voxel + config.blend
    lower, upper = points.min(axis=0) - reach, points.max(axis=0) + reach
    field = Grid.around(lower, upper, config.voxel, -BAND)
    values = field.values
    for centreline, radius in curves.values():
        tube = Grid.around(lower, upper, config.voxel, -BAND)
        tube.paint(centreline, radius)
        values = blended(values, tube.values, config.blend)
    tree = Tree(
        curves={name: p for name, (p, _) in curves.items()},
        nodes=nodes,
        ends=config.ends,
    )
    return tree, Grid(values, field.origin, config.voxel)


def _curve(name: str, branch: BranchConfig, voxel: float) -> tuple[Array, Array]:
    """Points (n, 3) m every `STEP` and radii (n,) m of a branch."""
    way = np.array(branch.points)
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    n = 10 * int(np.ceil(knots[-1] / STEP))
    spline = CubicSpline(knots, way, bc_type="natural")
    points = evenly(spline(np.linspace(0.0, knots[-1], n)), STEP)
    if branch.tortuosity:
        points = waved(points, branch.tortuosity, STEP)
    given = np.array(branch.radius)
    at = np.linspace(0.0, 1.0, len(points))
    radius = np.interp(at, np.linspace(0.0, 1.0, len(given)), given)
    if branch.tortuosity:
        check_bends(name, points, radius)
    return points, diseased(name, branch, arclength(points), radius, voxel)
