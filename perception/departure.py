"""Seeing a device leave a place that was never seen without it.

At the start the device covers its own background, and in a single frame a faint one cannot be
told from anatomy. But anatomy stands still. In the difference to the first frames a device that
has moved leaves a pair: dark where it is, bright where it was. Fitting the pair as a whole needs
no knowledge of the background, and is unbiased while the two still overlap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mmdtwin.geometry import Array
from mmdtwin.perception.filters import SHAPES, FilterBank

STRIDE = 2  # px; grid of places, a third of the narrowest face-on device; assumed
MIN_SHIFT = 3.0  # px; a smaller shift says nothing about where the device is
PAIR_SHAPES = 3  # the first of SHAPES: face-on, slanted, edge-on at full length


class PairFilter:
    """Best pair of a dark and a bright bar of the same shape and direction.

    Parameters
    ----------
    bank : FilterBank
        Every other orientation of its full-length shapes is used.
    """

    def __init__(self, bank: FilterBank) -> None:
        self._bank = bank
        members = [
            i for i, bar in enumerate(bank.bars) if bar.shape < min(PAIR_SHAPES, len(SHAPES))
        ]
        self.templates = np.array(members[::2])

    def find(
        self,
        snr: NDArray[np.float32],
        spectrum: Array,
        before: NDArray[np.int64],
        after: NDArray[np.int64],
    ) -> tuple[Array, float, int] | None:
        """Return where the device is now, the pair's SNR, and its template.

        Parameters
        ----------
        snr : (k, n, n) float32 array
            Signal-to-noise ratio of every template of the bank in the difference to the first
            frames, positive where it became darker.
        spectrum : (tile, tile//2+1) array
            Noise power spectrum of that difference.
        before, after : (m, 2) and (n, 2) int array
            Places (u, v), px of `snr`, where the device may have been in the first frames, and
            where it may be now.
        """
        if not len(before) or not len(after):
            return None
        shift = after[:, None, :] - before[None, :, :]
        moved = np.hypot(shift[..., 0], shift[..., 1]) >= MIN_SHIFT
        if not moved.any():
            return None
        dark = snr[self.templates][:, after[:, 1], after[:, 0]]
        bright = snr[self.templates][:, before[:, 1], before[:, 0]]
        tile = spectrum.shape[0]
        overlap = self._overlap(spectrum)[:, shift[..., 1] % tile, shift[..., 0] % tile]
        pair = (dark[:, :, None] - bright[:, None, :]) / np.sqrt(2.0 * (1.0 - overlap) + 1e-3)
        pair[:, ~moved] = -np.inf
        template, place, _ = np.unravel_index(int(pair.argmax()), pair.shape)
        return after[place].astype(float), float(pair.max()), int(self.templates[template])

    def _overlap(self, spectrum: Array) -> NDArray[np.float32]:
        """Correlation (m, tile, tile) of a template's responses to noise at two places."""
        power = np.abs(self._bank.spectra(self._bank.tile)[self.templates]) ** 2
        correlation = fft.irfft2(power * spectrum.astype(np.float32), s=(self._bank.tile,) * 2)
        return np.asarray(correlation / correlation[:, :1, :1], np.float32)


def places(centre: Array, radius: float, size: int) -> NDArray[np.int64]:
    """Places (n, 2) of a grid that lie in a disc, px, and in a square image of a given side."""
    steps = int(radius // STRIDE)
    u, v = (g.ravel() for g in np.mgrid[-steps : steps + 1, -steps : steps + 1])
    offsets = np.stack([u, v], axis=1)[u**2 + v**2 <= steps**2]
    grid = np.rint(centre).astype(np.int64) + STRIDE * offsets
    return grid[((grid >= 0) & (grid < size)).all(axis=1)]
