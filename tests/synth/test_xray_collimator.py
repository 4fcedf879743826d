"""Openings of the collimator on the detector; where their edges lie is in the checks."""

import numpy as np
import pytest

from mmdtwin.config.base import override, parse, read
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.synth.xray.collimator import aperture, input_screen

OCTAGON = 2 * (np.sqrt(2) - 1)  # of the square around it


def opened(*assignments):
    data, where = read("imagers", "flat-phantom")
    config = parse(ImagerConfig, override(data, assignments), where)
    return aperture(config, Projection.from_config(config))


def test_without_collimator_a_panel_is_open():
    assert np.all(opened() == 1.0)


@pytest.mark.parametrize(
    ("shape", "share"), [("rectangular", 1.0), ("round", np.pi / 4), ("octagonal", OCTAGON)]
)
def test_openings_let_their_area_pass(shape, share):
    a = opened(f"collimator={{shape: {shape}, opening: [0.1, 0.1], leakage: 0.0}}")
    # The penumbra takes within what it gives without, but for round edges, by their bend:
    # sigma^2 / (2 r^2) < 1e-4.
    assert a.sum() * 0.3e-3**2 == pytest.approx(share * 0.1**2, rel=1e-3)


def test_leakage_is_what_passes_the_lead():
    a = opened("collimator={opening: [0.08, 0.08], leakage: 0.01}")
    assert a[5, 5] == pytest.approx(0.01, rel=1e-4)
    assert a[256, 256] == pytest.approx(1.0, rel=1e-6)


def test_penumbra_is_the_focal_spot_magnified():
    # An edge at 0.35 m casts 0.6 mm (1.1 - 0.35)/0.35 = 1.286 mm. The derivative of the edge has
    # the second moment of a uniform profile of that width, of the pixel, and of the pixel again,
    # over which the difference is taken.
    a = opened("collimator={opening: [0.1, 0.1], leakage: 0.0}", "focal_spot=0.6e-3")
    slope = np.diff(a[256].astype(float))[:200]
    u = np.arange(200)
    mean = (u * slope).sum() / slope.sum()
    moment = ((u - mean) ** 2 * slope).sum() / slope.sum()
    assert moment == pytest.approx(((1.2857 / 0.3) ** 2 + 2) / 12, rel=5e-3)


def test_the_centre_moves_right_and_down():
    a = opened("collimator={opening: [0.04, 0.02], centre: [0.015, 0.03], leakage: 0.0}")
    v, u = np.mgrid[: a.shape[0], : a.shape[1]]
    centroid = np.array([(u * a).sum(), (v * a).sum()]) / a.sum()
    np.testing.assert_allclose(centroid, (255.5 + 50, 255.5 + 100), atol=0.01)


def test_an_intensifier_is_black_outside_of_its_round_input():
    a = opened("detector.intensifier={}")
    assert a[2, 2] == 0.0
    assert a[256, 256] == 1.0
    assert a.sum() == pytest.approx(np.pi * 256**2, rel=1e-3)
    both = opened("detector.intensifier={}", "collimator={opening: [0.2, 0.2], leakage: 0.0}")
    np.testing.assert_allclose(both, a, atol=1e-6)  # lead beyond the input takes nothing


def test_input_screen_is_the_aperture_without_lead():
    data, where = read("imagers", "flat-phantom")
    sets = ["detector.intensifier={}", "collimator={opening: [0.05, 0.05]}"]
    config = parse(ImagerConfig, override(data, sets), where)
    screen = input_screen(config, Projection.from_config(config))
    np.testing.assert_array_equal(screen, opened("detector.intensifier={}"))


def test_lead_behind_the_detector_is_refused():
    with pytest.raises(UserError, match=r"collimator\.distance"):
        opened("collimator={opening: [0.1, 0.1], distance: 1.2}")
