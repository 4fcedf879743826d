"""Solids for a 3-D printer: a wall about the lumen, open at the ends, with connectors for tubing.

Shapes are fields, positive inside, on one grid; union is their maximum and cutting off the minimum
with the other's negative, so that the solid is closed whatever is joined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.grid import Grid
from mmdtwin.sim.phantoms.surface import Surface, grown, one_piece
from mmdtwin.sim.phantoms.vessel import Vessel
from mmdtwin.sim.phantoms.voxelised import SplitWall, winding

VOXEL = 0.3e-3  # m, at most; a quarter of the wall's thickness if that is less
MARGIN = 3  # voxels round the solid, and of depth to which distances are taken
LONGEST = 2.0  # voxels, side of the triangles that distances are taken to
MOST_DISTANCES = 5e6  # of nodes from the wall: one to two minutes
BARBS = 3  # on a connector
BARB = 0.12  # height of a barb over the connector's radius
LEAST_WALL = 0.4e-3  # m of wall left in a connector: two beads of a usual nozzle
CLEARED = 1.3  # radius of the disc cut off beyond an end, over that of the wall there


@dataclass(frozen=True)
class Connector:
    """A pipe at an open end, over which tubing is pushed.

    Parameters
    ----------
    barbed : bool
        With three barbs that hold the tubing, or smooth.
    radius : float, optional
        Outer radius without barbs, m; by default that of the wall at the end.
    length : float
        Beyond the end of the centreline, m.
    """

    barbed: bool
    radius: float | None = None
    length: float = 10e-3


@dataclass(frozen=True, eq=False)
class _End:
    """Where a vessel is cut open: place, outward direction, inscribed radius."""

    at: Array
    direction: Array
    radius: float


def printable(vessel: Vessel, thickness: float, connector: Connector | None = None) -> Surface:
    """Return the closed surface of a solid with the vessel's lumen.

    Parameters
    ----------
    vessel : Vessel
        Whose lumen it has; its open ends become openings, cut square where centrelines end.
    thickness : float
        Of the wall, m.
    connector : Connector, optional
        Put on every open end.

    Raises
    ------
    UserError
        If a connector is thinner than the wall that it needs, or the wall takes too many nodes.
    """
    ends = _ends(vessel)
    if connector is not None:
        check_radius(connector.radius, "connector radius")
    voxel = min(VOXEL, thickness / 4)
    reach = thickness + MARGIN * voxel + (connector.length if connector else 0.0)
    lower, upper = vessel.vertices.min(axis=0) - reach, vessel.vertices.max(axis=0) + reach
    grid = Grid.around(lower, upper, voxel, 0.0)
    lumen = _lumen(grid, vessel, thickness)
    solid = lumen + np.float32(thickness)
    openings = np.full_like(lumen, -thickness)
    for end in ends:
        near = _near(grid, end, thickness, connector)
        along, aside = _cylinder(grid, near, end)
        outside = np.minimum(along, CLEARED * (end.radius + thickness) - aside)
        solid[near] = np.minimum(solid[near], -outside)
        bore = end.radius
        if connector is not None:
            profile = _profile(connector, end, along, thickness)
            bore = min(bore, np.inf if connector.radius is None else connector.radius - LEAST_WALL)
            pipe = np.minimum(profile - aside, connector.length - along)
            solid[near] = np.maximum(solid[near], np.minimum(pipe, along + thickness))
        bored = np.minimum(bore - aside, along + end.radius)
        openings[near] = np.maximum(openings[near], bored)
    solid = np.minimum(solid, -np.maximum(lumen, openings))
    return Surface.of(one_piece(Grid(solid, grid.origin, voxel)))


def check_radius(radius: float | None, name: str) -> None:
    """Raise UserError if a connector of an outer radius in m has no room for a bore."""
    if radius is not None and radius < 2 * LEAST_WALL:
        raise UserError(
            f"{name}: {radius * 1e3:.3g} mm leaves no bore; give at least "
            f"{2 * LEAST_WALL * 1e3:.1f} mm ({2 * LEAST_WALL:g} m)"
        )


def _outer(connector: Connector, end: _End, thickness: float) -> float:
    """Outer radius of a connector without barbs, m."""
    return end.radius + thickness if connector.radius is None else connector.radius


def _ends(vessel: Vessel) -> list[_End]:
    ends = []
    for branch in vessel.map.branches.values():
        if branch.end in vessel.map.ends:
            ends.append(_End(branch.points[-1], branch.tangents[-1], float(branch.radius[-1])))
        if branch.start in vessel.map.ends:
            ends.append(_End(branch.points[0], -branch.tangents[0], float(branch.radius[0])))
    return ends


def _lumen(grid: Grid, vessel: Vessel, thickness: float) -> NDArray[np.float32]:
    """Distance to the vessel's wall, right from 3 voxels inside to beyond the printed wall."""
    inside = winding(grid, vessel.surface) == 1
    deep = MARGIN * grid.voxel
    beyond = thickness + deep
    shell = grown(inside, int(np.ceil(beyond / grid.voxel)))
    shell &= ~ndimage.binary_erosion(inside, iterations=2 * MARGIN)
    count = int(np.count_nonzero(shell))
    if count > MOST_DISTANCES:
        raise UserError(
            f"wall: {thickness * 1e3:.3g} mm round this vessel takes {count / 1e6:.1f} million "
            f"nodes of {grid.voxel * 1e3:.2g} mm, and {MOST_DISTANCES / 1e6:.0f} are allowed; give "
            f"{'a thinner wall' if grid.voxel == VOXEL else 'a thicker wall'}"
        )
    wanted = np.nonzero(shell)
    distance = SplitWall(vessel.surface, LONGEST * grid.voxel).distance(grid.nodes(wanted))
    values = np.where(inside, np.float32(deep), np.float32(-beyond))
    values[wanted] = np.clip(np.where(inside[wanted], distance, -distance), -beyond, deep)
    return values


