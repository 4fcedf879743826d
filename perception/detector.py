"""What a detector is, classical or learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from mmdtwin.frame import Frame
from mmdtwin.geometry import Array

Region = tuple[ArrayLike, float]


@dataclass(frozen=True, eq=False)
class Detection:
    """Something that looks like the device.

    Parameters
    ----------
    position : (2,) array
        Centre (u, v), px.
    covariance : (2, 2) array
        Of the position, px^2.
    score : float
        Signal-to-noise ratio: how many standard deviations of the local noise it stands out.
    angle : float
        Direction of the long axis, rad from +u towards +v, in [-pi/2, pi/2).
    length : float
        Length along the axis, px.
    confirmed : bool
        False where there is no image of the same place without the device to compare with: what
        is seen may then be anatomy.
    """

    position: Array
    covariance: Array
    score: float
    angle: float
    length: float
    confirmed: bool = True


class Detector(ABC):
    """What a tracker needs of a detector, classical or learned."""

    @staticmethod
    def load(folder: str | Path | None = None) -> Detector:
        """Return the learned detector of a model's folder; by default the one that ships.

        Raises
        ------
        UserError
            If the model is missing or broken, or no library that runs it is installed.
        """
        from mmdtwin.perception.learned.detector import LearnedDetector

        return LearnedDetector(folder)

    @abstractmethod
    def detect(self, frame: Frame, region: Region | None = None) -> list[Detection]:
        """Return detections, best first, in the whole frame or within a region.

        Parameters
        ----------
        frame : Frame
            As delivered.
        region : ((2,) array, float), optional
            Centre (u, v) and radius, px, of where to look.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget past frames: another scene follows."""

    def learn(self, frame: Frame, position: ArrayLike, uncertainty: float) -> None:
        """Told, after the fact, where the device is in a frame.

        A detector that keeps no memory of the scene ignores it.

        Parameters
        ----------
        frame : Frame
            The frame last given to `detect`.
        position : (2,) array
            Tracked centre (u, v), px.
        uncertainty : float
            How far, px, the true centre may be from it.
        """
        del frame, position, uncertainty
