"""Patches to train on: cut, varied, and what the network should say of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.perception.learned.network import AXIS_SCALE, MASK_STRIDE, OUTPUTS, STRIDE, slices
from mmdtwin.perception.learned.seen import REACH, seen
from mmdtwin.perception.training.samples import Device, Sample

SIDE = 128  # px
MARGIN = 2 * REACH  # px around a patch that what networks see of it depends on
ROOM = 12  # px from a patch's rim within which the device that it is cut for does not lie
NOISE_SHARE, NOISE = 0.3, (0.2, 1.0)  # share of patches that get noise, times what they have
GAMMA_SHARE, GAMMA = 0.3, (0.7, 1.4)  # share whose grey levels are bent
# d' below which nobody can tell: nothing is learnt from such devices; from the second on they
# count fully.
HOPELESS, CLEAR = 2.0, 5.0
PEAK = 0.8  # cells, standard deviation of the peak that is wanted around a centre
NEAR = 0.35  # of the peak, from which a place is asked for everything about the device


@dataclass(frozen=True, eq=False)
class Patch:
    """What a network sees of a patch, and what it should say.

    Parameters
    ----------
    image : (c, SIDE, SIDE) float32 array
    wanted : (sum of OUTPUTS, g, g) float32 array
        `centre` is 1 at a device's centre and falls off around it.
    counts : (g, g) float32 array
        How much each place of the grid counts for `centre`.
    asked : (g, g) float32 array
        How much each place counts for all else.
    mask : (m, m) float32 array
        Share of each place of the mask's grid that devices cover.
    mask_counts : (m, m) float32 array
        How much each of these counts.
    """

    image: NDArray[np.float32]
    wanted: NDArray[np.float32]
    counts: NDArray[np.float32]
    asked: NDArray[np.float32]
    mask: NDArray[np.float32]
    mask_counts: NDArray[np.float32]


def around(rng: np.random.Generator, sample: Sample, place: Array, side: int = SIDE) -> Array:
    """Return a patch's first pixel (u, v), so that a place (u, v) lies somewhere inside."""
    shift = rng.uniform(ROOM, side - ROOM, 2)
    height, width = sample.image.shape
    return np.clip(np.rint(place - shift), 0, (width - side, height - side)).astype(int)


def anywhere(rng: np.random.Generator, sample: Sample, side: int = SIDE) -> Array:
    """Return the first pixel (u, v) of a patch anywhere."""
    height, width = sample.image.shape
    return np.array([rng.integers(width - side + 1), rng.integers(height - side + 1)])


def cut_patch(
    rng: np.random.Generator, sample: Sample, first: Array, side: int = SIDE, vary: bool = True
) -> Patch:
    """Cut a patch whose first pixel is (u, v), and vary it.

    Noise is added to what a detector counts, in proportion to what it has there: a lower dose. Grey
    levels are bent as displays bend them.
    """
    pixels, factor = _pixels(rng, sample, first, side, vary)
    image = seen(pixels, 1.0)[:, MARGIN : MARGIN + side, MARGIN : MARGIN + side]
    cells, fine = side // STRIDE, side // MASK_STRIDE
    wanted = np.zeros((sum(OUTPUTS.values()), cells, cells), np.float32)
    counts = np.ones((cells, cells), np.float32)
    asked = np.zeros((cells, cells), np.float32)
    mask = np.zeros((fine, fine), np.float32)
    mask_counts = np.ones((fine, fine), np.float32)
    turns, flip = (int(rng.integers(4)), bool(rng.integers(2))) if vary else (0, False)
    for device in sample.devices:
        _label(
            (wanted, counts, asked, mask, mask_counts), device, first, side, factor, (turns, flip)
        )
    if turns or flip:
        image = _turned(image, turns, flip)
    return Patch(np.ascontiguousarray(image), wanted, counts, asked, mask, mask_counts)


