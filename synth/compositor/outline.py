"""Outlines of masks along the edges of their pixels, and COCO's run lengths."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Directions in which an edge runs, with the mask on its right (v down): +u, +v, -u, -v.
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def polygons(mask: NDArray[np.bool_]) -> list[list[float]] | None:
    """Return the outlines of a mask, u and v of corners in turn, px from the image's corner.

    COCO's convention: the first pixel reaches from 0 to 1. Parts that touch at a corner alone are
    apart. None of a mask with holes, which polygons cannot tell.
    """
    if has_holes(mask):
        return None
    return [_simplified(loop) for loop in _loops(mask)]


def has_holes(mask: NDArray[np.bool_]) -> bool:
    """Return whether part of what is not the mask is enclosed by it (corners let through)."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    count, _ = cv2.connectedComponents(outside, connectivity=8)
    return bool(count > 2)


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return COCO's compressed run lengths of a mask (h, w): `size` and `counts`."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(s) for s in found["size"]], "counts": found["counts"].decode("ascii")}


def decoded(runs: dict[str, Any]) -> NDArray[np.bool_]:
    """Return the mask (h, w) of what `run_lengths` returns."""
    from pycocotools import mask as coco

    return np.asarray(coco.decode({**runs, "counts": runs["counts"].encode()}), bool)


def _loops(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Follow the edges between mask and the rest, the mask on the right; turn right where one can.

    Right first keeps parts apart that touch at a corner. A loop begins at its topmost corner, where
    no part above it is left to touch.
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    starts: dict[tuple[int, int], set[int]] = {}
    # An edge of a pixel (v, u) is the mask's where the neighbour is not: top, right, bottom, left.
    for direction, (dv, du), (cv, cu) in (
        (0, (-1, 0), (0, 0)), (1, (0, 1), (0, 1)), (2, (1, 0), (1, 1)), (3, (0, -1), (1, 0))
    ):  # fmt: skip
        neighbour = padded[1 + dv : padded.shape[0] - 1 + dv, 1 + du : padded.shape[1] - 1 + du]
        for v, u in np.argwhere(inside & ~neighbour).tolist():
            starts.setdefault((u + cu, v + cv), set()).add(direction)
    loops = []
    while starts:
        first = min(starts, key=lambda p: (p[1], p[0]))
        direction = min(starts[first])
        loop, place = [], first
        while True:
            loop.append(place)
            starts[place].discard(direction)
            if not starts[place]:
                del starts[place]
            step = STEPS[direction]
            place = place[0] + step[0], place[1] + step[1]
            if place == first:
                break
            direction = next(
                d for d in ((direction + 1) % 4, direction, (direction - 1) % 4)
                if d in starts[place]
            )  # fmt: skip
        loops.append(loop)
    return loops


def _simplified(loop: list[tuple[int, int]]) -> list[float]:
    """Return the corners of a loop, without those on straight edges."""
    points = np.array(loop)
    ahead = np.roll(points, -1, axis=0) - points
    behind = points - np.roll(points, 1, axis=0)
    corner = (ahead != behind).any(axis=1)
    return [float(x) for x in points[corner].ravel()]
