"""What a system makes of raw images; that curves rise and noise falls is in the checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdtwin.config.imager import DisplayConfig
from mmdtwin.errors import UserError
from mmdtwin.synth.xray.display import Display

TOP = 4095  # of 12 bits


def frame(level=0, shape=(64, 80)):
    return np.full(shape, level, np.uint16)


def random_frame(seed=0, top=TOP):
    return np.random.default_rng(seed).integers(0, top + 1, (64, 80), dtype=np.uint16)


def test_linear_display_hands_frames_through():
    image = random_frame()
    assert Display(DisplayConfig(), TOP)(image) is image


def test_raw_frames_are_left_alone():
    config = DisplayConfig(curve="log", edge_enhancement=1.0, recursion=0.5)
    display, image = Display(config, TOP), random_frame()
    for _ in range(3):
        display(image)
    assert np.array_equal(image, random_frame())


def test_log_shows_equal_thickness_in_equal_steps():
    """Twice the attenuation, twice the step: x, x/4, x/16; 1.5 greys for the ln(1 + x) and two
    roundings."""
    display = Display(DisplayConfig(curve="log"), TOP)
    shown = [int(display(frame(x))[0, 0]) for x in (4000, 1000, 250)]
    assert abs((shown[0] - shown[1]) - (shown[1] - shown[2])) <= 2
    assert shown[0] - shown[1] == pytest.approx(TOP * np.log(4) / np.log(1 + TOP), abs=2)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 20.0), st.integers(8, 16))
def test_gamma_is_a_power_over_the_full_range(gamma, bits):
    top = 2**bits - 1
    raw = np.linspace(0, top, 300).astype(np.uint16)[None]
    shown = Display(DisplayConfig(curve="gamma", gamma=gamma), top)(raw)[0]
    assert np.abs(shown - top * (raw[0] / top) ** gamma).max() <= 0.51
    assert (np.diff(shown.astype(int)) >= 0).all() and shown[0] == 0 and shown[-1] == top


def test_greys_above_full_scale_saturate():
    for curve in ("log", "gamma"):
        assert (Display(DisplayConfig(curve=curve), TOP)(frame(65535)) == TOP).all()


@pytest.mark.parametrize("period", [4, 8, 16, 32])
def test_edge_enhancement_of_a_wave(period):
    """A wave's amplitude is multiplied by 1 + a (1 - exp(-2 (pi sigma f)^2)); 1 % for the rounding
    of 1000 greys and the cut of the normal profile."""
    amount, width = 1.5, 2.0
    wave = np.cos(2 * np.pi * np.arange(128) / period)
    raw = np.rint(2000 + 400 * wave).astype(np.uint16)
    display = Display(DisplayConfig(edge_enhancement=amount, edge_width=width), TOP)
    shown = display(np.tile(raw, (64, 1)))[32, 32:96].astype(float)
    found = 2 * np.mean((shown - 2000) * wave[32:96])
    factor = 1 + amount * (1 - np.exp(-2 * (np.pi * width / period) ** 2))
    assert found == pytest.approx(400 * factor, rel=0.01)
    assert (display(frame(1234)) == 1234).all()


def test_recursion_follows_a_step_and_arrives():
    """(1 - r) raw + r before: what is left after n frames is r^n; no grey sticks on the way."""
    display = Display(DisplayConfig(recursion=0.8), TOP)
    assert (display(frame(100)) == 100).all()
    for n in range(1, 60):
        shown = display(frame(1100))
        assert np.abs(shown - (1100 - 1000 * 0.8**n)).max() < 0.51
    assert (shown == 1100).all()


def test_reset_forgets():
    display, image = Display(DisplayConfig(recursion=0.9), TOP), random_frame()
    display(frame(4000))
    assert not np.array_equal(display(image), image)
    with pytest.raises(UserError, match="reset"):
        display(frame(shape=(10, 10)))
    display.reset()
    assert np.array_equal(display(image), image)
    display.reset()
    assert display(frame(7, (10, 10))).shape == (10, 10)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4)), np.zeros((4, 4), np.uint8), np.zeros((2, 4, 4), np.uint16)]
)
def test_other_images_are_refused(bad):
    with pytest.raises(UserError, match="uint16"):
        Display(DisplayConfig(), TOP)(bad)


@pytest.mark.parametrize("full_scale", [0, -1, 65536])
def test_full_scale_must_fit(full_scale):
    with pytest.raises(UserError, match="full scale"):
        Display(DisplayConfig(), full_scale)
