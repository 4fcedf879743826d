"""Frames in, track out: accuracy, consistency, and the ways in which trackers fail.

Acceptance (docs/perception.md), for an 18 x 7 px device of contrast .035 in 400 quanta a pixel at
512 x 512: root mean square error <= 1.0 px once the device has left its starting place, and at
most 3 % of all frames lost. The slow test has the seeds for it; the quick one samples it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.perception import Corridor, ImageTracker, MatchedFilterDetector
from mmdtwin.rig import DeviceFacts
from mmdtwin.track import ImageTracker as Contract
from mmdtwin.track import Track

LEFT = 25.0  # px from the start, length plus width: it no longer hides its own background


@dataclasses.dataclass
class Run:
    """Errors (n, 2) px, whether it had left the start (n,), NEES (n,) and states of a run."""

    errors: Any
    left: Any
    nees: Any
    states: list[str]
    tracker: ImageTracker

    def rms(self, start: int = 0, stop: int | None = None) -> float:
        """Over the frames from `start` on in which it had left."""
        errors = self.errors[start:stop][self.left[start:stop]]
        assert len(errors) > 5
        return float(np.sqrt((errors**2).sum(axis=1).mean()))

    def share(self, state: str) -> float:
        return float(np.mean([s == state for s in self.states]))


def follow(seq: Any, corridor: Any = None) -> Run:
    tracker = ImageTracker(MatchedFilterDetector(18, 7))
    tracker.start(seq.start(), 3.0, 0.0)
    errors, nees, states = [], [], []
    for i, frame in enumerate(seq):
        track = tracker.update(frame, corridor)
        shift = np.array(seq.shift(i))[::-1]
        error = track.position - seq.truth[i] - shift
        errors.append(error)
        nees.append(error @ np.linalg.solve(track.covariance[:2, :2], error))
        states.append(track.state)
    gone = np.hypot(*(seq.truth - seq.truth[0]).T) > LEFT
    return Run(np.array(errors), np.maximum.accumulate(gone), np.array(nees), states, tracker)


def pooled(runs: list[Run]) -> Any:
    return np.concatenate([np.hypot(*r.errors[r.left].T) for r in runs])


@pytest.mark.parametrize(("contrast", "width"), [(0.035, 7.0), (0.15, 1.5)])
def test_a_faint_device_is_followed(sequence: Any, contrast: float, width: float) -> None:
    scene = {"contrast": contrast, "width": width, "frames": 100}
    runs = [follow(sequence(s, **scene)) for s in range(3)]
    assert np.sqrt((pooled(runs) ** 2).mean()) <= 1.0
    assert np.mean([r.share("lost") for r in runs]) <= 0.03
    # 1.4 is the median of chi-square with 2 degrees of freedom.
    assert 0.7 < np.median(np.concatenate([r.nees[r.left] for r in runs])) < 2.5


@pytest.mark.slow
@pytest.mark.parametrize(("contrast", "width"), [(0.035, 7.0), (0.15, 1.5)])
def test_acceptance_at_full_size(sequence: Any, contrast: float, width: float) -> None:
    scene = {"contrast": contrast, "width": width, "frames": 150}
    runs = [follow(sequence(s, **scene)) for s in range(20)]
    assert np.sqrt((pooled(runs) ** 2).mean()) <= 1.0
    assert np.mean([r.share("lost") for r in runs]) <= 0.03
    # 2 is ideal; what is static in the background and slow in the filter adds to it.
    assert 1.0 < np.mean(np.concatenate([r.nees[r.left] for r in runs])) < 3.5


def test_a_device_at_rest_is_not_absorbed(sequence: Any) -> None:
    """It moves, rests for 10 s, more than twice the background's memory, and moves on."""
    run = follow(sequence(1, frames=240, size=256, hold=(50, 200)))
    assert run.share("lost") == 0.0
    assert run.rms(50, 200) < 1.0
    assert run.rms(200) < 1.5


def test_a_device_that_rests_from_the_start_is_caught_leaving(sequence: Any) -> None:
    seq = sequence(2, frames=150, size=256, hold=(0, 75))
    run = follow(seq)
    assert set(run.states[:75]) == {"coasting"}  # nothing to see: it claims no more
    assert np.hypot(*run.errors[:75].T).max() < 8.0  # and stays at the start, 5 px off per axis
    caught = run.states.index("tracking")
    assert np.hypot(*(seq.truth[caught] - seq.truth[0])) < LEFT
    # It has not left yet: a pair of score 6.5 is good to 1.6 px per axis, 2.3 px in the plane.
    assert np.median(np.hypot(*run.errors[120:].T)) < 3.0


