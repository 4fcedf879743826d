"""The lumen that a user segmented: from labelled voxels of a NIfTI file to a closed wall."""

from __future__ import annotations

import csv
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
from mmdtwin.sim.phantoms.surface import Surface, one_piece

SHEAR = 1e-3  # cosine between two axes of a volume above which they are not at right angles
# Rows: x = patient left, y = towards the head, z = anterior, on NIfTI's axes (right, front, head).
WORLD_OF_NIFTI = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
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
        CSV with a number and a name in each row, in any columns, as segmentation tools write.

    Raises
    ------
    UserError
        If a file cannot be read, the grids differ, or a label is unknown or does not occur.
    """
    scan, segmented = _load(ct), _load(mask)
    if scan.shape != segmented.shape or not np.allclose(scan.affine, segmented.affine, atol=1e-3):
        raise UserError(
            f"{mask}: its voxels are not those of {ct}: {segmented.shape} against {scan.shape}, or "
            "another placement; resample one to the other"
        )
    values = np.asarray(segmented.dataobj)
    if not np.array_equal(values, np.rint(values)):
        raise UserError(f"{mask}: holds values that are no labels; labels are whole numbers")
    numbers = [_number(label, names, values, mask) for label in labels]
    found = np.isin(values, numbers)
    pieces, n = ndimage.label(found, CORNERS)
    sizes = np.bincount(pieces.ravel())[1:]
    largest = pieces == int(sizes.argmax()) + 1
    if sizes.max() < SMALLEST:
        raise UserError(f"{mask}: the labelled lumen has {sizes.max()} voxels; that is no vessel")
    spacing, rotation = _axes(segmented.affine, mask)
    return Segmentation(
        largest, spacing, rotation, int(n), float(sizes.max() / sizes.sum()),
        float(np.median(np.asarray(scan.dataobj)[largest])),
    )  # fmt: skip


def _load(path: Path):  # type: ignore[no-untyped-def]
    import nibabel

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        shape = image.shape
    except (OSError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise UserError(f"{path}: cannot be read as NIfTI ({error})") from error
    if len(shape) != 3:
        raise UserError(f"{path}: has {len(shape)} axes; a volume of 3 is needed")
    return image


def _number(label: str, names: Path | None, values: NDArray, mask: Path) -> int:
    present = np.unique(values).astype(int)
    if label.lstrip("-").isdigit():
        number, known = int(label), ", ".join(str(v) for v in present if v != 0)
    elif names is None:
        raise UserError(f"--label {label}: a name needs --names, a CSV of numbers and names")
    else:
        table = _table(names)
        if label not in table:
            raise UserError(f"--label {label}: not in {names}; known: {', '.join(sorted(table))}")
        number, known = table[label], ", ".join(n for n, v in table.items() if v in present)
    if number == 0 or number not in present:
        raise UserError(f"--label {label}: does not occur in {mask}; there are: {known}")
    return number


def _table(path: Path) -> dict[str, int]:
    """Numbers by name: of each row the last whole number and the last text."""
    try:
        rows = list(csv.reader(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--names {path}: cannot be read as a table ({error})") from error
    table = {}
    for row in rows:
        numbers = [int(v) for v in row if v.strip().isdigit()]
        texts = [v.strip() for v in row if v.strip() and not _is_number(v)]
        if numbers and texts:
            table[texts[-1]] = numbers[-1]
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _axes(affine: NDArray, path: Path) -> tuple[Array, Array]:
    """Voxel size, m, and rotation from the voxels' axes to the world's."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise UserError(f"{path}: its axes are not at right angles; resample it to a plain grid")
    if np.linalg.det(axes) < 0:
        raise UserError(f"{path}: its affine is left-handed; reorient it")
    return spacing * 1e-3, WORLD_OF_NIFTI @ axes


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
    """
    box = ndimage.find_objects(lumen.mask.astype(np.uint8))[0]
    labels = Labels(lumen.mask[box].astype(np.uint8), lumen.spacing, np.zeros(3), {1: "lumen"})
    field = signed_distance(labels, voxel / scale, smoothing)
    field = Grid(scale * field.values, scale * field.origin, voxel)
    shift = _keeping(field, lumen.volume * scale**3)
    surface = _cut_at(field, shift)
    shift += (lumen.volume * scale**3 - surface.volume) / surface.area  # what facets cut off
    surface = _cut_at(field, shift)
    vertices = surface.vertices @ lumen.rotation.T
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    return Surface(vertices - middle, surface.faces), shift


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