def _pixels(
    rng: np.random.Generator, sample: Sample, first: Array, side: int, vary: bool
) -> tuple[NDArray[np.float32], float]:
    """Return a patch with its margin, over the image's brightness, and by how much d' shrinks."""
    height, width = sample.image.shape
    u, v = int(first[0]), int(first[1])
    r0, r1 = max(v - MARGIN, 0), min(v + side + MARGIN, height)
    c0, c1 = max(u - MARGIN, 0), min(u + side + MARGIN, width)
    part = sample.image[r0:r1, c0:c1].astype(np.float32) / np.float32(sample.bright)
    missing = (r0 - (v - MARGIN), v + side + MARGIN - r1, c0 - (u - MARGIN), u + side + MARGIN - c1)
    pixels = cv2.copyMakeBorder(part, *missing, cv2.BORDER_REFLECT_101)
    factor = 1.0
    if vary and rng.random() < NOISE_SHARE:
        share = float(rng.uniform(*NOISE))
        steps = cv2.blur(cv2.absdiff(pixels, cv2.blur(pixels, (3, 3))), (25, 25)) * 1.25
        white = np.asarray(rng.standard_normal(np.shape(pixels)), np.float32)
        noise = np.asarray(cv2.GaussianBlur(white, (0, 0), sigmaX=float(rng.uniform(0.4, 0.8))))
        times = share / max(float((noise - cv2.blur(noise, (3, 3))).std()), 1e-6)
        pixels = pixels + noise * steps * np.float32(times)
        factor = 1.0 / float(np.hypot(1.0, share))
    if vary and rng.random() < GAMMA_SHARE:
        pixels = np.maximum(pixels, 0.0) ** np.float32(np.exp(rng.uniform(*np.log(GAMMA))))
    return np.asarray(pixels, np.float32), factor


def _turned(image: NDArray, turns: int, flip: bool) -> NDArray:
    found = np.rot90(image, turns, axes=(-2, -1))
    return found[..., ::-1] if flip else found


def _moved(points: Array, side: int, turns: int, flip: bool) -> Array:
    """Return where points (..., 2) of a patch are after `_turned`."""
    u, v = points[..., 0], points[..., 1]
    for _ in range(turns):
        u, v = v, side - 1 - u
    return np.stack([side - 1 - u if flip else u, v], axis=-1)


def _label(
    into: tuple[NDArray[np.float32], ...],
    device: Device,
    first: Array,
    side: int,
    factor: float,
    turn: tuple[int, bool],
) -> None:
    """Write what should be said of a device into (wanted, counts, asked, mask, mask_counts)."""
    wanted, counts, asked, mask, mask_counts = into
    r0, r1, c0, c1 = device.box
    u, v = int(first[0]), int(first[1])
    if r1 <= v or r0 >= v + side or c1 <= u or c0 >= u + side:
        return
    d_prime = device.d_prime * factor
    weight = float(np.clip((d_prime - HOPELESS) / (CLEAR - HOPELESS), 0.0, 1.0))
    pixels = np.zeros((side, side), np.float32)
    top, left = max(r0, v), max(c0, u)
    bottom, right = min(r1, v + side), min(c1, u + side)
    pixels[top - v : bottom - v, left - u : right - u] = device.mask[
        top - r0 : bottom - r0, left - c0 : right - c0
    ]
    pixels = np.ascontiguousarray(_turned(pixels, *turn))
    covered = cv2.resize(pixels, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    # Twice as far as the device reaches nothing is held against a network that sees one there.
    doubt = cv2.dilate((covered > 0.0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    mask_counts[doubt] = np.minimum(mask_counts[doubt], weight)
    np.maximum(mask, covered, out=mask)
    centre = _moved(device.centre - first, side, *turn)
    ends = _moved(device.ends - first, side, *turn)
    place = (centre + 0.5) / STRIDE - 0.5  # of the centre on the grid
    cells = wanted.shape[-1]
    y, x = np.indices((cells, cells), dtype=np.float32)
    away = (x - place[0]) ** 2 + (y - place[1]) ** 2
    near = cv2.resize(doubt.astype(np.uint8), (cells, cells), interpolation=cv2.INTER_AREA) > 0
    if weight < 1.0:
        hidden = near | (away < 9.0)
        counts[hidden] = np.minimum(counts[hidden], weight)
    if not (place >= -0.5).all() or not (place < cells - 0.5).all():
        # Its centre is outside: what is seen of it is neither a device nor none.
        counts[near] = 0.0
        return
    if weight == 0.0:
        return
    where = slices()
    peak = np.exp(-away / (2.0 * PEAK**2))
    peak[round(float(place[1])), round(float(place[0]))] = 1.0
    wanted[0] = np.maximum(wanted[0], peak)
    here = (peak > NEAR) & (weight > asked)
    asked[here] = weight
    wanted[where["offset"], here] = np.stack([place[0] - x[here], place[1] - y[here]])
    along = ends[1] - ends[0]
    length, angle = float(np.hypot(*along)), float(np.arctan2(along[1], along[0]))
    axis = length / AXIS_SCALE * np.array([np.cos(2 * angle), np.sin(2 * angle)])
    wanted[where["axis"], here] = axis[:, None]
    wanted[where["strength"], here] = np.log1p(min(d_prime, 1e3))
    if device.kind >= 0:
        wanted[where["kind"].start + device.kind, here] = 1.0
