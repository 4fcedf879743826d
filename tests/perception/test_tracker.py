"""The Kalman filter against its theory, and its conduct when detections fail."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from mmdtwin.errors import UserError
from mmdtwin.perception import Corridor, Detection, Tracker

DT = 1.0 / 15.0
R = 0.6**2  # px^2


def seen(u: float, v: float, score: float = 8.0, variance: float = R) -> Detection:
    return Detection(np.array([u, v]), variance * np.eye(2), score, 0.3, 18.0)


def settled(tracker: Tracker, speed: float = 10.0, n: int = 60) -> float:
    tracker.start([100.0, 100.0], 2.0, 0.0)
    for i in range(n):
        tracker.update([seen(100 + speed * i * DT, 100)], i * DT)
    return (n - 1) * DT


def test_settled_covariance_solves_the_riccati_equation() -> None:
    """Independent reference: scipy's discrete algebraic Riccati solver, one axis."""
    tracker = Tracker()
    settled(tracker, n=200)
    q = tracker.acceleration_density
    f = np.array([[1, DT], [0, 1.0]])
    noise = q * np.array([[DT**3 / 3, DT**2 / 2], [DT**2 / 2, DT]])
    h = np.array([[1.0, 0.0]])
    prior = solve_discrete_are(f.T, h.T, noise, np.array([[R]]))
    gain = prior @ h.T / (prior[0, 0] + R)
    posterior = (np.eye(2) - gain @ h) @ prior
    covariance = tracker.predict(0.0).covariance
    np.testing.assert_allclose(covariance[np.ix_([0, 2], [0, 2])], posterior, rtol=1e-6)
    np.testing.assert_allclose(covariance[np.ix_([1, 3], [1, 3])], posterior, rtol=1e-6)


def test_errors_match_the_covariance_on_the_filter_s_own_model() -> None:
    """Mean NEES of a 2-vector is 2; 20 runs of 80 correlated errors know it to about 0.2."""
    rng = np.random.default_rng(0)
    q, values = Tracker().acceleration_density, []
    for _ in range(20):
        tracker = Tracker()
        state, t = np.array([200.0, 200.0, 5.0, -3.0]), 0.0
        tracker.start(state[:2] + rng.normal(0, 1, 2), 1.0, 0.0)
        for i in range(100):
            dt = rng.choice([DT, 2 * DT, 0.03])  # irregular and dropped frames
            t += dt
            noise = q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
            kick = rng.multivariate_normal(np.zeros(2), noise, size=2)
            state[:2] += state[2:] * dt + kick[:, 0]
            state[2:] += kick[:, 1]
            measured = state[:2] + rng.normal(0, np.sqrt(R), 2)
            track = tracker.update([seen(*measured)], t)
            if i >= 20:
                error = track.position - state[:2]
                values.append(error @ np.linalg.solve(track.covariance[:2, :2], error))
    assert np.mean(values) == pytest.approx(2.0, abs=0.4)


def test_a_frame_at_the_start_time_counts_and_late_or_repeated_ones_do_not() -> None:
    tracker = Tracker()
    tracker.start([100.0, 100.0], 3.0, 1.0)
    first = tracker.update([seen(102, 100)], 1.0)
    assert first.state == "tracking"
    for t in (1.0, 0.5):
        again = tracker.update([seen(110, 100)], t)
        np.testing.assert_array_equal(again.position, first.position)
        assert again.t == 1.0


def test_predict_extrapolates_and_changes_nothing() -> None:
    tracker = Tracker()
    t = settled(tracker)
    before = tracker.predict(t)
    ahead = tracker.predict(t + 0.1)
    np.testing.assert_allclose(ahead.position, before.position + 0.1 * before.velocity)
    assert before.velocity[0] == pytest.approx(10.0, abs=0.5)
    assert ahead.covariance[0, 0] > before.covariance[0, 0]
    np.testing.assert_array_equal(tracker.predict(t).position, before.position)


def test_unseen_it_coasts_then_is_lost_then_found_again() -> None:
    tracker = Tracker()
    t = settled(tracker)
    states, radii = [], []
    for i in range(1, 16):
        states.append(tracker.update([], t + i * DT).state)
        radii.append(tracker.search(t + i * DT)[1])
    assert states[:7] == ["coasting"] * 7  # 0.5 s at 15 Hz
    assert states[-1] == "lost"
    assert np.all(np.diff(radii) > 0)
    t += 16 * DT
    place = tracker.predict(t).position + np.array([20.0, -30.0])
    track = tracker.update([seen(*place, score=8.0)], t)
    assert track.state == "tracking"
    np.testing.assert_allclose(track.position, place)


