"""Detector and tracker as one object: frames in, track out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.frame import Frame
from mmdtwin.geometry import Array, apply
from mmdtwin.perception.detector import Detector
from mmdtwin.perception.matched_filter import MatchedFilterDetector
from mmdtwin.perception.tracker import Corridor, Prior, Tracker
from mmdtwin.rig import DeviceFacts, RigDescription
from mmdtwin.track import Track

REGISTRATION = 0.7e-3  # m, of the vessel map against the image: two registrations of 0.5 mm
SIGMAS = 2.0  # standard deviations of the track within which the device must be


class ImageTracker:
    """What a controller holds: follows the device through the frames of one image source.

    Implements `mmdtwin.track.ImageTracker`.

    Parameters
    ----------
    detector : Detector or callable
        Classical or learned; or what makes one from the size of a pixel at the isocentre, m,
        which only the first frame tells.
    tracker : Tracker, optional
        Default settings if omitted.
    """

    def __init__(
        self, detector: Detector | Callable[[float], Detector], tracker: Tracker | None = None
    ) -> None:
        self._detector = detector if isinstance(detector, Detector) else None
        self._make = None if isinstance(detector, Detector) else detector
        self.tracker = tracker or Tracker()
        self._source: str | None = None
        self._vessel: tuple[Array, Array] | None = None
        self._corridor: Corridor | None = None

    @classmethod
    def for_rig(cls, description: RigDescription) -> ImageTracker:
        """Follow a rig's device with the classical detector, inside its vessel as registered."""
        image_tracker = cls.for_device(description.device)
        image_tracker._vessel = (
            apply(description.T_world_vessel.T, description.vessel.points),
            description.vessel.radius,
        )
        return image_tracker

    @classmethod
    def for_device(cls, device: DeviceFacts, tracker: Tracker | None = None) -> ImageTracker:
        """Follow a device of known size with the classical detector."""

        def make(pixel_size: float) -> Detector:
            return MatchedFilterDetector(device.length / pixel_size, device.width / pixel_size)

        return cls(make, tracker)

    def start(self, position: ArrayLike, sigma: float, t: float, new_scene: bool = True) -> None:
        """Begin where the device is known to be, at or just before the first frame.

        Parameters
        ----------
        position : (2,) array
            Image position (u, v), px.
        sigma : float
            Its standard deviation, px.
        t : float
            Time, s.
        new_scene : bool, default True
            False keeps the background: the operator points the device out again in the same view.
        """
        if new_scene and self._detector is not None:
            self._detector.reset()
        if new_scene:
            self._source = None
            self._corridor = None
        self.tracker.start(position, sigma, t)

    def update(self, frame: Frame, corridor: Prior | None = None) -> Track:
        """Take in a frame and return the track at its exposure.

        Frames that are not live, or not later than the last one, change nothing.

        Parameters
        ----------
        frame : Frame
            As delivered.
        corridor : callable, optional
            See `Tracker.update`. By default the vessel map of the rig, if there is one.

        Raises
        ------
        UserError
            If the frame is of another source than the last, or the tracker was not started.
        """
        if self._source not in (None, frame.source):
            raise UserError(
                f"image tracker: frame of source '{frame.source}' after '{self._source}'; "
                "hold one image tracker per source"
            )
        t = frame.t_exposure
        if not self.tracker.is_news(t) or not frame.live:
            return self.tracker.predict(t)
        self._source = frame.source
        detector = self._ready(frame)
        detections = detector.detect(frame, self.tracker.search(t))
        track = self.tracker.update(detections, t, corridor or self._projected(frame))
        sigma = float(np.sqrt(np.linalg.eigvalsh(track.covariance[:2, :2])[-1]))
        detector.learn(frame, track.position, SIGMAS * sigma)
        return track

    def _projected(self, frame: Frame) -> Corridor | None:
        """The vessel map in this view, with room for what its registration errs."""
        if self._corridor is None and self._vessel is not None:
            points, radius = self._vessel
            scale = frame.projection.sid / (frame.projection.pitch * frame.projection.depth(points))
            tolerance = (radius + REGISTRATION) * scale
            self._corridor = Corridor([frame.projection.project(points)], [tolerance])
        return self._corridor

    def _ready(self, frame: Frame) -> Detector:
        if self._detector is None:
            assert self._make is not None
            self._detector = self._make(frame.projection.pixel_size)
        return self._detector
