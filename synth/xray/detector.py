"""Response of the detector and of the focal spot: blur as small separable filters."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.config.imager import DetectorConfig
from mmdtwin.geometry import Array

TAPS = 11  # px, size of the filter; the response has fallen to 1e-4 at its edge by default
GRID = 128  # px, of the discrete Fourier transform that the filter is taken from


@dataclass(frozen=True, eq=False)
class SeparableFilter:
    """A symmetric 2-D filter as a sum of products of 1-D filters.

    Parameters
    ----------
    columns, rows : (k, taps) float32 array
        The k-th product is `columns[k]` along v times `rows[k]` along u.
    """

    columns: NDArray[np.float32]
    rows: NDArray[np.float32]

    @property
    def half(self) -> int:
        """Reach of the filter, px."""
        return self.rows.shape[1] // 2

    @property
    def kernel(self) -> Array:
        """The filter as (taps, taps) array."""
        return np.einsum("ki,kj->ij", self.columns.astype(float), self.rows.astype(float))

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter an image (h, w); its edges are mirrored."""
        if self.half == 0:
            return image * np.float32(self.kernel[0, 0])
        result = np.zeros_like(image)
        for column, row in zip(self.columns, self.rows, strict=True):
            result += np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, row, column), np.float32)
        return result

    def response(self, shape: tuple[int, int]) -> Array:
        """Return the transfer function on the grid of `numpy.fft.fft2` of an image of `shape`."""
        padded = np.zeros(shape)
        n = 2 * self.half + 1
        padded[:n, :n] = self.kernel
        return np.fft.fft2(np.roll(padded, (-self.half, -self.half), (0, 1))).real


def scintillator_filter(config: DetectorConfig) -> SeparableFilter:
    """Blur by the spread of light in the scintillator.

    MTF(f) = 1/(1 + H f^2) with H = (2 pi blur)^2, the transfer function of light that diffuses
    over a length `blur`. Sampled at the detector's frequencies; the pixel's own aperture is not
    in it, because path lengths are already means over pixels.
    """
    if config.blur == 0.0:
        one = np.ones((1, 1), np.float32)
        return SeparableFilter(one, one)
    f = np.fft.fftfreq(GRID, config.pitch)
    mtf = 1.0 / (1.0 + (2 * np.pi * config.blur) ** 2 * (f[:, None] ** 2 + f**2))
    full = np.fft.fftshift(np.fft.ifft2(mtf).real)
    middle = slice(GRID // 2 - TAPS // 2, GRID // 2 + TAPS // 2 + 1)
    kernel = full[middle, middle]
    # Two products hold the round kernel to a fraction of a per cent.
    u, s, v = np.linalg.svd(kernel)
    columns, rows = (u[:, :2] * s[:2]).T, v[:2]
    scale = 1.0 / float(columns.sum(axis=1) @ rows.sum(axis=1))
    return SeparableFilter((columns * scale).astype(np.float32), rows.astype(np.float32))


def focal_filter(focal_spot: float, magnification: float, pitch: float) -> SeparableFilter:
    """Blur of an object at the isocentre by the focal spot.

    Its penumbra on the detector is focal_spot (magnification - 1) wide; a normal profile with the
    second moment of that uniform width stands for it, since no focal spot is uniform.
    """
    variance = (focal_spot * (magnification - 1.0) / pitch) ** 2 / 12.0  # px^2
    if variance < 0.5:  # too narrow to sample: three taps with the same second moment
        line = np.array([[variance / 2, 1.0 - variance, variance / 2]])
    else:
        half = int(np.ceil(3.0 * np.sqrt(variance)))
        line = np.exp(-(np.arange(-half, half + 1.0) ** 2)[None] / (2.0 * variance))
        line /= line.sum()
    taps = line.astype(np.float32)
    return SeparableFilter(taps, taps)


def white_noise(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return white noise of unit variance, nearly normal, at a quarter of the cost of normal.

    Each value is a sum of four 16-bit uniform numbers (excess kurtosis -0.3): enough for
    electronic noise, which is small beside quantum noise.
    """
    raw = rng.integers(0, 2**64, shape, dtype=np.uint64)
    return np.asarray(_sum_of_four(raw.ravel()), np.float32).reshape(shape)


@njit(cache=True)
def _sum_of_four(raw: NDArray[np.uint64]) -> NDArray[np.float32]:
    out = np.empty(raw.size, np.float32)
    scale = np.float32(np.sqrt(3.0) / 65536.0)  # four variances of 2^32/12
    low, mid, high = np.uint64(16), np.uint64(32), np.uint64(48)
    mask = np.uint64(65535)
    for i in range(raw.size):
        x = raw[i]
        total = (x & mask) + ((x >> low) & mask) + ((x >> mid) & mask) + (x >> high)
        out[i] = (np.float32(total) - np.float32(131070.0)) * scale
    return out
