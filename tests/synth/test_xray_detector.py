"""Blur, lag, glare, pixels and scatter by themselves; what frames show of them is in the checks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mmdtwin.config.base import load
from mmdtwin.config.imager import (
    DetectorConfig,
    GridConfig,
    ImagerConfig,
    IntensifierConfig,
    LagConfig,
)
from mmdtwin.errors import UserError
from mmdtwin.synth.xray.detector import (
    ERROR,
    focal_filter,
    focal_mtf,
    scintillator_filter,
    scintillator_mtf,
)
from mmdtwin.synth.xray.glare import Glare
from mmdtwin.synth.xray.lag import Lag
from mmdtwin.synth.xray.low_pass import LowPass
from mmdtwin.synth.xray.pixels import PixelResponse
from mmdtwin.synth.xray.scatter import ScatterField, scatter_ratio, water_equivalent

PITCH = 0.3e-3  # m
SLACK = 1e-3  # between the frequencies at which filters are made and others, and of float32
shapes = st.tuples(st.integers(64, 300), st.integers(64, 300))


def detector(**values):
    return DetectorConfig(electronic_noise=0.0, **values)


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32) + np.float32(0.5)


# Filters


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 8.0), st.sampled_from(["lorentzian", "gaussian"]))
def test_scintillator_filter_has_its_transfer_function(blur, response):
    """Within the error that is let pass, everywhere up to both axes' limiting frequency."""
    config = detector(blur=blur * PITCH, response=response)
    found = scintillator_filter(config, PITCH)
    f = np.fft.fftfreq(64, PITCH)
    expected = scintillator_mtf(config, np.hypot(f[:, None], f))
    assert np.abs(found.response((64, 64)) - expected).max() < ERROR + SLACK
    assert found.kernel.sum() == pytest.approx(1.0, abs=1e-6)


def test_blur_widens_in_pixels_as_they_get_smaller():
    """The same light on pixels half as wide: the same transfer at the same cycles per mm."""
    config = detector()
    coarse = scintillator_filter(config, 0.3e-3).response((1, 100))[0]
    fine = scintillator_filter(config, 0.15e-3).response((1, 200))[0]
    assert np.abs(coarse[:50] - fine[:50]).max() < 2 * ERROR
    assert 0.5 / (1 + (math.pi / 2) ** 2) < coarse[50] < fine[50] * 1.1


def test_filters_of_nothing_change_nothing():
    image = noise((64, 80))
    for same in (
        scintillator_filter(detector(blur=0.0), PITCH),
        focal_filter(0.0, 1.5, PITCH),
        focal_filter(1e-3, 1.0, PITCH),
    ):
        assert same.half == 0 and np.array_equal(same(image), image)


def test_filter_is_what_its_kernel_says():
    impulse = np.zeros((65, 65), np.float32)
    impulse[32, 32] = 1.0
    found = scintillator_filter(detector(), PITCH)
    reach = slice(32 - found.half, 33 + found.half)
    assert np.abs(found(impulse)[reach, reach] - found.kernel).max() < 1e-6
    assert found(impulse).sum() == pytest.approx(1.0, abs=1e-5)


def test_too_wide_a_blur_is_refused():
    with pytest.raises(UserError, match=r"detector\.blur"):
        scintillator_filter(detector(blur=1e-3), 0.1e-3)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1e-3, 2e-3), st.floats(1.05, 3.0), st.floats(0.1e-3, 0.4e-3))
def test_focal_filter_has_its_transfer_function(spot, magnification, pitch):
    found = focal_filter(spot, magnification, pitch)
    expected = focal_mtf(spot, magnification, np.fft.fftfreq(64, pitch))
    assert np.abs(found.response((1, 64))[0] - expected).max() < ERROR + SLACK
    step = np.zeros((32, 200), np.float32)
    step[:, 100:] = 1.0
    blurred = found(step)
    assert blurred.min() >= 0.0 and blurred.max() < 1.05  # a transmission; a small overshoot


# Lag

terms = st.lists(
    st.builds(LagConfig, share=st.floats(0.0, 0.24), time=st.floats(0.01, 10.0)), max_size=4
)


@settings(max_examples=30, deadline=None)
@given(terms, st.floats(0.01, 1.0))
def test_impulse_response_of_lag(lags, period):
    """b_0 delta + sum b_i (1 - d_i) d_i^k; 1e-6 of the impulse for float32."""
    lag = Lag(lags, period)
    impulse = np.zeros((2, 2), np.float32)
    found = [lag(impulse + np.float32(k == 0))[0, 0] for k in range(20)]
    k = np.arange(20)
    expected = (k == 0) * (1.0 - sum(term.share for term in lags))
    for term in lags:
        kept = math.exp(-period / term.time)
        expected = expected + term.share * (1 - kept) * kept**k
    assert np.abs(found - expected).max() < 1e-6


