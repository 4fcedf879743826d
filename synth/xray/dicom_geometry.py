"""The geometry of a C-arm in DICOM's terms.

DICOM tells where the detector is about a supine patient: the primary angle is 0 in front (anterior)
and positive towards the left (LAO), the secondary angle is positive towards the head (CRA); PS3.3,
C.8.7.5.1.2. The world has the patient's left along x, the head along y and the front along z, so
that the angles follow from the direction of the central ray. Neither tells of a gantry that stands
askew: such a placement is refused when written. The distortion of an intensifier has no tag either:
what is read has none.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.valuerep import DSfloat

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, transform

MILLI = 1e-3  # mm -> m
SAME = 1e-6  # of directions, and m of places: what rounding to 16 characters may change
SQUARE = 1e-4  # relative difference of pixel sides that still counts as square
# Along x, y and z of the world. XA has no place for where the table stands: these come from the
# radiotherapy images, whose axes (IEC 61217) are the world's for a patient head first and supine.
TABLE = ("TableTopLateralPosition", "TableTopLongitudinalPosition", "TableTopVerticalPosition")


def write_geometry(dataset: Dataset, projection: Projection) -> None:
    """Write distances, pixel spacing, angles and table position.

    Raises
    ------
    UserError
        If the gantry stands askew in the world, or its central ray misses the middle of the image.
    """
    axis = projection.axes[2]
    primary, secondary = math.atan2(axis[0], axis[2]), math.asin(float(np.clip(axis[1], -1, 1)))
    table = -projection.isocentre
    again = _projection(projection.sid, projection.sod, projection.pitch, projection.shape,
                        primary, secondary, table)  # fmt: skip
    if np.abs(again.axes - projection.axes).max() > SAME:
        raise UserError(
            "write_xa: the imager stands askew in the world, which DICOM's angles cannot say; "
            "write frames whose calibrated placement is not turned"
        )
    if np.abs(np.subtract(again.principal, projection.principal)).max() > SAME:
        raise UserError(
            f"write_xa: the central ray meets pixel {projection.principal}, which DICOM cannot "
            "say; write frames where it meets the middle"
        )
    dataset.DistanceSourceToDetector = decimal(projection.sid / MILLI)
    dataset.DistanceSourceToPatient = decimal(projection.sod / MILLI)
    dataset.EstimatedRadiographicMagnificationFactor = decimal(projection.sid / projection.sod)
    dataset.ImagerPixelSpacing = [decimal(projection.pitch / MILLI)] * 2
    dataset.PositionerMotion = dataset.TableMotion = "STATIC"
    dataset.PositionerPrimaryAngle = decimal(math.degrees(primary))
    dataset.PositionerSecondaryAngle = decimal(math.degrees(secondary))
    if np.abs(table).max() > SAME:
        for keyword, place in zip(TABLE, table, strict=True):
            setattr(dataset, keyword, decimal(float(place) / MILLI))


def read_projection(path: Path, dataset: Dataset, shape: tuple[int, int]) -> Projection:
    """Return the projection of a file that has the tags of its geometry.

    Raises
    ------
    UserError
        If one of them makes no sense, or the gantry or table moved during the run.
    """
    sid = _distance(path, dataset, "DistanceSourceToDetector")
    if dataset.get("DistanceSourceToPatient") is None:
        magnification = float(dataset.EstimatedRadiographicMagnificationFactor)
        if not magnification > 0.0:
            raise UserError(
                f"{path}: EstimatedRadiographicMagnificationFactor (0018,1114) is {magnification:g}"
            )
        sod = sid / magnification
    else:
        sod = _distance(path, dataset, "DistanceSourceToPatient")
    if not 0.0 < sod < sid:
        raise UserError(
            f"{path}: DistanceSourceToPatient (0018,1111) is {sod / MILLI:g} mm; it must be less "
            f"than DistanceSourceToDetector (0018,1110), {sid / MILLI:g} mm"
        )
    rows, columns = (float(side) * MILLI for side in dataset.ImagerPixelSpacing)
    if not 0.0 < rows < math.inf or abs(columns - rows) > SQUARE * rows:
        raise UserError(
            f"{path}: ImagerPixelSpacing (0018,1164) is {rows / MILLI:g} x {columns / MILLI:g} mm; "
            "allowed are square pixels"
        )
    for keyword in ("PositionerMotion", "TableMotion"):
        if dataset.get(keyword) == "DYNAMIC":
            raise UserError(f"{path}: {keyword} is DYNAMIC; allowed are runs of one geometry")
    angles = [
        math.radians(float(dataset[keyword].value))
        for keyword in ("PositionerPrimaryAngle", "PositionerSecondaryAngle")
    ]
    table = np.array([float(dataset.get(keyword) or 0.0) * MILLI for keyword in TABLE])
    if not np.isfinite([*angles, *table]).all():
        raise UserError(f"{path}: PositionerPrimaryAngle (0018,1510) and the others must be finite")
    return _projection(sid, sod, rows, shape, angles[0], angles[1], table)


def gantry_angles(projection: Projection) -> tuple[float, float]:
    """Return the configured angles (primary, secondary), rad, of a gantry that is not askew."""
    axis = projection.axes[2]
    return math.atan2(-axis[0], -axis[2]), math.asin(float(np.clip(axis[1], -1, 1)))


def decimal(value: float) -> DSfloat:
    """A number in the 16 characters that DICOM allows."""
    return DSfloat(float(value), auto_format=True)


def _projection(
    sid: float,
    sod: float,
    pitch: float,
    shape: tuple[int, int],
    primary: float,
    secondary: float,
    table: Array,
) -> Projection:
    """A projection from DICOM's angles, rad; a configured gantry counts from the tube in front."""
    turned = math.remainder(primary - math.pi, 2 * math.pi)
    placement = transform(translation=-table)
    return Projection.from_carm(sid, sod, pitch, shape, turned, secondary, placement)


def _distance(path: Path, dataset: Dataset, keyword: str) -> float:
    value = float(dataset[keyword].value) * MILLI
    if not 0.0 < value < math.inf:
        raise UserError(f"{path}: {keyword} is {value / MILLI:g} mm; it must be positive")
    return value
