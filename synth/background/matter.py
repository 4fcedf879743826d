"""Volumes of matter that pairs are projected from, and their projection.

As `synth.xray.drr`, which is exact to a voxel of the CT and slower: here the split of each voxel
into soft tissue and bone is stored, two planes of voxels along z are one, and the lengths of the
rays in each kind of structure come with the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import SKELETON, Anatomy
from mmdtwin.synth.xray import drr
from mmdtwin.synth.xray.drr import BODY, material_fractions
from mmdtwin.synth.xray.volume import load_volume, volume_key

# Kinds of structure. What has none is soft tissue, or nothing.
NONE, LUNG, BONE, ARTERY, HEART, VEIN, PULMONARY = range(7)
KINDS = 7
STRUCTURES = {
    LUNG: ("lung_", "trachea"),
    BONE: SKELETON,
    ARTERY: ("aorta", "brachiocephalic_trunk", "subclavian_artery", "common_carotid_artery"),
    HEART: ("heart", "atrial_appendage"),
    VEIN: ("brachiocephalic_vein", "superior_vena", "inferior_vena", "portal_vein"),
    PULMONARY: ("pulmonary_vein",),
}
SLAB = 2  # planes of voxels along z that are one
UNIT = 1e-3  # of a voxel's thickness: fractions are stored as whole numbers of it


@dataclass(frozen=True, eq=False)
class Matter:
    """A volume, z along its last axis.

    Parameters
    ----------
    fractions : (nx, ny, nz, 2) int16 array
        Thickness of soft tissue and of cortical bone over that of each voxel, in `UNIT`.
    kinds : (nx, ny, nz) uint8 array
        Kind of structure of each voxel.
    spacing, origin : (3,) array
        Size of a voxel, and centre of voxel (0, 0, 0), m.
    """

    fractions: NDArray[np.int16]
    kinds: NDArray[np.uint8]
    spacing: Array
    origin: Array


@dataclass(frozen=True, eq=False)
class Shadow:
    """A projection of a volume.

    Parameters
    ----------
    maps : (2, h, w) float32 array
        Thickness of soft tissue and of bone, m.
    paths : (KINDS, h, w) float32 array
        Length of the rays within each kind of structure, m.
    cut : (h, w) bool array
        Where rays cross the volume's sides along x inside matter, so that some is missing.
    """

    maps: NDArray[np.float32]
    paths: NDArray[np.float32]
    cut: NDArray[np.bool_]


@lru_cache(maxsize=2)
def load_matter(resolution: Literal["sample", "full"] = "full", texture_seed: int = 0) -> Matter:
    """Load the CT below the test slab, as native tissue with its fine structure.

    It is made once (20 s) and kept in the user's cache, 0.2 GB.

    Raises
    ------
    UserError
        If the full CT is asked for and cannot be fetched.
    """
    code = [Path(str(name)).read_text() for name in (__file__, drr.__file__)]
    key = digest([volume_key(resolution, texture_seed), code])
    path = cache_dir("background") / f"matter-{key}.npz"
    if not path.is_file():
        found = matter_of(load_volume(resolution, texture_seed))
        with replacing(path) as part:
            np.savez(part, allow_pickle=False, **vars(found))
    with np.load(path) as data:
        return Matter(**{name: data[name] for name in data.files})


def matter_of(anatomy: Anatomy) -> Matter:
    """Split the voxels of a CT of native tissue into materials."""
    nx, ny, nz = anatomy.labels.shape
    body = np.flatnonzero((anatomy.hounsfield > BODY).any(axis=(0, 1)))
    first, nz = int(body[0]), (int(body[-1]) + SLAB - int(body[0])) // SLAB
    nz = min(nz, (anatomy.labels.shape[2] - first) // SLAB)
    kind_of = np.zeros(256, np.uint8)
    for kind, prefixes in STRUCTURES.items():
        for label, name in anatomy.names.items():
            if name.startswith(prefixes):
                kind_of[label] = kind
    fractions = np.empty((nx, ny, nz, 2), np.int16)
    kinds = np.empty((nx, ny, nz), np.uint8)
    for p in range(nz):
        planes = []
        for k in range(first + p * SLAB, first + (p + 1) * SLAB):
            hounsfield, labels = anatomy.hounsfield[..., k], kind_of[anatomy.labels[..., k]]
            as_bone = np.stack(material_fractions(hounsfield, skeleton=True), axis=-1)
            as_soft = np.stack(material_fractions(hounsfield, skeleton=False), axis=-1)
            planes.append(np.where((labels == BONE)[..., None], as_bone, as_soft))
        fractions[:, :, p] = np.rint(np.mean(planes, axis=0) / UNIT)
        kinds[:, :, p] = labels
    spacing = anatomy.spacing * [1, 1, SLAB]
    origin = anatomy.origin + np.array([0, 0, first + (SLAB - 1) / 2]) * anatomy.spacing
    return Matter(fractions, kinds, spacing, origin)


def project(matter: Matter, projection: Projection, isocentre: Array) -> Shadow:
    """Project a volume.

    Parameters
    ----------
    matter : Matter
        Beyond its sides there is nothing.
    projection : Projection
        Less than 60 deg from the z axis.
    isocentre : (3,) array
        Position of the world's origin in the volume, m.

    Raises
    ------
    UserError
        If it looks from the side.
    """
    rays = _rays(projection, np.mgrid[: projection.shape[0], : projection.shape[1]][::-1])
    if np.abs(rays[..., 2]).min() < 0.4:
        raise UserError("background pairs: the gantry looks along the volume's slabs")
    start, slope = _lines(matter, projection, isocentre, rays)
    shape = projection.shape
    out = np.zeros((2 + KINDS, *shape), np.float32)
    cut = np.zeros(shape, np.bool_)
    _project(matter.fractions, matter.kinds, start, slope, np.float32(UNIT), out, cut)
    out *= (matter.spacing[2] / np.abs(rays[..., 2])).astype(np.float32)
    return Shadow(np.maximum(out[:2], 0.0), out[2:], cut)


def covered(matter: Matter, projection: Projection, isocentre: Array) -> bool:
    """True if no ray passes the ends of a volume along y, between its first and last slab."""
    height, width = projection.shape
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]], float)
    rays = _rays(projection, corners)
    start, slope = _lines(matter, projection, isocentre, rays)
    ends = start[..., 1] + slope[..., 1] * np.array([[0.0], [matter.kinds.shape[2] - 1.0]])
    return bool(ends.min() >= 0.0 and ends.max() <= matter.kinds.shape[1] - 1.0)


def _rays(projection: Projection, uv: Array) -> Array:
    return projection.rays(np.moveaxis(np.asarray(uv, float), 0, -1))


def _lines(
    matter: Matter, projection: Projection, isocentre: Array, rays: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where rays (..., 3) meet slab 0, and their step per slab, in voxels along x and y."""
    source = (projection.source + np.asarray(isocentre) - matter.origin) / matter.spacing
    direction = rays / matter.spacing
    slope = direction[..., :2] / direction[..., 2:]
    return (source[:2] - slope * source[2]).astype(np.float32), slope.astype(np.float32)


