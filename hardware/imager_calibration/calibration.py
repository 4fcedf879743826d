"""The calibration of an imager: how it is made from images, kept in a file and used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import Config, parse
from mmdtwin.config.bead_phantom import BeadPhantomConfig
from mmdtwin.distortion import Distortion
from mmdtwin.errors import UserError
from mmdtwin.files import digest, replacing
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, transform
from mmdtwin.hardware.imager_calibration.correspondence import pair
from mmdtwin.hardware.imager_calibration.find_beads import find_beads
from mmdtwin.hardware.imager_calibration.solve import (
    POSE,
    SHARED,
    Solution,
    Tolerance,
    View,
    shift_and_turn,
    solve,
)
from mmdtwin.rig import Registration

Vector = tuple[float, float, float]


class ImageRecord(Config):
    """One image of a session."""

    name: str
    source: Vector  # of the X-rays, in the phantom's frame, m
    axes: tuple[Vector, Vector, Vector]  # rows: u, v, source to detector
    T_world_imager: tuple[tuple[float, float, float, float], ...]  # from nominal to true, (4, 4), m
    shift_error: Vector  # standard errors of the isocentre's place, m
    turn_error: Vector  # of the rotation vector, rad
    beads: int  # that were found and kept
    outliers: int
    reprojection: float  # rms distance, px


class CalibrationRecord(Config):
    """What the file of a calibration holds. SI, pixels where named."""

    id: str
    date: str
    source: str
    phantom: str
    sid: float
    sid_error: float
    sod: float
    pitch: float
    shape: tuple[int, int]
    principal: tuple[float, float]  # px
    principal_error: tuple[float, float]  # px
    released: tuple[str, ...] = ()  # nominal values that the images contradict
    pincushion: float | None = None  # None: a panel
    s_distortion: float | None = None
    distortion_error: tuple[float, float] | None = None
    field_radius: float | None = None  # px
    field_centre: tuple[float, float] | None = None  # px
    T_world_imager: tuple[tuple[float, float, float, float], ...]  # mean over the images
    covariance: tuple[tuple[float, ...], ...]  # (6, 6), of (translation in m, rotation in rad)
    reprojection: float  # rms distance over the session, px
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True, eq=False)
class ImagerCalibration:
    """An imager as calibrated, in the frame of the phantom.

    Parameters
    ----------
    record : CalibrationRecord
        What its file holds.
    """

    record: CalibrationRecord

    @property
    def distortion(self) -> Distortion | None:
        """That of the session; None of a panel."""
        r = self.record
        if r.pincushion is None:
            return None
        assert r.s_distortion is not None and r.field_radius and r.field_centre
        return Distortion(r.pincushion, r.s_distortion, r.field_radius, r.field_centre)

    @property
    def projections(self) -> list[Projection]:
        """Those of the images, in order."""
        r = self.record
        return [
            Projection.from_axes(
                np.array(image.source), np.array(image.axes), r.sid, r.sod, r.pitch, r.shape,
                r.principal, self.distortion,
            )
            for image in r.images
        ]  # fmt: skip

    @property
    def registration(self) -> Registration:
        """Where the gantry stands in the world, for a rig's description: mean over the images."""
        r = self.record
        return Registration(np.array(r.T_world_imager), r.id, r.date, np.array(r.covariance))

    @property
    def reprojection_at_isocentre(self) -> float:
        """Rms distance between beads seen and fitted, m at the isocentre."""
        r = self.record
        return r.reprojection * r.pitch * r.sod / r.sid

    def save(self, path: Path) -> None:
        """Write it as YAML."""
        with replacing(path) as part:
            part.write_text(yaml.safe_dump(self.record.model_dump(mode="json"), sort_keys=False))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        UserError
            If it cannot be read or is no calibration.
        """
        try:
            data = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{path}: cannot be read as YAML ({type(error).__name__})") from error
        if not isinstance(data, dict):
            raise UserError(f"{path}: expected a mapping of keys to values")
        return cls(parse(CalibrationRecord, data, str(path)))


@dataclass(frozen=True, eq=False)
class Session:
    """A calibration and what it was made of, for pictures and tables."""

    calibration: ImagerCalibration
    views: list[View]
    solution: Solution


def calibrate(
    images: Sequence[NDArray],
    nominal: Sequence[Projection],
    phantom: BeadPhantomConfig,
    tolerance: Tolerance | None = None,
    names: Sequence[str] | None = None,
    source: str = "",
    phantom_name: str = "",
) -> Session:
    """Calibrate an imager from images of a bead phantom.

    Parameters
    ----------
    images : sequence of m (h, w) arrays
        Grey, brighter where more radiation arrives; any scale.
    nominal : sequence of m Projection
        What is believed of each, within 10 deg and 20 mm: gantry angles, distances, pitch; a
        distortion where there is an intensifier, whatever its size.
    phantom : BeadPhantomConfig
        What was imaged; its frame is the world.
    tolerance : Tolerance, optional
        How well `sid` and principal point are known.
    names : sequence of m str, optional
        Of the images.
    source, phantom_name : str
        For the record: which imager, which phantom.

    Raises
    ------
    UserError
        If images do not fit their geometry or each other, or show too few beads.
    """
    names = list(names or (f"image {i + 1}" for i in range(len(images))))
    _check(images, nominal, names)
    views = []
    for name, image, projection in zip(names, images, nominal, strict=True):
        try:
            finds = find_beads(image, phantom.diameters / 2 / projection.pixel_size)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        views.append(View(name, projection, finds, pair(finds, phantom, projection, name)))
    solution = solve(phantom.positions, views, tolerance or Tolerance())
    record = _record(views, solution, source, phantom_name)
    return Session(ImagerCalibration(record), views, solution)


def _check(images: Sequence[NDArray], nominal: Sequence[Projection], names: Sequence[str]) -> None:
    if not images or not len(images) == len(nominal) == len(names):
        raise UserError(
            f"calibrate: {len(images)} images, {len(nominal)} geometries, {len(names)} names; "
            "allowed are as many of each, and at least one"
        )
    first = nominal[0]
    for name, image, projection in zip(names, images, nominal, strict=True):
        if image.shape != projection.shape:
            raise UserError(
                f"{name}: {' x '.join(map(str, image.shape))} px (rows x columns), but the imager "
                f"has {projection.shape[0]} x {projection.shape[1]}"
            )
        shared = ("sid", "sod", "pitch", "shape", "principal", "distortion")
        if any(getattr(projection, key) != getattr(first, key) for key in shared):
            raise UserError(f"{name}: distances or detector differ from those of {names[0]}")


def _record(views: list[View], solution: Solution, source: str, phantom: str) -> CalibrationRecord:
    first, lens = views[0].nominal, solution.lens
    errors = np.sqrt(np.diag(solution.covariance))
    squares = [np.sum(r[k] ** 2, axis=1) for r, k in zip(solution.residuals, solution.kept,
                                                        strict=True)]  # fmt: skip
    T, covariance = _mean(views, solution)
    body: dict[str, Any] = {
        "source": source,
        "phantom": phantom,
        "sid": lens.focal * first.pitch,
        "sid_error": float(errors[0]) * first.sid,
        "sod": first.sod,
        "pitch": first.pitch,
        "shape": first.shape,
        "principal": lens.principal,
        "principal_error": errors[1:3].tolist(),
        "released": solution.released,
        "T_world_imager": T.tolist(),
        "covariance": covariance.tolist(),
        "reprojection": float(np.sqrt(np.mean(np.concatenate(squares)))),
        "images": [_image(view, i, solution, errors, squares[i]) for i, view in enumerate(views)],
    }
    if lens.bends:
        body |= {
            "pincushion": lens.pincushion,
            "s_distortion": lens.s_distortion,
            "distortion_error": errors[3:5].tolist(),
            "field_radius": lens.radius,
            "field_centre": lens.centre,
        }
    now = datetime.now(UTC)
    name = f"imager-{now:%Y%m%d}-{digest(body)[:8]}"
    head = {"id": name, "date": now.isoformat(timespec="seconds")}
    return parse(CalibrationRecord, head | body, "calibration")


def _image(view: View, i: int, solution: Solution, errors: Array, squares: Array) -> dict[str, Any]:
    T, part = solution.displacements[i], SHARED + POSE * i
    kept = solution.kept[i]
    return {
        "name": view.name,
        "source": (T[:3, :3] @ view.nominal.source + T[:3, 3]).tolist(),
        "axes": (view.nominal.axes @ T[:3, :3].T).tolist(),
        "T_world_imager": T.tolist(),
        "shift_error": errors[part : part + 3].tolist(),
        "turn_error": errors[part + 3 : part + 6].tolist(),
        "beads": int(kept.sum()),
        "outliers": int((~kept).sum()),
        "reprojection": float(np.sqrt(np.mean(squares))),
    }


def _mean(views: list[View], solution: Solution) -> tuple[Array, Array]:
    """Mean displacement and its covariance, with the images' spread where that is larger.

    The mean's covariance is of its place and of its turn; a gantry that sags differs from image to
    image by more than the fit's errors, and the mean is then no better than the spread over sqrt n.
    """
    each = np.array(
        [shift_and_turn(v.nominal, T) for v, T in zip(views, solution.displacements, strict=True)]
    )
    n = len(views)
    shift = each[:, :3].mean(axis=0)
    turn = Rotation.from_rotvec(each[:, 3:]).mean()
    mix = np.concatenate([np.zeros((POSE, SHARED)), np.tile(np.eye(POSE) / n, (1, n))], axis=1)
    covariance = mix @ solution.covariance @ mix.T
    if n > 1:
        spread = np.var(each, axis=0, ddof=1) / n
        extra = np.maximum(spread - np.diag(covariance), 0.0)
        covariance = covariance + np.diag(extra)
    centre = np.mean([view.nominal.isocentre for view in views], axis=0)
    rotation = turn.as_matrix()
    return transform(rotation, centre + shift - rotation @ centre), covariance
