"""Material maps of the CT: thickness of soft tissue and of bone along the rays of a projection.

A voxel becomes soft tissue and bone by its attenuation relative to water, r = 1 + HU/1000, at the
effective energy of the CT's own beam:

- up to soft tissue's own r it is soft tissue of lower density (lung, fat): thickness r / r_soft;
- above, a mixture by volume of soft tissue and cortical bone, (1 - b) r_soft + b r_bone = r.

So the CT's attenuation is kept exactly and the split is continuous. It assumes native tissue:
contrast medium would become bone (see `mmdtwin.sim.anatomy.native`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import TEST_SLAB_Y, Anatomy
from mmdtwin.synth.xray.materials import attenuation

CT_ENERGY = 70.0  # keV, effective energy of a 120 kVp CT beam in a body, assumed
MAP_STEP = 2  # detector pixels per sample of a map: finer than the CT's voxels at any usual pitch
MAX_TILT = np.deg2rad(45.0)  # beyond, the ray leaves through the truncated sides of the CT


def material_fractions(hounsfield: NDArray[np.int16]) -> tuple[NDArray, NDArray]:
    """Return the share of soft tissue and of cortical bone in voxels, float32, by volume."""
    water, soft, bone = (
        float(attenuation(name, CT_ENERGY)) for name in ("water", "soft-tissue", "bone")
    )
    relative = np.clip(1.0 + hounsfield.astype(np.float32) * 1e-3, 0.0, None)
    excess = np.maximum(relative - np.float32(soft / water), 0.0)
    share = np.minimum(excess / np.float32((bone - soft) / water), 1.5)  # denser than cortical
    return np.minimum(relative / np.float32(soft / water), 1.0) * np.maximum(1 - share, 0.0), share


def material_maps(
    anatomy: Anatomy,
    projection: Projection,
    isocentre: Array,
    *,
    below_test_slab: bool = True,
    cubic: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Project the CT on the detector, cut plane by cut plane.

    Parameters
    ----------
    anatomy : Anatomy
        Native tissue.
    projection : Projection
        Geometry with the isocentre at the world's origin.
    isocentre : (3,) array
        Position of the world's origin in the CT, m.
    below_test_slab : bool
        Refuse rays that meet the test anatomy.
    cubic : bool
        Interpolate the planes with cubics, which hides the 2.5 mm slices better and takes longer.

    Returns
    -------
    dict of str to (h, w) float32 array
        Thickness of "soft-tissue" and "bone", m.

    Raises
    ------
    UserError
        If rays leave the CT through its upper or lower end, or are tilted by more than 45 deg.
    """
    body = _body_depth(anatomy)
    check_coverage(anatomy, projection, isocentre, body, below_test_slab=below_test_slab)
    height, width = (n // MAP_STEP for n in projection.shape)
    kept = slice(*np.searchsorted(_plane_z(anatomy), body))
    fractions = np.stack(material_fractions(anatomy.hounsfield[:, :, kept]), axis=-1)
    planes = np.ascontiguousarray(fractions.transpose(2, 0, 1, 3))
    directions = _pixel_to_direction(projection, MAP_STEP)
    source = projection.source + np.asarray(isocentre, float)
    flags = (cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    total = np.zeros((height, width, 2), np.float32)
    for plane, z in zip(planes, _plane_z(anatomy)[kept], strict=True):
        to_index = _pixel_to_index(anatomy, directions, source, z)
        total += cv2.warpPerspective(plane, to_index, (width, height), flags=flags)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ directions.T
    slant = np.linalg.norm(rays, axis=-1) / np.abs(rays[..., 2]) * anatomy.spacing[2]
    total = np.maximum(total * slant[..., None].astype(np.float32), 0.0)
    maps = [cv2.resize(total[..., i], projection.shape[::-1], interpolation=cv2.INTER_CUBIC)
            for i in range(2)]  # fmt: skip
    return {n: np.maximum(m, 0.0) for n, m in zip(("soft-tissue", "bone"), maps, strict=True)}


def check_coverage(
    anatomy: Anatomy,
    projection: Projection,
    isocentre: Array,
    body: tuple[float, float],
    *,
    below_test_slab: bool = True,
) -> None:
    """Check that every ray stays between the ends of the CT while it is in the body.

    Raises
    ------
    UserError
        If it does not.
    """
    if abs(projection.axes[2, 2]) < np.cos(MAX_TILT):
        raise UserError("imager: the CT covers gantry angles up to 45 deg from the vertical only")
    lower, upper = anatomy.extent[:, 1]
    if below_test_slab:
        upper = min(upper, TEST_SLAB_Y)
    height, width = projection.shape
    corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    rays = projection.rays(corners)
    source = projection.source + np.asarray(isocentre, float)
    for z in body:
        y = source[1] + rays[:, 1] / rays[:, 2] * (z - source[2])
        if y.min() < lower or y.max() > upper:
            raise UserError(
                f"background: rays leave the CT (they need y {y.min():.3f}..{y.max():.3f} m, "
                f"usable {lower:.3f}..{upper:.3f}); use a smaller field, less angulation "
                "or another isocentre"
            )


def _body_depth(anatomy: Anatomy) -> tuple[float, float]:
    """Lowest and highest z of anything but air, m."""
    hits = np.flatnonzero((anatomy.hounsfield > -500).any(axis=(0, 1)))
    z = _plane_z(anatomy)
    return float(z[hits[0]]), float(z[hits[-1]] + 1e-9)


def _plane_z(anatomy: Anatomy) -> Array:
    return anatomy.origin[2] + anatomy.spacing[2] * np.arange(anatomy.labels.shape[2])


def _pixel_to_direction(projection: Projection, step: int) -> Array:
    """Matrix (3, 3) from (u, v, 1) on the grid of maps to a ray direction in the world."""
    height, width = (n // step for n in projection.shape)
    pitch = projection.pitch * step
    right, down, forward = projection.axes
    offset = forward * projection.sid
    offset = offset - right * pitch * (width - 1) / 2 - down * pitch * (height - 1) / 2
    return np.column_stack([right * pitch, down * pitch, offset])


def _pixel_to_index(anatomy: Anatomy, directions: Array, source: Array, z: float) -> Array:
    """Homography (3, 3) from a pixel to (column, row) = (y, x) indices of the plane at z."""
    rows = []
    for axis in (1, 0):
        position = source[axis] - anatomy.origin[axis]
        along = position * directions[2] + directions[axis] * (z - source[2])
        rows.append(along / anatomy.spacing[axis])
    return np.array([*rows, directions[2]])
