"""How far a calibration is from a truth that a simulation knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.distortion import field_points
from mmdtwin.frame import Projection
from mmdtwin.hardware.imager_calibration.calibration import ImagerCalibration


@dataclass(frozen=True)
class Accuracy:
    """Largest errors over the images of a session.

    Parameters
    ----------
    isocentre : float
        Distance between the true isocentre, which each image's gantry turns about, and the
        calibrated one, m: all three components, along the central ray too.
    turn : float
        Angle between the true and the calibrated axes, rad.
    distortion : float
        Distance between where both distortions show a point of the field, px; 0 of panels.
    """

    isocentre: float
    turn: float
    distortion: float


def accuracy(calibration: ImagerCalibration, true: Sequence[Projection]) -> Accuracy:
    """Compare a calibration with the true projections of its images."""
    found = calibration.projections
    places = [np.linalg.norm(a.isocentre - b.isocentre) for a, b in zip(found, true, strict=True)]
    turns = [
        Rotation.from_matrix(a.axes.T @ b.axes).magnitude()
        for a, b in zip(found, true, strict=True)
    ]
    return Accuracy(float(max(places)), float(max(turns)), _distance(found[0], true[0]))


def _distance(found: Projection, true: Projection) -> float:
    points = field_points(true.shape)
    a, b = (points if p.distortion is None else p.distortion.distort(points) for p in (found, true))
    return float(np.linalg.norm(a - b, axis=1).max())
