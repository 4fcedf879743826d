"""Pixels that differ: what the gain correction leaves, and dead ones."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_array

from mmdtwin.config.imager import DetectorConfig
from mmdtwin.geometry import Image

AROUND = [(v, u) for v in (-1, 0, 1) for u in (-1, 0, 1) if (v, u) != (0, 0)]


class PixelResponse:
    """Fixed pattern of a detector after its own corrections.

    The gain of each pixel is off by a normal number of `gain_error`. A dead pixel shows the mean
    of its living neighbours (of 8; of the nearest living pixel if all are dead), as panels correct
    them: its noise is lower than others', and correlated with theirs.

    Parameters
    ----------
    config : DetectorConfig
        `gain_error`, `dead_pixels`.
    shape : (int, int)
        Of the image, px.
    rng : Generator
        Draws the pattern.

    Attributes
    ----------
    gain : (h, w) float32 array or None
        Relative to the mean; None if all are 1.
    dead : (h, w) bool array
        Which pixels are interpolated.
    """

    def __init__(
        self, config: DetectorConfig, shape: tuple[int, int], rng: np.random.Generator
    ) -> None:
        self.gain: Image | None = None
        if config.gain_error > 0.0:
            deviation = rng.standard_normal(shape, dtype=np.float32)
            self.gain = np.float32(1.0) + np.float32(config.gain_error) * deviation
        self.dead = np.zeros(shape, bool)
        # One pixel is left to live at least.
        count = min(round(config.dead_pixels * self.dead.size), self.dead.size - 1)
        self._neighbours: csr_array | None = None
        if count:
            self._places = np.sort(rng.permutation(self.dead.size)[:count])
            self.dead.ravel()[self._places] = True
            self._neighbours = _interpolation(self.dead)

    def __call__(self, image: Image) -> Image:
        """Put the pattern into an image (h, w), in place, and return it."""
        if self.gain is not None:
            cv2.multiply(image, self.gain, image)
        if self._neighbours is not None:
            image.ravel()[self._places] = self._neighbours @ image.ravel()
        return image


def _interpolation(dead: NDArray[np.bool_]) -> csr_array:
    """Return the weights (n, h w) of the living pixels in each of n dead ones."""
    width = dead.shape[1]
    rows, columns = np.nonzero(dead)
    number = np.arange(len(rows))
    alive = np.pad(~dead, 1)
    pairs = [
        np.stack([number[near], ((rows + v) * width + columns + u)[near]])
        for v, u in AROUND
        for near in [alive[rows + v + 1, columns + u + 1]]
    ]
    lonely = np.bincount(np.concatenate(pairs, axis=1)[0], minlength=len(rows)) == 0
    if lonely.any():
        v, u = distance_transform_edt(dead, return_distances=False, return_indices=True)
        nearest = (v * width + u)[rows[lonely], columns[lonely]]
        pairs.append(np.stack([number[lonely], nearest]))
    row, column = np.concatenate(pairs, axis=1)
    count = np.bincount(row, minlength=len(rows))
    weight = (1.0 / count[row]).astype(np.float32)
    return csr_array((weight, (row, column)), shape=(len(rows), dead.size))
