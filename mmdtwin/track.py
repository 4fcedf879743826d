"""What a tracker tells a controller about the device in the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from mmdtwin.frame import Frame
from mmdtwin.geometry import Array


@dataclass(frozen=True, eq=False)
class Track:
    """State of the tracked device in the image.

    Parameters
    ----------
    t : float
        Time of the exposure it describes, s.
    position, velocity : (2,) array
        px and px/s.
    covariance : (4, 4) array
        Of (position, velocity).
    angle : float
        Direction of the device's length in the image, rad from +u towards +v, modulo pi.
    state : "tracking", "coasting" or "lost"
        Coasting: not seen in this frame, predicted. Lost: not seen for too long.
    score : float
        Signal-to-noise ratio of the detection; 0 while coasting or lost.
    """

    t: float
    position: Array
    velocity: Array
    covariance: Array
    angle: float
    state: Literal["tracking", "coasting", "lost"]
    score: float


class ImageTracker(Protocol):
    """Follows the device from frame to frame."""

    def start(self, position: Array, sigma: float, t: float) -> None:
        """Begin at a position (2,) px known to `sigma` px at time t, s."""

    def update(self, frame: Frame) -> Track:
        """Take the next frame."""
