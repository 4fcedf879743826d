"""Maps at more pixels than they were drawn at: upsampled, with the structure that these show.

The fields of `synth.xray.texture` in two dimensions: a ray through a length L of tissue whose
density varies as a Gaussian field of spectrum S3(k) shows thickness that varies with the spectrum
L S3(k). Only waves that the coarse pixels could not carry are added, as strong as those that they
do show.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.synth.xray.texture import LONGEST, MARROW, MARROW_LONGEST, SLOPE, SOFT

CARRIED = 0.7  # of the coarse pixels' Nyquist frequency: an autoencoder blurs what is finer
# Of soft tissue and bone: rms of density, longest wave, and m from which a ray's tissue is judged.
TISSUES = ((SOFT, LONGEST, 20e-3), (MARROW, MARROW_LONGEST, 2e-3))
BAND = (0.55, 1.1)  # px, sigmas of the Gaussians whose difference passes the waves that are judged
MEDIAN_OF_SQUARE = 0.455  # of a Gaussian variable's square, over its mean
STRONGEST = 3.0  # times the structure of the CT, beyond which what is seen is no tissue's


def refine(
    maps: NDArray[np.float32], size: int, pixel_size: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Upsample maps and continue their texture.

    Parameters
    ----------
    maps : (3, h, w) float32 array
        Thickness of soft tissue, bone, and contrast medium or metal, m; square.
    size : int
        Pixels along each side of the result, not fewer than there are.
    pixel_size : float
        Of `maps`, at the isocentre, m.
    rng : Generator
        Draws the texture.

    Returns
    -------
    (3, size, size) float32 array
        Nowhere negative. Contrast medium and metal have no texture.
    """
    side = maps.shape[-1]
    if size == side:
        return maps
    larger = np.stack(
        [cv2.resize(m, (size, size), interpolation=cv2.INTER_CUBIC) for m in maps]
    ).clip(0.0)
    pitch = pixel_size * side / size
    band = CARRIED / (2 * pixel_size)
    for i, (share, longest, least) in enumerate(TISSUES):
        strength = seen_strength(maps[i], pixel_size, share, longest, least)
        wave = projected_field(size, pitch, strength * share, longest, band, rng)
        larger[i] += np.sqrt(larger[i]) * wave
    return np.maximum(larger, 0.0).astype(np.float32)


def projected_field(
    size: int, pitch: float, share: float, longest: float, lowest: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw how the thickness of tissue 1 m thick varies where its density varies.

    Parameters
    ----------
    size : int
        Pixels along each side.
    pitch, longest : float
        Of the pixels, and wavelength above which the spectrum of density is flat, m.
    share : float
        Rms of the density, of its mean.
    lowest : float
        Lowest frequency drawn, 1/m.
    rng : Generator
        Draws it.

    Returns
    -------
    (size, size) float32 array
        In m per square root of m of tissue.
    """
    k = np.fft.fftfreq(size, pitch)
    squared = k[:, None] ** 2 + k[: size // 2 + 1] ** 2  # 1/m2
    shape = (1.0 / longest**2 + squared) ** (-SLOPE / 2)
    shape /= _volume_integral(longest, pitch)
    amplitude = share * np.sqrt(shape) / pitch  # white noise has the spectrum pitch^2
    amplitude *= 1.0 / (1.0 + np.exp(-(np.sqrt(squared) - lowest) / (0.1 * lowest)))
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    return np.asarray(np.fft.irfft2(white * amplitude, (size, size)), np.float32)


def seen_strength(
    thickness: NDArray[np.float32], pixel_size: float, share: float, longest: float, least: float
) -> float:
    """Return the rms of the structure that a map shows, over that of `projected_field`.

    Judged by the median over pixels of the power of the finest waves that these carry, which edges
    bear little on: 0 of a tank of water, about 1 of tissue.

    Parameters
    ----------
    thickness : (h, h) float32 array
        Of a tissue, m.
    pixel_size, longest : float
        m.
    share : float
        Rms of the density, of its mean.
    least : float
        Thickness from which a pixel counts, m.
    """
    here = thickness > least
    if not here.any():
        return 0.0
    fine, coarse = (cv2.GaussianBlur(thickness, (0, 0), sigma) for sigma in BAND)
    seen = float(np.median((fine - coarse)[here] ** 2 / thickness[here])) / MEDIAN_OF_SQUARE
    k = np.fft.fftfreq(thickness.shape[0], pixel_size)
    squared = k[:, None] ** 2 + k**2
    passed = [np.exp(-2 * (np.pi * sigma * pixel_size) ** 2 * squared) for sigma in BAND]
    spectrum = share**2 * (1.0 / longest**2 + squared) ** (-SLOPE / 2)
    spectrum /= _volume_integral(longest, pixel_size)
    expected = float(np.sum(spectrum * (passed[0] - passed[1]) ** 2) * k[1] ** 2)
    return min(float(np.sqrt(seen / expected)), STRONGEST)


def _volume_integral(longest: float, pitch: float) -> float:
    """Integral of (1/longest^2 + k^2)^(-slope/2) over all waves up to 1/(2 pitch) in 3-D, 1/m3."""
    k = np.linspace(0.0, 0.5 / pitch, 4001)
    return float(np.trapezoid(4 * np.pi * k**2 * (1.0 / longest**2 + k**2) ** (-SLOPE / 2), k))
