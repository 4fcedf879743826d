"""Wires and tubes along polylines, as cylinders that are cut where they meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, unit
from mmdtwin.sim.shapes import Wire
from mmdtwin.synth.xray.convex_lengths import CYLINDER, Convex

# Cosine between two pieces below which both end square, not mitred: the tip of a mitre grows
# without bound. At 120 deg it is 2 radii from the joint.
SHARPEST = -0.5
WIDEST_MITRE = 2.0
LONGEST = 16.0  # px that one cylinder spans: the box about a long oblique one is mostly empty
MOST_PARTS = 256  # of one piece


def cylinders(wire: Wire, radius: float, projection: Projection) -> Convex:
    """Return the cylinders of a wire's outer or inner `radius` in m, mitred at its joints.

    Neighbours share the plane that halves the angle between them: there is neither gap nor overlap,
    and the volume is that of the straight wire, where pieces are longer than the mitres.
    """
    start, end = wire.points[:-1], wire.points[1:]
    length = np.linalg.norm(end - start, axis=1)
    kept = length > 0.0
    start, end, length = start[kept], end[kept], length[kept]
    axis = (end - start) / length[:, None]
    sharp = (np.einsum("ni,ni->n", axis[:-1], axis[1:]) < SHARPEST)[:, None]
    mitre = unit(axis[1:] + np.where(sharp, axis[1:], axis[:-1]))
    at_start = np.concatenate([axis[:1], mitre])
    at_end = np.concatenate([np.where(sharp, axis[:-1], mitre), axis[-1:]])

    parts = _parts(start, end, length, projection)
    piece = np.repeat(np.arange(len(parts)), parts)
    number = np.arange(len(piece)) - np.repeat(np.cumsum(parts) - parts, parts)
    first, last = (number == 0)[:, None], (number == parts[piece] - 1)[:, None]
    axis, length = axis[piece], length[piece] / parts[piece]
    centre = start[piece] + axis * (length * (number + 0.5))[:, None]
    normals = np.stack(
        [-np.where(first, at_start[piece], axis), np.where(last, at_end[piece], axis)], axis=1
    )
    return _cut_cylinders(centre, axis, length, normals, radius)


def _parts(start: Array, end: Array, length: Array, projection: Projection) -> NDArray[np.int64]:
    """Number of parts (n,) of about `LONGEST` px for each piece."""
    depth = np.minimum(projection.depth(start), projection.depth(end))
    pixels = length * projection.sid / (projection.pitch * np.maximum(depth, 0.01 * projection.sid))
    return np.clip(np.ceil(pixels / LONGEST), 1, MOST_PARTS).astype(np.int64)


def _cut_cylinders(
    centre: Array, axis: Array, length: Array, normals: Array, radius: float
) -> Convex:
    """Return cylinders cut by planes with outward `normals` (n, 2, 3) through their axes' ends."""
    across = unit(np.cross(axis, np.eye(3)[np.abs(axis).argmin(axis=1)]))
    rotation = np.stack([across, np.cross(axis, across), axis], axis=2)
    local = normals @ rotation
    slope = np.abs(local[..., 2])
    tip = radius * (np.linalg.norm(local[..., :2], axis=2) / slope).max(axis=1)
    half = np.stack([np.full_like(length, radius)] * 2 + [length / 2 + tip], axis=1)
    cuts = np.concatenate([local, (slope * length[:, None] / 2)[..., None]], axis=2)
    return Convex(CYLINDER, centre, rotation, half, cuts)
