"""X-ray spectra by name, and what a detector makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.synth.xray.materials import attenuation, mass_energy_absorption_air

KEV = 1.602176634e-16  # J


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Shares of photons by energy.

    Parameters
    ----------
    energy : (n,) array
        Centres of 1 keV bins, keV; only bins that hold photons.
    photons : (n,) array
        Share of photons in each bin; the sum is 1.
    """

    energy: Array
    photons: Array

    @property
    def mean_energy(self) -> float:
        """Mean photon energy, keV."""
        return float(self.energy @ self.photons)

    @property
    def kerma(self) -> Array:
        """Air kerma per unit fluence of the photons of each bin, (n,) Gy m2."""
        return self.energy * KEV * mass_energy_absorption_air(self.energy)

    def half_value_layer(self, material: str = "aluminium") -> float:
        """Return the thickness in m of a material that halves the air kerma."""
        from scipy.optimize import brentq

        weight = self.photons * self.kerma
        mu = attenuation(material, self.energy)

        def excess(thickness: float) -> float:
            return float(weight @ np.exp(-mu * thickness) / weight.sum()) - 0.5

        return float(brentq(excess, 0.0, 0.1))

    def absorbed(self, csi_thickness: float, packing: float) -> Array:
        """Return the share of photons that a CsI layer absorbs, (n,).

        Parameters
        ----------
        csi_thickness : float
            Thickness of the layer, m.
        packing : float
            Share of its volume that the CsI needles fill.
        """
        return 1.0 - np.exp(-attenuation("csi", self.energy) * csi_thickness * packing)


def spectrum_names() -> list[str]:
    """Return the names of the shipped spectra: peak voltage and filters in mm."""
    return sorted(_table())


def load_spectrum(name: str) -> Spectrum:
    """Return a shipped spectrum.

    Raises
    ------
    UserError
        If there is no such spectrum.
    """
    table = _table()
    if name not in table:
        raise UserError(f"spectrum '{name}': unknown; known: {', '.join(sorted(table))}")
    return table[name]


@lru_cache(maxsize=1)
def _table() -> dict[str, Spectrum]:
    text = (resources.files("mmdtwin.synth") / "data" / "spectra.csv").read_text()
    lines = text.splitlines()
    names = lines[1].removeprefix("#").strip().split(",")[1:]
    values = np.array([[float(x) for x in line.split(",")] for line in lines[2:]])
    return {
        name: Spectrum(values[used, 0], values[used, i] / values[used, i].sum())
        for i, name in enumerate(names, 1)
        for used in [values[:, i] > 0]
    }
