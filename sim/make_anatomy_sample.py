"""Make the anatomy that ships with the package from the full CT.

Run ``python -m mmdtwin.sim.make_anatomy_sample [FOLDER]`` in a checkout; it writes
``anatomy-sample.npz`` and ``arteries.npz`` to FOLDER (default: sim/data).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmdtwin.files import replacing
from mmdtwin.sim.anatomy import AIR, ARTERIES, TEST_SLAB_Y, Anatomy, load_anatomy, native

QUANTUM = 12  # HU; rms error 3.5 HU, below the noise of a CT voxel
MARGIN = 3  # voxels of air or background kept round a crop


def bounding_box(mask: NDArray[np.bool_], margin: int = MARGIN) -> tuple[slice, ...]:
    """Return the slices of the smallest box round a mask, grown by `margin` voxels."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(0, hits[0] - margin), hits[-1] + margin + 1))
    return tuple(box)


def halve(anatomy: Anatomy) -> Anatomy:
    """Return the anatomy at half the resolution in x and z: mean HU, nearest label."""
    nx, ny, nz = (n - n % 2 for n in anatomy.labels.shape)
    ny = anatomy.labels.shape[1]
    hu = anatomy.hounsfield[:nx, :, :nz].astype(np.float32)
    mean = hu.reshape(nx // 2, 2, ny, nz // 2, 2).mean(axis=(1, 4))
    factor = np.array([2.0, 1.0, 2.0])
    origin = anatomy.origin + anatomy.spacing * (factor - 1) / 2
    return Anatomy(
        anatomy.labels[:nx:2, :, :nz:2],
        anatomy.spacing * factor,
        origin,
        anatomy.names,
        np.rint(mean).astype(np.int16),
    )


def write_sample(anatomy: Anatomy, path: Path) -> None:
    """Write the native, halved CT below the test slab."""
    below = int(np.ceil((TEST_SLAB_Y - anatomy.origin[1]) / anatomy.spacing[1]))
    small = halve(native(anatomy))
    hu, labels = small.hounsfield[:, :below], small.labels[:, :below]
    box = bounding_box(hu > AIR + 200)
    box = (box[0], slice(0, below), box[2])
    steps = np.clip(np.rint((hu[box] - AIR) / QUANTUM), 0, 255).astype(np.uint8)
    first = np.zeros_like(steps[:, :1])
    origin = small.origin + small.spacing * np.array([s.start for s in box])
    _write(
        path,
        small.names,
        labels[box],
        steps=np.diff(steps, axis=1, prepend=first),
        quantum=np.array(QUANTUM, np.int16),
        spacing=small.spacing,
        origin=origin,
    )


def write_arteries(anatomy: Anatomy, path: Path) -> None:
    """Write the arteries' labels at full resolution."""
    kept = np.where(anatomy.mask(*ARTERIES), anatomy.labels, 0).astype(np.uint8)
    box = bounding_box(kept > 0)
    origin = anatomy.origin + anatomy.spacing * np.array([s.start for s in box])
    _write(path, anatomy.names, kept[box], spacing=anatomy.spacing, origin=origin)


def _write(path: Path, names: dict[int, str], labels: NDArray, **arrays: NDArray) -> None:
    present = {i: names[i] for i in np.unique(labels).tolist() if i in names}
    arrays["ids"] = np.array(list(present), np.uint8)
    arrays["names"] = np.array(list(present.values()))
    with replacing(path) as part:
        np.savez_compressed(part, allow_pickle=False, labels=labels, **arrays)


def main() -> None:
    """Write both files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data"
    anatomy = load_anatomy("full")
    write_sample(anatomy, folder / "anatomy-sample.npz")
    write_arteries(anatomy, folder / "arteries.npz")
    for name in ("anatomy-sample.npz", "arteries.npz"):
        print(f"{folder / name}: {(folder / name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
