"""The lumen that a user segmented: from labelled voxels of a NIfTI file to a closed wall."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import brentq

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import Labels
from mmdtwin.sim.phantoms.ct import signed_distance
from mmdtwin.sim.phantoms.grid import Grid
from mmdtwin.sim.phantoms.label_table import read_label_table
from mmdtwin.sim.phantoms.surface import Surface, one_piece
from mmdtwin.sim.phantoms.wall_file import check_extent

SHEAR = 1e-3  # cosine between two axes of a volume above which they are not at right angles
# Rows: x = patient left, y = towards the head, z = anterior, on NIfTI's axes (right, front, head).
WORLD_OF_NIFTI = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
LENGTHS = {"unknown": 1e-3, "mm": 1e-3, "meter": 1.0, "micron": 1e-6}  # m, of NIfTI's xyzt_units
MOST_NODES = 6e7  # of the grid on which labels are interpolated: a second each 1e7, 1.5 GB
SMALLEST = 30  # voxels of a lumen from which anything can be made
CORNERS = np.ones((3, 3, 3))  # voxels that share a corner are connected


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Voxels inside a lumen.

    Parameters
    ----------
    mask : (nx, ny, nz) bool array
        The largest connected piece of what was labelled.
    spacing : (3,) array
        Voxel size, m.
    rotation : (3, 3) array
        Takes directions on the axes of the voxels to the axes of the world.
    pieces : int
        Connected pieces that were labelled.
    kept : float
        Share of the labelled voxels that the largest piece holds.
    hounsfield : float
        Median HU of the lumen in the CT.
    """

    mask: NDArray[np.bool_]
    spacing: Array
    rotation: Array
    pieces: int
    kept: float
    hounsfield: float

    @property
    def volume(self) -> float:
        """Volume of the mask, m3."""
        return float(self.mask.sum() * np.prod(self.spacing))


def read_segmentation(
    ct: Path, mask: Path, labels: list[str], names: Path | None = None
) -> Segmentation:
    """Read the lumen with one or several labels.

    Parameters
    ----------
    ct, mask : Path
        NIfTI files on the same grid, in any orientation: HU, and a label per voxel.
    labels : list of str
        Numbers, or names that the table `names` explains.
    names : Path, optional
        Table with a number and a name in each row, with a header or without.

    Raises
    ------
    UserError
        If a file cannot be read, the grids differ, or a label is unknown or does not occur.
    """
    scan, affine = _load(ct)
    values, placed = _load(mask)
    if scan.shape != values.shape or not np.allclose(affine, placed, atol=1e-6):
        raise UserError(
            f"{mask}: its voxels are not those of {ct}: {values.shape} against {scan.shape}, or "
            "another placement; resample one to the other"
        )
    if not np.array_equal(values, np.rint(values)):
        raise UserError(f"{mask}: holds values that are no labels; labels are whole numbers")
    numbers = [_number(label, names, values, mask) for label in labels]
    found = np.isin(values, numbers)
    pieces, n = ndimage.label(found, CORNERS)
    sizes = np.bincount(pieces.ravel())[1:]
    largest = pieces == int(sizes.argmax()) + 1
    if sizes.max() < SMALLEST:
        raise UserError(f"{mask}: the labelled lumen has {sizes.max()} voxels; that is no vessel")
    spacing, rotation = _axes(placed, mask)
    return Segmentation(
        largest, spacing, rotation, int(n), float(sizes.max() / sizes.sum()),
        float(np.median(scan[largest])),
    )  # fmt: skip


def _load(path: Path) -> tuple[NDArray, NDArray]:
    """Return the values and the affine, m, of a volume on the axes right, front, head."""
    import nibabel

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(image.dataobj)
        unit = image.header.get_xyzt_units()[0]
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zlib.error,
            nibabel.filebasedimages.ImageFileError) as error:  # fmt: skip
        raise UserError(f"{path}: cannot be read as NIfTI ({error})") from error
    if values.ndim != 3:
        raise UserError(f"{path}: has {values.ndim} axes; a volume of 3 is needed")
    return values, np.diag([*[LENGTHS[unit]] * 3, 1.0]) @ image.affine


