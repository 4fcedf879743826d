"""Frames of a fluoroscope and the projection that made them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.distortion import Distortion
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, invert, transform

if TYPE_CHECKING:
    from mmdtwin.config.imager import DetectorConfig, ImagerConfig

SAME_LENGTH = 1e-6  # relative, of what counts as the same field


@dataclass(frozen=True, eq=False)
class Projection:
    """Cone-beam projection of the world on a detector.

    Parameters
    ----------
    matrix : (3, 4) array
        World point in m, homogeneous, to ideal image point in px: u right, v down, pixel centres
        at integers (OpenCV convention).
    source : (3,) array
        X-ray source in the world, m.
    axes : (3, 3) array
        Rows: direction of u, direction of v, and source-to-detector direction, in the world.
    sid, sod : float
        Source to detector and source to isocentre distance, m.
    pitch : float
        Detector pixel pitch, m.
    shape : (int, int)
        Image height and width, px.
    principal : (float, float), optional
        Pixel (u, v) that the central ray meets; the middle of the image by default.
    distortion : Distortion, optional
        Of an image intensifier. `project` takes it in, `rays` and `back_project` take it out.

    Raises
    ------
    UserError
        If a number is not finite, the detector lies behind the source, the isocentre not between
        the two, or pitch or shape is not positive.
    """

    matrix: Array
    source: Array
    axes: Array
    sid: float
    sod: float
    pitch: float
    shape: tuple[int, int]
    principal: tuple[float, float] = None  # type: ignore[assignment]  # set in __post_init__
    distortion: Distortion | None = None

    def __post_init__(self) -> None:
        _check(self.sid, self.sod, self.pitch, self.shape)
        if not all(np.isfinite(part).all() for part in (self.matrix, self.source, self.axes)):
            raise UserError("projection: a place or direction is not finite")
        if self.principal is None:
            object.__setattr__(self, "principal", _middle(self.shape))

    @classmethod
    def from_carm(
        cls,
        sid: float,
        sod: float,
        pitch: float,
        shape: tuple[int, int],
        primary: float = 0.0,
        secondary: float = 0.0,
        T_world_imager: Array | None = None,
        principal: tuple[float, float] | None = None,
        distortion: Distortion | None = None,
    ) -> Projection:
        """Build the projection of a C-arm.

        With both angles 0 the source is above the table (+z), u is +x, v is -y, and a
        right-handed world is seen as it is (not mirrored). `primary` turns the gantry about y,
        `secondary` about x, in rad. `T_world_imager` moves the whole gantry.

        Raises
        ------
        UserError
            As the class, and if an angle is not finite.
        """
        _check(sid, sod, pitch, shape)
        if not (math.isfinite(primary) and math.isfinite(secondary)):
            raise UserError(f"projection: angles {primary}, {secondary} rad must be finite")
        cp, sp, cs, ss = np.cos(primary), np.sin(primary), np.cos(secondary), np.sin(secondary)
        about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        about_x = np.array([[1, 0, 0], [0, cs, -ss], [0, ss, cs]])
        rotation = about_y @ about_x
        placement = np.eye(4) if T_world_imager is None else np.asarray(T_world_imager, float)
        rest = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
        axes = (placement[:3, :3] @ rotation @ rest.T).T
        source = placement[:3, 3] - sod * axes[2]
        return cls.from_axes(source, axes, sid, sod, pitch, shape, principal, distortion)

    @classmethod
    def from_axes(
        cls,
        source: Array,
        axes: Array,
        sid: float,
        sod: float,
        pitch: float,
        shape: tuple[int, int],
        principal: tuple[float, float] | None = None,
        distortion: Distortion | None = None,
    ) -> Projection:
        """Build the projection from where its source and its axes are; parameters as the class."""
        _check(sid, sod, pitch, shape)
        cu, cv = principal = principal or _middle(shape)
        focal = sid / pitch
        intrinsics = np.array([[focal, 0, cu], [0, focal, cv], [0.0, 0, 1]])
        matrix = intrinsics @ invert(transform(axes.T, source))[:3]
        return cls(matrix, source, axes, sid, sod, pitch, shape, principal, distortion)

    @classmethod
    def from_config(
        cls,
        config: ImagerConfig,
        primary: float | None = None,
        secondary: float | None = None,
        T_world_imager: Array | None = None,
    ) -> Projection:
        """Build the projection of a configured imager.

        Field and binning set pitch and shape, the table moves the gantry the other way (the world
        is fixed to the table), and an intensifier distorts.

        Parameters
        ----------
        config : ImagerConfig
            Distances, detector, table.
        primary, secondary : float, optional
            Gantry angles in place of the configured ones, rad.
        T_world_imager : (4, 4) array, optional
            Placement of the gantry, m, before the table moves.

        Raises
        ------
        UserError
            If the field is larger than the detector, or binning leaves a part of a pixel.
        """
        pitch, shape = image_grid(config.detector)
        placement = np.eye(4) if T_world_imager is None else np.asarray(T_world_imager, float)
        tube = config.detector.intensifier
        distortion = None
        if tube is not None:
            radius = min(shape) / 2
            distortion = Distortion(tube.pincushion, tube.s_distortion, radius, _middle(shape))
        return cls.from_carm(
            config.sid,
            config.sod,
            pitch,
            shape,
            config.primary if primary is None else primary,
            config.secondary if secondary is None else secondary,
            transform(translation=-np.asarray(config.table)) @ placement,
            distortion=distortion,
        )

    @property
    def ideal(self) -> Projection:
        """The same without distortion: the grid on which rays are traced."""
        return self if self.distortion is None else replace(self, distortion=None)

    @property
    def pixel_size(self) -> float:
        """Size of a pixel at the isocentre, m."""
        return self.pitch * self.sod / self.sid

    @property
    def isocentre(self) -> Array:
        """Point (3,) about which the gantry turns, in the world, m."""
        return self.source + self.sod * self.axes[2]

    @property
    def intrinsics(self) -> Array:
        """OpenCV's camera matrix (3, 3), px."""
        focal, (cu, cv) = self.sid / self.pitch, self.principal
        return np.array([[focal, 0.0, cu], [0.0, focal, cv], [0.0, 0.0, 1.0]])

    @property
    def extrinsics(self) -> tuple[Array, Array]:
        """OpenCV's rotation (3, 3) and translation (3,), m: camera = R world + t."""
        return self.axes, -self.axes @ self.source

    @property
    def distortion_coefficients(self) -> Array:
        """OpenCV's (k1, k2, p1, p2, k3), (5,); they hold within the field.

        Raises
        ------
        UserError
            If there is an S-distortion, or its middle is not the principal point: OpenCV's model
            has neither.
        """
        coefficients, bent = np.zeros(5), self.distortion
        if bent is None:
            return coefficients
        if bent.s_distortion != 0.0 or tuple(bent.centre) != tuple(self.principal):
            raise UserError(
                "projection: OpenCV's coefficients have no S-distortion and no centre of their "
                "own; undistort pixels with projection.distortion.undistort first"
            )
        coefficients[0] = bent.pincushion * (self.sid / self.pitch / bent.radius) ** 2
        return coefficients

    def project(self, points: ArrayLike) -> Array:
        """Project world points (..., 3), m, to image points (..., 2), px."""
        p = np.asarray(points, float)
        h = p @ self.matrix[:, :3].T + self.matrix[:, 3]
        uv = h[..., :2] / h[..., 2:]
        return uv if self.distortion is None else self.distortion.distort(uv)

    def depth(self, points: ArrayLike) -> Array:
        """Distance of world points (..., 3) from the source along the central ray, m."""
        return (np.asarray(points, float) - self.source) @ self.axes[2]

    def rays(self, pixels: ArrayLike) -> Array:
        """Unit directions (..., 3) in the world of the rays from the source to pixels (..., 2)."""
        uv = np.asarray(pixels, float)
        if self.distortion is not None:
            uv = self.distortion.undistort(uv)
        du = (uv[..., :1] - self.principal[0]) * self.pitch
        dv = (uv[..., 1:] - self.principal[1]) * self.pitch
        d = du * self.axes[0] + dv * self.axes[1] + self.sid * self.axes[2]
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def back_project(self, pixels: ArrayLike, depth: ArrayLike) -> Array:
        """World points (..., 3) at pixels (..., 2) and at a depth (...) from the source, m."""
        rays = self.rays(pixels)
        along = rays @ self.axes[2]
        return self.source + rays * (np.asarray(depth, float) / along)[..., None]


