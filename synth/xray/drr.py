"""Material maps of the CT: thickness of soft tissue and of bone along the rays of a projection.

A voxel becomes soft tissue and bone by its attenuation relative to water, r = 1 + HU/1000, at the
effective energy of the CT's own beam:

- up to soft tissue's own r it is soft tissue of lower density (lung, fat): thickness r / r_soft;
- above, in the labelled skeleton, a mixture by volume of soft tissue and cortical bone,
  (1 - b) r_soft + b r_bone = r;
- elsewhere up to 150 HU more it is denser soft tissue (texture, and the noise of the CT); only
  above that it holds bone, which the labels have missed.

So the CT's attenuation is kept exactly and each split is continuous in HU. It assumes native
tissue: contrast medium would become bone (see `mmdtwin.sim.anatomy.native`).

Rays are cut by the planes of voxels that they cross most steeply, whichever way the gantry points.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import AIR, SKELETON, TEST_SLAB_Y, Anatomy
from mmdtwin.synth.xray.materials import attenuation

CT_ENERGY = 70.0  # keV, effective energy of a 120 kVp CT beam in a body, assumed
SAMPLING = 0.6  # voxels between the rays of a map, at the isocentre; the rest is interpolated
MARGIN = 2  # rays round the image, so that the interpolation has neighbours
BAND = 32  # rows of rays that are followed together: their sums stay in the processor's cache
THREADS = 2
BODY = -500  # HU above which there is skin
DENSER = 0.15  # of water's attenuation that soft tissue without a label of bone may have more


def material_fractions(
    hounsfield: NDArray[np.int16], skeleton: bool = True
) -> tuple[NDArray, NDArray]:
    """Return the thickness of soft tissue and of cortical bone over that of voxels, float32.

    Parameters
    ----------
    hounsfield : array of int
        HU.
    skeleton : bool
        Whether the voxels are labelled as bone.
    """
    soft, bone = relative_attenuation()
    relative = np.clip(1.0 + hounsfield.astype(np.float32) * 1e-3, 0.0, None)
    above = soft if skeleton else soft + DENSER
    share = np.maximum(relative - above, 0.0) / (bone - above)
    return ((relative - bone * share) / soft).astype(np.float32), share.astype(np.float32)


def material_maps(
    anatomy: Anatomy,
    projection: Projection,
    isocentre: Array,
    *,
    below_test_slab: bool = True,
) -> dict[str, NDArray[np.float32]]:
    """Integrate the CT along the rays of a projection.

    Parameters
    ----------
    anatomy : Anatomy
        Native tissue. Cubes with fine structure come from `mmdtwin.synth.xray.texture`.
    projection : Projection
        Geometry, from any direction but along the body. Distortion is left out.
    isocentre : (3,) array
        Position of the world's origin in the CT, m.
    below_test_slab : bool
        Refuse rays that meet the test anatomy.

    Returns
    -------
    dict of str to (h, w) float32 array
        Thickness of "soft-tissue" and "bone", m. Where the CT cuts the body off, at its sides,
        the rest is missing: see `truncation`.

    Raises
    ------
    UserError
        If rays leave the CT through its upper or lower end.
    """
    check_coverage(anatomy, projection, isocentre, below_test_slab=below_test_slab)
    rays = _Rays.of(anatomy, projection, isocentre)
    axis, across = rays.axis, rays.across
    planes = np.ascontiguousarray(anatomy.hounsfield.transpose(axis, *across))
    labels = np.ascontiguousarray(anatomy.labels.transpose(axis, *across))
    soft, bone = relative_attenuation()
    above = np.array([soft + DENSER, soft])
    skeleton = _skeleton(anatomy)
    bounds = _planes(anatomy, axis, AIR)
    total = np.zeros((*rays.slope.shape[1:], 2), np.float32)

    limits = (1000.0 * above).astype(np.float32), (1.0 / (bone - above)).astype(np.float32)

    def follow(row: int) -> None:
        part = slice(row, row + BAND)
        slope_r, slope_c = rays.slope[:, part]
        _follow(
            planes, labels, skeleton, *bounds, slope_r, slope_c, rays.start, rays.depth,
            *limits, total[part],
        )  # fmt: skip

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(follow, range(0, len(total), BAND)))
    step = rays.length * np.float32(anatomy.spacing[axis] * 1e-3)
    bone_map = total[..., 1] * step
    soft_map = (total[..., 0] * step - np.float32(bone) * bone_map) / np.float32(soft)
    maps = [rays.resample(m, projection.shape) for m in (soft_map, bone_map)]
    return {n: np.maximum(m, 0.0) for n, m in zip(("soft-tissue", "bone"), maps, strict=True)}


def truncation(anatomy: Anatomy, projection: Projection, isocentre: Array) -> float:
    """Return the share of a projection's rays that enter or leave the CT inside the body.

    At the sides of the CT the body goes on, and what they cross there is missing from the maps.
    """
    rays = _Rays.of(anatomy, projection, isocentre)
    dense = anatomy.hounsfield > BODY
    shape = dense.shape
    axis, across = rays.axis, rays.across
    cut = np.zeros(rays.slope.shape[1:], bool)
    # The two faces that the rays cross along their axis, then those at the sides.
    for plane in (0, shape[axis] - 1):
        r, c = (rays.start[i] + rays.slope[i] * (plane + rays.depth) for i in range(2))
        sheet = np.asarray(dense.take(plane, axis), bool)
        cut |= _hits(sheet if axis == 2 else sheet.T, r, c)
    for n, face in enumerate(across):
        if face == 1:
            continue  # head and feet: `check_coverage`
        other = across[1 - n]
        for side, index in ((0, 0), (-1, shape[face] - 1)):
            with np.errstate(divide="ignore", invalid="ignore"):
                depth = (index - rays.start[n]) / rays.slope[n]
            p = depth - rays.depth
            q = rays.start[1 - n] + rays.slope[1 - n] * depth
            sheet = np.asarray(dense.take(side, face), bool)  # its axes keep their order
            cut |= _hits(sheet, p, q) if axis < other else _hits(sheet, q, p)
    return float(cut[MARGIN:-MARGIN, MARGIN:-MARGIN].mean())


def check_coverage(
    anatomy: Anatomy, projection: Projection, isocentre: Array, *, below_test_slab: bool = True
) -> None:
    """Check that every ray stays between the ends of the CT while it is in the body.

    Raises
    ------
    UserError
        If it does not.
    """
    axis = int(np.argmax(np.abs(projection.axes[2])))
    if axis == 1:
        raise UserError("background: the gantry looks along the body; tilt it by less than 45 deg")
    lower, upper = anatomy.extent[:, 1]
    if below_test_slab:
        upper = min(upper, TEST_SLAB_Y)
    projection = projection.ideal
    height, width = projection.shape
    corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    rays = projection.rays(corners)
    source = projection.source + np.asarray(isocentre, float)
    first, last = _planes(anatomy, axis, BODY)
    for plane in (first, last):
        depth = anatomy.origin[axis] + anatomy.spacing[axis] * plane - source[axis]
        y = source[1] + rays[:, 1] / rays[:, axis] * depth
        if y.min() < lower or y.max() > upper:
            raise UserError(
                f"background: rays leave the CT (they need y {y.min():.3f}..{y.max():.3f} m, "
                f"usable {lower:.3f}..{upper:.3f}); use a smaller field, less angulation "
                "or another isocentre"
            )


@dataclass(frozen=True, eq=False)
class _Rays:
    """Rays of a map, in indices of the CT.

    On plane `p` along `axis`, a ray is at start + slope (p + depth) along the axes `across`.
    """

    axis: int
    across: tuple[int, int]
    start: tuple[float, float]
    slope: NDArray[np.float32]  # (2, rows, columns)
    depth: float
    length: NDArray[np.float32]  # between planes, over their distance
    step: int  # pixels between rays

    @classmethod
    def of(cls, anatomy: Anatomy, projection: Projection, isocentre: Array) -> _Rays:
        projection = projection.ideal
        axis = int(np.argmax(np.abs(projection.axes[2])))
        across = (0, 1) if axis == 2 else (2, 1)
        step = max(1, int(SAMPLING * anatomy.spacing.min() / projection.pixel_size))
        v, u = (_samples(n, step) for n in projection.shape)
        rays = projection.rays(np.stack(np.meshgrid(u, v), axis=-1))
        position = (projection.source + np.asarray(isocentre, float) - anatomy.origin).tolist()
        spacing = anatomy.spacing.tolist()
        slope = [rays[..., i] / rays[..., axis] * spacing[axis] / spacing[i] for i in across]
        return cls(
            axis,
            across,
            (position[across[0]] / spacing[across[0]], position[across[1]] / spacing[across[1]]),
            np.stack(slope).astype(np.float32),
            -position[axis] / spacing[axis],
            (1.0 / np.abs(rays[..., axis])).astype(np.float32),
            step,
        )

    def resample(self, values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Interpolate a map at the pixels of an image."""
        if self.step == 1:
            return values[MARGIN:-MARGIN, MARGIN:-MARGIN]
        scale = 1.0 / self.step
        shift = [
            (m - 1) / 2 - scale * (n - 1) / 2 for m, n in zip(values.shape, shape, strict=True)
        ]
        matrix = np.array([[scale, 0.0, shift[1]], [0.0, scale, shift[0]]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(values, matrix, shape[::-1], flags=flags), np.float32)


def _samples(pixels: int, step: int) -> Array:
    """Pixel coordinates of the rays along one side, about the middle of the image."""
    count = -(-pixels // step) + 2 * MARGIN
    return np.asarray((np.arange(count) - (count - 1) / 2) * step + (pixels - 1) / 2, float)


def relative_attenuation() -> tuple[float, float]:
    """Attenuation of soft tissue and of cortical bone over that of water."""
    water, soft, bone = (
        float(attenuation(name, CT_ENERGY)) for name in ("water", "soft-tissue", "bone")
    )
    return soft / water, bone / water


def _skeleton(anatomy: Anatomy) -> NDArray[np.int64]:
    """Return 1 for each label of the skeleton, (256,); for every one of a CT without such."""
    found = [i for i, name in anatomy.names.items() if name.startswith(SKELETON)]
    skeleton = np.zeros(256, np.int64)
    skeleton[found or slice(None)] = 1
    return skeleton


def _planes(anatomy: Anatomy, axis: int, above: int) -> tuple[int, int]:
    """First and last plane along an axis with any voxel above a HU."""
    others = tuple(i for i in range(3) if i != axis)
    hits = np.flatnonzero(anatomy.hounsfield.max(axis=others) > above)
    return (int(hits[0]), int(hits[-1])) if len(hits) else (0, -1)


def _hits(sheet: NDArray[np.bool_], row: NDArray, column: NDArray) -> NDArray[np.bool_]:
    """Return where points, in indices, lie on a set pixel of a sheet."""
    with np.errstate(invalid="ignore"):
        inside = (row > -0.5) & (row < sheet.shape[0] - 0.5)
        inside &= (column > -0.5) & (column < sheet.shape[1] - 0.5)
    found = np.zeros(row.shape, bool)
    found[inside] = sheet[np.rint(row[inside]).astype(int), np.rint(column[inside]).astype(int)]
    return found


@njit(cache=True, nogil=True, fastmath=True)
def _follow(
    planes: NDArray,
    labels: NDArray,
    skeleton: NDArray,
    first: int,
    last: int,
    slope_r: NDArray,
    slope_c: NDArray,
    start: tuple[float, float],
    depth: float,
    above: NDArray,
    scale: NDArray,
    total: NDArray,
) -> None:
    """Add up 1000 r, and 1000 times the share of bone, over planes by linear interpolation.

    A share is what of 1000 r is `above` soft tissue, times `scale`, by the nearest voxel's label.
    """
    rows, columns = planes.shape[1], planes.shape[2]
    height, width = slope_r.shape
    soft, half, zero = above[1], np.float32(0.5), np.float32(0.0)
    start_r, start_c = np.float32(start[0]), np.float32(start[1])
    for p in range(first, last + 1):
        plane = planes[p]
        d = np.float32(p + depth)
        for v in range(height):
            for u in range(width):
                r = start_r + slope_r[v, u] * d
                c = start_c + slope_c[v, u] * d
                if r < 0 or c < 0:
                    continue
                i, j = int(r), int(c)
                if i >= rows - 1 or j >= columns - 1:
                    continue
                fr, fc = r - np.float32(i), c - np.float32(j)
                a, b = np.float32(plane[i, j]), np.float32(plane[i, j + 1])
                e, f = np.float32(plane[i + 1, j]), np.float32(plane[i + 1, j + 1])
                a += (b - a) * fc
                e += (f - e) * fc
                a += (e - a) * fr + np.float32(1000.0)
                total[v, u, 0] += a
                if a > soft:
                    kind = skeleton[labels[p, int(r + half), int(c + half)]]
                    total[v, u, 1] += max(a - above[kind], zero) * scale[kind]
