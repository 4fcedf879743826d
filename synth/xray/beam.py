"""What a detector absorbs of a polyenergetic beam behind layers of materials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numba import njit

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.geometry import Array, Image
from mmdtwin.synth.xray.spectrum import Spectrum, load_spectrum
from mmdtwin.synth.xray.threads import in_parallel

Layer = tuple[Array, Image]  # mu of each energy (bins,), 1/m, and thickness of any shape, m

BLOCK = 256  # rays that are summed at once: their numbers stay in the processor's nearest cache
PARALLEL = 16384  # rays from which two threads are quicker than one
LOWEST, HIGHEST = np.float32(-125.0), np.float32(125.0)  # powers of two that a float32 holds


class Signals(NamedTuple):
    """Sums over the spectrum for each ray, per photon that leaves the tube towards it.

    Parameters
    ----------
    energy : array
        Energy that the detector absorbs, keV.
    squared : array
        The same with the square of each photon's energy, keV2: the variance of the energy that a
        Poisson number of photons leaves.
    photons : array
        Absorbed photons.
    kerma : array
        Air kerma at the detector per fluence, Gy m2.
    """

    energy: Image
    squared: Image
    photons: Image
    kerma: Image


class Beam:
    """A spectrum and an energy-integrating CsI detector.

    Parameters
    ----------
    spectrum : Spectrum
        Photons before the patient.
    csi_thickness, csi_packing : float
        Of the scintillator, m and 1.

    Attributes
    ----------
    weights : (4, bins) array
        What a photon of each energy adds to each of `Signals`.
    """

    def __init__(self, spectrum: Spectrum, csi_thickness: float, csi_packing: float) -> None:
        self.spectrum = spectrum
        absorbed = spectrum.photons * spectrum.absorbed(csi_thickness, csi_packing)
        energy = spectrum.energy
        self.weights = np.stack(
            [absorbed * energy, absorbed * energy**2, absorbed, spectrum.photons * spectrum.kerma]
        )
        self._known: dict[str, Array] = {}

    @classmethod
    def of(cls, config: ImagerConfig) -> Self:
        """Return the beam of an imager."""
        detector = config.detector
        spectrum = load_spectrum(config.spectrum)
        return cls(spectrum, detector.csi_thickness, detector.csi_packing)

    def mu(self, material: str, displaces: str | None = None) -> Array:
        """Return mu of a material for each bin, (bins,) 1/m, less that of what it displaces."""
        if material not in self._known:
            self._known[material] = self.spectrum.attenuation(material)
        own = self._known[material]
        return own if displaces is None else own - self.mu(displaces)

    def behind(self, layers: Sequence[Layer]) -> Signals:
        """Return what is absorbed behind layers, exact: every energy on every ray.

        Parameters
        ----------
        layers : sequence of (mu, thickness)
            mu of each energy, (bins,) 1/m, as of `mu`; thickness in m, arrays of one shape.
        """
        shape = layers[0][1].shape
        stack = np.stack([np.asarray(t, np.float32).ravel() for _, t in layers])
        sums = weighted_sums(stack, np.stack([mu for mu, _ in layers]), self.weights)
        return Signals(*sums.reshape(-1, *shape))


def weighted_sums(thickness: Image, mu: Array, weights: Array) -> Image:
    """Return sum_k weights[:, k] exp(-sum_m mu[m, k] thickness[m]) for each ray, (q, n).

    Parameters
    ----------
    thickness : (m, n) float32 array
        Of each layer on each ray, m.
    mu : (m, bins) array
        1/m.
    weights : (q, bins) array
        Of each sum.
    """
    out = np.empty((len(weights), thickness.shape[1]), np.float32)
    powers = (mu * -np.log2(np.e)).astype(np.float32)
    factors = weights.astype(np.float32)
    if thickness.shape[1] < PARALLEL:
        _sum(thickness, powers, factors, out, 0, thickness.shape[1])
    else:
        in_parallel(thickness.shape[1], lambda _, a, b: _sum(thickness, powers, factors, out, a, b))
    return out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sum(thickness: Image, powers: Image, weights: Image, out: Image, first: int, end: int) -> None:
    """Fill `out` for rays first..end; `powers` are mu as powers of two.

    All inner loops run over rays without branches, so that the compiler makes vector code of them.
    2^x = 2^round(x) 2^f, the first by the bits of a float32, the second by its Taylor series, whose
    coefficients are adjusted to |f| <= 1/2: right to 5e-7.
    """
    depth, part = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    bits = np.empty(BLOCK, np.int32)
    whole = bits.view(np.float32)
    sums = np.empty((len(weights), BLOCK), np.float32)
    for start in range(first, end, BLOCK):
        n = min(BLOCK, end - start)
        sums[:] = 0.0
        for k in range(powers.shape[1]):
            for j in range(n):
                depth[j] = powers[0, k] * thickness[0, start + j]
            for m in range(1, len(powers)):
                power = powers[m, k]
                for j in range(n):
                    depth[j] += power * thickness[m, start + j]
            for j in range(n):
                x = min(max(depth[j], LOWEST), HIGHEST)
                nearest = np.floor(x + np.float32(0.5))
                f = x - nearest
                bits[j] = (np.int32(nearest) + np.int32(127)) << np.int32(23)
                p = np.float32(1.535336188319500e-4)
                p = p * f + np.float32(1.339887440266574e-3)
                p = p * f + np.float32(9.618437357674640e-3)
                p = p * f + np.float32(5.550332471162809e-2)
                p = p * f + np.float32(2.402264791363012e-1)
                p = p * f + np.float32(6.931472028550421e-1)
                part[j] = p * f + np.float32(1.0)
            for j in range(n):
                part[j] *= whole[j]
            for q in range(len(weights)):
                weight = weights[q, k]
                for j in range(n):
                    sums[q, j] += weight * part[j]
        for q in range(len(weights)):
            for j in range(n):
                out[q, start + j] = sums[q, j]
