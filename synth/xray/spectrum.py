"""Spectra of X-ray tubes by peak voltage and filters, and what a detector makes of them.

The unfiltered tube comes from a table (tungsten, 12 deg, SpekPy) in steps of 1 kV, between which
it is interpolated; filters attenuate it by Beer and Lambert's law.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.synth.xray.materials import attenuation, mass_energy_absorption_air

KEV = 1.602176634e-16  # J
MM = 1e-3  # m
REFERENCE_DISTANCE = 1.0  # m from the focal spot, at which `fluence` and `output` are given
SUBBINS = 40  # of a 1 keV bin, over which a filter is averaged: an edge is met to 0.013 keV
NEGLIGIBLE = 1e-6  # share of all photons; bins with less are left out
GRAMMAR = "NNkVp-TTfilter-..., filters in mm, as 80kVp-2.5Al-0.2Cu"
COMMON = (
    "60kVp-3Al",
    "70kVp-2.5Al-0.1Cu",
    "80kVp-2.5Al",
    "80kVp-2.5Al-0.2Cu",
    "100kVp-2.5Al",
    "120kVp-2.5Al",
)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Photons of a tube by energy.

    Parameters
    ----------
    energy : (n,) array
        Centres of 1 keV bins, keV; only bins that hold photons.
    photons : (n,) array
        Share of photons in each bin; the sum is 1.
    fluence : float
        All photons per m2 and A s at 1 m from the focal spot on the central ray, in free air.
    """

    energy: Array
    photons: Array
    fluence: float

    @property
    def mean_energy(self) -> float:
        """Mean photon energy, keV."""
        return float(self.energy @ self.photons)

    @property
    def kerma(self) -> Array:
        """Air kerma per unit fluence of the photons of each bin, (n,) Gy m2."""
        return self.energy * KEV * mass_energy_absorption_air(self.energy)

    @property
    def output(self) -> float:
        """Air kerma per charge of the tube at 1 m on the central ray, Gy/(A s)."""
        return self.fluence * float(self.photons @ self.kerma)

    def half_value_layer(self, material: str = "aluminium") -> float:
        """Return the thickness in m of a material that halves the air kerma."""
        from scipy.optimize import brentq

        weight = self.photons * self.kerma
        mu = self.attenuation(material)

        def excess(thickness: float) -> float:
            return float(weight @ np.exp(-mu * thickness) / weight.sum()) - 0.5

        # A layer that halves every energy is thick enough.
        return float(brentq(excess, 0.0, np.log(2.0) / mu.min()))

    def absorbed(self, csi_thickness: float, packing: float) -> Array:
        """Return the share of photons that a CsI layer absorbs, (n,).

        Parameters
        ----------
        csi_thickness : float
            Thickness of the layer, m.
        packing : float
            Share of its volume that the CsI needles fill.
        """
        return 1.0 - transmission([("csi", csi_thickness * packing)], self.energy)

    def attenuation(self, material: str) -> Array:
        """Return mu of a material for each bin, (n,) 1/m.

        The mean over the bin: the K edge of iodine or neodymium lies inside one.
        """
        return np.asarray(attenuation(material, _inside(self.energy)).mean(axis=1))


@dataclass(frozen=True, eq=False)
class TubeTable:
    """The unfiltered tube.

    Parameters
    ----------
    energy : (n,) array
        Centres of 1 keV bins, keV.
    peak : (p,) array
        Peak voltages, kV.
    fluence : (p, n) array
        Photons per m2, A s and bin at 1 m.
    heel_peak : (q,) array
        Peak voltages of `heel`, kV.
    heel_angle : (a,) array
        Angles of a ray towards the anode, rad.
    heel : (q, a, n) array
        Fluence over that of the central ray.
    """

    energy: Array
    peak: Array
    fluence: Array
    heel_peak: Array
    heel_angle: Array
    heel: Array

    def at(self, peak: float) -> Array:
        """Return the unfiltered fluence, (n,), at a peak voltage in kV."""
        return _between(self.peak, self.fluence, peak)

    def heel_at(self, peak: float) -> Array:
        """Return the fluence over that of the central ray, (a, n), at a peak voltage in kV."""
        return _between(self.heel_peak, self.heel, peak)


