"""Finding and following the device in fluoroscopy frames."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdtwin.perception.background import BackgroundEstimate
    from mmdtwin.perception.baseline import ImageTracker
    from mmdtwin.perception.detector import Detection, Detector
    from mmdtwin.perception.matched_filter import MatchedFilterDetector
    from mmdtwin.perception.tracker import Corridor, Tracker

# Imported on first use: OpenCV and scipy.fft would slow the start of the command line.
_HOMES = {
    "BackgroundEstimate": "background",
    "Corridor": "tracker",
    "Detection": "detector",
    "Detector": "detector",
    "ImageTracker": "baseline",
    "MatchedFilterDetector": "matched_filter",
    "Tracker": "tracker",
}

__all__ = [
    "BackgroundEstimate",
    "Corridor",
    "Detection",
    "Detector",
    "ImageTracker",
    "MatchedFilterDetector",
    "Tracker",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
