"""Spectra by name and the heel effect; values are compared in `mmdtwin xray check`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.synth.xray import attenuation, load_spectrum, spectrum_names
from mmdtwin.synth.xray.spectrum import tube_table
from mmdtwin.synth.xray.tube import heel_profile

PROJECTION = Projection.from_carm(1.1, 0.75, 1e-3, (201, 101))


@pytest.mark.parametrize("name", spectrum_names())
def test_common_spectra(name):
    spectrum = load_spectrum(name)
    assert spectrum.photons.sum() == pytest.approx(1.0)
    assert spectrum.energy.max() < float(name.split("kVp")[0])


@given(st.floats(40.0, 149.0), st.floats(0.5, 6.0), st.floats(0.01, 1.0))
@settings(max_examples=30)
def test_more_voltage_is_harder_and_brighter_and_more_filter_harder_and_darker(kvp, al, cu):
    base = load_spectrum(f"{kvp:.3f}kVp-{al:.3f}Al")
    higher = load_spectrum(f"{kvp + 0.7:.3f}kVp-{al:.3f}Al")
    filtered = load_spectrum(f"{kvp:.3f}kVp-{al:.3f}Al-{cu:.3f}Cu")
    assert base.mean_energy < higher.mean_energy
    assert base.output < higher.output
    assert base.half_value_layer() < filtered.half_value_layer()
    assert base.output > filtered.output


def test_a_half_value_layer_as_a_filter_halves_the_output():
    """Beer and Lambert's law, the table and the kerma together; 1e-3: the bins that hold less than
    a millionth of the photons differ, and the layer takes the mean of mu over a bin."""
    before = load_spectrum("72.5kVp-2.5Al")
    layer = before.half_value_layer() * 1e3
    after = load_spectrum(f"72.5kVp-2.5Al-{layer:.6f}Al")
    assert after.output == pytest.approx(before.output / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("80kVp-2.5Al-0.2Cu", "80.0kVp-0.2Cu-2.5Al"),
        ("80kVp-2.5Al", "80kVp-1Al-1.5aluminium"),
        ("80kVp-2.5Al-100soft-tissue", "80kVp-100soft-tissue-2.5Al"),
        ("60kVp-3Al-10iodine:30", "60kVp-3Al-10iodine:30-0Cu"),
    ],
)
def test_order_and_splitting_of_filters_do_not_matter(name, same):
    """1e-3: within a bin, the mean of a product is not the product of means."""
    one, two = load_spectrum(name), load_spectrum(same)
    assert one.fluence == pytest.approx(two.fluence, rel=1e-3)
    assert one.half_value_layer() == pytest.approx(two.half_value_layer(), rel=1e-3)


def test_without_a_filter_the_tube_is_that_of_the_table():
    table = tube_table()
    assert load_spectrum("90kVp").fluence == pytest.approx(table.at(90.0).sum(), rel=1e-4)
    between = (load_spectrum("90kVp").fluence + load_spectrum("91kVp").fluence) / 2
    assert load_spectrum("90.5kVp").fluence == pytest.approx(between, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1kVp", "30-150 kVp"),
        ("150.1kVp-2Al", "30-150 kVp"),
        ("80kV-2.5Al", "must be"),
        ("80", "must be"),
        ("", "must be"),
        ("80kVp-Al", "must be"),
        ("80kVp-2.5", "must be"),
        ("80kVp-2.5Al-", "must be"),
        ("80kVp--2.5Al", "must be"),
        ("80kVp-2..5Al", "must be"),
        ("nankVp", "must be"),
        ("80kVp-2.5Unobtainium", "unknown"),
        ("80kVp-900Pb", "nothing passes"),
    ],
)
def test_bad_spectra_are_refused_in_one_line(name, said):
    with pytest.raises(UserError, match=said) as error:
        load_spectrum(name)
    assert "\n" not in str(error.value)
    assert f"spectrum '{name}'" in str(error.value)


def test_attenuation_of_a_bin_knows_the_edge_inside_it():
    """Neodymium's edge at 43.57 keV: the bin of 43-44 keV lies between its two sides."""
    spectrum = load_spectrum("80kVp-2.5Al")
    mean = spectrum.attenuation("Nd")[np.searchsorted(spectrum.energy, 43.5)]
    below, above = attenuation("Nd", [43.56, 43.58])
    assert mean == pytest.approx((0.57 * below + 0.43 * above), rel=0.05)


@pytest.mark.parametrize("name", ["45kVp-1Al", "81.3kVp-2.5Al-0.2Cu", "150kVp"])
def test_heel_weakens_the_beam_towards_the_anode_alone(name):
    profile = heel_profile(name, PROJECTION)
    assert profile.shape == PROJECTION.shape
    assert profile.dtype == np.float32
    assert profile[100] == pytest.approx(np.ones(101), rel=1e-6)  # the central ray's row
    assert np.ptp(profile, axis=1).max() == 0.0  # along u nothing changes
    assert np.all(np.diff(profile[100:, 0]) < 0)


def test_heel_belongs_to_the_angle_and_not_to_the_distance():
    far = Projection.from_carm(2.2, 0.75, 2e-3, (201, 101))
    name = "80kVp-2.5Al"
    assert heel_profile(name, far) == pytest.approx(heel_profile(name, PROJECTION), rel=1e-6)


def test_a_harder_signal_sees_less_of_the_heel():
    """The anode stops soft photons first."""
    spectrum = load_spectrum("80kVp-2.5Al")
    hard = np.exp(-spectrum.attenuation("water") * 0.2)
    bare = heel_profile("80kVp-2.5Al", PROJECTION)[-1, 0]
    assert bare < heel_profile("80kVp-2.5Al", PROJECTION, hard)[-1, 0] < 1.0


def test_nothing_leaves_the_tube_beyond_the_anodes_face():
    wide = Projection.from_carm(1.0, 0.75, 1e-3, (601, 3))  # to 16.7 deg; the anode is at 12
    profile = heel_profile("80kVp-2.5Al", wide)[:, 1]
    assert profile[-1] == 0.0
    assert profile[0] > 0.9
