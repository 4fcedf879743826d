"""Materials: the grammar, mixtures and bad input. Values are compared in `mmdtwin xray check`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdtwin.errors import UserError
from mmdtwin.synth.xray import attenuation, known_materials
from mmdtwin.synth.xray.materials import composition, density, mass_energy_absorption_air

ENERGY = np.array([25.0, 60.0, 110.0])
EXACT = {"rel": 1e-9}  # the same sum in another order

# From the lightest to the heaviest kind of part: gas, liquid, plastic, alloy, formula, medium.
PARTS = st.sampled_from(["air", "water", "silicone", "nitinol", "C19H12O3@1.3", "iodine:250"])
SHARES = st.floats(0.001, 0.999)


@given(PARTS, PARTS, SHARES)
def test_mu_is_linear_in_volume_fractions(first, second, share):
    mixed = attenuation(f"volume:{first}={share!r},{second}={1 - share!r}", ENERGY)
    apart = share * attenuation(first, ENERGY) + (1 - share) * attenuation(second, ENERGY)
    assert mixed == pytest.approx(apart, **EXACT)


@given(SHARES)
def test_mass_and_volume_fractions_of_one_mixture_agree(share):
    """The mass fraction of a part is its density times its volume fraction over the mixture's."""
    by_volume = f"volume:ndfeb={share!r},silicone={1 - share!r}"
    mass = share * density("ndfeb") / density(by_volume)
    by_mass = f"mass:ndfeb={mass!r},silicone={1 - mass!r}"
    assert density(by_mass) == pytest.approx(density(by_volume), **EXACT)
    assert attenuation(by_mass, ENERGY) == pytest.approx(attenuation(by_volume, ENERGY), **EXACT)


@pytest.mark.parametrize(
    ("material", "same"),
    [
        ("ndfeb-silicone", "volume:ndfeb=12.5%,silicone=87.5%"),
        ("ndfeb-silicone:20%", "volume:Nd2Fe14B@7.5=0.2, C2H6OSi@1.07=0.8"),
        ("ferrofluid", "ferrofluid:0.1"),
        ("iodine-contrast", "iodine:300"),
        ("nitinol", "mass:Ni=0.55,Ti=0.45@6.45"),
        ("steel", "Fe"),
        ("PTFE", "Polytetrafluoroethylene (Teflon)"),
        ("Water", "H2O@1"),
        ("silicone", "volume:silicone=1"),
    ],
)
def test_one_material_written_two_ways(material, same):
    """1e-4: NIST's list and xraylib's formulas round atomic weights differently."""
    assert attenuation(material, ENERGY) == pytest.approx(attenuation(same, ENERGY), rel=1e-4)


@pytest.mark.parametrize(
    ("material", "expected"),
    # kg/m3. Omnipaque's label: 1.349 and 1.209 g/cm3 at 300 and 180 mg/mL. Two thirds of the volume
    # of equal masses of iron and water is hard to get wrong: 2/(1/7.874 + 1).
    [
        ("iodine:300", 1349),
        ("iodine:180", 1209),
        ("mass:Fe=.5,water=.5", 2000 / (1 / 7.874 + 1)),
        ("volume:Fe=.5,water=.5", 500 * (7.874 + 1)),
        ("volume:Fe=.5,water=.5@4", 4000),
        ("Au", 19320),
    ],
)
def test_density(material, expected):
    """0.5 in 1349, the label's last digit."""
    assert density(material) == pytest.approx(expected, rel=4e-4)


def test_iodine_counts_by_its_concentration():
    """Iodine alone, 7.577 cm2/g at 60 keV (NIST), over a liquid near water: 1 % of the whole."""
    extra = attenuation("iodine:400", 60.0) - attenuation("water", 60.0)
    assert extra == pytest.approx(0.4 * 7.577 * 100, rel=0.015)


@pytest.mark.parametrize("material", known_materials())
def test_named_materials_are_whole(material):
    """Mass fractions add up; mu falls with energy but for K edges, which only add."""
    found = composition(material)
    assert sum(share for _, share in found.mass) == pytest.approx(1.0, rel=1e-9)
    energy = np.arange(15.0, 150.0, 0.5)
    mu = attenuation(material, energy)
    rises = energy[1:][np.diff(mu) > 0]
    edges = _k_edges(found)
    assert all(any(0 <= e - edge <= 0.51 for edge in edges) for e in rises)


def _k_edges(found):
    import xraylib

    return [xraylib.EdgeEnergy(z, xraylib.K_SHELL) for z, _ in found.mass] + [
        xraylib.EdgeEnergy(z, shell)
        for z, _ in found.mass
        if z > 60
        for shell in (xraylib.L1_SHELL, xraylib.L2_SHELL, xraylib.L3_SHELL)
    ]


def test_air_absorption_between_the_values_of_nist():
    """The table itself; and between its rows a power law of the rows beside it to 6 %."""
    assert mass_energy_absorption_air([30.0, 100.0]) == pytest.approx([0.01537, 0.002325])
    between = mass_energy_absorption_air(np.sqrt(40.0 * 50.0))
    assert between == pytest.approx(np.sqrt(0.006833 * 0.004098), rel=0.06)


@pytest.mark.parametrize(
    ("material", "said"),
    [
        ("unobtainium", "unknown"),
        ("nitinl", "near it: nitinol"),
        ("C2H6OSi", "needs its density"),
        ("C2H6Osi@1", "formula"),
        ("Xx2O@1", "formula"),
        ("Fm@1", "heavy"),
        ("H2O@0", "above 0"),
        ("H2O@-1", "above 0"),
        ("H2O@nan", "above 0"),
        ("H2O@dense", "not a number"),
        ("ndfeb-silicone:2", r"not in \(0, 1\]"),
        ("ndfeb-silicone:0", r"not in \(0, 1\]"),
        ("ndfeb-silicone:nan", r"not in \(0, 1\]"),
        ("ndfeb-silicone:x", "not a number"),
        ("mass:Ni=0.5,Ti=0.4", "add up to 0.9"),
        ("mass:Ni", "name=fraction"),
        ("mass:H=0.1,O=0.9", "density"),
        ("volume:water=0.5,nitinl=0.5", "nitinol"),
        ("volume:", "name=fraction"),
        ("iodine:0", r"\(0, 500\]"),
        ("iodine:900", r"\(0, 500\]"),
        ("", "unknown"),
    ],
)
def test_bad_materials_are_refused_in_one_line(material, said):
    with pytest.raises(UserError, match=said) as error:
        attenuation(material, [60.0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("energy", [0.0, -5.0, 1e3, np.nan, np.inf])
def test_energies_out_of_range_are_refused(energy):
    with pytest.raises(UserError, match=r"0\.1-800 keV"):
        attenuation("water", [60.0, energy])
