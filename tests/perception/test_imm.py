"""The mixture of motion models against filterpy, its own statistics, and devices that move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import chi2

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.perception.imm import AGREE, MODELS, NOISE_STEPS, Harmonic, Imm

DT = 1.0 / 15.0
SIGMA = 0.6  # px
R = SIGMA**2 * np.eye(2)
FIXED = {"adapt_noise": False, "adapt_motion": False}
ALONE = {"sojourn": float("inf"), **FIXED}  # no model is left for another

Truth = Callable[[float], Array]


def at_rest(t: float) -> Array:
    return np.array([100.0, 100.0]) + 0.0 * t


def steady(t: float) -> Array:
    return np.array([100.0 + 20.0 * t, 100.0 - 8.0 * t])


def swaying(t: float) -> Array:
    return np.array([100.0 + 30.0 * np.sin(1.5 * t), 100.0])


def only(model: str) -> list[float]:
    return [float(name == model) for name in MODELS]


def frames(rng: np.random.Generator, n: int) -> list[tuple[float, Array, Array]]:
    """Time step, detection and its covariance of n irregular frames of a wandering device."""
    place = np.array([50.0, 80.0])
    result = []
    for _ in range(n):
        place = place + rng.normal(0.0, 2.0, 2)
        root = rng.normal(0.0, 0.5, (2, 2))
        step = float(rng.uniform(0.02, 0.3))
        result.append((step, place + rng.normal(0, SIGMA, 2), root @ root.T + 0.1 * np.eye(2)))
    return result


def reference(model: str, dt: float, imm: Imm) -> tuple[Array, Array]:
    """Transition and process noise of a model by filterpy's own formulas."""
    common = pytest.importorskip("filterpy.common")
    order = MODELS.index(model) + 1
    f, q = np.zeros((3, 3)), np.zeros((3, 3))
    f[:order, :order] = np.array([[1, dt, dt**2 / 2], [0, 1, dt], [0, 0, 1]])[:order, :order]
    density = imm.densities[order - 1]
    if order == 1:
        q[0, 0] = density * dt
    else:
        q[:order, :order] = common.Q_continuous_white_noise(order, dt, density)
    return np.kron(f, np.eye(2)), np.kron(q, np.eye(2))