def test_faint_detections_must_repeat_before_they_end_a_loss() -> None:
    tracker = Tracker()
    t = settled(tracker)
    for i in range(1, 16):
        tracker.update([], t + i * DT)
    t += 16 * DT
    place = tracker.predict(t).position + 5.0
    rng = np.random.default_rng(1)
    scattered = [tracker.update([seen(*(place + rng.uniform(-60, 60, 2)), score=4.8)], t + i * DT)
                 for i in range(6)]  # fmt: skip
    assert {s.state for s in scattered} == {"lost"}
    t += 6 * DT
    states = [tracker.update([seen(*place, score=4.8)], t + i * DT).state for i in range(4)]
    assert states == ["lost", "lost", "lost", "tracking"]


def test_clutter_in_the_gate_does_not_make_a_track() -> None:
    """Weak peaks near the prediction in a third of the frames must end as a loss."""
    tracker = Tracker()
    t = settled(tracker)
    rng = np.random.default_rng(2)
    state = ""
    for i in range(1, 60):
        centre = tracker.predict(t + i * DT).position
        noise = [seen(*(centre + rng.normal(0, 2, 2)), score=4.6)] if i % 3 == 0 else []
        state = tracker.update(noise, t + i * DT).state
    assert state == "lost"


def test_the_likelier_detection_wins_whatever_the_order() -> None:
    for reverse in (False, True):
        tracker = Tracker()
        t = settled(tracker) + DT
        near = tracker.predict(t).position
        candidates = [seen(near[0] + 1.0, near[1]), seen(near[0], near[1] + 0.2, score=4.5)]
        track = tracker.update(candidates[::-1] if reverse else candidates, t)
        assert track.score == 8.0  # a peak of noise that lies closer is still noise


def test_a_bright_distractor_outside_the_gate_is_ignored() -> None:
    tracker = Tracker()
    t = settled(tracker) + DT
    ahead = tracker.predict(t).position
    track = tracker.update([seen(ahead[0], ahead[1] + 15, score=40.0)], t)
    assert track.state == "coasting"
    np.testing.assert_allclose(track.position, ahead)


def test_corridor_refuses_what_lies_outside_the_vessel() -> None:
    line = np.stack([np.linspace(0, 300, 301), np.full(301, 100.0)], axis=1)
    corridor = Corridor([line], 6.0)
    assert corridor(np.array([50.0, 104.0])) == 0.0
    assert corridor(np.array([50.0, 110.0])) == pytest.approx(4.0)
    tracker = Tracker()
    t = settled(tracker)
    for i in range(1, 16):
        tracker.update([], t + i * DT)
    t += 16 * DT
    u = float(tracker.predict(t).position[0])
    outside, inside = seen(u, 140, score=20.0), seen(u + 8, 103, score=8.0)
    assert tracker.update([outside], t, corridor).state == "lost"
    track = tracker.update([outside, inside], t + DT, corridor)
    np.testing.assert_allclose(track.position, inside.position)


def test_a_turn_is_followed_because_the_process_noise_adapts() -> None:
    """At 60 px/s a right-angled turn leaves the stiff filter's gate; the adaptive one follows."""
    tracker = Tracker()
    t = settled(tracker, speed=60.0)
    corner = tracker.predict(t).position
    for i in range(1, 20):
        track = tracker.update([seen(corner[0], corner[1] + 60 * i * DT)], t + i * DT)
    assert track.state == "tracking"
    assert np.hypot(*(track.position - [corner[0], corner[1] + 60 * 19 * DT])) < 1.0


def test_mean_angle_does_not_care_about_half_turns() -> None:
    tracker = Tracker()
    tracker.start([100.0, 100.0], 2.0, 0.0)
    for i in range(40):
        d = Detection(np.array([100.0, 100.0]), R * np.eye(2), 8.0, (-1) ** i * 1.55, 18.0)
        track = tracker.update([d], i * DT)
    assert abs(abs(track.angle) - np.pi / 2) < 0.05


@pytest.mark.parametrize(("place", "sigma"), [([np.nan, 0.0], 1.0), ([0.0, 0.0], 0.0)])
def test_a_bad_start_is_refused(place: list[float], sigma: float) -> None:
    with pytest.raises(UserError, match="tracker: start"):
        Tracker().start(place, sigma, 0.0)


def test_an_unstarted_tracker_says_so() -> None:
    with pytest.raises(UserError, match="not started"):
        Tracker().update([], 0.0)
    with pytest.raises(UserError, match="corridor"):
        Corridor([], 1.0)
