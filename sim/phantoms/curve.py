"""Centrelines: curves through points, and the tree they form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mmdtwin.geometry import Array, arclength

Voxel = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tree:
    """Centrelines (n, 3) m by branch name, the two nodes each joins, and the open ends."""

    curves: dict[str, Array]
    nodes: dict[str, tuple[str, str]]
    ends: tuple[str, ...]


def evenly(points: Array, step: float) -> Array:
    """Resample a polyline (n, 3) at equal distances of at most `step` m, ends kept."""
    s = arclength(points)
    even = np.linspace(0.0, s[-1], max(2, int(np.ceil(s[-1] / step - 1e-9)) + 1))
    return np.stack([np.interp(even, s, points[:, i]) for i in range(3)], axis=1)


def smoothed(points: Array, sigma: float, step: float) -> Array:
    """Smooth a polyline with a Gaussian of `sigma` m along it, its ends held; resample."""
    even = evenly(points, step)
    pad = int(4 * sigma / step) + 1
    # Point reflection through an end makes the smoothed curve pass through it.
    extended = np.pad(even, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    return evenly(gaussian_filter1d(extended, sigma / step, axis=0)[pad:-pad], step)


def last_shared(paths: dict[str, list[Voxel]], first: int) -> int:
    """Return the index of the last voxel that all paths have in common, from `first` on."""
    last = first
    while all(len(p) > last + 1 for p in paths.values()):
        if len({p[last + 1] for p in paths.values()}) > 1:
            break
        last += 1
    return last
