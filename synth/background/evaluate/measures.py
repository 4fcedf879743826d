"""Figures of sets of backgrounds: overlap of masks, fine texture, distances between sets."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FINE = 9.0  # px, wavelength below which texture counts as fine
DEGREE = 3  # of KID's kernel (Binkowski et al. 2018, arXiv 1801.01401)
SHRINKAGE = 0.1  # of the covariance that features are whitened by, towards its mean
COARSE, CANDIDATES = 24, 12  # px of the first search for a neighbour; how many are registered
SHIFT = 8  # px to each side that registration tries


def dice(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return Dice's coefficient of each layer, pooled over masks (n, 5, h, w); nan if in none."""
    both = (found & wanted).sum(axis=(0, 2, 3), dtype=float)
    total = (found.sum(axis=(0, 2, 3)) + wanted.sum(axis=(0, 2, 3))).astype(float)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * both / total)


def fine_rms(images: NDArray) -> NDArray[np.float64]:
    """Return the rms (n,) of images (n, h, w) in wavelengths below 9 px, under a Hann window."""
    height, width = images.shape[-2:]
    window = np.outer(np.hanning(height), np.hanning(width))
    centred = images - images.mean(axis=(-2, -1), keepdims=True)
    # The window's own spectrum leaks from coarse waves: these are taken out first.
    coarse = np.stack([cv2.GaussianBlur(np.asarray(i, np.float32), (0, 0), FINE) for i in centred])
    spectrum = np.fft.fft2((centred - coarse) * window)
    k = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    power = (np.abs(spectrum) ** 2)[..., k > 1.0 / FINE].sum(axis=-1)
    return np.asarray(np.sqrt(power / (height * width) / (window**2).sum()))


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map under which the features of a set have unit covariance."""

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray) -> Whitening:
        """Fit it to features (n, d)."""
        mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
        covariance = np.cov((features - mean) / spread, rowvar=False)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        return cls(mean, (vectors / np.sqrt(values)) @ vectors.T / spread[:, None])

    def __call__(self, features: NDArray) -> NDArray[np.float64]:
        """Return whitened features (n, d)."""
        return np.asarray((features - self.mean) @ self.matrix)


def kid(
    first: NDArray, second: NDArray, rng: np.random.Generator, resamples: int = 200
) -> tuple[float, float, float]:
    """Return the kernel distance of two sets of features (n, d), and its 95 % bootstrap interval.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel
    (x.y/d + 1)^3; below 0 by chance where the sets are alike.
    """
    kernel = (np.concatenate([first, second]) @ np.concatenate([first, second]).T) / first.shape[1]
    kernel = (kernel + 1.0) ** DEGREE
    m, n = len(first), len(second)
    values = []
    for trial in range(resamples + 1):
        w, v = np.ones(m), np.ones(n)
        if trial:
            w = rng.multinomial(m, np.full(m, 1 / m)).astype(float)
            v = rng.multinomial(n, np.full(n, 1 / n)).astype(float)
        values.append(_discrepancy(kernel, w, v))
    low, high = np.percentile(values[1:], (2.5, 97.5))
    return values[0], float(low), float(high)


def _discrepancy(kernel: NDArray, w: NDArray, v: NDArray) -> float:
    """Unbiased estimate with multiplicities `w` and `v`: a sample is not compared with itself."""
    m = len(w)
    aa, bb, ab = kernel[:m, :m], kernel[m:, m:], kernel[:m, m:]
    within = [
        (x @ k @ x - (x**2) @ np.diag(k)) / (x.sum() ** 2 - (x**2).sum()) for x, k in
        ((w, aa), (v, bb))
    ]  # fmt: skip
    return float(sum(within) - 2 * (w @ ab @ v) / (w.sum() * v.sum()))


def nearest_correlation(images: NDArray, training: NDArray) -> NDArray[np.float64]:
    """Return the correlation (n,) of images (n, h, w) with their nearest of a training set.

    The nearest are sought among all of the set, mirrored too, on a coarse grid, then registered by
    shifts at full resolution.
    """
    known = _standard(_coarse(training))
    flipped = _standard(_coarse(training[..., ::-1]))
    seen = _standard(_coarse(images))
    best = []
    for image, mine in zip(images, seen, strict=True):
        scores = np.concatenate([known @ mine, flipped @ mine])
        found = -1.0
        for k in np.argpartition(scores, -CANDIDATES)[-CANDIDATES:]:
            other = training[k % len(training)]
            other = other if k < len(training) else other[:, ::-1]
            inner = np.ascontiguousarray(image[SHIFT:-SHIFT, SHIFT:-SHIFT], np.float32)
            field = cv2.matchTemplate(
                np.ascontiguousarray(other, np.float32), inner, cv2.TM_CCOEFF_NORMED
            )
            found = max(found, float(field.max()))
        best.append(found)
    return np.array(best)


def _coarse(images: NDArray) -> NDArray[np.float32]:
    return np.stack(
        [
            cv2.resize(
                np.asarray(image, np.float32), (COARSE, COARSE), interpolation=cv2.INTER_AREA
            )
            for image in images
        ]
    )


def _standard(images: NDArray) -> NDArray[np.float32]:
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def histogram_distance(first: NDArray, second: NDArray) -> float:
    """Return the Wasserstein distance of the values of two sets of standardised images."""
    from scipy.stats import wasserstein_distance

    values = [_standard(images).ravel() * np.sqrt(images[0].size) for images in (first, second)]
    return float(wasserstein_distance(*(v[:: max(1, len(v) // 200_000)] for v in values)))


def centreline_offsets(contrast: NDArray, line: NDArray, reach: float = 8.0) -> NDArray[np.float64]:
    """Return how far off a curve (n, 2), px, the middle of the contrast across it is, (m,) px.

    Points at whose sides the image has no contrast medium, or which lie outside, are left out.
    """
    height, width = contrast.shape
    ahead = np.gradient(line, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    steps = np.linspace(-reach, reach, int(4 * reach) + 1)
    at = line[:, None] + steps[:, None] * across[:, None]
    inside = (at > 0).all(axis=(1, 2)) & (at < (width - 1, height - 1)).all(axis=(1, 2))
    at = at[inside].astype(np.float32)
    if not len(at):
        return np.array([])
    values = cv2.remap(np.asarray(contrast, np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    values = np.maximum(values - values.min(axis=1, keepdims=True), 0.0)
    # What is less than half of the largest is another vessel's, or noise.
    values[values < 0.5 * values.max(axis=1, keepdims=True)] = 0.0
    total = values.sum(axis=1)
    seen = total > 0.0
    return np.asarray(np.abs((values * steps).sum(axis=1)[seen] / total[seen]))
