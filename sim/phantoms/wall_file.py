"""Walls from mesh files: read, scaled to m, and checked before anything relies on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.sim.phantoms.surface import Surface

UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "inch": 25.4e-3}  # m
SMALLEST, LARGEST = 3e-3, 0.6  # m, extent of a vessel between a device's length and a patient's
SUFFIXES = (".stl", ".obj", ".ply")
ROUNDING = 5e-7  # of the largest coordinate, by which a corner may be off: four float32 steps


def read_wall(path: Path, units: str, scale: float = 1.0) -> Surface:
    """Read the closed wall of a lumen from an STL, OBJ or PLY file.

    Parameters
    ----------
    path : Path
        The file. Corners that several triangles repeat are merged.
    units : str
        Unit of its coordinates, one of `UNITS`.
    scale : float
        Factor on all lengths.

    Raises
    ------
    UserError
        If it is no mesh, leaks, has inconsistent or inward normals, more than one piece, parts that
        cross each other, or a size that only another unit explains.
    """
    vertices, faces = _read(path)
    _check_size(path, vertices, units, scale)
    factor = UNITS[units] * scale
    surface = Surface(vertices * factor, faces)
    _check_closed(path, surface)
    crossing, where = crossings(surface, ROUNDING * float(np.abs(surface.vertices).max()))
    if crossing:
        place = ", ".join(f"{x:.4g}" for x in where / factor)
        raise UserError(
            f"{path}: the wall intersects itself in {crossing} pairs of triangles, the first at "
            f"({place}) {units}; unite its parts, so that no wall lies inside the lumen"
        )
    return surface


def _read(path: Path) -> tuple[Array, NDArray[np.int32]]:
    import trimesh

    if not path.is_file():
        raise UserError(f"{path}: no such mesh file")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: cannot read this kind of mesh; allowed: {', '.join(SUFFIXES)}")
    try:
        mesh = trimesh.load_mesh(path)
    except Exception as error:  # each format's reader has errors of its own
        raise UserError(f"{path}: cannot be read as a mesh ({error})") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise UserError(f"{path}: holds no triangles")
    if not np.isfinite(mesh.vertices).all():
        raise UserError(f"{path}: has coordinates that are not finite")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int32)


def _check_size(path: Path, vertices: Array, units: str, scale: float) -> None:
    extent = float(np.ptp(vertices, axis=0).max()) * scale
    fitting = [n for n, unit in UNITS.items() if 2 * SMALLEST <= extent * unit <= LARGEST / 2]
    also, hint = f" and --scale {scale:g}", ""
    if scale == 1.0:
        also, hint = "", f"; are its units {' or '.join(fitting)}?" if fitting else ""
    check_extent(f"{path}: with units {units}{also}", extent * UNITS[units], hint)


def check_extent(what: str, extent: float, hint: str = "") -> None:
    """Refuse a wall that is `extent` m large if no vessel phantom is.

    Raises
    ------
    UserError
        Which begins with `what` and ends with `hint`.
    """
    if not SMALLEST <= extent <= LARGEST:
        raise UserError(
            f"{what} it is {extent * 1e3:.4g} mm large, which no vessel phantom is "
            f"({SMALLEST * 1e3:.0f} to {LARGEST * 1e3:.0f} mm){hint}"
        )


def _check_closed(path: Path, surface: Surface) -> None:
    import trimesh

    mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    edges = np.unique(mesh.edges_sorted, axis=0, return_counts=True)[1]
    if np.any(edges != 2):
        raise UserError(
            f"{path}: the wall leaks: {np.sum(edges == 1)} edges belong to one triangle and "
            f"{np.sum(edges > 2)} to more than two; close its holes, open ends too, with caps"
        )
    if not surface.watertight:
        raise UserError(
            f"{path}: neighbouring triangles disagree on the outside; make the normals consistent"
        )
    if mesh.body_count > 1:
        raise UserError(
            f"{path}: is in {mesh.body_count} pieces that do not touch; a vessel is one piece: "
            "join the branches or keep one of them"
        )
    if surface.volume <= 0:
        raise UserError(f"{path}: is inside out: its normals face the lumen; flip them outwards")


def crossings(surface: Surface, rounding: float) -> tuple[int, Array]:
    """Return how many pairs of triangles cross each other, and a corner (3,) m of the first.

    Corners may be off by `rounding` m: what crosses by no more, touches.
    """
    corners = surface.corners
    axis = int(np.ptp(surface.vertices, axis=0).argmax())
    low, high = corners[:, :, axis].min(axis=1), corners[:, :, axis].max(axis=1)
    order = np.argsort(low)
    count, first = _sweep(corners[order], surface.faces[order], low[order], high[order], rounding)
    return int(count), corners[order][first, 0]


@njit(cache=True)
def _sweep(corners, faces, low, high, rounding):  # type: ignore[no-untyped-def]
    """Count crossings among triangles sorted by where they begin along an axis."""
    count, found = 0, 0
    for s in range(low.size):
        for t in range(s + 1, low.size):
            if low[t] > high[s]:
                break
            if _cross(corners[s], faces[s], corners[t], faces[t], rounding):
                found = s if count == 0 else found
                count += 1
    return count, found


@njit(cache=True)
def _cross(a, ids_a, b, ids_b, rounding):  # type: ignore[no-untyped-def]
    """True if a side of one triangle passes through the other; sides that meet it do not count."""
    for axis in range(3):
        if min(a[0, axis], a[1, axis], a[2, axis]) > max(b[0, axis], b[1, axis], b[2, axis]):
            return False
        if min(b[0, axis], b[1, axis], b[2, axis]) > max(a[0, axis], a[1, axis], a[2, axis]):
            return False
    for k in range(3):
        i, j = k, (k + 1) % 3
        apart = not (_among(ids_a[i], ids_b) or _among(ids_a[j], ids_b))
        if apart and _pierces(a[i], a[j], b, rounding):
            return True
        apart = not (_among(ids_b[i], ids_a) or _among(ids_b[j], ids_a))
        if apart and _pierces(b[i], b[j], a, rounding):
            return True
    return False


@njit(cache=True)
def _among(vertex, ids):  # type: ignore[no-untyped-def]
    return vertex == ids[0] or vertex == ids[1] or vertex == ids[2]


@njit(cache=True)
def _pierces(p, q, t, rounding):  # type: ignore[no-untyped-def]
    """True if the segment pq passes through the inside of triangle t, by signs of volumes.

    A volume that rounding may have changed from 0, by a height times a base, counts as 0.
    """
    below, above = _volume(p, t[0], t[1], t[2]), _volume(q, t[0], t[1], t[2])
    if below * above >= 0.0:
        return False
    base = max(_square(t[0], t[1]), _square(t[1], t[2]), _square(t[2], t[0]), _square(p, q))
    if min(abs(below), abs(above)) <= rounding * base:
        return False
    u, v, w = _volume(p, q, t[0], t[1]), _volume(p, q, t[1], t[2]), _volume(p, q, t[2], t[0])
    return (u > 0.0 and v > 0.0 and w > 0.0) or (u < 0.0 and v < 0.0 and w < 0.0)


@njit(cache=True)
def _square(a, b):  # type: ignore[no-untyped-def]
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


@njit(cache=True)
def _volume(a, b, c, d):  # type: ignore[no-untyped-def]
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return ux * (vy * wz - vz * wy) + uy * (vz * wx - vx * wz) + uz * (vx * wy - vy * wx)
