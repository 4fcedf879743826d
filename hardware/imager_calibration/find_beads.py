"""Find beads in a radiograph, to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.hardware.imager_calibration.discs import DEPTH, EDGE, LEVEL, RADIUS, U, V, fit_discs

THRESHOLD = 6.0  # of the noise of the response of the blob filter, robust sd
REACH = 1.8  # of a bead's radius, and MARGIN px: half the window in which its disc is fitted
MARGIN = 3.0
WIDEST = 1.45  # of the expected radius; its inverse is the narrowest
SOFTEST = 1.0  # of its radius: widest edge of a bead
STRAYS = 1.5  # px, farthest that a fit may go from where it began
WORST_FIT = 0.35  # of a disc's depth: rms that its fit may leave beside the noise
DEEPEST = 1.6  # of the background: depth beyond which a fit is of no bead (its edge is soft)
SHADE = 2.5  # px beyond its radius that a disc still darkens
CLEAR = 2.0  # px between discs that do not disturb each other
OVERLAPPED = 0.4  # px: standard error of a disc that others cut, as simulated
ENOUGH = 3.0  # pixels per squared radius that a fit needs
PER_SIZE = 400  # candidates of one size that are fitted, the strongest first
MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal one


@dataclass(frozen=True, eq=False)
class Beads:
    """What was found in an image; some of it may be no bead.

    Parameters
    ----------
    pixels : (n, 2) array
        Middles (u, v), px.
    radii : (n,) array
        Of the discs, px.
    contrast : (n,) array
        Depth of the discs over the background.
    sigma : (n,) array
        Standard error of the middles along u and v, px.
    """

    pixels: Array
    radii: Array
    contrast: Array
    sigma: Array

    def __len__(self) -> int:
        return len(self.pixels)


def find_beads(image: NDArray, radii: ArrayLike) -> Beads:
    """Find dark discs of about the given radii.

    What is wider than a bead is taken away by a morphological closing, relative to which the
    image's depth does not depend on its grey scale. A Laplacian of Gaussian per radius finds blobs
    above the image's own noise; then a disc with a soft edge on a sloping background is fitted to
    the image around each.

    Parameters
    ----------
    image : (h, w) array
        Grey, brighter where more radiation arrives, in any unit.
    radii : (k,) array
        Expected radii, px.

    Raises
    ------
    UserError
        If the image is not of two dimensions, not finite, or uniform.
    """
    grey = np.asarray(image, np.float32)
    expected = np.unique(np.asarray(radii, float))
    if grey.ndim != 2 or min(grey.shape) < 16:
        raise UserError(f"image: shape {grey.shape}; allowed are grey images of 16 px and more")
    if not np.isfinite(grey).all():
        raise UserError("image: not all values are finite")
    if float(np.ptp(grey)) == 0.0:
        raise UserError("image: uniform; it shows no beads")
    depth = _relative_depth(grey, float(expected.max()))
    rows = [_of_radius(grey, depth, float(radius)) for radius in expected]
    return _apart(grey, _best_of_each(np.concatenate(rows)), float(expected.max()))


def _relative_depth(grey: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """How much darker each pixel is than what surrounds a bead, as a share of the latter."""
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8), np.float32)
    size = 2 * int(np.ceil(1.5 * radius)) + 3
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    around = np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, kernel), np.float32)
    around = np.asarray(cv2.GaussianBlur(around, (0, 0), radius), np.float32)
    floor = 0.02 * float(np.percentile(around, 95))  # black outside of a field stays black
    seen = around > floor
    return np.where(seen, 1.0 - smooth / np.maximum(around, floor), 0.0).astype(np.float32)


def _of_radius(grey: NDArray[np.float32], depth: NDArray[np.float32], radius: float) -> Array:
    """Fits of discs of about one radius, (n, 6): u, v, radius, contrast, sigma, misfit."""
    scale = radius / np.sqrt(2.0)  # at which the Laplacian of Gaussian answers a disc most
    response = -np.asarray(cv2.Laplacian(cv2.GaussianBlur(depth, (0, 0), scale), cv2.CV_32F))
    noise = MAD_TO_SIGMA * float(np.median(np.abs(response - np.median(response))))
    size = 2 * max(1, round(0.7 * radius)) + 1
    highest = np.asarray(cv2.dilate(response, np.ones((size, size), np.uint8)))
    v, u = np.nonzero((response >= highest) & (response > max(THRESHOLD * noise, 1e-9)))
    order = np.argsort(-response[v, u])[:PER_SIZE]
    places = np.stack([u[order], v[order], np.full(len(order), radius)], axis=1).astype(float)
    fits, good = _fit(grey, places, radius, np.empty((0, 6)))
    return fits[good]


def _apart(grey: NDArray[np.float32], rows: Array, radius: float) -> Beads:
    """Fit each again without the pixels that its neighbours darken."""
    if len(rows) > 1:
        gaps = np.hypot(*(rows[:, None, :2] - rows[:, :2]).transpose(2, 0, 1))
        gaps -= rows[:, None, 2] + rows[:, 2] + np.diag(np.full(len(rows), -np.inf))
        gap = gaps.min(axis=1)
        near = gap < REACH * rows[:, 2] + 2 * MARGIN
        again, good = _fit(grey, rows[near, :3], radius, rows)
        numbers = np.flatnonzero(near)
        rows[numbers[good]] = again[good]
        alone = np.ones(len(rows), bool)
        alone[numbers] = good & (gap[near] > CLEAR)
        rows[~alone, 4] = np.hypot(rows[~alone, 4], OVERLAPPED)
    return Beads(rows[:, :2], rows[:, 2], rows[:, 3], rows[:, 4])


def _fit(
    grey: NDArray[np.float32], places: Array, widest: float, others: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Fit a disc near each of the places, (n, 3): u, v, radius.

    Pixels of `others`, rows of (u, v, radius, ...), are left out, but for the one at the place.

    Returns
    -------
    fits : (n, 6) array
        u, v, radius, contrast, sigma, misfit.
    good : (n,) bool array
        Whether it is a bead.
    """
    if len(places) == 0:
        return np.empty((0, 6)), np.empty(0, bool)
    u, v, radius = places.T
    half = int(np.ceil(REACH * widest + MARGIN))
    dy, dx = (o.ravel() for o in np.mgrid[-half : half + 1, -half : half + 1].astype(float))
    x, y = np.rint(u)[:, None] + dx, np.rint(v)[:, None] + dy
    height, width = grey.shape
    used = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    used &= np.hypot(x - u[:, None], y - v[:, None]) <= REACH * radius[:, None] + MARGIN
    for other in others:
        shaded = np.hypot(x - other[0], y - other[1]) <= other[2] + SHADE
        used &= ~(shaded & (np.hypot(u - other[0], v - other[1]) > 0.0)[:, None])
    row, column = np.clip(y, 0, height - 1).astype(int), np.clip(x, 0, width - 1).astype(int)
    values = grey[row, column].astype(float)
    level = np.nanpercentile(np.where(used, values, np.nan), 80, axis=1)
    dark = level <= 0.0
    values /= np.where(dark, 1.0, level)[:, None]
    centre = grey[np.rint(v).astype(int).clip(0, height - 1), np.rint(u).astype(int).clip(
        0, width - 1)] / np.where(dark, 1.0, level)  # fmt: skip
    flat = np.zeros_like(u)
    start = np.stack([u, v, radius, flat + 1, np.maximum(1 - centre, 0.02), flat + 1, flat, flat],
                     axis=1)  # fmt: skip
    p, rms, sigma = fit_discs(values, x, y, used, start)
    deep = np.where(p[:, DEPTH] > 0.0, p[:, DEPTH], np.nan)
    fits = np.stack([p[:, U], p[:, V], p[:, RADIUS], deep / p[:, LEVEL], sigma, rms / deep], axis=1)
    stretch = p[:, RADIUS] / radius
    good = (
        (np.hypot(p[:, U] - u, p[:, V] - v) < STRAYS + 0.3 * radius)
        & (stretch > 1 / WIDEST) & (stretch < WIDEST) & (p[:, EDGE] < SOFTEST * radius + 1.5)
        & (p[:, DEPTH] < DEEPEST * p[:, LEVEL]) & (fits[:, 5] < WORST_FIT) & ~dark
        & (used.sum(axis=1) > ENOUGH * radius**2)
    )  # fmt: skip
    return fits, good


def _best_of_each(rows: Array) -> Array:
    """Keep one fit, that with the least misfit, of those that lie within each other."""
    kept: list[Array] = []
    for row in rows[np.argsort(rows[:, 5])]:
        if all(np.hypot(*(row[:2] - k[:2])) > 0.7 * max(row[2], k[2]) for k in kept):
            kept.append(row)
    return np.array(kept).reshape(-1, 6)
