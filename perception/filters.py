"""Bank of bar-shaped templates and what noise does to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import erf

from mmdtwin.geometry import Array

# Length and width of a flat sheet's shadow relative to face-on: seen at a slant it narrows, seen
# edge-on it is a line, bent or pointing at the source it is short (assumed set). A box of width a
# under a template of width b > a keeps sqrt(a / b) of its SNR, so a width between two of these
# loses up to 16-21 %, less with blur.
SHAPES = ((1.0, 1.0), (1.0, 0.5), (1.0, 0.2), (0.7, 1.0), (0.7, 0.2), (0.4, 1.0))
ORIENTATION_STEP = np.pi / 12  # rad
SQUARE_ASPECT = 1.5  # below it, orientations a quarter turn apart are enough: see `_angles`


@dataclass(frozen=True)
class Bar:
    """A blurred dark bar: length and width in px, angle in rad from +u towards +v."""

    length: float
    width: float
    angle: float
    shape: int  # index into SHAPES

    def values(self, u: Array, v: Array, blur: float) -> Array:
        """Profile at offsets (u, v) px from its centre; 1 is full depth.

        A box convolved with a Gaussian of standard deviation `blur` px is a difference of error
        functions along each axis, so no raster error enters.
        """
        c, s = np.cos(self.angle), np.sin(self.angle)
        along, across = u * c + v * s, -u * s + v * c
        return _edge(along, self.length, blur) * _edge(across, self.width, blur)


def _edge(x: Array, length: float, blur: float) -> Array:
    scale = 1.0 / (np.sqrt(2.0) * blur)
    return np.asarray(0.5 * (erf((x + length / 2) * scale) - erf((x - length / 2) * scale)))


class FilterBank:
    """Templates of a device, their spectra, and their statistics in coloured noise.

    Parameters
    ----------
    length, width : float
        Full size of the device's shadow, px.
    blur : float
        Standard deviation of the imaging blur, px.
    step : float
        Spacing of the orientations, rad.
    """

    def __init__(
        self, length: float, width: float, blur: float, step: float = ORIENTATION_STEP
    ) -> None:
        self.blur = blur
        self.bars = tuple(
            Bar(max(length * a, 1.0), max(width * b, 1.0), angle, i)
            for i, (a, b) in enumerate(SHAPES)
            for angle in _angles(length * a, width * b, step)
        )
        self.reach = int(np.ceil(np.hypot(length, width) / 2 + 2 * blur)) + 1
        self.tile = 1 << int(np.ceil(np.log2(max(64, 2.5 * length))))
        self._spectra: dict[int, NDArray[np.complex64]] = {}
        self.neighbours = self._find_neighbours()

    def spectra(self, size: int) -> NDArray[np.complex64]:
        """Conjugate spectra (k, size, size//2+1) of the templates centred on pixel (0, 0)."""
        if size not in self._spectra:
            axis = np.arange(size, dtype=float)
            axis[axis > size / 2] -= size
            u, v = np.meshgrid(axis, axis)
            images = np.stack([bar.values(u, v, self.blur) for bar in self.bars])
            spectra = np.conj(fft.rfft2(images.astype(np.float32)))
            self._spectra[size] = spectra.astype(np.complex64)
        return self._spectra[size]

    def correlate(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Correlation (k, n, n) of a square image (n, n) with every template, periodic."""
        size = image.shape[0]
        product = self.spectra(size) * fft.rfft2(image)
        return np.asarray(fft.irfft2(product, s=image.shape, overwrite_x=True), np.float32)

    def correlate_each(self, image: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """As `correlate`, one template (n, n) at a time: large images would fill the caches."""
        transform = fft.rfft2(image)
        for spectrum in self.spectra(image.shape[0]):
            yield np.asarray(fft.irfft2(spectrum * transform, s=image.shape), np.float32)

    @cached_property
    def _power(self) -> Array:
        # |spectrum|^2 per bin, with both halves of the real transform, so that sums over bins are
        # sums over pixels (Parseval).
        size = self.tile
        weight = np.full(size // 2 + 1, 2.0)
        weight[[0, -1]] = 1.0
        power = np.abs(self.spectra(size)).astype(float) ** 2 * weight / size**2
        return power.reshape(len(self.bars), -1)

    @cached_property
    def _gradient_terms(self) -> Array:
        # (bins, 3): products of the angular frequencies uu, uv, vv.
        wu = 2 * np.pi * fft.rfftfreq(self.tile)[None, :]
        wv = 2 * np.pi * fft.fftfreq(self.tile)[:, None]
        terms = [wu**2 + 0 * wv, wu * wv, wv**2 + 0 * wu]
        return np.stack([t.ravel() for t in terms], axis=1)

    def response_sigma(self, spectrum: Array) -> Array:
        """Standard deviation (k,) of the templates' responses in noise of a power spectrum.

        Parameters
        ----------
        spectrum : (tile, tile//2+1) array
            Noise power per bin; white noise of unit variance is 1 everywhere.
        """
        return np.asarray(np.sqrt(self._power @ spectrum.ravel()))

    def position_covariance(self, index: int, spectrum: Array) -> Array:
        """Covariance (2, 2), px^2, of the centre a template finds at a signal-to-noise ratio of 1.

        Divide by the squared SNR. The peak of a correlation moves by H^-1 g, with H the
        curvature of the noise-free peak and g the gradient of the correlated noise; in white
        noise this is the Cramer-Rao bound.
        """
        power = self._power[index]
        noise = power * spectrum.ravel()
        inverse = np.linalg.inv(_symmetric(power @ self._gradient_terms))
        gradient = _symmetric(noise @ self._gradient_terms)
        return np.asarray(inverse @ gradient @ inverse * (power.sum() ** 2 / noise.sum()))

    def whitened_snr(self, image: NDArray[np.float32], spectrum: Array) -> NDArray[np.float32]:
        """Signal-to-noise ratio (k, n, n) of the prewhitened matched filter, periodic.

        Parameters
        ----------
        image : (n, n) float32 array
            Its low frequencies removed.
        spectrum : (tile, tile//2+1) array
            Power of everything in it but the device.
        """
        size = image.shape[0]
        inverse = 1.0 / _resampled(spectrum, size)
        filters = self.spectra(size) * inverse
        energy = np.sqrt(self._power @ (1.0 / spectrum.ravel()))
        response = fft.irfft2(filters * fft.rfft2(image), s=image.shape, overwrite_x=True)
        return np.asarray(response / energy.astype(np.float32)[:, None, None], np.float32)

    def whitened_covariance(self, index: int, spectrum: Array) -> Array:
        """As `position_covariance`, for `whitened_snr`: the Cramer-Rao bound in coloured noise."""
        power = self._power[index] / spectrum.ravel()
        information = _symmetric(power @ self._gradient_terms)
        return np.asarray(np.linalg.inv(information) * power.sum())

    def _find_neighbours(self) -> list[tuple[int, int, float]]:
        # Per template: those of the same shape at the next smaller and larger angle, and how far
        # (rad) that is.
        table: list[tuple[int, int, float]] = []
        for shape in range(len(SHAPES)):
            members = [i for i, b in enumerate(self.bars) if b.shape == shape]
            n = len(members)
            table += [(members[j - 1], members[(j + 1) % n], np.pi / n) for j in range(n)]
        return table


def _angles(length: float, width: float, step: float) -> Array:
    # A bar repeats after half a turn; a nearly square one hardly changes with orientation.
    count = 4 if length < SQUARE_ASPECT * width else max(round(np.pi / step), 2)
    return np.arange(count) * np.pi / count - np.pi / 2


def _symmetric(terms: Array) -> Array:
    return terms[[0, 1, 1, 2]].reshape(2, 2)


def radial_spectrum(tiles: NDArray[np.float32]) -> Array:
    """Isotropic noise power spectrum (n, n//2+1) of square tiles (m, n, n).

    The average over rings trades direction for a steady estimate from few tiles. A window keeps
    the strong low frequencies from leaking into the rest.
    """
    size = tiles.shape[-1]
    window = np.hanning(size + 2)[1:-1]
    window2 = np.outer(window, window)
    power = np.abs(fft.rfft2(tiles * window2.astype(np.float32))) ** 2
    power = np.asarray(power, float).mean(axis=0) / float((window2**2).sum())
    ring = np.minimum(_ring(size), size // 2)
    profile = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return np.asarray(profile[ring])


def _resampled(spectrum: Array, size: int) -> NDArray[np.float32]:
    """A radial spectrum (m, m//2+1) at the bins of another size (size, size//2+1)."""
    profile = spectrum[0]
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :])
    bins = np.arange(len(profile)) / spectrum.shape[0]
    return np.interp(frequency, bins, profile).astype(np.float32)


@cache
def _ring(size: int) -> NDArray[np.int64]:
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :])
    return np.rint(frequency * size).astype(np.int64)
