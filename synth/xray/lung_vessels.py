"""Blood vessels of the lungs that are finer than a CT shows, grown into its lung labels.

A tree fills a volume by splitting it: a branch runs towards the middle of the region that it
supplies, ends part of the way there, and its region is halved for its two daughters, until each
supplies one end point (Tawhai et al. 2000, J. Biomech. Eng. 122). Radii follow Murray's law,
r^3 = sum of the daughters' r^3 (Murray 1926, PNAS 12), so r = r_end n^(1/3) above n end points.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import Labels

SIDES = ("left", "right")
TREES = 2  # arteries and veins
END_DENSITY = 2.5e6  # end points per m3 of lung and tree: one for 0.4 ml, two acini, assumed
END_RADIUS = 0.35e-3  # m, assumed: vessels of a lobule measure 0.2-0.5 mm
REACH = 0.45  # of the way to the middle of its region after which a branch divides
UNEVEN = 0.15  # daughters supply 0.5 -+ this share of their parent's end points
THINNEST = 0.7  # voxels; radius over which a thinner branch is spread
LARGEST = 1.2e-3  # m; the CT shows thicker branches itself


def lung_vessels(anatomy: Labels, rng: np.random.Generator) -> Array:
    """Grow a tree into each lung, from its hilum to its surface.

    Parameters
    ----------
    anatomy : Labels
        Structures named ``lung_..._left`` and ``lung_..._right`` are filled.
    rng : Generator
        Draws the end points and how regions divide.

    Returns
    -------
    (n, 7) array
        Start (3), end (3) and radius of each straight branch, m, thick branches included.
    """
    lungs = [_points(anatomy, side) for side in SIDES]
    if not sum(map(len, lungs)):
        return np.empty((0, 7))
    middle = np.concatenate(lungs).mean(axis=0)
    trees = [_grow(points, middle, float(anatomy.spacing.prod()), rng) for points in lungs * TREES]
    return np.concatenate(trees)


def rasterise(segments: Array, anatomy: Labels) -> NDArray[np.uint8]:
    """Return the share of each voxel that thin branches fill, 0..255, (nz, nx, ny).

    A branch thinner than a voxel is spread over one, its cross-section kept.
    """
    shape = tuple(anatomy.labels.shape[i] for i in (2, 0, 1))
    fill = np.zeros(shape, np.uint8)
    thin = segments[segments[:, 6] <= LARGEST] if len(segments) else segments
    order = [2, 0, 1]
    start = (thin[:, :3] - anatomy.origin) / anatomy.spacing
    end = (thin[:, 3:6] - anatomy.origin) / anatomy.spacing
    _draw(fill, start[:, order], end[:, order], thin[:, 6] / anatomy.spacing.mean())
    return fill


def _points(anatomy: Labels, side: str) -> Array:
    """Centres of the voxels of a lung, (n, 3) m."""
    ids = [i for i, n in anatomy.names.items() if n.startswith("lung_") and n.endswith(side)]
    if not ids:
        return np.empty((0, 3))
    wanted = np.zeros(256, bool)
    wanted[ids] = True
    return np.argwhere(wanted[anatomy.labels]) * anatomy.spacing + anatomy.origin


def _grow(points: Array, middle: Array, voxel: float, rng: np.random.Generator) -> Array:
    count = round(len(points) * voxel * END_DENSITY)
    if count == 0:
        return np.empty((0, 7))
    ends = points[rng.integers(len(points), size=count)]
    hilum = points[np.argmin(((points - middle) ** 2).sum(axis=1))]
    branches = []
    regions = [(hilum, ends)]
    while regions:
        start, region = regions.pop()
        radius = END_RADIUS * len(region) ** (1 / 3)
        if len(region) == 1:
            branches.append((*start, *region[0], radius))
            continue
        centre = region.mean(axis=0)
        end = start + REACH * (centre - start)
        branches.append((*start, *end, radius))
        # Halve the region across its longest side.
        _, directions = np.linalg.eigh(np.cov(region.T, bias=True))
        order = np.argsort((region - centre) @ directions[:, -1])
        share = 0.5 + rng.uniform(-UNEVEN, UNEVEN)
        cut = min(max(round(share * len(region)), 1), len(region) - 1)
        regions += [(end, region[order[:cut]]), (end, region[order[cut:]])]
    return np.array(branches)


@njit(cache=True, nogil=True)
def _draw(fill: NDArray, start: NDArray, end: NDArray, radius: NDArray) -> None:
    """Draw tubes, all in voxels, keeping the larger share where they meet.

    Their rim is a ramp of one voxel, which adds pi / 12 to the area of the cross-section.
    """
    for s in range(len(start)):
        wide = np.sqrt(max(radius[s] ** 2 - 1.0 / 12.0, THINNEST**2))
        share = min(radius[s] ** 2 / (wide**2 + 1.0 / 12.0), 1.0)
        a, d = start[s], end[s] - start[s]
        length2 = max((d * d).sum(), 1e-12)
        low, high = np.empty(3, np.int64), np.empty(3, np.int64)
        for i in range(3):
            low[i] = max(int(np.floor(min(a[i], end[s, i]) - wide - 1)), 0)
            high[i] = min(int(np.ceil(max(a[i], end[s, i]) + wide + 1)), fill.shape[i] - 1)
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                for k in range(low[2], high[2] + 1):
                    p, q, r = i - a[0], j - a[1], k - a[2]
                    t = min(max((p * d[0] + q * d[1] + r * d[2]) / length2, 0.0), 1.0)
                    p, q, r = p - t * d[0], q - t * d[1], r - t * d[2]
                    gap = np.sqrt(p * p + q * q + r * r)
                    inside = min(max(wide - gap + 0.5, 0.0), 1.0) * share
                    level = np.uint8(inside * 255.0 + 0.5)
                    if level > fill[i, j, k]:
                        fill[i, j, k] = level
