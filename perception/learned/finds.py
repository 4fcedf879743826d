"""Reading devices off a network's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.perception.learned.network import AXIS_SCALE, KINDS, MASK_STRIDE, STRIDE, slices

MOST = 64  # finds in an image
APART = 6.0  # px; of two finds that are nearer the weaker goes
FAR = 1.5  # of half a device's length, and this many px more: its mask reaches no further
MORE = 8.0
SOFTEST, HARDEST = -3.0, 3.0  # logarithms of px that a spread may have


@dataclass(frozen=True, eq=False)
class Find:
    """What may be a device.

    Parameters
    ----------
    centre : (2,) array
        (u, v), px.
    score : float
        Probability of a device there, as the network has it, 0..1.
    sigma : float
        Standard deviation of each coordinate of the centre, px.
    angle, length : float
        Of the axis, rad from +u towards +v in [-pi/2, pi/2), and px.
    d_prime : float
        How far it stands out, in standard deviations of the ideal observer's noise; estimated.
    kind : str
        Of `network.KINDS`.
    box : (int, int, int, int)
        First row, end row, first column, end column of `mask`.
    mask : (h, w) bool array
        Its pixels in the box; all False where none stand out.
    """

    centre: Array
    score: float
    sigma: float
    angle: float
    length: float
    d_prime: float
    kind: str
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


def read_finds(
    grid: NDArray[np.float32], mask: NDArray[np.float32], least: float, most: int = MOST
) -> list[Find]:
    """Return what an image's outputs show, best first.

    Parameters
    ----------
    grid : (c, h/4, w/4) float32 array
    mask : (h/2, w/2) float32 array
        Logits.
    least : float
        Score below which nothing is taken, 0..1.
    most : int
        Finds, at most.
    """
    where = slices()
    logits = grid[where["centre"]][0]
    level = np.float32(np.log(least / (1.0 - least))) if least > 0.0 else np.float32(-30.0)
    peaks = (logits >= cv2.dilate(logits, np.ones((3, 3), np.uint8))) & (logits >= level)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-logits[rows, columns], kind="stable")[: 2 * most]
    rows, columns = rows[order], columns[order]
    values = grid[:, rows, columns].astype(np.float64)  # (c, n)
    offset = values[where["offset"]]
    u = (columns + 0.5 + offset[0]) * STRIDE - 0.5
    v = (rows + 0.5 + offset[1]) * STRIDE - 0.5
    places = list(np.stack([u, v], axis=1))
    kept = apart(places)[:most]
    found = []
    centres = [places[k] for k in kept]
    for centre, k in zip(centres, kept, strict=True):
        cosine, sine = values[where["axis"], k]
        length = AXIS_SCALE * float(np.hypot(cosine, sine))
        angle = float(np.arctan2(sine, cosine) / 2.0)
        others = [other for other in centres if other is not centre]
        d_prime = float(np.expm1(np.clip(values[where["strength"], k][0], 0.0, 7.0)))
        chance = float(1.0 / (1.0 + np.exp(-values[0, k])))
        box, pixels = _mask_of(mask, centre, length, others)
        found.append(
            Find(
                centre,
                chance,
                float(np.exp(np.clip(values[where["spread"], k][0], SOFTEST, HARDEST))),
                -np.pi / 2 if angle >= np.pi / 2 else angle,
                length,
                d_prime,
                KINDS[int(values[where["kind"], k].argmax())],
                box,
                pixels,
            )
        )
    return found


def bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return first row, end row, first column, end column of a mask (h, w), if it has pixels."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if len(rows) == 0:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def apart(centres: Sequence[Array]) -> list[int]:
    """Return which of places (2,), best first, are not beside a better one."""
    kept: list[int] = []
    for i, centre in enumerate(centres):
        if all(np.hypot(*(centre - centres[j])) >= APART for j in kept):
            kept.append(i)
    return kept


def _mask_of(
    logits: NDArray[np.float32], centre: Array, length: float, others: list[Array]
) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]]:
    """Return the pixels that stand out around a centre, and are no nearer to another one."""
    reach = FAR * length / 2 + MORE
    height, width = (side * MASK_STRIDE for side in logits.shape)
    first = np.maximum(np.floor((centre - reach) / MASK_STRIDE).astype(int), 0)
    end = np.minimum(
        np.ceil((centre + reach) / MASK_STRIDE).astype(int) + 1,
        (width // MASK_STRIDE, height // MASK_STRIDE),
    )
    if (end <= first).any():
        at = int(np.clip(centre[1], 0, height - 1)), int(np.clip(centre[0], 0, width - 1))
        return (at[0], at[0], at[1], at[1]), np.zeros((0, 0), bool)
    part = logits[first[1] : end[1], first[0] : end[0]]
    size = (part.shape[1] * MASK_STRIDE, part.shape[0] * MASK_STRIDE)
    shown = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) > 0.0
    top, left = int(first[1]) * MASK_STRIDE, int(first[0]) * MASK_STRIDE
    v, u = np.indices(shown.shape)
    near = (u + left - centre[0]) ** 2 + (v + top - centre[1]) ** 2
    shown &= near <= reach**2
    for other in others:
        if np.abs(other - centre).max() < 2 * reach:
            shown &= near <= (u + left - other[0]) ** 2 + (v + top - other[1]) ** 2
    box = bounds(shown)
    if box is None:
        at = round(float(centre[1])), round(float(centre[0]))
        return (at[0], at[0], at[1], at[1]), np.zeros((0, 0), bool)
    r0, r1, c0, c1 = box
    return (r0 + top, r1 + top, c0 + left, c1 + left), shown[r0:r1, c0:c1]