def image_grid(detector: DetectorConfig) -> tuple[float, tuple[int, int]]:
    """Return pitch, m, and shape (height, width), px, of the images of a detector.

    A smaller field of a panel is a part of it, about its middle, with the same pixels. That of an
    intensifier fills the same matrix, with smaller pixels.

    Raises
    ------
    UserError
        If the field is larger than the detector, or binning leaves a part of a pixel.
    """
    shape = (detector.rows, detector.columns)
    pitch, field, binning = detector.pitch, detector.field, detector.binning
    if any(side % binning for side in shape):
        raise UserError(
            f"detector.binning: {binning} must divide rows ({shape[0]}) and columns ({shape[1]})"
        )
    shape = (shape[0] // binning, shape[1] // binning)
    pitch *= binning
    if field is None:
        return pitch, shape
    whole = pitch * (min(shape) if detector.intensifier else max(shape))
    if field > whole * (1.0 + SAME_LENGTH):
        raise UserError(f"detector.field: {field} m is more than the detector has, {whole:g} m")
    if detector.intensifier:
        return pitch * field / whole, shape
    # As many pixels go on either side, so that the middle stays where it is.
    cut = [max(0, round((side - field / pitch) / 2)) for side in shape]
    shape = (shape[0] - 2 * cut[0], shape[1] - 2 * cut[1])
    if min(shape) < 1:
        raise UserError(f"detector.field: {field} m is less than a pixel, {pitch:g} m")
    return pitch, shape


def _middle(shape: tuple[int, int]) -> tuple[float, float]:
    height, width = shape
    return (width - 1) / 2, (height - 1) / 2


def _check(sid: float, sod: float, pitch: float, shape: tuple[int, int]) -> None:
    if not all(math.isfinite(value) for value in (sid, sod, pitch)):
        raise UserError(f"projection: sid {sid}, sod {sod}, pitch {pitch} m must be finite")
    if sid <= 0.0:
        raise UserError(f"projection: sid {sid} m: the detector lies behind the source; sid > 0")
    if not 0.0 < sod < sid:
        raise UserError(
            f"projection: sod {sod} m must be positive and less than sid ({sid} m): the isocentre "
            "lies between source and detector"
        )
    if pitch <= 0.0:
        raise UserError(f"projection: pitch {pitch} m must be positive")
    if min(shape) < 1:
        raise UserError(f"projection: shape {shape} px must be positive")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image as a rig delivers it.

    Times are seconds on the rig's clock. `projection` is the geometry *as calibrated*, which is
    all a laboratory knows. `live` is False for last-image-hold.
    """

    image: NDArray[np.uint16]
    seq: int
    t_exposure: float
    t_received: float
    projection: Projection
    source: str = "main"
    t_exposure_sigma: float = 0.0
    dose: float = 0.0  # detector entrance air kerma of this frame, Gy
    reference_kerma: float = 0.0  # air kerma at the patient entrance reference point, Gy
    dap: float = 0.0  # dose-area product, Gy m2
    live: bool = True


@dataclass(frozen=True)
class Stale:
    """What a rig returns when no live frame came in time."""

    reason: str
    age: float  # seconds since the last live frame; inf when there was none
