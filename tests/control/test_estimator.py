"""From a track to a place on a curved path, and what is learned about the registration."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmdtwin.control.estimator import PathEstimator, WayEstimator
from mmdtwin.control.path import Path, WrongTurn
from mmdtwin.frame import Projection
from mmdtwin.track import Track

RATE = 15.0  # Hz
SIGMA = 0.8  # px, of the tracks made here
SPEED = 3e-3  # m/s
VIEW = Projection.from_carm(sid=1.0, sod=0.7, pitch=0.3e-3, shape=(512, 512))


def winding(n: int = 500) -> Path:
    """Some 45 mm that swing 6 mm sideways and climb towards the source; it goes on at both ends."""
    x = np.linspace(-23e-3, 23e-3, n)
    points = np.stack([x, 6e-3 * np.sin(x / 7e-3), 4e-3 * x / 36e-3], axis=1)
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    before = 5e-3
    return Path(
        points, np.full(n, 2e-3), s - before, ("a",) * n, float(s[-1]) - 2 * before,
        flow=np.zeros(n), pull=np.zeros((n, 3)),
    )  # fmt: skip


PATH = winding()


def track(t, uv, velocity=(0.0, 0.0), state="tracking"):
    covariance = np.diag([SIGMA**2, SIGMA**2, 25.0, 25.0])
    return Track(t, np.asarray(uv), np.asarray(velocity), covariance, 0.0, state, 10.0)


def travel(shift=(0.0, 0.0, 0.0), seconds=12.0, seed=0, noise=SIGMA):
    """Follow a device along the path; the image shows everything shifted by `shift` m."""
    rng = np.random.default_rng(seed)
    estimator = PathEstimator(PATH)
    true, estimates = [], []
    for t in np.arange(0.0, seconds, 1 / RATE):
        s = min(SPEED * t, PATH.length)
        seen = VIEW.project(np.array([PATH.at(s), PATH.at(s + 1e-5)]) + shift)
        velocity = (seen[1] - seen[0]) / 1e-5 * SPEED
        measured = seen[0] + noise * rng.normal(size=2)
        estimates.append(estimator.update(track(t, measured, velocity), VIEW))
        true.append(s)
    return estimator, np.array(true), estimates


def test_a_track_without_noise_gives_the_arclength_to_a_grid_step():
    _, true, estimates = travel(noise=0.0)
    found = np.array([e.s for e in estimates])
    # 0.1 mm grid: half a step of rounding, and less than one of lag behind the prior.
    assert np.abs(found - true).max() < 0.15e-3
    position = np.array([e.position for e in estimates])
    actual = np.array([PATH.at(s) for s in true])
    assert np.linalg.norm(position - actual, axis=1).max() < 0.3e-3
    speed = np.array([e.speed for e in estimates])
    np.testing.assert_allclose(speed, SPEED, rtol=0.08)  # the path is nowhere much foreshortened


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_a_pixel_is_a_fifth_of_a_millimetre_of_path(seed):
    """0.8 px of 0.21 mm: 0.17 mm along the path, and the prior of 0.5 mm a frame hardly helps."""
    _, true, estimates = travel(seed=seed)
    error = np.array([e.s for e in estimates]) - true
    assert np.sqrt(np.mean(error**2)) < 0.25e-3
    assert abs(error.mean()) < 0.06e-3


@pytest.mark.parametrize("shift", [(0.5e-3, 0.0, 0.0), (0.0, 0.6e-3, 0.0), (-0.4e-3, 0.4e-3, 0.0)])
def test_a_constant_shift_of_the_registration_is_learned(shift):
    """Where the path bends both parts in the image plane show; the one along the ray never."""
    estimator, true, estimates = travel(shift, noise=0.3)
    in_image = np.array(shift)[:2]
    left = np.linalg.norm(estimator.shift[:2] - in_image)
    assert left < 0.6 * np.linalg.norm(in_image)
    # What was learned across the path counts along it.
    error = np.array([e.s for e in estimates]) - true
    second_half = error[len(error) // 2 :]
    ignored = np.abs([PATH.tangent(s) @ shift for s in true[len(true) // 2 :]])
    assert np.abs(second_half).mean() < max(ignored.mean(), 0.2e-3)


def test_no_shift_is_learned_where_there_is_none():
    estimator, _, _ = travel(noise=0.3)
    assert np.linalg.norm(estimator.shift) < 0.1e-3


def test_while_not_seen_the_estimate_stays_and_says_so():
    estimator, _, estimates = travel(seconds=4.0)
    before = estimates[-1].s
    for k in range(1, 5):
        blind = track(4.0 + k / RATE, (3.0, 3.0), state="coasting")
        estimate = estimator.update(blind, VIEW)
        assert not estimate.tracked
        assert estimate.s == before


def test_lateral_is_across_the_path():
    estimator, true, _ = travel(seconds=4.0, noise=0.0)
    tangent = PATH.tangent(true[-1])
    aside = np.cross(tangent, [0.0, 0.0, 1.0])
    aside /= np.linalg.norm(aside)
    place = PATH.at(true[-1]) + 0.8e-3 * aside
    estimate = estimator.update(track(4.0, VIEW.project(place)), VIEW)
    # One frame moves the shift by 4 %; a grid step along the path turns little across it.
    assert estimate.lateral @ aside == pytest.approx(0.8e-3, abs=0.1e-3)
    assert abs(estimate.lateral @ PATH.tangent(estimate.s)) < 1e-9


def forked(angle: float = 0.9) -> WrongTurn:
    """A way that leaves PATH at its middle, to the side."""
    fork = PATH.length / 2
    beyond = PATH.s > fork
    direction = Rotation.from_rotvec([0, 0, -angle]).apply(PATH.tangent(fork))
    points = PATH.points.copy()
    points[beyond] = PATH.at(fork) + (PATH.s[beyond] - fork)[:, None] * direction
    return WrongTurn(replace(PATH, points=points), fork)


def follow(path, arclengths, estimator):
    """Estimates while the device goes along a path at SPEED."""
    found = []
    for i, s in enumerate(arclengths):
        seen = VIEW.project(np.array([path.at(s), path.at(s + 1e-5)]))
        found.append(
            estimator.update(track(i / RATE, seen[0], (seen[1] - seen[0]) / 1e-5 * SPEED), VIEW)
        )
    return found


def test_a_wrong_turn_is_noticed_and_its_end_too():
    turn = forked()
    step = SPEED / RATE
    out = np.arange(0.0, turn.fork + 8e-3, step)
    back = np.arange(turn.fork + 8e-3, turn.fork - 4e-3, -step)
    estimates = follow(turn.path, [*out, *back], WayEstimator(PATH, (turn,)))
    wrong = np.array([e.wrong_turn is turn for e in estimates])
    s = np.array([*out, *back])
    # Told 0.5 mm apart for 0.4 s, so after some 3 mm of the other branch; not before the fork.
    assert not wrong[: len(out)][out < turn.fork].any()
    assert wrong[: len(out)][out > turn.fork + 4e-3].all()
    assert not wrong[-5:].any()
    np.testing.assert_allclose(
        [e.s for e, w in zip(estimates, wrong, strict=True) if w], s[wrong], atol=0.6e-3
    )


def test_on_its_way_no_wrong_turn_is_seen():
    turn = forked()
    estimates = follow(PATH, np.arange(0.0, PATH.length, SPEED / RATE), WayEstimator(PATH, (turn,)))
    assert all(e.wrong_turn is None for e in estimates)
