"""Distortion of an image intensifier: pincushion and S-shaped.

The curved input screen magnifies towards the edge (pincushion); the earth's field turns the
electrons on their way, the more the farther out they fly (S-distortion). With r the distance of an
ideal image point from the middle, in radii of the field, the point is shown at r (1 + k r^2) and
turned by s r^2 rad from u towards v: the terms of lowest order of both (Rudin, Bednarek and Wong,
Accurate characterization of image intensifier distortion, Medical Physics 18, 1991).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

if TYPE_CHECKING:
    from mmdtwin.frame import Projection

CONVERGED = 1e-14  # radii; 1e-11 px of a field of 2048 px
RINGS, SPOKES = 20, 36  # points over the field at which distortions are compared
STEPS = 60  # of Newton; it takes 5 of them unless the edge is all but folded


@dataclass(frozen=True)
class Distortion:
    """Where a distorted image shows what an ideal one shows elsewhere.

    Beyond the field, where nothing is seen, both terms go on along their tangents, so that every
    pixel has one origin.

    Parameters
    ----------
    pincushion : float
        k: displacement outwards at the edge of the field, over its radius. Negative: a barrel.
    s_distortion : float
        s: displacement around the middle at the edge of the field, over its radius.
    radius : float
        Of the field, px.
    centre : (float, float)
        Middle (u, v) of the field, px, which stays in place.

    Raises
    ------
    UserError
        If a number is not finite, the radius not positive, or the image folds within the field.
    """

    pincushion: float
    s_distortion: float
    radius: float
    centre: tuple[float, float]

    def __post_init__(self) -> None:
        values = (self.pincushion, self.s_distortion, self.radius, *self.centre)
        if not all(math.isfinite(value) for value in values):
            raise UserError("distortion: a number is not finite")
        if self.radius <= 0.0:
            raise UserError(f"distortion: radius {self.radius} px must be positive")
        if 1.0 + 3.0 * self.pincushion <= 0.0:
            raise UserError(
                f"distortion: pincushion {self.pincushion} folds the image within the field; "
                "allowed is more than -1/3"
            )

    def distort(self, pixels: ArrayLike) -> Array:
        """Return where ideal image points (..., 2), px, are shown, (..., 2) px."""
        offset = (np.asarray(pixels, float) - self.centre) / self.radius
        r = np.hypot(offset[..., 0], offset[..., 1])
        stretch = np.divide(self._outwards(r), r, out=np.ones_like(r), where=r > 0.0)
        return self.centre + self.radius * _turned(offset * stretch[..., None], self._angle(r))

    def undistort(self, pixels: ArrayLike) -> Array:
        """Return the ideal image points (..., 2), px, that are shown at `pixels` (..., 2)."""
        offset = (np.asarray(pixels, float) - self.centre) / self.radius
        shown = np.hypot(offset[..., 0], offset[..., 1])
        r = self._inwards(shown)
        shrink = np.divide(r, shown, out=np.ones_like(r), where=shown > 0.0)
        return self.centre + self.radius * _turned(offset * shrink[..., None], -self._angle(r))

    def area(self, pixels: ArrayLike) -> Array:
        """Return the ideal area, px^2, that the pixels at `pixels` (..., 2) show, (...)."""
        offset = (np.asarray(pixels, float) - self.centre) / self.radius
        shown = np.hypot(offset[..., 0], offset[..., 1])
        r = self._inwards(shown)
        stretch = np.divide(shown, r, out=np.ones_like(r), where=r > 0.0)
        # Turning keeps areas: what is left is the stretch around and that along the radius.
        return 1.0 / (stretch * self._slope(r))

    def _outwards(self, r: Array) -> Array:
        k = self.pincushion
        return np.where(r <= 1.0, r * (1.0 + k * r**2), 1.0 + k + (1.0 + 3.0 * k) * (r - 1.0))

    def _slope(self, r: Array) -> Array:
        return 1.0 + 3.0 * self.pincushion * np.minimum(r, 1.0) ** 2

    def _angle(self, r: Array) -> Array:
        return self.s_distortion * np.where(r <= 1.0, r**2, 2.0 * r - 1.0)

    def _inwards(self, shown: Array) -> Array:
        """Invert `_outwards` by Newton; from `shown` it comes near from one side."""
        r = np.array(shown, float)
        for _ in range(STEPS):
            step = (self._outwards(r) - shown) / self._slope(r)
            r -= step
            if np.nanmax(np.abs(step), initial=0.0) < CONVERGED * (1.0 + np.nanmax(r, initial=0.0)):
                break
        return r


def distortion_maps(
    projection: Projection,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what turns an ideal image into the distorted one.

    Parameters
    ----------
    projection : Projection
        With its distortion; without one, the maps change nothing.

    Returns
    -------
    map_u, map_v : (h, w) float32 array
        The ideal pixel that each pixel shows, for `cv2.remap`; outside of the image, nothing.
    area : (h, w) float32 array
        Ideal area that each pixel shows, px^2: light per pixel goes with it.
    """
    height, width = projection.shape
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(float)
    ideal, area = pixels, np.ones(projection.shape)
    if projection.distortion is not None:
        ideal, area = projection.distortion.undistort(pixels), projection.distortion.area(pixels)
    return (
        ideal[..., 0].astype(np.float32),
        ideal[..., 1].astype(np.float32),
        area.astype(np.float32),
    )


def _turned(offset: Array, angle: Array) -> Array:
    """Turn offsets (..., 2) by angles (...), rad, from u towards v."""
    c, s = np.cos(angle), np.sin(angle)
    u, v = offset[..., 0], offset[..., 1]
    return np.stack([c * u - s * v, s * u + c * v], axis=-1)


def field_points(shape: tuple[int, int]) -> Array:
    """Points (n, 2) px over the round field about the middle of an image, its edge included."""
    height, width = shape
    r = np.linspace(0.0, min(height, width) / 2, RINGS)
    angle = np.linspace(0.0, 2 * np.pi, SPOKES, endpoint=False)
    around = np.stack([np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))], axis=-1)
    return around.reshape(-1, 2) + np.array([width - 1, height - 1]) / 2
