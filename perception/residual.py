"""What is left of a frame without its background, and how much of that is noise."""

from __future__ import annotations

import cv2
import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.perception.background import FIRST_FRAMES, BackgroundEstimate, Image
from mmdtwin.perception.filters import radial_spectrum

HIGH_PASS = 0.5  # device lengths; blur subtracted from a single frame before whitening, assumed
LEVEL_SIZE = 3.0  # device lengths; side of the box whose mean is removed: takes 1/20 of the device
FIRST_TILES = 16  # tiles for the first spectrum: rings of 10 bins or more are then known to 10 %
TILES = 1  # tiles per frame afterwards
SPECTRUM_MEMORY = 30  # frames (2 s at 15 Hz), assumed


class ResidualModel:
    """Two views of a frame in the log domain, each with its noise spectrum.

    The residual to the background is what to search wherever a background exists. Elsewhere
    there is only the frame itself, in which anatomy is the noise; it is high-passed and later
    whitened.

    Parameters
    ----------
    background : BackgroundEstimate
        Of past frames; the model only reads it.
    tile : int
        Side of the tiles in which the noise is measured, px.
    length : float
        Of the device, px: the scale that separates it from anatomy.

    Attributes
    ----------
    noise : (tile, tile//2+1) array
        Power of residual times the square root of its weight.
    clutter : (tile, tile//2+1) array
        Power of the high-passed frame.
    """

    def __init__(self, background: BackgroundEstimate, tile: int, length: float) -> None:
        self.background = background
        self._tile_size = tile
        self._sigma = HIGH_PASS * length
        self._box = int(LEVEL_SIZE * length) | 1
        self.forget_noise()

    def forget_noise(self) -> None:
        """Measure both spectra afresh from the next frame on."""
        self.noise: Array = np.zeros((0, 0))
        self.clutter: Array = np.zeros((0, 0))
        self._tiles_seen = 0

    def measure(self, log: Image, gain: float) -> None:
        """Update the spectra from a frame (h, w) that the background does not hold yet.

        Raises
        ------
        UserError
            If the image is too small for the device.
        """
        size = self._tile_size
        if min(log.shape) < size:
            raise UserError(
                f"detector: image of {log.shape[1]} x {log.shape[0]} px; "
                f"this device needs at least {size} px a side"
            )
        if not self.clutter.size:
            windows = self._tiles(log.shape, FIRST_TILES)
            self.clutter = radial_spectrum(np.stack([self.high_pass(log[w]) for w in windows]))
        if not self.background.frames:
            return
        windows = self._tiles(log.shape, TILES if self.noise.size else FIRST_TILES)
        whole = [w for w in windows if self.background.count[w].all()]
        if not whole:
            return
        fresh = radial_spectrum(np.stack([self._scaled(log, gain, w) for w in whole]))
        share = len(whole) / SPECTRUM_MEMORY
        self.noise = self.noise + (fresh - self.noise) * share if self.noise.size else fresh

    def _tiles(self, shape: tuple[int, ...], count: int) -> list[tuple[slice, slice]]:
        # The R2 low-discrepancy sequence gives every part of the image its turn.
        size = self._tile_size
        index = self._tiles_seen + np.arange(1, count + 1)
        self._tiles_seen += count
        rows = (index * 0.7548776662 % 1.0 * (shape[0] - size)).astype(int)
        columns = (index * 0.5698402910 % 1.0 * (shape[1] - size)).astype(int)
        return [np.s_[r : r + size, c : c + size] for r, c in zip(rows, columns, strict=True)]

    def _scaled(self, log: Image, gain: float, window: tuple[slice, slice]) -> Image:
        mean, count = self.background.mean[window], self.background.count[window]
        weight = np.exp(mean + np.float32(gain)) * count / (count + np.float32(1.0))
        residual = log[window] - mean
        return np.asarray((residual - residual.mean()) * np.sqrt(weight), np.float32)

    def high_pass(self, log: Image) -> Image:
        """Log signal (h, w) minus its blur."""
        return np.asarray(log - cv2.GaussianBlur(log, (0, 0), self._sigma), np.float32)

    def residual(
        self, log: Image, gain: float, window: tuple[slice, slice], change: bool = False
    ) -> tuple[Image, Image]:
        """Return the weighted residual and the weight in a window of the frame.

        Parameters
        ----------
        log : (h, w) float32 array
            Log signal of the frame.
        gain : float
            Its log exposure, see `BackgroundEstimate.match`.
        window : (slice, slice)
            Rows and columns.
        change : bool, default False
            Compare places that were never seen without the device with what the first frames
            showed there.

        Returns
        -------
        weighted : array
            Residual times weight, free of its local mean: drifts of scatter and heel are no
            device.
        weight : array
            Inverse variance up to a constant: signal times n / (n + 1); 0 where the background
            is unknown, unless `change`.
        """
        mean, count = self.background.mean[window], self.background.count[window]
        if change:
            count = np.maximum(count, np.float32(min(self.background.frames, FIRST_FRAMES)))
        weight = cv2.exp(mean + np.float32(gain)) * (count / (count + np.float32(1.0)))
        weighted = (log[window] - mean - np.float32(gain)) * weight
        box = (self._box, self._box)
        local = cv2.blur(weighted, box) / np.maximum(cv2.blur(weight, box), np.float32(1e-6))
        return np.asarray(weighted - local * weight, np.float32), np.asarray(weight, np.float32)
