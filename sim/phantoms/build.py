"""Build a vessel from its configuration, or take it from the cache."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from mmdtwin.config import PhantomConfig
from mmdtwin.config.phantom import CtConfig, MeshConfig, RandomTreeConfig, VesselConfig
from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.geometry import Array, arclength
from mmdtwin.sim.flow import with_flow
from mmdtwin.sim.phantoms.curve import Tree, evenly
from mmdtwin.sim.phantoms.from_mesh import load
from mmdtwin.sim.phantoms.grid import Grid
from mmdtwin.sim.phantoms.refine import FINER, Blocks, RefinedGrid
from mmdtwin.sim.phantoms.surface import Surface, distance_field, one_piece
from mmdtwin.sim.phantoms.vessel import Vessel
from mmdtwin.sim.phantoms.voxelised import SplitWall, voxelised
from mmdtwin.vessel import Branch, VesselMap

VERSION = 4  # of the code and the CT labels behind a geometry; part of the cache's key
SPACING = 0.25e-3  # m between centreline points
TAPER_WINDOW = 1.5e-3  # m; towards a cap the room shrinks step by step, before it hardly at all
TAPER = 0.97  # a point with this share of the room one window farther in is clear of the cap
_ARRAYS = ("vertices", "faces", "values", "origin", "voxel", "names", "nodes", "ends")


def build_vessel(config: PhantomConfig) -> Vessel:
    """Return the vessel of a configuration; its geometry is built once and kept on disk.

    Raises
    ------
    UserError
        If the geometry cannot be built: an empty lumen, branches that are not joined, a
        centreline outside the lumen.
    """
    key = digest({"version": VERSION, "vessel": config.vessel.model_dump(mode="json")})
    path = cache_dir("phantoms") / f"{key}.npz"
    vessel = _load(path)
    if vessel is None:
        vessel = _build(config.vessel)
        _save(path, vessel)
    vessel_map = replace(with_flow(vessel.map, config.flow), wall=vessel.distance)
    return replace(vessel, map=vessel_map)


def _build(config: VesselConfig) -> Vessel:
    if isinstance(config, MeshConfig):
        return vessel_of(*load(config), config.voxel)
    if isinstance(config, CtConfig):
        from mmdtwin.sim.phantoms.ct import trace as trace_ct

        tree, field = trace_ct(config)
    else:
        from mmdtwin.sim.phantoms.procedural import trace

        if isinstance(config, RandomTreeConfig):
            from mmdtwin.sim.phantoms.random_tree import random_tree

            config = random_tree(config)
        tree, field = trace(config)
    field = one_piece(field)
    drawn = not isinstance(config, CtConfig)
    surface = Surface.of(field)
    if surface.handles:
        raise UserError(
            "vessel: branches touch away from their junctions, or the curve of one crosses "
            "itself; move their way points apart or lower their radius"
        )
    distance = distance_field(field, surface)
    vessel_map = _map(tree, surface, field, capped=drawn)
    if drawn:
        _check_whole(tree, vessel_map)
    return Vessel(vessel_map, surface, RefinedGrid.of(distance, surface))


def vessel_of(tree: Tree, surface: Surface, voxel: float) -> Vessel:
    """Return the vessel with a given closed wall, and distances on a grid of `voxel` m.

    The centrelines are taken as they are, as far as they lie inside.

    Raises
    ------
    UserError
        If a centreline is not inside the wall, or the grid would be too large.
    """
    distance, wall = voxelised(surface, voxel)
    return Vessel(
        _map(tree, wall, distance, capped=True), surface, RefinedGrid.of(distance, surface)
    )


def _map(tree: Tree, surface: Surface | SplitWall, field: Grid, capped: bool = False) -> VesselMap:
    """Centrelines that end one radius before the caps, with their inscribed radii.

    Those that are `capped` already end where the caps begin.
    """
    joined = [node for pair in tree.nodes.values() for node in pair]
    branches = {}
    for name, (start, end) in tree.nodes.items():
        line = _inside(tree.curves[name], field, from_end=joined.count(start) == 1)
        if joined.count(end) == 1 and not capped:
            line = _before_cap(line, surface)
        if joined.count(start) == 1 and not capped:
            line = _before_cap(line[::-1], surface)[::-1]
        length = float(arclength(line)[-1]) if len(line) else 0.0
        if length < 2 * SPACING:
            raise UserError(
                f"phantom: branch '{name}' has no room inside the lumen; it is thinner than the "
                f"voxel ({field.voxel * 1e3:.2f} mm), too short, or cut off"
            )
        points = evenly(line, SPACING)
        branches[name] = Branch(points, surface.distance(points), start, end)
    return VesselMap(branches, tree.ends)


def _check_whole(tree: Tree, vessel_map: VesselMap) -> None:
    """Raise UserError where a drawn branch lost more than a radius of its length."""
    for name, branch in vessel_map.branches.items():
        drawn = float(arclength(tree.curves[name])[-1])
        if drawn - branch.length > float(np.median(branch.radius)):
            raise UserError(
                f"vessel.branches.{name}: only {branch.length * 1e3:.1f} of {drawn * 1e3:.1f} mm "
                "are joined to the tree; the lumen is too thin for the voxel beyond: raise radius "
                "or lower voxel"
            )


def _inside(line: Array, field: Grid, from_end: bool) -> Array:
    """The part of a line before it first leaves the lumen, seen from the tree's inside."""
    outside = np.flatnonzero(field.at(line) <= 0.0)
    if len(outside) == 0:
        return line
    return line[outside[-1] + 1 :] if from_end else line[: outside[0]]


