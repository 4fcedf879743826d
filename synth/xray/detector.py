"""Response of the detector and of the focal spot: blur as small separable filters.

A filter is taken from its transfer function at the frequencies that pixels hold, up to half a
cycle per pixel. The pixel's own aperture is in none: path lengths are means over pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mmdtwin.config.imager import DetectorConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, Image

WIDEST = 8.0  # px, of a scintillator's blur: `REACH` is then eight times as far
REACH = 64  # px, of filters at most
# Error of a transfer function that is let pass for the sake of a short filter: absolute, and up to
# the pixels' limiting frequency also relative, of values above `SEEN`.
ERROR, RELATIVE_ERROR, SEEN = 0.015, 0.03, 0.15
RANKS = (1, 2, 3, 4)  # products of which a round kernel is made
# Cycles/px, where a filter is fitted: denser at the end, where the transfer function as pixels see
# it has a kink. So the largest error is about half that of a kernel cut off.
FITTED = 0.5 * (1.0 - np.linspace(1.0, 0.0, 129) ** 2)


@dataclass(frozen=True, eq=False)
class SeparableFilter:
    """A symmetric 2-D filter as a sum of products of 1-D filters.

    Parameters
    ----------
    columns, rows : (k, taps) float32 array
        The k-th product is `columns[k]` along v times `rows[k]` along u.
    positive : bool
        Whether results below 0 are set to 0: a filter of limited band overshoots at edges by up to
        a hundredth of their height.
    """

    columns: Image
    rows: Image
    positive: bool = False

    @property
    def half(self) -> int:
        """Reach of the filter, px."""
        return self.rows.shape[1] // 2

    @property
    def kernel(self) -> Array:
        """The filter as (taps, taps) array."""
        return np.einsum("ki,kj->ij", self.columns.astype(float), self.rows.astype(float))

    def __call__(self, image: Image) -> Image:
        """Filter an image (h, w); its edges are mirrored."""
        if self.half == 0:
            return image * np.float32(self.kernel[0, 0])
        result = _filtered(image, self.columns[0], self.rows[0])
        for column, row in zip(self.columns[1:], self.rows[1:], strict=True):
            cv2.add(result, _filtered(image, column, row), result)
        return np.maximum(result, np.float32(0.0), out=result) if self.positive else result

    def response(self, shape: tuple[int, int]) -> Array:
        """Return the transfer function on the grid of `numpy.fft.fft2` of an image of `shape`."""
        v, u = (np.asarray(np.fft.fftfreq(n), float) for n in shape)
        return _waves(self.columns, v).T @ _waves(self.rows, u)


def scintillator_mtf(config: DetectorConfig, frequency: Array) -> Array:
    """Return the transfer function of the scintillator's light at spatial frequencies in 1/m.

    Lorentzian, 1/(1 + (2 pi blur f)^2), if light diffuses over a length `blur`; Gaussian,
    exp(-(2 pi blur f)^2/2), if it spreads as a normal profile of that width.
    """
    return _spread(config.response, config.blur * np.asarray(frequency, float))


def _spread(response: str, waves: Array) -> Array:
    """Transfer function of one or the other kind where a blur's length holds so many waves."""
    squared = (2 * np.pi * waves) ** 2
    return np.exp(-squared / 2) if response == "gaussian" else 1.0 / (1.0 + squared)


def focal_mtf(focal_spot: float, magnification: float, frequency: Array) -> Array:
    """Return the transfer function of a focal spot's penumbra at spatial frequencies in 1/m.

    The penumbra of an object is focal_spot (magnification - 1) wide on the detector. A normal
    profile with the second moment of that uniform width stands for it, since no focal spot is
    uniform: exp(-(2 pi s f)^2/2), s = width/sqrt(12).
    """
    sigma = focal_spot * (magnification - 1.0) / math.sqrt(12.0)
    return np.exp(-((2 * np.pi * sigma * np.asarray(frequency, float)) ** 2) / 2)


