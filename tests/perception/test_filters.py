"""Templates and their statistics against closed forms and Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest

from mmdtwin.perception.filters import FilterBank, radial_spectrum

LENGTH, WIDTH, BLUR = 18.0, 7.0, 0.7
SIZE = 64


@pytest.fixture(scope="module")
def bank() -> FilterBank:
    return FilterBank(LENGTH, WIDTH, BLUR)


def images(bank: FilterBank, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    axis = np.arange(SIZE) - SIZE // 2
    u, v = np.meshgrid(axis - offset[0], axis - offset[1])
    return np.stack([bar.values(u, v, bank.blur) for bar in bank.bars])


def white() -> np.ndarray:
    return np.ones((SIZE, SIZE // 2 + 1))


def test_a_blurred_bar_keeps_its_area_and_direction(bank: FilterBank) -> None:
    """A blur moves nothing out of the image: the sum is length times width."""
    for bar, image in zip(bank.bars, images(bank), strict=True):
        assert image.sum() == pytest.approx(bar.length * bar.width, rel=0.02)
    axis = np.arange(SIZE) - SIZE // 2
    u, v = np.meshgrid(axis, axis)
    for bar, image in zip(bank.bars, images(bank), strict=True):
        if bar.length < 1.5 * bar.width:
            continue
        moments = np.array([[(image * u * u).sum(), (image * u * v).sum()],
                            [(image * u * v).sum(), (image * v * v).sum()]])  # fmt: skip
        long_axis = np.linalg.eigh(moments)[1][:, 1]
        along = abs(long_axis @ [np.cos(bar.angle), np.sin(bar.angle)])
        assert along == pytest.approx(1.0, abs=1e-3)


def test_response_sigma_in_white_noise_is_the_root_of_the_energy(bank: FilterBank) -> None:
    energy = (images(bank) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(bank.response_sigma(white()) ** 2, energy, rtol=1e-3)


def test_correlation_is_the_plain_sum_of_products(bank: FilterBank) -> None:
    noise = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    direct = (images(bank) * noise).sum(axis=(1, 2))
    fast = bank.correlate(noise)[:, SIZE // 2, SIZE // 2]
    np.testing.assert_allclose(fast, direct, atol=1e-3)
    each = np.stack(list(bank.correlate_each(noise)))
    np.testing.assert_allclose(each, bank.correlate(noise), atol=1e-3)


def test_position_covariance_is_what_repeated_trials_scatter(bank: FilterBank) -> None:
    """Linearised bound against 400 noisy peaks at an SNR of 20; 400 trials know a sd to 3.5 %."""
    index = 2
    rng = np.random.default_rng(1)
    image = images(bank)[index].astype(np.float32)
    snr = 20.0
    sigma = float(np.sqrt((image**2).sum())) / snr
    v, u = np.mgrid[-2:3, -2:3]
    design = np.stack([np.ones(25), u.ravel(), v.ravel(), u.ravel() ** 2, u.ravel() * v.ravel(),
                       v.ravel() ** 2], axis=1)  # fmt: skip
    centre = np.s_[SIZE // 2 - 2 : SIZE // 2 + 3]
    found = []
    for _ in range(400):
        noisy = image + rng.normal(0, sigma, image.shape).astype(np.float32)
        patch = bank.correlate(noisy)[index][centre, centre].ravel()
        c = np.linalg.lstsq(design, patch, rcond=None)[0]
        found.append(-np.linalg.solve([[2 * c[3], c[4]], [c[4], 2 * c[5]]], c[1:3]))
    measured = np.cov(np.array(found).T)
    predicted = bank.position_covariance(index, white()) / snr**2
    # The paraboloid spans 5 px of a peak that is no paraboloid: it averages the gradient noise.
    for value in np.linalg.eigvals(np.linalg.solve(predicted, measured)).real:
        assert 0.5 < value < 1.6


def test_whitened_snr_has_unit_noise_and_the_ideal_signal(bank: FilterBank) -> None:
    """In noise of a known spectrum P the prewhitened filter's SNR is sqrt(sum |T|^2 / P)."""
    rng = np.random.default_rng(2)
    f = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    spectrum = 1.0 + 50.0 * np.exp(-((f / 0.05) ** 2))

    def noise() -> np.ndarray:
        transform = np.fft.rfft2(rng.normal(size=(SIZE, SIZE)))
        return np.fft.irfft2(transform * np.sqrt(spectrum), s=(SIZE, SIZE)).astype(np.float32)

    centre = SIZE // 2
    responses = np.stack([bank.whitened_snr(noise(), spectrum)[:, ::16, ::16] for _ in range(30)])
    np.testing.assert_allclose(responses.std(axis=(0, 2, 3)), 1.0, atol=0.15)
    image = images(bank)[0].astype(np.float32)
    power = np.abs(np.fft.fft2(image)) ** 2
    full = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None, :])
    ideal = np.sqrt((power / (1.0 + 50.0 * np.exp(-((full / 0.05) ** 2)))).sum() / SIZE**2)
    signal = bank.whitened_snr(image, spectrum)[0, centre, centre]
    # The bank knows the spectrum along one axis only and interpolates it on rings.
    assert signal == pytest.approx(ideal, rel=0.02)


def test_radial_spectrum_recovers_white_and_coloured_noise() -> None:
    rng = np.random.default_rng(3)
    f = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    true = 4.0 * np.exp(-((f / 0.2) ** 2)) + 1.0
    tiles = np.stack(
        [
            np.fft.irfft2(np.fft.rfft2(rng.normal(size=(SIZE, SIZE))) * np.sqrt(true))
            for _ in range(64)
        ]
    ).astype(np.float32)
    measured = radial_spectrum(tiles)
    band = (f > 0.05) & (f < 0.45)  # rings of fewer than 20 bins are noisy, corners are pooled
    np.testing.assert_allclose(measured[band], true[band], rtol=0.15)
