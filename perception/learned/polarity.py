"""Whether devices are dark or bright, where files do not say."""

from __future__ import annotations

from collections.abc import Iterable

from numpy.typing import NDArray

from mmdtwin.perception.images import turned_over
from mmdtwin.perception.learned.detector import LearnedDetector

LEAST = 0.01  # score
ENOUGH = 0.7  # by which the best finds of all images together must score more turned over; assumed


def looks_inverted(detector: LearnedDetector, images: Iterable[NDArray]) -> bool:
    """Return whether a detector finds devices in images (h, w) only once they are turned over.

    It has seen dark ones alone. Where there are none it cannot tell, and images stay as they are.
    """
    more = 0.0
    for image in images:
        best = [
            max((find.score for find in detector.find(each, least=LEAST)), default=0.0)
            for each in (image, turned_over(image))
        ]
        more += best[1] - best[0]
    return more > ENOUGH