def scintillator_filter(config: DetectorConfig, pitch: float) -> SeparableFilter:
    """Blur by the spread of light in the scintillator, `scintillator_mtf`.

    Parameters
    ----------
    config : DetectorConfig
        `blur`, `response`.
    pitch : float
        Of the image, m: binning and field change it.

    Raises
    ------
    UserError
        If the blur is wider than 8 pixels.
    """
    if config.blur > WIDEST * pitch:
        raise UserError(
            f"detector.blur: {config.blur:g} m is more than {WIDEST:g} pixels of {pitch:g} m"
        )
    return _round_filter(config.response, config.blur / pitch)


@lru_cache(maxsize=16)  # it takes a while to make, and each episode has an imager of its own
def _round_filter(response: str, blur: float) -> SeparableFilter:
    """Return the shortest filter that is near enough to a blur in px."""
    if blur == 0.0:
        one = np.ones((1, 1), np.float32)
        return SeparableFilter(one, one)
    radius = np.hypot(FITTED[:, None], FITTED)
    mtf = _spread(response, blur * radius)
    near = np.minimum(RELATIVE_ERROR * np.maximum(mtf, SEEN), ERROR)
    allowed = np.where(radius <= 0.5, near, ERROR)
    best: SeparableFilter | None = None
    for rank in RANKS:
        for half in range(1, REACH + 1):
            if best is not None and rank * (2 * half + 1) >= best.rows.size:
                break
            fit = _fit(half)
            left, size, right = np.linalg.svd(fit @ mtf @ fit.T)
            found = _filter((left[:, :rank] * size[:rank]).T, right[:rank])
            got = _waves(found.columns, FITTED).T @ _waves(found.rows, FITTED)
            if (np.abs(got - mtf) <= allowed).all():
                best = found
                break
    if best is None:
        raise AssertionError("no filter within REACH is within ERROR")
    return best


def focal_filter(focal_spot: float, magnification: float, pitch: float) -> SeparableFilter:
    """Blur of an object by the focal spot, `focal_mtf`; for transmissions, so never negative.

    Parameters
    ----------
    focal_spot : float
        Its size, m.
    magnification : float
        Of the object on the detector.
    pitch : float
        Of the image, m.
    """
    mtf = focal_mtf(focal_spot, magnification, FITTED / pitch)
    for half in range(REACH):
        taps = (_fit(half) @ mtf)[None]
        found = _filter(taps, taps, positive=True)
        if (np.abs(_waves(found.rows, FITTED)[0] - mtf) <= ERROR).all():
            break
    return found


@lru_cache(maxsize=REACH + 1)
def _fit(half: int) -> Array:
    """Return what turns values at `FITTED` into the symmetric filter (2 half + 1) next to them."""
    place = np.arange(half + 1)
    cosines = np.cos(2 * np.pi * np.outer(FITTED, place)) * np.where(place > 0, 2.0, 1.0)
    one_side = np.linalg.pinv(cosines)
    return np.concatenate([one_side[:0:-1], one_side])


def _filter(columns: Array, rows: Array, positive: bool = False) -> SeparableFilter:
    """Return the filter of these products, scaled such that it keeps the mean."""
    scale = math.sqrt(1.0 / float(columns.sum(axis=1) @ rows.sum(axis=1)))
    scaled = (columns * scale).astype(np.float32), (rows * scale).astype(np.float32)
    return SeparableFilter(*scaled, positive)


def _filtered(image: Image, column: Image, row: Image) -> Image:
    return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, row, column), np.float32)


def _waves(taps: Image, frequency: Array) -> Array:
    """Return the transfer functions (k, n) of symmetric 1-D filters (k, taps)."""
    place = np.arange(taps.shape[1]) - taps.shape[1] // 2
    return taps.astype(float) @ np.cos(2 * np.pi * np.outer(place, frequency))
