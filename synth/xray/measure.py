"""What a reader would measure of a device in a frame: contrast and contrast-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Body
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths

GAP = 3  # px left out between the device and its surroundings: blur lies there
RING = 12  # px, width of the surroundings
COVERED = 0.5  # share of a pixel from which it counts as the device's


@dataclass(frozen=True)
class Visibility:
    """Figures of a device in an image.

    Parameters
    ----------
    contrast : float
        Michelson's (b - d) / (b + d), with d the mean under the device and b the surroundings'
        value there; negative of a device that is brighter.
    cnr : float
        (b - d) over the standard deviation of the surroundings.
    pixels : int
        That the device covers.
    """

    contrast: float
    cnr: float
    pixels: int


def shadow(bodies: Sequence[Body], projection: Projection) -> NDArray[np.bool_]:
    """Return the pixels (h, w) that the bodies cover."""
    mask = np.zeros(projection.shape, bool)
    for body in bodies:
        roi = covered_roi(body, projection)
        if roi is not None:
            _, share = path_lengths(body, projection, roi)
            mask[roi[0] : roi[1], roi[2] : roi[3]] |= share > COVERED
    return mask


def visibility(image: NDArray, mask: NDArray[np.bool_]) -> Visibility | None:
    """Measure a device in an image (h, w) that is linear in absorbed energy.

    The surroundings are a ring about it; a plane through their grey values is what would be at
    the device's place, and what is left is their noise, of quanta and of anatomy.

    Returns
    -------
    Visibility or None
        None where the device, or all of its surroundings, is out of the image.
    """
    near, far = (_grown(mask, n) for n in (GAP, GAP + RING))
    ring = far & ~near
    if not mask.any() or ring.sum() < 3:
        return None
    terms = np.linalg.lstsq(_plane(ring), image[ring].astype(float), rcond=None)[0]
    noise = float((image[ring] - _plane(ring) @ terms).std())
    around, under = float((_plane(mask) @ terms).mean()), float(image[mask].mean())
    difference = around - under
    return Visibility(
        contrast=difference / max(around + under, 1e-12),
        cnr=difference / max(noise, 1e-12),
        pixels=int(mask.sum()),
    )


def profile(image: NDArray, start: Array, end: Array, samples: int) -> Array:
    """Return the values of an image (h, w) along a line between two points (u, v), px."""
    u, v = np.linspace(start, end, samples).T.astype(np.float32)
    values = cv2.remap(
        image.astype(np.float32), u[None], v[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(values[0], float)


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def _plane(mask: NDArray[np.bool_]) -> Array:
    """Columns 1, u, v of the pixels of a mask, (n, 3)."""
    v, u = np.nonzero(mask)
    return np.stack([np.ones(len(u)), u, v], axis=1).astype(float)