def test_a_wire_and_a_bone_edge_do_not_capture_the_track(sequence: Any) -> None:
    """Static, about ten times darker than the device, 12 px from its start and across its way."""
    plain = sequence(3, frames=120, size=256)
    u, v = np.meshgrid(np.arange(256), np.arange(256))
    start, way = plain.truth[0], plain.truth[60]
    heading = (way - start) / np.hypot(*(way - start))
    along = (u - start[0]) * heading[0] + (v - start[1]) * heading[1]
    across = -(u - start[0]) * heading[1] + (v - start[1]) * heading[0]
    wire = np.where(np.abs(along - 0.7 * np.hypot(*(way - start))) < 1.0, 0.6, 1.0)
    bone = np.where(across > 12.0, 0.7, 1.0)
    run = follow(sequence(3, frames=120, size=256, distractor=wire * bone))
    assert run.share("lost") == 0.0
    assert run.rms() < 1.2


def test_a_jump_in_exposure_does_not_lose_it(sequence: Any) -> None:
    run = follow(sequence(4, frames=120, size=256, gain=lambda i: 1.0 if i < 60 else 0.7))
    assert run.share("lost") == 0.0
    assert run.rms(60) < 1.2


def test_a_moved_table_costs_the_background_but_not_the_program(sequence: Any) -> None:
    """The scene jumps by 25 px. A bold device is found again against a new background."""
    run = follow(
        sequence(
            5,
            frames=220,
            size=256,
            contrast=0.10,
            shift=lambda i: (0, 0) if i < 120 else (0, 25),
        )
    )
    distances = np.hypot(*run.errors.T)
    assert np.median(distances[60:120]) < 0.6
    assert np.median(distances[160:]) < 0.6


def test_fainter_is_worse_but_not_falsely_sure(sequence: Any) -> None:
    """Contrast .02 is an SNR of 4.5, where an ideal observer of single frames misses half."""
    runs = [follow(sequence(s, frames=120, contrast=0.02)) for s in range(2)]
    distances = np.concatenate([np.hypot(*r.errors.T) for r in runs])
    tracking = np.concatenate([np.array(r.states) == "tracking" for r in runs])
    assert tracking.mean() > 0.3
    assert np.median(distances[tracking]) < 2.5
    assert np.mean(distances[tracking] > 10.0) < 0.05


def test_a_corridor_keeps_noise_out(sequence: Any) -> None:
    seq = sequence(6, frames=90, size=256)
    run = follow(seq, Corridor([seq.truth], 8.0))
    assert run.rms() < 1.2


def test_held_late_and_repeated_frames_change_nothing(sequence: Any) -> None:
    seq = sequence(7, frames=40, size=256)
    run = follow(seq)
    last = run.tracker.tracker.predict(0.0)
    background = run.tracker._detector.background.frames  # type: ignore[union-attr]
    frame = seq.frame(39)
    held = dataclasses.replace(frame, live=False, t_exposure=frame.t_exposure + 1.0)
    for stale in (frame, seq.frame(10), held):
        track = run.tracker.update(stale)
        assert track.t == stale.t_exposure if stale is held else track.t == last.t
    np.testing.assert_array_equal(run.tracker.tracker.predict(0.0).position, last.position)
    assert run.tracker._detector.background.frames == background  # type: ignore[union-attr]


def test_dropped_frames_are_bridged(sequence: Any) -> None:
    seq = sequence(8, frames=120, size=256)
    tracker = ImageTracker(MatchedFilterDetector(18, 7))
    tracker.start(seq.start(), 3.0, 0.0)
    rng = np.random.default_rng(0)
    errors = []
    for i in range(seq.frames):
        if rng.random() < 0.4:
            continue
        track = tracker.update(seq.frame(i))
        if np.hypot(*(seq.truth[i] - seq.truth[0])) > LEFT:
            errors.append(track.position - seq.truth[i])
    assert np.sqrt((np.array(errors) ** 2).sum(axis=1).mean()) < 1.5


def test_same_frames_same_track(sequence: Any) -> None:
    a, b = (follow(sequence(9, frames=40, size=256)) for _ in range(2))
    np.testing.assert_array_equal(a.errors, b.errors)


def test_it_fulfils_the_contract_and_knows_its_device(sequence: Any) -> None:
    """Made from bench facts alone; the first frame tells the size of a pixel."""
    seq = sequence(0, frames=3, size=256)
    pixel = seq.projection.pixel_size
    facts = DeviceFacts(18 * pixel, 7 * pixel, 0.2e-3, 6e-5, 9e-6)
    tracker: Contract = ImageTracker.for_device(facts)
    tracker.start(seq.start(), 3.0, 0.0)
    track = tracker.update(seq.frame(0))
    assert isinstance(track, Track)
    assert tracker._detector.length == pytest.approx(18.0)  # type: ignore[attr-defined]


def test_frames_of_another_source_are_refused(sequence: Any) -> None:
    seq = sequence(0, frames=3, size=256)
    tracker = ImageTracker(MatchedFilterDetector(18, 7))
    with pytest.raises(UserError, match="not started"):
        tracker.update(seq.frame(0))
    tracker.start(seq.start(), 3.0, 0.0)
    tracker.update(seq.frame(0))
    with pytest.raises(UserError, match="lateral"):
        tracker.update(dataclasses.replace(seq.frame(1), source="lateral"))
