"""What networks see of an image: contrast over the noise around, and contrast itself.

Contrasts are those of logarithms, from which what is coarse has been taken. So neither the number
of bits, the exposure nor the anatomy's brightness matter, and a device has the same depth before
bone as before lung. The first channel says how far a place stands out of the noise, the second how
much it attenuates; both are compressed, since a wire is a hundred times as strong as a faint
device.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError

CHANNELS = 2
COARSEST = 16  # px between places of a network's coarsest layer
WINDOW = 25  # px, of the means that are taken off, twice, and of noise
REACH = WINDOW + 1  # px from which a place's values depend on others
FLOOR = 1.0 / 2048  # of the brightest, added: below, detectors are read noise
BRIGHT, EVERY = 99.5, 8  # percentile that is brightest, and rows and columns that it is taken from
NOISE = 2.5  # standard deviations over the mean step between a pixel and its surroundings, of white
# noise that a detector has blurred; assumed, since networks learn what remains
CONTRAST = 0.05  # of -log T, from which the second channel is compressed
COMPRESSION = 3.0  # standard deviations from which the first one is


def brightness(image: NDArray) -> float:
    """Return what stands for the brightest place of an image (h, w), grey levels."""
    return float(max(np.percentile(image[::EVERY, ::EVERY], BRIGHT), 1e-6))


def seen(image: NDArray, bright: float | None = None) -> NDArray[np.float32]:
    """Return what a network sees.

    Parameters
    ----------
    image : (h, w) array
        Grey levels of any depth; what attenuates is dark.
    bright : float, optional
        Of `brightness`, if the image is cut out of a larger one.

    Returns
    -------
    (CHANNELS, h, w) float32 array
    """
    bright = brightness(image) if bright is None else bright
    log = cv2.log(np.maximum(image.astype(np.float32) * np.float32(1.0 / bright), 0.0) + FLOOR)
    square = (WINDOW, WINDOW)
    flat = log - cv2.blur(cv2.blur(log, square), square)
    noise = cv2.blur(cv2.absdiff(log, cv2.blur(log, (3, 3))), square)
    noise *= np.float32(NOISE * COMPRESSION)
    noise += np.float32(1e-4)
    found = np.empty((CHANNELS, *log.shape), np.float32)
    _compress(flat / noise, found[0])
    _compress(flat * np.float32(1.0 / CONTRAST), found[1])
    return found


def _compress(x: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write x where it is small, and its root where it is large."""
    np.divide(x, cv2.sqrt(np.abs(x) + np.float32(1.0)), out=out)


def even(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image (c, h, w) with its sides made multiples of 16, its rim repeated."""
    height, width = image.shape[-2:]
    more = (0, 0), (0, -height % COARSEST), (0, -width % COARSEST)
    found = np.pad(image, more, mode="edge") if any(after for _, after in more) else image
    return np.ascontiguousarray(found)


def checked(image: NDArray) -> NDArray:
    """Return an image (h, w) that can be looked at.

    Raises
    ------
    UserError
        If it is not of two dimensions, too small, or has values that are no numbers.
    """
    found = np.asarray(image)
    if found.ndim == 3 and found.shape[2] in (3, 4) and (found[..., :1] == found[..., :3]).all():
        found = found[..., 0]  # grey, stored as colours
    if found.ndim != 2:
        raise UserError(f"detector: image of shape {np.shape(image)}: expected grey (h, w)")
    if min(found.shape) < 32:
        raise UserError(f"detector: image of {found.shape[1]} x {found.shape[0]} px: needs >= 32")
    if found.dtype.kind not in "uifb" or not np.isfinite(found).all():
        raise UserError("detector: image has values that are no finite numbers")
    return found