def _number(label: str, names: Path | None, values: NDArray, mask: Path) -> int:
    present = np.unique(values).astype(int)
    number, known = _whole(label), ", ".join(str(v) for v in present if v != 0)
    if number is None:
        if names is None:
            raise UserError(f"--label {label}: a name needs --names, a CSV of numbers and names")
        table = read_label_table(names)
        if label not in table:
            raise UserError(f"--label {label}: not in {names}; known: {', '.join(sorted(table))}")
        number, known = table[label], ", ".join(n for n, v in table.items() if v in present)
    if number == 0 or number not in present:
        raise UserError(f"--label {label}: does not occur in {mask}; there are: {known}")
    return number


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _axes(affine: NDArray, path: Path) -> tuple[Array, Array]:
    """Voxel size, m, and rotation from the voxels' axes to the world's; the affine is in m."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise UserError(f"{path}: its axes are not at right angles; resample it to a plain grid")
    if np.linalg.det(axes) < 0:
        raise UserError(f"{path}: its affine is left-handed; reorient it")
    return spacing, WORLD_OF_NIFTI @ axes


def lumen_wall(
    lumen: Segmentation, scale: float, voxel: float, smoothing: float
) -> tuple[Surface, float]:
    """Return the closed wall of a segmented lumen about the origin, on the axes of the world.

    The labels' signed distance is interpolated, smoothed, and cut where it encloses the volume of
    the mask: smoothing alone would shrink narrow vessels.

    Parameters
    ----------
    lumen : Segmentation
        The voxels.
    scale : float
        Factor on all lengths.
    voxel : float
        Of the interpolation, m, after scaling.
    smoothing : float
        Sigma of the Gaussian, m, before scaling.

    Returns
    -------
    surface : Surface
        The wall, m.
    shift : float
        How far the wall was moved outwards to keep the volume, m, after scaling.

    Raises
    ------
    UserError
        Which names the option that leaves no lumen, one of no vessel's size or too many voxels.
    """
    box = ndimage.find_objects(lumen.mask.astype(np.uint8))[0]
    _check_lumen(lumen.mask[box], lumen.spacing, scale, voxel, smoothing)
    labels = Labels(lumen.mask[box].astype(np.uint8), lumen.spacing, np.zeros(3), {1: "lumen"})
    field = signed_distance(labels, voxel / scale, smoothing)
    field = Grid(scale * field.values, scale * field.origin, voxel)
    if field.values.max() <= 0.0:
        raise UserError(
            f"--scale {scale:g}: the lumen falls between voxels of {voxel * 1e3:.3g} mm; choose a "
            "smaller --voxel or --smoothing, or a larger --scale"
        )
    shift = _keeping(field, lumen.volume * scale**3)
    surface = _cut_at(field, shift)
    shift += (lumen.volume * scale**3 - surface.volume) / surface.area  # what facets cut off
    surface = _cut_at(field, shift)
    vertices = surface.vertices @ lumen.rotation.T
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    return Surface(vertices - middle, surface.faces), shift


def _check_lumen(
    mask: NDArray[np.bool_], spacing: Array, scale: float, voxel: float, smoothing: float
) -> None:
    extent = scale * spacing * np.array(mask.shape)
    check_extent(f"--scale {scale:g}:", float(extent.max()))
    volume = float(np.prod(extent))
    if volume / voxel**3 > MOST_NODES:
        raise UserError(
            f"--voxel: {voxel * 1e3:.3g} mm is too fine for a lumen {extent.max() * 1e3:.3g} mm "
            f"large; give at least {(volume / MOST_NODES) ** (1 / 3):.2g}, or a smaller --scale"
        )
    padded = np.pad(mask, 1)
    radius = float(ndimage.distance_transform_edt(padded, sampling=spacing).max())
    if smoothing > radius:
        raise UserError(
            f"--smoothing: {smoothing:g} wipes out the lumen, whose largest radius is {radius:.2g} "
            "m before scaling"
        )


def _cut_at(field: Grid, shift: float) -> Surface:
    return Surface.of(one_piece(replace(field, values=field.values + np.float32(shift))))


def _keeping(field: Grid, volume: float) -> float:
    """How much to add to a distance, m, so that it is positive in a given volume, m3."""

    def excess(shift: float) -> float:
        filled = np.clip(0.5 + (field.values + shift) / field.voxel, 0.0, 1.0)
        return float(filled.sum(dtype=float)) * field.voxel**3 - volume

    most = 3.0 * field.voxel
    if excess(-most) > 0.0 or excess(most) < 0.0:
        raise UserError(
            "--smoothing: wipes out the lumen at this voxel; lower it, or choose a smaller --voxel"
        )
    return float(brentq(excess, -most, most, xtol=1e-3 * field.voxel))