@njit(cache=True, nogil=True, fastmath=True)
def _project(
    fractions: NDArray,
    kinds: NDArray,
    start: NDArray,
    slope: NDArray,
    unit: np.float32,
    out: NDArray,
    cut: NDArray,
) -> None:
    nx, ny, nz = kinds.shape
    height, width = start.shape[:2]
    limit_x, limit_y = np.float32(nx - 1.001), np.float32(ny - 1.001)
    half, one, zero = np.float32(0.5), np.float32(1.0), np.float32(0.0)
    count = np.zeros(KINDS, np.int64)
    for v in range(height):
        for u in range(width):
            x0, y0 = start[v, u, 0], start[v, u, 1]
            dx, dy = slope[v, u, 0], slope[v, u, 1]
            count[:] = 0
            soft, bone = zero, zero
            for p in range(nz):
                x = x0 + dx * np.float32(p)
                y = y0 + dy * np.float32(p)
                if y < zero or y >= limit_y:
                    continue
                if x < zero or x >= limit_x:
                    cut[v, u] |= fractions[0 if x < zero else nx - 1, int(y), p, 0] * unit > half
                    continue
                i, j = int(x), int(y)
                fx, fy = x - np.float32(i), y - np.float32(j)
                a, b = (one - fx) * (one - fy), (one - fx) * fy
                c, d = fx * (one - fy), fx * fy
                soft += (
                    a * np.float32(fractions[i, j, p, 0])
                    + b * np.float32(fractions[i, j + 1, p, 0])
                    + c * np.float32(fractions[i + 1, j, p, 0])
                    + d * np.float32(fractions[i + 1, j + 1, p, 0])
                )
                bone += (
                    a * np.float32(fractions[i, j, p, 1])
                    + b * np.float32(fractions[i, j + 1, p, 1])
                    + c * np.float32(fractions[i + 1, j, p, 1])
                    + d * np.float32(fractions[i + 1, j + 1, p, 1])
                )
                count[kinds[i + int(fx >= half), j + int(fy >= half), p]] += 1
            out[0, v, u] = soft * unit
            out[1, v, u] = bone * unit
            for k in range(KINDS):
                out[2 + k, v, u] = np.float32(count[k])
