"""Scores are signal-to-noise ratios, and detections are where the bars are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.perception import MatchedFilterDetector

FAR = [20.0, 20.0]  # a corner that the devices of these sequences never reach


def taught(sequence: Any, n: int = 30, **scene: Any) -> tuple[Any, MatchedFilterDetector]:
    """A sequence, and a detector that has seen its scene without the device."""
    seq = sequence(size=256, frames=60, **scene)
    empty = sequence(size=256, frames=n, **{**scene, "contrast": 0.0})
    detector = MatchedFilterDetector(18, 7)
    for frame in empty:
        detector.detect(frame, (FAR, 5.0))
        detector.learn(frame, FAR, 0.0)
    return seq, detector


def test_score_is_the_matched_filter_s_snr(sequence: Any) -> None:
    """Expected: contrast * sqrt(quanta * area), with 1/30 of the variance from the background.

    Taking the best of many templates and places adds to the mean score of a faint device, a
    direction and a width between templates take away: 15 %.
    """
    seq, detector = taught(sequence, seed=0, texture=1e-6)
    scores = []
    for i in range(0, 60, 2):
        found = detector.detect(seq.frame(i), (seq.truth[i], 8.0))
        scores.append(found[0].score)
    ideal = 0.035 * np.sqrt(400 * 18 * 7 / (1 + 1 / 30))
    assert np.mean(scores) == pytest.approx(ideal, rel=0.15)


def test_noise_alone_seldom_passes(sequence: Any) -> None:
    """Within 10 px there are about five independent places times a few shapes."""
    seq, detector = taught(sequence, seed=1, contrast=0.0)
    best = []
    for i in range(50):
        found = detector.detect(seq.frame(i), ([128.0, 128.0], 10.0))
        best.append(found[0].score if found else 0.0)
    assert np.mean(np.array(best) > 4.0) < 0.1
    assert max(best) < 5.5


@pytest.mark.parametrize(
    ("contrast", "width", "bound"), [(0.035, 7.0, 1.1), (0.15, 1.5, 0.7), (0.1, 7.0, 0.4)]
)
def test_position_and_direction(sequence: Any, contrast: float, width: float, bound: float) -> None:
    """Median distance within `bound` px, and errors that match the covariance.

    Mean NEES is 2 for Gaussian errors; a faint peak now and then jumps to noise, hence 5.
    """
    seq, detector = taught(sequence, seed=2, contrast=contrast, width=width)
    errors, turns, nees = [], [], []
    for i in range(60):
        frame = seq.frame(i)
        best = detector.detect(frame, (seq.truth[i], 8.0))[0]
        detector.learn(frame, seq.truth[i], 1.0)
        error = best.position - seq.truth[i]
        errors.append(error)
        turns.append((best.angle - seq.angles[i] + np.pi / 2) % np.pi - np.pi / 2)
        nees.append(error @ np.linalg.solve(best.covariance, error))
        assert best.confirmed
    assert np.median(np.hypot(*np.array(errors).T)) < bound
    assert np.degrees(np.std(turns)) < 12.0
    assert np.mean(nees) < 5.0


def test_search_of_the_whole_frame_finds_it(sequence: Any) -> None:
    seq, detector = taught(sequence, seed=3, contrast=0.05)
    for i in (0, 20, 40):
        found = detector.detect(seq.frame(i))
        assert np.hypot(*(found[0].position - seq.truth[i])) < 2.0
        assert all(a.score >= b.score for a, b in pairwise(found))


def test_without_a_background_only_the_unmistakable_is_reported(sequence: Any) -> None:
    """One frame: a line of contrast .3 is found, unconfirmed; a faint sheet is not claimed."""
    bold = sequence(seed=4, size=256, frames=1, contrast=0.3, width=1.5, texture=0.1)
    found = MatchedFilterDetector(18, 7).detect(bold.frame(0), (bold.truth[0], 15.0))
    assert np.hypot(*(found[0].position - bold.truth[0])) < 1.5
    assert not found[0].confirmed
    faint = sequence(seed=4, size=256, frames=1, contrast=0.02)
    assert not MatchedFilterDetector(18, 7).detect(faint.frame(0), (faint.truth[0], 15.0))


def test_a_region_outside_the_image_holds_nothing(sequence: Any) -> None:
    seq, detector = taught(sequence, n=3, seed=5)
    assert detector.detect(seq.frame(0), ([-200.0, 900.0], 10.0)) == []


def test_a_region_across_the_border_is_searched(sequence: Any) -> None:
    seq, detector = taught(sequence, seed=6, contrast=0.0)
    frame = seq.frame(0)
    image = frame.image.astype(float)
    cv2.rectangle(image, (2, 100), (19, 106), 0.0, -1)
    image += 0.8 * (frame.image - image)  # 20 % darker
    object.__setattr__(frame, "image", image.astype(np.uint16))
    found = detector.detect(frame, ([6.0, 100.0], 12.0))
    assert np.hypot(*(found[0].position - [10.5, 103.0])) < 1.0


def test_unusable_sizes_are_refused(sequence: Any) -> None:
    with pytest.raises(UserError, match="length >= width"):
        MatchedFilterDetector(3, 7)
    small = sequence(seed=0, size=128, frames=1)
    with pytest.raises(UserError, match="at least 256 px"):
        MatchedFilterDetector(60, 7).detect(small.frame(0))
