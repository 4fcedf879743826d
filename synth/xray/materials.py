"""Attenuation of X-rays by materials, by name, formula or mixture.

Elemental cross sections are xraylib's (total, with coherent scatter). A material is written

- as a name of `known_materials()`, or of xraylib's list of NIST's compounds in full: ``Xylene``;
- as an element: ``Ti``; as a formula and its density in g/cm3: ``C2H6OSi@1.07``;
- as a filled material with the volume fraction of its filler: ``ndfeb-silicone:0.2``;
- as an iodinated contrast medium in mg of iodine per mL: ``iodine:300``;
- as a mixture of any of these: ``volume:ndfeb=0.125,silicone=0.875`` by volume fractions, or
  ``mass:Ni=0.55,Ti=0.45@6.45`` by mass fractions. The density after ``@`` is the mixture's, in
  g/cm3; without it the volumes of the parts add up.

Fractions may be written as ``12.5%``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xraylib
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.synth.xray.catalogue import FILLED, NAMED

PER_CM = 100.0  # 1/m
G_PER_CM3 = 1000.0  # kg/m3
ENERGIES = (0.1, 800.0)  # keV, where xraylib has cross sections of every element
HEAVIEST = 98  # highest atomic number it has
LIGHTEST = 20.0  # kg/m3; what is lighter is a gas, whose volume says nothing of a compound's
SUM_TOLERANCE = 1.5e-3  # of fractions: published compositions round to 3 digits

# Iohexol in water. Density by concentration of iodine c: 1 + 1.163 c, g/cm3, fits the 1.164, 1.209,
# 1.280, 1.349 and 1.406 at 140, 180, 240, 300 and 350 mg/mL of the label of Omnipaque (37 degC).
IOHEXOL = "C19H26I3N3O9"
IODINE_IN_IOHEXOL = 0.4636  # mass fraction
IODINE_SLOPE = 1.163
CLINICAL_IODINE = 300.0  # mg/mL, a common strength
MOST_IODINE = 500.0  # mg/mL, above any medium on sale

# Energy in keV and mu_en/rho of dry air in cm2/g (Hubbell and Seltzer, NISTIR 5632), with argon's
# K edge at 3.2029 keV.
AIR_BELOW = ((1, 3599), (1.5, 1188), (2, 526.2), (3, 161.4), (3.2029, 133.0))
AIR_ABOVE = (
    *((3.2029, 146.0), (4, 76.36), (5, 39.31), (6, 22.70), (8, 9.446), (10, 4.742), (15, 1.334)),
    *((20, 0.5389), (30, 0.1537), (40, 0.06833), (50, 0.04098), (60, 0.03041), (80, 0.02407)),
    *((100, 0.02325), (150, 0.02496), (200, 0.02672)),
)


@dataclass(frozen=True)
class Composition:
    """What a material is made of.

    Parameters
    ----------
    mass : tuple of (int, float)
        Atomic number and mass fraction of each element; they add up to 1.
    density : float
        kg/m3.
    """

    mass: tuple[tuple[int, float], ...]
    density: float


def known_materials() -> list[str]:
    """Return the names that `attenuation` takes; it takes formulas and mixtures besides."""
    return sorted([*NAMED, *FILLED, "iodine-contrast"])


def density(material: str) -> float:
    """Return the density of a material, kg/m3; raises as `attenuation`."""
    return composition(material).density


def attenuation(material: str, energy: ArrayLike) -> Array:
    """Return the linear attenuation coefficient mu(E).

    Parameters
    ----------
    material : str
        A name, formula or mixture as the module says.
    energy : array-like
        Photon energies, 0.1-800 keV.

    Returns
    -------
    array
        mu in 1/m, the shape of `energy`. Read-only and cached.

    Raises
    ------
    UserError
        If the material is unknown or malformed, or an energy out of range.

    Examples
    --------
    >>> float(attenuation("water", 60.0).round(2))
    20.59
    """
    e = np.asarray(energy, float)
    return _cached(material, e.tobytes()).reshape(e.shape)


def mass_energy_absorption_air(energy: ArrayLike) -> Array:
    """Return the mass energy-absorption coefficient of dry air, m2/kg, at 1-200 keV.

    Cubic in the logarithms between the values of NIST. Not xraylib's ``CS_Energy``: it
    interpolates too coarsely and lies 34 % low at 20 keV and 16 % at 40 keV.
    """
    below, above = _air_splines()
    e = np.log(np.asarray(energy, float))
    edge = math.log(AIR_ABOVE[0][0])
    return np.asarray(np.exp(np.where(e < edge, below(e), above(e))) * 0.1)  # cm2/g -> m2/kg


@lru_cache(maxsize=512)
def composition(material: str) -> Composition:
    """Return what a material is made of; raises as `attenuation`."""
    if material in NAMED:
        return composition(NAMED[material])
    if material == "iodine-contrast":
        return _iodine(material, CLINICAL_IODINE)
    kind, colon, rest = material.partition(":")
    if kind in FILLED:
        filler, matrix, fraction = FILLED[kind]
        if colon:
            fraction = _fraction(material, rest)
        parts = [(composition(filler), fraction), (composition(matrix), 1.0 - fraction)]
        return _by_volume(parts)
    if colon and kind == "iodine":
        return _iodine(material, _number(material, rest))
    if colon and kind in ("mass", "volume"):
        return _mixture(material, kind, rest)
    return _element(material) or _formula(material) or _nist(material)


def _mixture(material: str, kind: str, text: str) -> Composition:
    """Parse ``a=0.1,b=0.9`` or ``a=0.1,b=0.9@density``."""
    parts, overall = [], None
    pieces = text.split(",")
    for i, piece in enumerate(pieces):
        name, equals, value = piece.strip().rpartition("=")
        if not equals:
            raise UserError(
                f"material '{material}': '{piece}' must be name=fraction, as "
                f"{kind}:ndfeb=0.125,silicone=0.875"
            )
        if i == len(pieces) - 1 and "@" in value:
            value, _, after = value.partition("@")
            overall = _density(material, after)
        parts.append((composition(name.strip()), _fraction(material, value)))
    total = sum(fraction for _, fraction in parts)
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise UserError(f"material '{material}': its fractions add up to {total:g}, not 1")
    if kind == "mass" and overall is None and min(part.density for part, _ in parts) < LIGHTEST:
        raise UserError(
            f"material '{material}': has the element of a gas; give the mixture's density in "
            f"g/cm3, as {material}@1.0"
        )
    parts = [(part, fraction / total) for part, fraction in parts]
    mixed = _by_mass(parts) if kind == "mass" else _by_volume(parts)
    return mixed if overall is None else Composition(mixed.mass, overall)


def _by_volume(parts: Iterable[tuple[Composition, float]]) -> Composition:
    parts = list(parts)
    whole = sum(part.density * fraction for part, fraction in parts)
    return _by_mass([(part, part.density * fraction / whole) for part, fraction in parts])


def _by_mass(parts: Iterable[tuple[Composition, float]]) -> Composition:
    mass: dict[int, float] = {}
    volume = 0.0
    for part, fraction in parts:
        volume += fraction / part.density
        for z, share in part.mass:
            mass[z] = mass.get(z, 0.0) + fraction * share
    return Composition(tuple(sorted(mass.items())), 1.0 / volume)


def _iodine(material: str, concentration: float) -> Composition:
    """Iohexol in water, `concentration` in mg of iodine per mL."""
    if not 0.0 < concentration <= MOST_IODINE:
        raise UserError(
            f"material '{material}': {concentration:g} mg/mL of iodine is not in "
            f"(0, {MOST_IODINE:g}]"
        )
    iodine = concentration / 1000.0  # g/cm3
    whole = 1.0 + IODINE_SLOPE * iodine
    solute = iodine / IODINE_IN_IOHEXOL / whole
    parts = [(composition(f"{IOHEXOL}@1"), solute), (composition("water"), 1.0 - solute)]
    return Composition(_by_mass(parts).mass, whole * G_PER_CM3)


def _element(material: str) -> Composition | None:
    if not re.fullmatch("[A-Z][a-z]?", material):
        return None
    try:
        z = xraylib.SymbolToAtomicNumber(material)
        return Composition(((z, 1.0),), xraylib.ElementDensity(z) * G_PER_CM3)
    except ValueError:
        return None


def _formula(material: str) -> Composition | None:
    formula, at, text = material.rpartition("@")
    try:
        parsed = xraylib.CompoundParser(formula if at else material)
    except ValueError as error:
        if at:
            raise UserError(f"material '{material}': {error}") from None
        return None
    if max(parsed["Elements"]) > HEAVIEST:
        raise UserError(f"material '{material}': no cross sections of such heavy elements")
    if not at:
        raise UserError(
            f"material '{material}': a formula needs its density in g/cm3, as {material}@1.0"
        )
    parts = zip(parsed["Elements"], parsed["massFractions"], strict=True)
    return Composition(tuple(parts), _density(material, text))


def _nist(material: str) -> Composition:
    """Look a name up in NIST's list of compounds, else say what is near it."""
    catalogue = _nist_names()
    name = material.lower()
    if name in catalogue:
        found = xraylib.GetCompoundDataNISTByName(catalogue[name])
        parts = zip(found["Elements"], found["massFractions"], strict=True)
        return Composition(tuple(parts), found["density"] * G_PER_CM3)
    if name != material and (name in NAMED or name in FILLED):
        return composition(name)
    near = difflib.get_close_matches(name, [*known_materials(), *catalogue], n=4)
    hint = f"near it: {', '.join(near)}" if near else f"known: {', '.join(known_materials())}"
    raise UserError(f"material '{material}': unknown; {hint}; or formula@density, mass:, volume:")