@lru_cache(maxsize=1)
def tube_table() -> TubeTable:
    """Return the shipped table."""
    with (
        resources.files("mmdtwin.synth").joinpath("data/spectra.npz").open("rb") as file,
        np.load(file) as data,
    ):
        values = {name: data[name].astype(float) for name in data.files if name != "source"}
    values["heel_angle"] = np.deg2rad(values["heel_angle"])
    return TubeTable(**values)


def spectrum_names() -> list[str]:
    """Return names of common spectra; `load_spectrum` takes any voltage and filters."""
    return list(COMMON)


def parse_spectrum(name: str) -> tuple[float, list[tuple[str, float]]]:
    """Return the peak voltage in kV and the filters (material, thickness in m) of a name.

    Raises
    ------
    UserError
        If the name is malformed, or its voltage outside the table.
    """
    voltage, *filters = re.split(r"-(?=[\d.])", name)
    number = re.fullmatch(r"(\d+\.?\d*|\.\d+)kVp", voltage)
    parts = [re.fullmatch(r"(\d+\.?\d*|\.\d+)([A-Za-z](?:.*[^-])?)", part) for part in filters]
    if number is None or not all(parts):
        raise UserError(f"spectrum '{name}': must be {GRAMMAR}")
    peak, lowest, highest = float(number[1]), *tube_table().peak[[0, -1]]
    if not lowest <= peak <= highest:
        raise UserError(
            f"spectrum '{name}': {peak:g} kVp is outside the table, {lowest:g}-{highest:g} kVp"
        )
    return peak, [(part[2], float(part[1]) * MM) for part in parts if part]


def transmission(filters: list[tuple[str, float]], energy: Array) -> Array:
    """Return the share of photons of each 1 keV bin that pass filters (material, thickness in m).

    A mean over the bin, since an absorption edge of a filter may lie in it.
    """
    fine = _inside(energy)
    depth = np.zeros_like(fine)
    for material, thickness in filters:
        depth += attenuation(material, fine) * thickness
    return np.asarray(np.exp(-depth).mean(axis=1))


@lru_cache(maxsize=64)
def load_spectrum(name: str) -> Spectrum:
    """Return a spectrum by name.

    Parameters
    ----------
    name : str
        Peak voltage and filters in mm of any material, ``80kVp-2.5Al-0.2Cu``. The anode filters
        the beam in any case; the tube's window and inherent filter are yours to name.

    Raises
    ------
    UserError
        If the name is malformed, its voltage outside the table, or a material unknown.

    Examples
    --------
    >>> spectrum = load_spectrum("80kVp-2.5Al")
    >>> round(spectrum.mean_energy, 1), round(spectrum.half_value_layer() * 1e3, 2)
    (43.0, 2.72)
    """
    peak, filters = parse_spectrum(name)
    table = tube_table()
    try:
        photons = table.at(peak) * transmission(filters, table.energy)
    except UserError as error:
        raise UserError(f"spectrum '{name}': {error}") from None
    total = float(photons.sum())
    if not total > 0.0:
        raise UserError(f"spectrum '{name}': nothing passes its filters")
    used = photons > NEGLIGIBLE * total
    kept = float(photons[used].sum())
    return Spectrum(table.energy[used], photons[used] / kept, kept)


def _inside(energy: Array) -> Array:
    """Energies (n, SUBBINS) in keV spread evenly over 1 keV bins."""
    return np.asarray(energy[:, None] + (np.arange(SUBBINS) + 0.5) / SUBBINS - 0.5)


def _between(nodes: Array, values: Array, at: float) -> Array:
    """Interpolate rows linearly."""
    i = int(np.clip(np.searchsorted(nodes, at) - 1, 0, len(nodes) - 2))
    share = (at - nodes[i]) / (nodes[i + 1] - nodes[i])
    return np.asarray((1.0 - share) * values[i] + share * values[i + 1])