def test_settled_lag_keeps_a_steady_image_and_works_in_place():
    lag, image = Lag([LagConfig(share=0.2, time=0.3)], 0.1), noise((64, 64))
    lag.reset(image)
    given_image = image.copy()
    assert lag(given_image) is given_image
    assert np.abs(given_image - image).max() < 1e-6
    lag.reset()  # after a long pause the first frame lacks what is caught
    assert lag(image.copy()) == pytest.approx(image * (1 - 0.2 * math.exp(-1 / 3)), rel=1e-5)


def test_pause_is_dark_frames():
    lags = [LagConfig(share=0.1, time=0.2), LagConfig(share=0.2, time=2.0)]
    dark, paused = Lag(lags, 0.1), Lag(lags, 0.1)
    for lag in (dark, paused):
        lag.pause(1.0)  # there is nothing yet
        lag(noise((8, 8)))
    for _ in range(5):
        dark(np.zeros((8, 8), np.float32))
    paused.pause(0.5)
    after = [lag(noise((8, 8), 1)) for lag in (dark, paused)]
    assert after[0] == pytest.approx(after[1], rel=1e-5)


def test_lag_refuses_what_would_stay():
    lag = Lag([LagConfig(share=0.1, time=1.0)], 0.1)
    lag(noise((8, 8)))
    bad = noise((8, 8))
    bad[3, 3] = np.nan
    with pytest.raises(UserError, match="not finite"):
        lag(bad)
    with pytest.raises(UserError, match="reset"):
        lag(noise((8, 9)))
    for period in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UserError, match="period"):
            Lag([], period)
    with pytest.raises(UserError, match="less than 1"):
        Lag([LagConfig(share=0.5, time=1.0)] * 2, 0.1)


# Pixels


@pytest.mark.parametrize("share", [1e-3, 0.3, 0.95, 0.99999])
def test_every_dead_pixel_shows_living_ones(share):
    """Also where all neighbours are dead; a uniform image stays uniform."""
    pattern = PixelResponse(detector(dead_pixels=share), (70, 64), np.random.default_rng(1))
    assert 0 < pattern.dead.sum() == min(round(share * 70 * 64), 70 * 64 - 1)
    image = noise((70, 64))
    image[pattern.dead] = np.nan  # nothing of it may be used
    shown = pattern(image.copy())
    assert np.isfinite(shown).all()
    assert np.array_equal(shown[~pattern.dead], image[~pattern.dead])
    flat = np.full((70, 64), 3.0, np.float32)
    assert pattern(flat) == pytest.approx(3.0, rel=1e-6)


def test_dead_pixel_is_the_mean_of_its_neighbours():
    pattern = PixelResponse(detector(dead_pixels=2e-3), (64, 64), np.random.default_rng(3))
    image = noise((64, 64))
    shown = pattern(image.copy())
    alone = 0
    for v, u in zip(*np.nonzero(pattern.dead), strict=True):
        near = np.s_[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2]
        if pattern.dead[near].sum() == 1:
            others = image[near][~pattern.dead[near]]
            assert shown[v, u] == pytest.approx(others.mean(), rel=1e-5)
            alone += 1
    assert alone > 0