@lru_cache(maxsize=1)
def _nist_names() -> dict[str, str]:
    return {name.lower(): name for name in xraylib.GetCompoundDataNISTList()}


def _number(material: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"material '{material}': '{text}' is not a number") from None


def _fraction(material: str, text: str) -> float:
    text = text.strip()
    scale = 100.0 if text.endswith("%") else 1.0
    fraction = _number(material, text.removesuffix("%")) / scale
    if not 0.0 < fraction <= 1.0:
        raise UserError(f"material '{material}': the fraction {text} is not in (0, 1]")
    return fraction


def _density(material: str, text: str) -> float:
    value = _number(material, text)
    if not (value > 0.0 and math.isfinite(value)):
        raise UserError(f"material '{material}': its density must be above 0 g/cm3, not {text}")
    return value * G_PER_CM3


@lru_cache(maxsize=256)
def _cached(material: str, energy_bytes: bytes) -> Array:
    energy = np.frombuffer(energy_bytes)
    found = composition(material)
    low, high = ENERGIES
    if not np.all((energy >= low) & (energy <= high)):
        raise UserError(f"material '{material}': energies must lie in {low:g}-{high:g} keV")
    mass = np.zeros(len(energy))
    for z, share in found.mass:
        mass += share * np.array([xraylib.CS_Total(z, e) for e in energy.tolist()])
    mu = mass * (found.density / G_PER_CM3 * PER_CM)
    mu.flags.writeable = False
    return mu


@lru_cache(maxsize=1)
def _air_splines() -> tuple[Any, Any]:
    from scipy.interpolate import CubicSpline

    below, above = (CubicSpline(*np.log(np.array(table).T)) for table in (AIR_BELOW, AIR_ABOVE))
    return below, above
