"""Where a displaced imager shows points: what the calibration's fits are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scipy.spatial.transform import Rotation

from mmdtwin.distortion import Distortion
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, transform


@dataclass(frozen=True)
class Lens:
    """What all images of a session share.

    Parameters
    ----------
    focal : float
        Source to detector, px.
    principal : (float, float)
        Pixel that the central ray meets.
    radius, centre : float, (float, float)
        Of the field, px, as `Distortion` has them.
    pincushion, s_distortion : float
        As `Distortion` has them.
    bends : bool
        Whether there is distortion at all: panels have none.
    """

    focal: float
    principal: tuple[float, float]
    radius: float
    centre: tuple[float, float]
    pincushion: float = 0.0
    s_distortion: float = 0.0
    bends: bool = False

    @classmethod
    def of(cls, projection: Projection) -> Lens:
        """Return that of a projection."""
        focal, bent = projection.sid / projection.pitch, projection.distortion
        height, width = projection.shape
        if bent is None:
            centre = ((width - 1) / 2, (height - 1) / 2)
            return cls(focal, projection.principal, min(projection.shape) / 2, centre)
        bends = (bent.pincushion, bent.s_distortion)
        return cls(focal, projection.principal, bent.radius, bent.centre, *bends, bends=True)

    @property
    def distortion(self) -> Distortion | None:
        """The distortion, if there is any."""
        if not self.bends:
            return None
        return Distortion(self.pincushion, self.s_distortion, self.radius, self.centre)

    @property
    def ideal(self) -> Lens:
        """The same without distortion."""
        return replace(self, bends=False)

    def with_bends(self, values: Array) -> Lens:
        """Return it with another (pincushion, s_distortion)."""
        if not self.bends:
            return self
        return replace(self, pincushion=float(values[0]), s_distortion=float(values[1]))

    def straight(self, pixels: Array) -> Array:
        """Return the pixels (n, 2) without distortion."""
        bent = self.distortion
        return pixels if bent is None else bent.undistort(pixels)


def shown(points: Array, nominal: Projection, pose: Array, lens: Lens) -> Array:
    """Return where a displaced imager shows points.

    Parameters
    ----------
    points : (n, 3) array
        In the world, m.
    nominal : Projection
        Where the imager is believed to be.
    pose : (6,) array
        Rotation vector, rad, and shift, m, of the world about the nominal isocentre as that
        imager would see it: the inverse of how the imager is displaced.
    lens : Lens
        Focal length, principal point and distortion.

    Returns
    -------
    (n, 2) array
        px.
    """
    about = Rotation.from_rotvec(pose[:3]).apply(points - nominal.isocentre) + pose[3:]
    camera = about @ nominal.axes.T
    uv = lens.principal + lens.focal * camera[:, :2] / (camera[:, 2:] + nominal.sod)
    bent = lens.distortion
    return uv if bent is None else bent.distort(uv)


def displacement(nominal: Projection, pose: Array) -> Array:
    """Return the transform (4, 4) that takes the nominal imager to where it is, in the world, m."""
    rotation = Rotation.from_rotvec(pose[:3]).as_matrix().T
    centre = nominal.isocentre
    return transform(rotation, centre - rotation @ (centre + pose[3:]))


def placed(nominal: Projection, T: Array, lens: Lens) -> Projection:
    """Return the projection of the nominal imager displaced by `T`, with another lens."""
    return Projection.from_axes(
        T[:3, :3] @ nominal.source + T[:3, 3],
        nominal.axes @ T[:3, :3].T,
        lens.focal * nominal.pitch,
        nominal.sod,
        nominal.pitch,
        nominal.shape,
        lens.principal,
        lens.distortion,
    )
