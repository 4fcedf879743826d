"""Frames of a fluoroscope and the projection that made them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.geometry import Array, invert, transform


@dataclass(frozen=True, eq=False)
class Projection:
    """Cone-beam projection of the world on a detector.

    Parameters
    ----------
    matrix : (3, 4) array
        World point in m, homogeneous, to image point in px: u right, v down, pixel centres at
        integers (OpenCV convention).
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
    """

    matrix: Array
    source: Array
    axes: Array
    sid: float
    sod: float
    pitch: float
    shape: tuple[int, int]

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
    ) -> Projection:
        """Build the projection of a C-arm.

        With both angles 0 the source is above the table (+z), u is +x, v is -y, and a
        right-handed world is seen as it is (not mirrored). `primary` turns the gantry about y,
        `secondary` about x, in rad. `T_world_imager` moves the whole gantry.
        """
        cp, sp, cs, ss = np.cos(primary), np.sin(primary), np.cos(secondary), np.sin(secondary)
        about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        about_x = np.array([[1, 0, 0], [0, cs, -ss], [0, ss, cs]])
        rotation = about_y @ about_x
        placement = np.eye(4) if T_world_imager is None else np.asarray(T_world_imager, float)
        rest = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
        axes = (placement[:3, :3] @ rotation @ rest.T).T
        centre = placement[:3, 3]
        source = centre - sod * axes[2]
        focal = sid / pitch
        height, width = shape
        intrinsics = np.array(
            [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0.0, 0, 1]]
        )
        extrinsics = invert(transform(axes.T, source))[:3]
        return cls(intrinsics @ extrinsics, source, axes, sid, sod, pitch, shape)

    @property
    def pixel_size(self) -> float:
        """Size of a pixel at the isocentre, m."""
        return self.pitch * self.sod / self.sid

    def project(self, points: ArrayLike) -> Array:
        """Project world points (..., 3), m, to image points (..., 2), px."""
        p = np.asarray(points, float)
        h = p @ self.matrix[:, :3].T + self.matrix[:, 3]
        return h[..., :2] / h[..., 2:]

    def depth(self, points: ArrayLike) -> Array:
        """Distance of world points (..., 3) from the source along the central ray, m."""
        return (np.asarray(points, float) - self.source) @ self.axes[2]

    def rays(self, pixels: ArrayLike) -> Array:
        """Unit directions (..., 3) in the world of the rays from the source to pixels (..., 2)."""
        uv = np.asarray(pixels, float)
        height, width = self.shape
        du = (uv[..., :1] - (width - 1) / 2) * self.pitch
        dv = (uv[..., 1:] - (height - 1) / 2) * self.pitch
        d = du * self.axes[0] + dv * self.axes[1] + self.sid * self.axes[2]
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def back_project(self, pixels: ArrayLike, depth: ArrayLike) -> Array:
        """World points (..., 3) at pixels (..., 2) and at a depth (...) from the source, m."""
        rays = self.rays(pixels)
        along = rays @ self.axes[2]
        return self.source + rays * (np.asarray(depth, float) / along)[..., None]


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
    live: bool = True


@dataclass(frozen=True)
class Stale:
    """What a rig returns when no live frame came in time."""

    reason: str
    age: float  # seconds since the last live frame; inf when there was none
