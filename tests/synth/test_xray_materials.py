"""Attenuation, spectra and contrast against published figures and against each other."""

import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.synth.xray import attenuation, load_spectrum, spectrum_names
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.materials import mass_energy_absorption_air

# mu/rho in cm2/g at 40, 60, 80 keV: NIST (Hubbell and Seltzer) for water, bone and iron; computed
# with xraylib and xraydb, which agree, for the compounds. Density in kg/m3.
TABLE = {
    "water": (1000, [0.2683, 0.2059, 0.1837]),
    "bone": (1920, [0.6655, 0.3148, 0.2229]),
    "silicone": (1070, [0.4167, 0.2460, 0.1980]),
    "steel": (7874, [3.629, 1.205, 0.5952]),
    "ndfeb": (7500, [4.176, 3.628, 1.724]),
}

# Name, mean energy keV, first half-value layer in mm Al: SpekPy, 12 deg tungsten.
SPECTRA = [
    ("60kVp-3Al", 36.8, 2.31),
    ("80kVp-2.5Al", 42.9, 2.73),
    ("80kVp-2.5Al-0.2Cu", 50.9, 5.50),
    ("100kVp-2.5Al", 49.1, 3.46),
    ("120kVp-2.5Al", 54.4, 4.22),
]

# Device, thickness m, Michelson contrast without and with scatter: behind 3 cm at 60 kVp (scatter
# to primary .3), and behind 20 cm at 80 kVp with copper (3). Computed apart from this package.
THIN, THICK = ("60kVp-3Al", 0.03, 0.3), ("80kVp-2.5Al-0.2Cu", 0.20, 3.0)
CONTRAST = [
    ("ndfeb-silicone", 0.185e-3, THIN, 0.057, 0.043),
    ("ndfeb-silicone", 0.185e-3, THICK, 0.035, 0.009),
    ("ndfeb-silicone:0.2", 1e-3, THIN, 0.423, 0.297),
    ("ndfeb-silicone:0.2", 1e-3, THICK, 0.284, 0.059),
    ("ferrofluid", 2e-3, THIN, 0.148, 0.110),
    ("ferrofluid", 2e-3, THICK, 0.057, 0.014),
    ("iodine-contrast", 3e-3, THIN, 0.601, 0.406),
    ("iodine-contrast", 3e-3, THICK, 0.367, 0.072),
    ("bone", 5e-3, THIN, 0.258, 0.187),
    ("bone", 5e-3, THICK, 0.116, 0.027),
    ("steel", 0.35e-3, THIN, 0.440, 0.307),
    ("steel", 0.35e-3, THICK, 0.192, 0.042),
]


@pytest.mark.parametrize("material", TABLE)
def test_mass_attenuation(material):
    """Four printed digits."""
    density, expected = TABLE[material]
    got = attenuation(material, [40.0, 60.0, 80.0]) / density * 10  # m2/kg -> cm2/g
    assert got == pytest.approx(expected, rel=5e-4)


def test_neodymium_edge_makes_ndfeb_rise():
    """The K edge of Nd lies at 43.6 keV: the contrast does not fall steadily with voltage."""
    below, above = attenuation("ndfeb", [43.0, 44.0])
    assert above > 1.5 * below


def test_mixture_is_linear_in_the_volume_fraction():
    e = np.array([30.0, 60.0])
    pure = attenuation("silicone", e), attenuation("ndfeb", e)
    assert attenuation("ndfeb-silicone:0.3", e) == pytest.approx(0.7 * pure[0] + 0.3 * pure[1])
    assert attenuation("ndfeb-silicone", e) == pytest.approx(attenuation("ndfeb-silicone:0.125", e))


@pytest.mark.parametrize("name", ["unobtainium", "ndfeb-silicone:2", "ndfeb-silicone:x"])
def test_unknown_materials_are_refused(name):
    with pytest.raises(UserError, match=name):
        attenuation(name, [60.0])


@pytest.mark.parametrize(("name", "mean", "hvl"), SPECTRA)
def test_spectra(name, mean, hvl):
    """Mean to the printed digit; half-value layer within 1.5 %: ours uses xraylib's aluminium and
    NIST's air, SpekPy its own tables."""
    spectrum = load_spectrum(name)
    assert spectrum.photons.sum() == pytest.approx(1.0)
    assert spectrum.mean_energy == pytest.approx(mean, abs=0.06)
    assert spectrum.half_value_layer() * 1e3 == pytest.approx(hvl, rel=0.015)


def test_unknown_spectrum_is_refused():
    with pytest.raises(UserError, match="80kVp"):
        load_spectrum("1kVp")
    assert "70kVp-2.5Al-0.1Cu" in spectrum_names()


def test_quanta_per_dose():
    """2.7e4 photons per mm2 and uGy at 80 kVp with copper (SpekPy); 4 % for the air table."""
    spectrum = load_spectrum("80kVp-2.5Al-0.2Cu")
    per_gray = 1.0 / (spectrum.photons @ spectrum.kerma)
    assert per_gray * 1e-12 == pytest.approx(2.7e4, rel=0.04)
    assert mass_energy_absorption_air(30.0) == pytest.approx(0.01537)


@pytest.mark.parametrize(("name", "absorbed"), [("60kVp-3Al", 0.94), ("80kVp-2.5Al-0.2Cu", 0.87)])
def test_scintillator_absorption(name, absorbed):
    """600 um of CsI at 75 % packing absorbs .94 at 60 kVp and .87 at 80 kVp."""
    spectrum = load_spectrum(name)
    share = spectrum.photons @ spectrum.absorbed(600e-6, 0.75)
    assert share == pytest.approx(absorbed, abs=0.01)


@pytest.mark.parametrize(("device", "thickness", "setting", "primary", "scattered"), CONTRAST)
def test_contrast(device, thickness, setting, primary, scattered):
    """Three per cent: the Nd edge falls inside one of the spectrum's 1 keV bins; or 0.0006, half a
    unit of the last printed digit."""
    name, depth, ratio = setting
    beam = Beam(load_spectrum(name), 600e-6, 0.75)
    tissue = {"soft-tissue": np.array([depth])}
    without = beam.absorbed(tissue)[0][0]
    with_device = beam.absorbed(tissue, (device, np.array([thickness])))[0][0]
    contrast = (without - with_device) / (without + with_device)
    assert contrast == pytest.approx(primary, rel=0.03, abs=6e-4)
    diluted = contrast / (1 + ratio * (1 + contrast))
    assert diluted == pytest.approx(scattered, rel=0.03, abs=6e-4)


def test_slab_transmission_is_the_sum_over_energies():
    """The compiled float32 kernel against a plain float64 sum, behind 0.2 m and 10 mm of bone."""
    beam = Beam(load_spectrum("70kVp-2.5Al-0.1Cu"), 600e-6, 0.75)
    e = beam.spectrum.energy
    depth = 0.2 * attenuation("soft-tissue", e) + 0.01 * attenuation("bone", e)
    weights = beam.spectrum.photons * beam.spectrum.absorbed(600e-6, 0.75) * e
    layers = {"soft-tissue": np.array([0.2]), "bone": np.array([0.01])}
    assert beam.absorbed(layers)[0][0] == pytest.approx(weights @ np.exp(-depth), rel=1e-5)
    assert beam.absorbed(layers)[1][0] == pytest.approx((weights * e) @ np.exp(-depth), rel=1e-5)
