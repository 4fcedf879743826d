"""What a detector absorbs of a polyenergetic beam behind a stack of materials."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.synth.xray.materials import attenuation
from mmdtwin.synth.xray.spectrum import Spectrum

BLOOD = "water"  # what a device displaces in the lumen


class Beam:
    """A spectrum and an energy-integrating CsI detector.

    Parameters
    ----------
    spectrum : Spectrum
        Photons before the patient.
    csi_thickness, csi_packing : float
        Of the scintillator, m and 1.
    """

    def __init__(self, spectrum: Spectrum, csi_thickness: float, csi_packing: float) -> None:
        self.spectrum = spectrum
        absorbed = spectrum.photons * spectrum.absorbed(csi_thickness, csi_packing)
        # Per incident photon: energy absorbed in keV, its square (the variance of the energy that
        # a Poisson number of photons leaves), and air kerma in Gy m2.
        self.weights = np.stack(
            [
                absorbed * spectrum.energy,
                absorbed * spectrum.energy**2,
                spectrum.photons * spectrum.kerma,
            ]
        )

    def absorbed(
        self,
        thickness: Mapping[str, NDArray[np.float32]],
        device: tuple[str, NDArray[np.float32]] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Sum over the spectrum.

        Parameters
        ----------
        thickness : mapping of str to (n,) array
            Thickness in m of each material along n rays.
        device : (str, (n,) array), optional
            Material and path length in m of a device that displaces blood.

        Returns
        -------
        energy, energy_squared, kerma : (n,) float64 arrays
            Per incident photon and m2: keV, keV2, Gy m2.
        """
        energy = self.spectrum.energy
        layers, mu = [], []
        for name, values in thickness.items():
            layers.append(np.asarray(values, np.float32).ravel())
            mu.append(attenuation(name, energy))
        if device is not None:
            layers.append(np.asarray(device[1], np.float32).ravel())
            mu.append(attenuation(device[0], energy) - attenuation(BLOOD, energy))
        sums = _sum(np.stack(layers), np.stack(mu).astype(np.float32), self.weights)
        return sums[0], sums[1], sums[2]


@njit(cache=True, fastmath=True)
def _sum(layers: NDArray, mu: NDArray, weights: NDArray) -> NDArray:
    count, n = layers.shape
    bins = mu.shape[1]
    out = np.zeros((3, n))
    for i in range(n):
        for k in range(bins):
            depth = np.float32(0.0)
            for m in range(count):
                depth += mu[m, k] * layers[m, i]
            share = np.exp(-depth)
            out[0, i] += weights[0, k] * share
            out[1, i] += weights[1, k] * share
            out[2, i] += weights[2, k] * share
    return out
