"""Noise, fresh for every frame: of the absorbed quanta, and of the electronics."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.geometry import Array, Image
from mmdtwin.synth.xray.threads import THREADS, in_parallel

FEW = 30.0  # quanta, below which they are drawn from Poisson's law: above it skewness is < 0.18
STEP = 0.25  # quanta between the means of the tables
NUMBERS = 100  # in the tables: more than that of a mean of `FEW` are less likely than 1e-20
GUIDES = 256  # places in a table at which a search begins


class Noise:
    """Draws noise in two threads, each with a generator of its own.

    Parameters
    ----------
    rng : Generator
        From which those are spawned: the same seed gives the same noise.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rngs = rng.spawn(THREADS)
        self._tables = _tables()

    def quantum(self, mean: Image, variance: Image, charge: float) -> Image:
        """Return an image of a mean with the noise of its quanta, (h, w).

        Normal; where there are less than `FEW` equivalent quanta, mean^2 / variance, their number
        is Poisson's and each counts variance / mean: that has the mean and the variance of the
        sum of photons of many energies.

        Parameters
        ----------
        mean, variance : (h, w) float32 arrays
            Of the signal, per charge.
        charge : float
            By which both are multiplied.
        """
        out = np.empty_like(mean)
        flat = out.reshape(-1), np.ravel(mean), np.ravel(variance)
        in_parallel(
            mean.size,
            lambda part, a, b: _quantum(
                self._rngs[part], *flat, np.float32(charge), *self._tables, a, b
            ),
        )
        return out

    def compound(self, mean: Image, variance: Image, count: Image, charge: float) -> Image:
        """Return an image of a mean with the noise of a compound Poisson process, (h, w).

        The number of photons that each pixel absorbs is Poisson's; the sum of their energies,
        given the number, is normal.

        Parameters
        ----------
        mean, variance, count : (h, w) float32 arrays
            Of the signal, and mean number of photons, per charge.
        charge : float
            By which all are multiplied.
        """
        out = np.empty_like(mean)
        flat = out.reshape(-1), np.ravel(mean), np.ravel(variance), np.ravel(count)
        in_parallel(
            mean.size,
            lambda part, a, b: _compound(
                self._rngs[part], *flat, float(charge), *self._tables, a, b
            ),
        )
        return out

    def add_electronic(self, image: Image, rms: float) -> None:
        """Add white normal noise to an image, in place."""
        flat = image.reshape(-1)
        in_parallel(
            image.size,
            lambda part, a, b: _add_normal(self._rngs[part], flat, np.float32(rms), a, b),
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _quantum(
    rng: np.random.Generator,
    out: Image,
    mean: Image,
    variance: Image,
    charge: np.float32,
    below: Array,
    guide: NDArray[np.int64],
    first: int,
    end: int,
) -> None:
    few = np.float32(FEW)
    for i in range(first, end):
        m, v = mean[i] * charge, variance[i] * charge
        if m * m >= few * v:
            out[i] = m + np.sqrt(v) * np.float32(rng.standard_normal())
        elif m > 0.0 and v > 0.0:
            out[i] = _few(rng, m * m / v, below, guide) * (v / m)
        else:
            out[i] = m


@njit(cache=True, nogil=True, error_model="numpy")
def _compound(
    rng: np.random.Generator,
    out: Image,
    mean: Image,
    variance: Image,
    count: Image,
    charge: float,
    below: Array,
    guide: NDArray[np.int64],
    first: int,
    end: int,
) -> None:
    for i in range(first, end):
        if not count[i] > 0.0:
            out[i] = 0.0
            continue
        photons = count[i] * charge
        number = _few(rng, photons, below, guide) if photons < FEW else _many(rng, photons)
        each = mean[i] / count[i]
        spread = variance[i] / count[i] - each * each
        out[i] = number * each + np.sqrt(number * max(spread, 0.0)) * rng.standard_normal()


@njit(cache=True, nogil=True, error_model="numpy")
def _add_normal(
    rng: np.random.Generator, out: Image, rms: np.float32, first: int, end: int
) -> None:
    for i in range(first, end):
        out[i] += rms * np.float32(rng.standard_normal())


@njit(cache=True, nogil=True, error_model="numpy")
def _few(rng: np.random.Generator, mean: float, below: Array, guide: NDArray[np.int64]) -> float:
    """Draw from Poisson's law with a mean below `FEW`.

    The sum of two: one with the next lower mean of the tables, one with what is left of the mean.
    """
    table = int(mean / STEP)
    place = rng.random()
    number = guide[table, int(place * GUIDES)]
    while place > below[table, number]:
        number += 1
    mean -= table * STEP
    place = rng.random()
    # exp(-mean), right to 1e-8 below `STEP`.
    likely = 1.0 - mean * (1.0 - mean * (1 / 2 - mean * (1 / 6 - mean * (1 / 24 - mean / 120))))
    rest = 0
    while place > likely and likely > 1e-17:
        place -= likely
        rest += 1
        likely *= mean / rest
    return float(number + rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _many(rng: np.random.Generator, mean: float) -> float:
    """Draw from Poisson's law by inversion, searching from the mode outwards to both sides."""
    left = rng.random()
    mode = math.floor(mean)
    above = below = math.exp(mode * math.log(mean) - mean - math.lgamma(mode + 1.0))
    left -= above
    step = 0
    # Rounding may leave a little of the unit interval to no number.
    while left > 0.0 and above + below > 1e-17:
        step += 1
        above *= mean / (mode + step)
        left -= above
        if left <= 0.0:
            return mode + step
        below *= max(mode - step + 1.0, 0.0) / mean
        left -= below
        if left <= 0.0:
            return mode - step
    return mode


@lru_cache(maxsize=1)
def _tables() -> tuple[Array, NDArray[np.int64]]:
    """Distribution functions (means, numbers) of Poisson's law, and where in them to begin."""
    from scipy.stats import poisson

    means = np.arange(int(FEW / STEP) + 1) * STEP
    below = poisson.cdf(np.arange(NUMBERS), means[:, None])
    below[:, -1] = 1.0
    starts = np.arange(GUIDES) / GUIDES
    return below, np.stack([np.searchsorted(row, starts) for row in below])
