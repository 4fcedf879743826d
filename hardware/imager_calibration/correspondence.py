"""Which bead is which, from a nominal geometry that is some 10 deg and 20 mm off.

The phantom is turned over a grid of small rotations. For each, the shifts between all its beads and
all finds of like size are counted on a coarse grid: the true shift gathers most of them (a Hough
transform), whatever else was found. The best few are refined with a shrinking reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from mmdtwin.config.bead_phantom import BeadPhantomConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.hardware.imager_calibration.find_beads import Beads
from mmdtwin.hardware.imager_calibration.model import Lens, shown

ANGLES = np.deg2rad(np.arange(-12.0, 12.1, 4.0))  # rad about each axis
CELL = 6.0  # px of the grid of shifts
REFINED = 24  # rotations that are tried further
REACHES = (24.0, 16.0, 10.0, 6.0, 4.0, 3.0)  # px, within which beads and finds are paired
LOSS = 1.0  # px, beyond which a pair counts less
FEWEST = 10  # pairs that give a pose
FEWEST_SHARE = 0.5  # of the finds near a bead, or of the beads: fewer pairs are chance
SIZE_RATIO = 1.25  # of radii, seen over expected, that still counts as the same size


@dataclass(frozen=True, eq=False)
class Pairs:
    """Beads of the phantom and where one image shows them.

    Parameters
    ----------
    beads, finds : (n,) int array
        Numbers in the phantom and among the finds.
    pose : (6,) array
        Rotation vector, rad, and shift, m, as in `model.shown`.
    lens : Lens
        Distortion that was found along with it.
    """

    beads: NDArray[np.int64]
    finds: NDArray[np.int64]
    pose: Array
    lens: Lens


def pair(
    finds: Beads, phantom: BeadPhantomConfig, nominal: Projection, name: str = "image"
) -> Pairs:
    """Pair the phantom's beads with finds.

    Parameters
    ----------
    finds : Beads
        Found in one image.
    phantom : BeadPhantomConfig
        What was imaged.
    nominal : Projection
        Within 10 deg and 20 mm of the truth; its distortion is where the search begins.
    name : str
        Of the image, for the message.

    Raises
    ------
    UserError
        If too few beads are paired to be more than chance.
    """
    lens = Lens.of(nominal)
    same = _same_size(finds, phantom, nominal)
    best: Pairs | None = None
    enough = len(finds) >= FEWEST
    for pose in _candidates(finds, phantom, nominal, lens, same) if enough else ():
        found = _refined(finds, phantom, nominal, lens, pose, same)
        if found is not None and (best is None or len(found.beads) > len(best.beads)):
            best = found
            if len(best.beads) > 0.8 * min(len(finds), len(phantom.beads)):
                break
    needed = max(FEWEST, FEWEST_SHARE * min(len(finds), len(phantom.beads)))
    if best is None or len(best.beads) < needed:
        count = 0 if best is None else len(best.beads)
        raise UserError(
            f"{name}: {len(finds)} dark discs, of which {count} fit the phantom's "
            f"{len(phantom.beads)} beads; at least {int(np.ceil(needed))} must, with the gantry's "
            "nominal angles within 10 deg and the phantom within 20 mm of the isocentre"
        )
    return best


def _same_size(finds: Beads, phantom: BeadPhantomConfig, nominal: Projection) -> NDArray[np.bool_]:
    """Which bead could be which find, (beads, finds), by size.

    How wide a disc looks depends on its blur, so sizes are first scaled to agree on the whole.
    """
    expected = phantom.diameters / 2 / nominal.pixel_size
    sizes = np.unique(expected)
    if len(sizes) == 1 or len(finds) == 0:
        return np.ones((len(expected), len(finds)), bool)
    scales = np.linspace(0.75, 1.2, 46)
    misfit = [
        np.abs(np.log(finds.radii[:, None] / (scale * sizes))).min(axis=1).mean()
        for scale in scales
    ]
    scale = scales[int(np.argmin(misfit))]
    nearest = np.abs(np.log(finds.radii[:, None] / (scale * sizes))).argmin(axis=1)
    ratio = np.log(finds.radii / (scale * expected[:, None]))
    return (sizes[nearest] == expected[:, None]) | (np.abs(ratio) < np.log(SIZE_RATIO))


def _candidates(
    finds: Beads,
    phantom: BeadPhantomConfig,
    nominal: Projection,
    lens: Lens,
    same: NDArray[np.bool_],
) -> list[Array]:
    """Poses (6,) with the most beads at finds, the best first."""
    bead, find = np.nonzero(same)
    ideal = lens.straight(finds.pixels)
    scored = []
    for angles in product(ANGLES, repeat=3):
        pose = np.concatenate([Rotation.from_euler("xyz", angles).as_rotvec(), np.zeros(3)])
        uv = shown(phantom.positions, nominal, pose, lens.ideal)
        votes, shift = _vote(ideal[find] - uv[bead], max(nominal.shape))
        across = shift * nominal.pixel_size
        pose[3:] = across[0] * nominal.axes[0] + across[1] * nominal.axes[1]
        scored.append((votes, pose))
    scored.sort(key=lambda item: -item[0])
    return [pose for _, pose in scored[:REFINED]]


def _vote(shifts: Array, reach: float) -> tuple[float, Array]:
    """Return how many shifts (n, 2), px, agree most, and on which shift (2,)."""
    count = int(np.ceil(2 * reach / CELL))
    cells = np.floor((shifts + reach) / CELL).astype(int)
    cells = cells[np.all((cells >= 0) & (cells < count), axis=1)]
    grid = np.bincount(cells[:, 1] * count + cells[:, 0], minlength=count * count)
    near = cv2.boxFilter(grid.reshape(count, count).astype(np.float32), -1, (3, 3), normalize=False)
    row, column = np.unravel_index(int(np.argmax(near)), near.shape)
    return float(near[row, column]), (np.array([column, row]) + 0.5) * CELL - reach


def _refined(
    finds: Beads,
    phantom: BeadPhantomConfig,
    nominal: Projection,
    lens: Lens,
    pose: Array,
    same: NDArray[np.bool_],
) -> Pairs | None:
    """Pair and fit in turn, with an ever smaller reach."""
    tree = cKDTree(finds.pixels)
    values = np.concatenate([pose, [lens.pincushion, lens.s_distortion]])
    scale = np.array([0.01] * 3 + [1e-3] * 3 + [0.01] * 2)
    bead = find = np.empty(0, np.int64)
    for reach in REACHES:
        uv = shown(phantom.positions, nominal, values[:6], lens.with_bends(values[6:]))
        bead, find = _nearest(uv, tree, reach, same)
        if len(bead) < FEWEST:
            return None
        free = 8 if lens.bends and reach < REACHES[1] else 6

        result = least_squares(
            _miss,
            values[:free] / scale[:free],
            loss="soft_l1",
            f_scale=LOSS,
            max_nfev=12,
            args=(scale, values, phantom.positions[bead], finds.pixels[find], nominal, lens),
        )
        values = np.concatenate([result.x * scale[:free], values[free:]])
        if np.abs(values[6:]).max() > 0.25 or np.abs(values[3:6]).max() > 0.1:
            return None
    uv = shown(phantom.positions, nominal, values[:6], lens.with_bends(values[6:]))
    bead, find = _nearest(uv, tree, REACHES[-1], same)
    return Pairs(bead, find, values[:6], lens.with_bends(values[6:]))


def _miss(
    x: Array, scale: Array, values: Array, points: Array, pixels: Array, nominal: Projection,
    lens: Lens,
) -> Array:  # fmt: skip
    """Distances in px for the first of the values, as many as are fitted, at `x` times `scale`."""
    full = np.concatenate([x * scale[: len(x)], values[len(x) :]])
    return (shown(points, nominal, full[:6], lens.with_bends(full[6:])) - pixels).ravel()


def _nearest(
    uv: Array, tree: cKDTree, reach: float, same: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair each bead with the nearest find of its size, and no find twice."""
    distance, index = tree.query(uv, k=min(4, tree.n), distance_upper_bound=reach)
    distance, index = distance.reshape(len(uv), -1), index.reshape(len(uv), -1)
    bead, rank = np.nonzero(np.isfinite(distance))
    find = index[bead, rank]
    fits = same[bead, find]
    bead, find, length = bead[fits], find[fits], distance[bead, rank][fits]
    order = np.argsort(length)
    kept, beads, used = [], set[int](), set[int]()
    for i in order:
        if int(bead[i]) not in beads and int(find[i]) not in used:
            beads.add(int(bead[i]))
            used.add(int(find[i]))
            kept.append(i)
    return bead[kept].astype(np.int64), find[kept].astype(np.int64)
