"""The background holds the scene, never the device, and knows what it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from mmdtwin.perception import BackgroundEstimate

SHAPE = (128, 160)
QUANTA = 400.0
NOWHERE = np.zeros((0, 0), bool)


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    waves = np.sin(u / rng.uniform(5, 30)) * np.cos(v / rng.uniform(5, 30))
    return QUANTA * (1 + 0.3 * waves)


def feed(
    estimate: BackgroundEstimate,
    signal: np.ndarray,
    rng: np.random.Generator,
    excluded: np.ndarray = NOWHERE,
    at: tuple[int, int] = (0, 0),
) -> float:
    log = estimate.log(rng.poisson(signal).astype(np.uint16))
    gain = estimate.match(log)
    estimate.update(log, gain, excluded, at)
    return gain


def test_the_mean_converges_like_independent_samples() -> None:
    """Poisson noise: var(log) = 1/quanta, so the mean of n frames errs by sqrt(1 / (n quanta))."""
    rng, signal, estimate = np.random.default_rng(1), scene(0), BackgroundEstimate()
    n = 40
    for _ in range(n):
        feed(estimate, signal, rng)
    error = (estimate.mean - np.log(signal)) * np.sqrt(signal)
    # The log of a Poisson count is 1 / (2 quanta) low on average.
    assert np.std(error) == pytest.approx(np.sqrt(1 / n), rel=0.03)
    assert abs(np.mean(error)) < 1 / np.sqrt(QUANTA)
    assert np.all(estimate.count == n)


def test_a_device_under_the_mask_never_enters() -> None:
    rng, signal, estimate = np.random.default_rng(2), scene(0), BackgroundEstimate()
    covered = signal.copy()
    covered[50:60, 70:90] *= 0.5
    mask, at = np.ones((20, 30), bool), (45, 65)
    for _ in range(30):
        feed(estimate, covered, rng, mask, at)
    window = np.s_[45:65, 65:95]
    assert np.all(estimate.count[window] == 0)
    for _ in range(10):
        feed(estimate, signal, rng)  # it has left
    assert np.all(estimate.count[window] == 10)
    ratio = np.exp(estimate.mean[50:60, 70:90].mean()) / signal[50:60, 70:90].mean()
    assert ratio == pytest.approx(1.0, abs=0.01)  # a tenth of a 50 % shadow would be 5 %


def test_exposure_is_matched_and_not_absorbed() -> None:
    rng, signal, estimate = np.random.default_rng(3), scene(1), BackgroundEstimate()
    for _ in range(10):
        feed(estimate, signal, rng)
    for _ in range(10):
        gain = feed(estimate, signal * 0.7, rng)
        assert gain == pytest.approx(np.log(0.7), abs=0.01)
    assert np.mean(estimate.mean - np.log(signal)) == pytest.approx(0.0, abs=0.01)
    assert estimate.frames == 20


def test_a_moved_table_starts_afresh_but_one_bad_frame_does_not() -> None:
    rng, signal, estimate = np.random.default_rng(4), scene(1), BackgroundEstimate()
    for _ in range(10):
        feed(estimate, signal, rng)
    moved = np.roll(signal, 12, axis=1)
    feed(estimate, moved, rng)
    feed(estimate, signal, rng)
    assert estimate.frames == 12
    assert np.abs(estimate.mean - np.log(signal)).mean() < 0.02  # the bad one left no trace
    for _ in range(3):
        feed(estimate, moved, rng)
    assert estimate.frames == 1
    assert np.abs(estimate.mean - np.log(moved)).mean() < 0.06  # one frame's noise


def test_another_image_size_starts_afresh() -> None:
    rng, estimate = np.random.default_rng(5), BackgroundEstimate()
    feed(estimate, scene(0), rng)
    feed(estimate, scene(0)[:64, :64], rng)
    assert estimate.mean.shape == (64, 64)
    assert estimate.frames == 1
