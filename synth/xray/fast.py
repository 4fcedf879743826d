"""The fast path: cached signals behind the anatomy, and cumulants for what bodies let pass.

Behind the anatomy a pixel has a spectrum of absorbed energy. A body with a difference of
attenuation d(E) to what it displaces lets pass the mean of exp(-d t) over that spectrum, whose
logarithm has the cumulants c of d as its series: -c1 t + c2 t^2/2 - c3 t^3/6 ... It is used as far
as the terms of fourth and fifth order stay below `TOLERANCE` of the body's contrast; a thicker
body, and one that lies on a ray with others, is summed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.geometry import Array, Image
from mmdtwin.synth.xray.anatomy import AT_REST, Anatomy, Shift, shifted
from mmdtwin.synth.xray.beam import Beam, weighted_sums
from mmdtwin.synth.xray.full import exact, layers_of
from mmdtwin.synth.xray.shadows import Shadow

TOLERANCE = 2e-3  # of a body's contrast: a fifth of what the paths may differ by
TILE = 16  # px, sides of the regions for which cumulants are computed at once
ORDERS = 5  # of moments
PARTS = 7  # three cumulants of each of two signals, and the thickness up to which they serve


class FastPath:
    """Computes what does not change once, and remembers it.

    Parameters
    ----------
    beam : Beam
        Spectrum and detector.
    anatomy : Anatomy
        At rest.
    blur : callable
        Of a signal (h, w) by the focal spot.

    Attributes
    ----------
    at_rest : Signals
        Behind the anatomy at rest, before the blur.
    """

    kinds = 2  # of signals: energy and its square

    def __init__(self, beam: Beam, anatomy: Anatomy, blur: Callable[[Image], Image]) -> None:
        self._beam = beam
        self._anatomy = anatomy
        self.at_rest = beam.behind(anatomy.layers)
        self._signals = np.stack([blur(signal) for signal in self.at_rest[: self.kinds]])
        self._cumulants: dict[tuple[str, str], _Cumulants] = {}

    def behind(self, shift: Shift) -> Image:
        """Return the signals (kinds, h, w) behind the anatomy, shifted by px along u and v."""
        if shift == AT_REST:
            return self._signals
        return np.stack([shifted(signal, shift) for signal in self._signals])

    def passing(self, shadow: Shadow, before: Sequence[Shadow], shift: Shift) -> Image:
        """Return the shares of the signals that bodies let pass, (kinds, n) at their pixels.

        Arguments as for `FullPath.passing`.
        """
        rows, columns = shadow.rows, shadow.columns
        key = shadow.material, shadow.displaces
        mu = self._beam.mu(*key)
        if key not in self._cumulants:
            self._cumulants[key] = _Cumulants(self._beam, self._anatomy, mu)
        v, u = self._anatomy.unshifted(rows, columns, shift)
        passed, beyond = self._cumulants[key].passing(v, u, shadow.thickness)
        others = layers_of(self._beam, before, shadow)
        for _, path in others:
            beyond |= path > 0.0
        if beyond.any():
            layers = self._anatomy.at(rows[beyond], columns[beyond], shift)
            layers += [(other, path[beyond]) for other, path in others]
            passed[:, beyond] = exact(
                self._beam, layers, (mu, shadow.thickness[beyond]), self.kinds
            )
        return passed


class _Cumulants:
    """Those of one material behind the anatomy at rest, computed where they are asked for."""

    def __init__(self, beam: Beam, anatomy: Anatomy, mu: Array) -> None:
        self._anatomy = anatomy
        # Moments about a mean and in units of the spread: sums of float32 lose no digits to it.
        weight = beam.weights[0]
        self._middle = float(weight @ mu / weight.sum())
        deviation = mu - self._middle
        self._unit = max(float(np.abs(deviation).max()), 1e-9)
        powers = (deviation / self._unit) ** np.arange(ORDERS + 1)[:, None]
        self._weights = np.concatenate([w * powers for w in beam.weights[:2]])
        height, width = anatomy.thickness.shape[1:]
        # Memory that is not written takes no room.
        self._values = np.empty((height, width, PARTS), np.float32)
        self._known = np.zeros((-(-height // TILE), -(-width // TILE)), bool)

    def passing(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], thickness: Image
    ) -> tuple[Image, NDArray[np.bool_]]:
        """Return shares (2, n) at pixels (n,), and where (n,) the series does not serve."""
        wanted = np.zeros_like(self._known)
        wanted[rows // TILE, columns // TILE] = True
        wanted &= ~self._known
        if wanted.any():
            self._compute(wanted)
        passed = np.empty((2, len(rows)), np.float32)
        beyond = np.empty(len(rows), np.bool_)
        _series(self._values, rows, columns, thickness, passed, beyond)
        return passed, beyond

    def _compute(self, tiles: NDArray[np.bool_]) -> None:
        height, width = self._values.shape[:2]
        inside = tiles.repeat(TILE, axis=0).repeat(TILE, axis=1)[:height, :width]
        layers = np.ascontiguousarray(self._anatomy.thickness[:, inside])
        sums = weighted_sums(layers, self._anatomy.mu, self._weights).astype(float)
        of_energy, of_square = (
            _cumulants(s, self._middle, self._unit)
            for s in (sums[: ORDERS + 1], sums[ORDERS + 1 :])
        )
        limit = np.minimum(_limit(of_energy), _limit(of_square))
        self._values[inside] = np.concatenate([of_energy[:3], of_square[:3], limit[None]]).T
        self._known |= tiles


def _cumulants(sums: Array, middle: float, unit: float) -> Array:
    """Return the first five cumulants (5, n) from sums of powers (6, n) about `middle`."""
    first, *raw = sums[1:] / sums[0]
    second, third, fourth, fifth = (
        # Central moments from those about another point.
        raw[0] - first**2,
        raw[1] - 3 * first * raw[0] + 2 * first**3,
        raw[2] - 4 * first * raw[1] + 6 * first**2 * raw[0] - 3 * first**4,
        raw[3] - 5 * first * raw[2] + 10 * first**2 * raw[1] - 10 * first**3 * raw[0]
        + 4 * first**5,
    )  # fmt: skip
    cumulants = np.stack(
        [first, second, third, fourth - 3 * second**2, fifth - 10 * third * second]
    )
    cumulants *= unit ** np.arange(1, 6)[:, None]
    cumulants[0] += middle
    return cumulants


def _limit(c: Array) -> Array:
    """Thickness in m up to which the series may be cut after its third term, (n,).

    The first terms left out, |c4| t^4 / 24 and |c5| t^5 / 120, must not pass `TOLERANCE` of the
    contrast, about min(1, |c1| t).
    """
    limits = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for order, factorial in ((4, 24.0), (5, 120.0)):
            most = TOLERANCE * factorial / np.abs(c[order - 1])
            of_thin = (most * np.abs(c[0])) ** (1.0 / (order - 1))
            limits.append(np.minimum(of_thin, most ** (1.0 / order)))
    return np.minimum(*limits)


@njit(cache=True, nogil=True, error_model="numpy")
def _series(
    values: Image,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    thickness: Image,
    passed: Image,
    beyond: NDArray[np.bool_],
) -> None:
    for i in range(len(rows)):
        c = values[rows[i], columns[i]]
        t = thickness[i]
        beyond[i] = not t <= c[6]
        for kind in range(2):
            c1, c2, c3 = c[3 * kind], c[3 * kind + 1], c[3 * kind + 2]
            passed[kind, i] = np.exp(t * (-c1 + t * (c2 / 2 - t * c3 / 6)))