def test_pattern_is_drawn_from_its_generator():
    config = detector(gain_error=0.02, dead_pixels=0.01)
    first, same, other = (
        PixelResponse(config, (64, 64), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.gain, same.gain) and np.array_equal(first.dead, same.dead)
    assert not np.array_equal(first.gain, other.gain)
    image = noise((64, 64))
    perfect = PixelResponse(detector(), (64, 64), np.random.default_rng(1))
    assert perfect(image) is image and np.array_equal(image, noise((64, 64)))


# Wide blurs, glare


@settings(max_examples=20, deadline=None)
@given(shapes, st.floats(1e-3, 40e-3), st.floats(0.01, 0.9))
def test_glare_keeps_the_mean_and_a_uniform_image(shape, width, share):
    """1e-4 where the small image's pixels do not divide the sides."""
    glare = Glare(IntensifierConfig(glare=share, glare_width=width), shape, PITCH)
    image = noise(shape)
    image[:10] *= 5.0
    mean = image.mean(dtype=float)
    assert glare(image).mean(dtype=float) == pytest.approx(mean, rel=1e-4)
    assert glare(np.full(shape, 7.0, np.float32)) == pytest.approx(7.0, rel=1e-5)


def test_small_image_does_for_a_wide_blur():
    """Against the same blur at full size with mirrored edges: 0.4 % of the image's height for
    straight lines between the small image's pixels."""
    sigma, image = 30.0, np.zeros((260, 333), np.float32)
    image[100:180, 20:120] = 1.0
    blur = LowPass(image.shape, sigma, lambda f: np.exp(-2.0 * (np.pi * sigma * f) ** 2))
    assert blur.shrink == 7
    found = blur.spread(blur.reduce(image))
    assert np.abs(found - gaussian_filter(image, sigma, mode="reflect", truncate=6)).max() < 4e-3


def test_glare_refuses_what_is_not_finite():
    image = noise((64, 64))
    image[0, 0] = np.inf
    with pytest.raises(UserError, match="not finite"):
        Glare(IntensifierConfig(), (64, 64), PITCH)(image)


# Scatter


def scatter_config(**values):
    plain = load(ImagerConfig, "imagers", "flat-phantom")
    return plain.model_copy(update={"scatter_to_primary": None, **values})


def field(thickness, primary=None, profile=None, **values):
    one = np.ones_like(thickness)
    primary, profile = one if primary is None else primary, one if profile is None else profile
    return ScatterField(scatter_config(**values), thickness, PITCH, primary, profile)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_scatter_ratio_rises(a, b):
    thin, thick = scatter_ratio(sorted((a, b)))
    assert 0.0 <= thin <= thick
    assert thick < 40 * max(a, b) + 1e-9  # no runaway beyond the table


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
def test_bad_thickness_is_refused(bad):
    thickness = np.full((64, 64), 0.1, np.float32)
    thickness[5, 5] = bad
    with pytest.raises(UserError, match="thickness"):
        scatter_ratio(thickness)
    if not math.isfinite(bad):
        with pytest.raises(UserError, match="not finite"):
            water_equivalent({"soft-tissue": thickness})


def test_water_equivalent():
    """mu/rho of cortical bone and water at 60 keV are .3148 and .2059 cm2/g (NIST): 1 cm of bone
    of 1.92 g/cm3 is as 2.94 cm of water."""
    one = np.full((2, 2), 0.01, np.float32)
    assert water_equivalent({"water": one}) == pytest.approx(0.01, rel=1e-6)
    assert water_equivalent({"bone": one, "water": one}) == pytest.approx(0.0394, rel=5e-3)


def test_scatter_has_the_configured_mean_ratio_behind_any_patient():
    rng = np.random.default_rng(0)
    thickness = gaussian_filter(rng.random((200, 256)), 20).astype(np.float32)
    primary = np.exp(-20 * thickness) * noise((200, 256))
    for grid, passed in ((None, 1.0), (GridConfig(primary=0.6, scatter=0.15), 0.25)):
        made = field(thickness, primary, scatter_to_primary=2.5, grid=grid)
        assert made(primary).mean() / primary.mean() == pytest.approx(2.5 * passed, rel=1e-4)
    assert not field(thickness, primary, scatter_to_primary=0.0)(primary).any()


def test_scatter_without_a_patient():
    """None by thickness; where it is configured all the same, as much everywhere."""
    nothing = np.zeros((64, 64), np.float32)
    assert not field(nothing)(np.ones((64, 64), np.float32)).any()
    found = field(nothing, scatter_to_primary=0.5)(np.ones((64, 64), np.float32))
    assert found == pytest.approx(0.5, rel=1e-5)


def test_uniform_tissue_has_one_ratio_whatever_the_beams_profile():
    u = np.linspace(0.7, 1.2, 256, dtype=np.float32)
    profile = np.broadcast_to(u, (256, 256)).copy()
    thickness = np.full((256, 256), 0.1, np.float32)
    found = field(thickness, 3 * profile, profile)(3 * profile) / (3 * profile)
    assert found == pytest.approx(1.0, rel=1e-4)


def test_scatter_is_relatively_more_behind_thick_parts():
    thickness = np.full((512, 512), 0.08, np.float32)
    thickness[:, :256] = 0.2
    primary = np.exp(-20 * thickness)
    found = field(thickness, primary)(primary)
    ratio = found / primary
    assert ratio[256, 20] > 3 * ratio[256, 490]
    assert np.abs(np.diff(found, axis=1)).max() < 0.01 * found.max()  # and smooth


def test_collimator_cuts_scatter_off():
    """Only open rays scatter: in the middle of a square of side a, erf(a/(sqrt 8 sigma))^2 is
    left of the full field's (sigma 40 mm); 1 % for the mirrored field and the small image."""
    shape, pitch = (512, 512), 0.6e-3
    thickness = np.full(shape, 0.1, np.float32)
    one = np.ones(shape, np.float32)
    made = ScatterField(scatter_config(), thickness, pitch, one, one)
    side = 60e-3
    opening, half = np.zeros(shape, np.float32), round(side / pitch / 2)
    opening[256 - half : 256 + half, 256 - half : 256 + half] = 1.0
    left = made(opening)
    assert left[256, 256] == pytest.approx(math.erf(side / (math.sqrt(8) * 40e-3)) ** 2, rel=0.01)
    assert 0.0 < left[20, 20] < 0.01  # it falls on closed parts too, less and less


def test_scatter_refuses_a_primary_that_is_not_finite():
    made, bad = field(np.full((64, 64), 0.1, np.float32)), np.ones((64, 64), np.float32)
    bad[1, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        made(bad)