def _near(
    grid: Grid, end: _End, thickness: float, connector: Connector | None
) -> tuple[slice, slice, slice]:
    """The part of the grid that an opening and its connector may touch."""
    radius = CLEARED * (end.radius + thickness)
    far = 2.0 * end.radius + thickness  # the cap is about one radius beyond a centreline's end
    if connector is not None:
        radius = max(radius, (1.0 + BARB) * _outer(connector, end, thickness))
        far += connector.length
    radius += grid.voxel
    back = end.at - end.direction * (end.radius + thickness)
    tip = end.at + end.direction * far
    low = np.minimum(back, tip) - radius
    high = np.maximum(back, tip) + radius
    first = np.maximum(0, np.floor((low - grid.origin) / grid.voxel)).astype(int)
    last = np.ceil((high - grid.origin) / grid.voxel).astype(int) + 1
    return tuple(slice(a, b) for a, b in zip(first, last, strict=True))  # type: ignore[return-value]


def _cylinder(grid: Grid, near: tuple[slice, slice, slice], end: _End) -> tuple[Array, Array]:
    """Distance of nodes along an end's axis, and from it, m."""
    axes = [
        o + grid.voxel * np.arange(n)[part] - p
        for o, n, part, p in zip(grid.origin, grid.values.shape, near, end.at, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    along = x * end.direction[0] + y * end.direction[1] + z * end.direction[2]
    square = x**2 + y**2 + z**2 - along**2
    return along, np.sqrt(np.maximum(square, 0.0))


def _profile(connector: Connector, end: _End, along: Array, thickness: float) -> Array:
    """Outer radius of a connector along its axis, m."""
    radius = _outer(connector, end, thickness)
    if not connector.barbed:
        return np.full_like(along, radius)
    pitch = connector.length / BARBS
    # Each barb falls towards the tip, so that tubing goes on and does not come off.
    share = np.where(along >= 0.0, 1.0 - np.mod(along, pitch) / pitch, 0.0)
    return radius * (1.0 + BARB * share)