@pytest.mark.parametrize("model", MODELS)
def test_one_model_is_filterpy_s_kalman_filter(model: str) -> None:
    kalman = pytest.importorskip("filterpy.kalman")
    imm = Imm(**ALONE)
    imm.start([50.0, 80.0], np.diag([4.0, 2.0]), 0.0, only(model))
    known = kalman.KalmanFilter(6, 2)
    known.x[:2, 0] = 50.0, 80.0
    velocity = 15.0**2 * (model != "rest")
    acceleration = 50.0**2 * (model == "acceleration")
    known.P = np.diag([4.0, 2.0, velocity, velocity, acceleration, acceleration])
    known.H = np.eye(2, 6)
    t = 0.0
    for dt, z, c in frames(np.random.default_rng(0), 50):
        t += dt
        known.F, known.Q = reference(model, dt, imm)
        known.predict()
        imm.advance(t)
        likelihood = imm.likelihood(z, c)
        nis = imm.correct(z, c)
        known.update(z[:, None], R=c)
        assert nis == pytest.approx(float(known.mahalanobis) ** 2, rel=1e-9)
        assert likelihood == pytest.approx(known.likelihood, rel=1e-9)
        np.testing.assert_allclose(imm.mean, known.x[:, 0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(imm.covariance, known.P, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(imm.probabilities, only(model))


def test_the_mixture_is_filterpy_s() -> None:
    """What a model lacks is, in filterpy, noise that it adds and forgets again at every step."""
    kalman = pytest.importorskip("filterpy.kalman")
    imm = Imm(sojourn=0.7, **FIXED)
    imm.start([50.0, 80.0], 4.0 * np.eye(2), 0.0)
    lacking = [np.diag(np.repeat([0.0, 15.0**2 * (k < 1), 50.0**2 * (k < 2)], 2)) for k in range(3)]
    filters = []
    for _ in MODELS:
        one = kalman.KalmanFilter(6, 2)
        one.x[:2, 0] = 50.0, 80.0
        one.P = np.diag(np.repeat([4.0, 15.0**2, 50.0**2], 2))
        one.H = np.eye(2, 6)
        filters.append(one)
    known = kalman.IMMEstimator(filters, np.ones(3) / 3, np.eye(3))
    generator = (0.5 * np.ones((3, 3)) - 1.5 * np.eye(3)) / 0.7
    t = 0.0
    for dt, z, c in frames(np.random.default_rng(1), 60):
        t += dt
        for one, model, more in zip(filters, MODELS, lacking, strict=True):
            one.F, one.Q = reference(model, dt, imm)
            one.Q += more
            one.R = c
        known.M = expm(generator * dt)
        known._compute_mixing_probabilities()
        known.predict()
        ahead, _ = imm.predict(t)
        np.testing.assert_allclose(ahead, (known.cbar @ [f.x[:, 0] for f in filters]), atol=1e-9)
        known.update(z[:, None])
        imm.advance(t)
        imm.correct(z, c)
        np.testing.assert_allclose(imm.probabilities, known.mu, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(imm.mean, known.x[:, 0], rtol=1e-9, atol=1e-9)
        less = sum(m * more for m, more in zip(known.mu, lacking, strict=True))
        np.testing.assert_allclose(imm.covariance, known.P - less, rtol=1e-9, atol=1e-9)
    assert imm.probabilities.max() < 1.0


def test_innovations_and_errors_are_chi_square_if_the_device_moves_as_the_model_says() -> None:
    """Innovations are white, so that their sum over frames and runs is chi-square as well."""
    rng = np.random.default_rng(2)
    runs, n = 25, 40
    nis, nees = 0.0, []
    for _ in range(runs):
        imm = Imm(**ALONE)
        x = np.concatenate([[200.0, 200.0], rng.normal(0.0, 15.0, 2)])
        t = 0.0
        imm.start(x[:2] + rng.normal(0, 1.0, 2), np.eye(2), t, only("velocity"))
        for _ in range(n):
            dt = float(rng.choice([DT, 2 * DT, 0.03]))
            t += dt
            noise = 50.0 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
            kick = rng.multivariate_normal(np.zeros(2), noise, size=2)
            x = np.concatenate([x[:2] + dt * x[2:] + kick[:, 0], x[2:] + kick[:, 1]])
            imm.advance(t)
            nis += imm.correct(x[:2] + rng.normal(0, SIGMA, 2), R)
        error = imm.mean[:4] - x
        nees.append(error @ np.linalg.solve(imm.covariance[:4, :4], error))
    low, high = chi2.ppf([0.025, 0.975], 2 * runs * n)
    assert low < nis < high
    low, high = chi2.ppf([0.025, 0.975], 4 * runs)
    assert low < sum(nees) < high


def follow(
    truth: Truth,
    seed: int,
    n: int,
    noisy: range = range(0),
    outlier: int = -1,
    imm: Imm | None = None,
) -> tuple[Array, Array, Array]:
    """Noise factor, motion factor and error, px, after each of n frames.

    The deviation of the detections is three times as large in the frames `noisy`.
    """
    rng = np.random.default_rng(seed)
    imm = imm or Imm()
    imm.start(truth(0.0) + rng.normal(0, SIGMA, 2), R, 0.0)
    rows = []
    for i in range(1, n + 1):
        imm.advance(i * DT)
        z = truth(i * DT) + rng.normal(0, SIGMA * (3.0 if i in noisy else 1.0), 2)
        z[0] += 6.0 * SIGMA * (i == outlier)
        imm.correct(z, R)
        rows.append((imm.noise, imm.motion, np.hypot(*(imm.mean[:2] - truth(i * DT)))))
    noise, motion, error = np.array(rows).T
    return noise, motion, error


@pytest.mark.parametrize("truth", [at_rest, steady, swaying])
def test_a_jump_of_the_detection_noise_is_met_within_ten_frames(truth: Truth) -> None:
    """Deviation three times as large from frame 40 to 79; ten frames know it to 16 % at best."""
    runs = [follow(truth, seed, 100, range(40, 80))[0] for seed in range(20)]
    factor = np.sqrt(np.array(runs))
    assert np.median(factor[:, 38]) == pytest.approx(1.0, abs=0.15)  # before
    assert np.median(factor[:, 48]) == pytest.approx(3.0, rel=0.25)  # the tenth frame
    assert np.median(factor[:, 69:79]) == pytest.approx(3.0, rel=0.25)
    met = np.abs(factor[:, 39:49] / 3.0 - 1.0) < 0.25
    assert met.any(axis=1).mean() > 0.7
    assert np.median(factor[:, 99]) == pytest.approx(1.0, abs=0.25)  # 20 frames after


def test_the_noise_factor_is_found_on_the_filter_s_own_model() -> None:
    """A device that strays as the model at rest says, seen with twice the stated deviation.

    It comes out a tenth low: frames that are left out, as outliers or as motion, are large ones.
    """
    rng = np.random.default_rng(3)
    imm = Imm(sojourn=float("inf"))
    imm.start([100.0, 100.0], R, 0.0, only("rest"))
    x, factors = np.array([100.0, 100.0]), []
    for i in range(1, 500):
        x = x + rng.normal(0.0, np.sqrt(DT), 2)
        imm.advance(i * DT)
        imm.correct(x + rng.normal(0, 2.0 * SIGMA, 2), R)
        factors.append(imm.noise)
    assert np.sqrt(np.mean(factors[50:])) == pytest.approx(2.0, rel=0.15)


def test_a_single_outlier_hardly_moves_the_noise() -> None:
    runs = [follow(steady, seed, 60, outlier=50)[0] for seed in range(20)]
    factor = np.sqrt(np.array(runs))
    assert np.median(factor[:, 49] / factor[:, 48]) == 1.0
    assert np.median(factor[:, 49:].max(axis=1)) < 2.0  # it was 6 deviations


def test_knowing_the_noise_follows_better() -> None:
    """At rest, with three times the stated noise, the adaptive filter errs less."""
    errors = {}
    for adapt in (False, True):
        runs = [
            follow(at_rest, s, 100, range(1, 101), imm=Imm(adapt_noise=adapt)) for s in range(6)
        ]
        errors[adapt] = np.sqrt(np.mean([error[30:] ** 2 for _, _, error in runs]))
    assert errors[True] < 0.8 * errors[False]


def test_a_turn_steps_the_process_noise_up_and_down_again() -> None:
    def turning(t: float) -> Array:
        return np.array([100.0 + 60.0 * min(t, 3.0), 100.0 + 60.0 * max(t - 3.0, 0.0)])

    _, motion, error = follow(turning, 0, 80)
    assert motion[10:44].max() == NOISE_STEPS[0]  # at first the speed itself is news
    assert motion[45:50].max() > NOISE_STEPS[0]
    assert motion[60:].max() == NOISE_STEPS[0]
    assert error[60:].max() < 2.0
    _, motion, _ = follow(turning, 0, 80, imm=Imm(adapt_motion=False))
    assert motion.max() == NOISE_STEPS[0]


def test_agreement_is_as_rare_as_stated() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 200_000, 2))
    assert np.mean(np.sum(a * b, axis=1) > AGREE) == pytest.approx(np.exp(-AGREE) / 2, rel=0.1)


@pytest.mark.parametrize(("truth", "model"), [(at_rest, 0), (steady, 1)])
def test_the_likeliest_model_is_the_one_that_moves_the_device(truth: Truth, model: int) -> None:
    imm = Imm()
    follow(truth, 0, 60, imm=imm)
    assert imm.probabilities[model] > 0.7


def test_predict_changes_nothing_and_extrapolates() -> None:
    imm = Imm(harmonics=[Harmonic(0.25)])
    follow(steady, 0, 30, imm=imm)
    before = [*imm.state, imm.probabilities]
    mean, covariance = imm.predict(imm.t + 0.1)
    for old, new in zip(before, [*imm.state, imm.probabilities], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(mean[:2], steady(imm.t + 0.1), atol=3.0)
    assert np.linalg.eigvalsh(covariance[:2, :2] - imm.covariance[:2, :2])[0] > 0.0
    np.testing.assert_allclose(imm.predict(0.0)[0], imm.mean, atol=1e-9)  # the past is the present
    imm.advance(imm.t + 0.1)
    np.testing.assert_allclose(imm.mean, mean)
    np.testing.assert_allclose(imm.covariance, covariance)


def test_a_device_moved_by_breathing_is_followed_without_lag() -> None:
    """0.2 s ahead; 12 px at 0.25 Hz move by up to 3.7 px in that time."""

    def breathing(t: float) -> Array:
        phase = 2.0 * np.pi * 0.25 * t
        return np.array([100.0 + 3.0 * np.sin(phase), 100.0 + 12.0 * np.cos(phase + 0.5)])

    rms, bias = {}, {}
    for name, harmonics in (("with", [Harmonic(0.25)]), ("without", [])):
        errors = []
        for seed in range(2):
            rng = np.random.default_rng(seed)
            imm = Imm(harmonics=harmonics)
            imm.start(breathing(0.0), R, 0.0)
            for i in range(1, 240):
                imm.advance(i * DT)
                imm.correct(breathing(i * DT) + rng.normal(0, SIGMA, 2), R)
                if i > 120:
                    errors.append(imm.predict(i * DT + 0.2)[0][:2] - breathing(i * DT + 0.2))
        rms[name] = float(np.sqrt(np.mean(np.sum(np.square(errors), axis=1))))
        lag = np.reshape(errors, (2, -1, 2)).mean(axis=0)
        bias[name] = float(np.abs(lag).max())
    assert rms["with"] < 0.6 * rms["without"]
    assert bias["with"] < 0.6 * bias["without"]
    assert imm.harmonics == ()


def test_what_is_seen_of_a_harmonic_is_consistent() -> None:
    """Velocity and acceleration are the derivatives of the position that is predicted."""
    imm = Imm(harmonics=[Harmonic(0.25, drift=0.0), Harmonic(1.2, 3.0)], **ALONE)
    imm.start([100.0, 100.0], R, 0.0, only("acceleration"))
    np.testing.assert_allclose(imm.covariance[:2, :2], R)  # what is seen is known to R
    rng = np.random.default_rng(5)
    for i in range(1, 60):
        imm.advance(i * DT)
        imm.correct(swaying(i * DT) + rng.normal(0, SIGMA, 2), R)
    h = 1e-3
    now, ahead, later = (imm.predict(imm.t + k * h)[0] for k in range(3))
    np.testing.assert_allclose((later[:4] - now[:4]) / (2 * h), ahead[2:], rtol=1e-4, atol=1e-3)


SPD = st.tuples(st.floats(0.05, 20.0), st.floats(0.05, 20.0), st.floats(-0.9, 0.9)).map(
    lambda v: np.array(
        [[v[0] ** 2, v[2] * v[0] * v[1]], [v[2] * v[0] * v[1], v[1] ** 2]]  # two sigmas, one rho
    )
)
STEPS = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.floats(-300, 300), st.floats(-300, 300), SPD, st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(STEPS, st.booleans())
def test_covariances_stay_symmetric_and_positive(
    steps: list[tuple[float, float, float, Array, bool]], breathes: bool
) -> None:
    imm = Imm(harmonics=[Harmonic(0.25)] if breathes else [])
    imm.start([0.0, 0.0], np.eye(2), 0.0)
    t = 0.0
    for dt, u, v, c, hit in steps:
        t += dt
        imm.advance(t)
        if hit:
            assert np.isfinite(imm.correct([u, v], c))
        assert imm.t == t
        assert imm.probabilities.sum() == pytest.approx(1.0)
        assert imm.probabilities.min() >= 0.0
        for p in (imm.state[1], imm.covariance, imm.predict(t + dt)[1]):
            scale = np.sqrt(np.outer(np.diag(p), np.diag(p)))
            np.testing.assert_allclose(p, p.T, atol=1e-9 * scale.max())
            assert np.linalg.eigvalsh(p)[0] > -1e-12 * np.trace(p)
            np.linalg.cholesky(p[:2, :2])
        with pytest.raises(UserError, match="not backwards"):
            imm.advance(t - 0.1)


@given(st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_without_frames_the_spacing_of_steps_does_not_matter(steps: list[float]) -> None:
    one, many = Imm(**ALONE), Imm(**ALONE)
    for imm in (one, many):
        imm.start([5.0, 6.0], np.eye(2), 0.0, [0.2, 0.3, 0.5])
    for t in np.cumsum(steps):
        many.advance(float(t))
    one.advance(many.t)
    np.testing.assert_allclose(one.mean, many.mean, atol=1e-9)
    np.testing.assert_allclose(one.covariance, many.covariance, rtol=1e-9, atol=1e-9)


def test_likelihood_is_a_density_in_the_image() -> None:
    imm = Imm()
    follow(steady, 0, 20, imm=imm)
    centre = imm.mean[:2]
    grid = np.arange(-8.0, 8.0, 0.4)
    total = sum(imm.likelihood(centre + np.array([a, b]), R) for a in grid for b in grid) * 0.4**2
    assert total == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(imm.innovation(R), imm.covariance[:2, :2] + imm.noise * R)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="not started"):
        Imm().predict(0.0)
    with pytest.raises(UserError, match="densities"):
        Imm(jerk_density=-1.0)
    with pytest.raises(UserError, match="sojourn"):
        Imm(sojourn=0.0)
    with pytest.raises(UserError, match="harmonic"):
        Harmonic(0.0)
    imm = Imm()
    with pytest.raises(UserError, match="imm: start"):
        imm.start([np.nan, 0.0], R, 0.0)
    with pytest.raises(UserError, match="probabilities"):
        imm.start([0.0, 0.0], R, 0.0, [0.0, 0.0, 0.0])
    imm.start([0.0, 0.0], R, 0.0)
    with pytest.raises(UserError, match="imm: correct"):
        imm.correct([0.0, 0.0], np.zeros((2, 2)))
    with pytest.raises(UserError, match="finite"):
        imm.advance(float("nan"))