def _before_cap(line: Array, surface: Surface | SplitWall) -> Array:
    """The part of a line before the cap at its end takes away room."""
    if len(line) == 0:
        return line
    step = max(float(np.linalg.norm(line[1] - line[0])), 1e-9) if len(line) > 1 else SPACING
    room = surface.distance(line)
    window = max(1, int(TAPER_WINDOW / step))
    ahead = ndimage.maximum_filter1d(room, window, origin=(window - 1) // 2)
    return line[: int(np.flatnonzero(room >= TAPER * ahead)[-1]) + 1]


def _save(path: Path, vessel: Vessel) -> None:
    branches = vessel.map.branches
    arrays: dict[str, Any] = {f"line.{n}": np.c_[b.points, b.radius] for n, b in branches.items()}
    for i, level in enumerate(vessel.refined.levels):
        arrays |= {f"cells.{i}": level.cells, f"blocks.{i}": level.values}
    with replacing(path) as part:
        np.savez_compressed(
            part,
            vertices=vessel.vertices,
            faces=vessel.faces,
            values=vessel.distance.values,
            origin=vessel.distance.origin,
            voxel=vessel.distance.voxel,
            names=list(branches),
            nodes=[(b.start, b.end) for b in branches.values()],
            ends=vessel.map.ends,
            **arrays,
        )


def _load(path: Path) -> Vessel | None:
    """Return the vessel in a cache file; None if there is none or it is damaged."""
    try:
        with path.open("rb") as handle, np.load(handle) as data:
            arrays = {name: data[name] for name in _ARRAYS}
            lines = [data[f"line.{name}"] for name in arrays["names"]]
            levels = tuple(
                Blocks(data[f"cells.{i}"], data[f"blocks.{i}"]) for i in range(len(FINER))
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    named = zip(arrays["names"].tolist(), lines, arrays["nodes"].tolist(), strict=True)
    branches = {n: Branch(line[:, :3], line[:, 3], *nodes) for n, line, nodes in named}
    return Vessel(
        VesselMap(branches, tuple(arrays["ends"].tolist())),
        Surface(arrays["vertices"], arrays["faces"]),
        RefinedGrid(Grid(arrays["values"], arrays["origin"], float(arrays["voxel"])), levels),
    )
