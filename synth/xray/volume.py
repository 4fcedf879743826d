"""The volume that radiographs are made of: the CT on cubes, with its fine structure, kept."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmdtwin.files import cache_dir, digest, replacing, write_json
from mmdtwin.sim import anatomy as anatomy_module
from mmdtwin.sim.anatomy import TEST_SLAB_Y, Anatomy, load_anatomy, native
from mmdtwin.synth.xray import lung_vessels, texture
from mmdtwin.synth.xray.texture import isotropic, textured

PLANES_FIRST = (2, 0, 1)
SOURCES = (anatomy_module, texture, lung_vessels)  # what a volume depends on


@lru_cache(maxsize=2)
def load_volume(
    resolution: Literal["sample", "full"] = "sample", texture_seed: int | None = 0
) -> Anatomy:
    """Load the CT below the test slab as native tissue on cubes of 0.7 mm.

    It is made once (4 s from the sample) and kept in the user's cache, 0.2 to 0.3 GB, from where
    processes share it.

    Parameters
    ----------
    resolution : {"sample", "full"}
        CT to start from (see `mmdtwin.sim.anatomy.load_anatomy`).
    texture_seed : int, optional
        Seed of the fine structure; None for none.

    Returns
    -------
    Anatomy
        Read-only.

    Raises
    ------
    UserError
        If the full CT is asked for and cannot be fetched.
    """
    key = volume_key(resolution, texture_seed)
    hounsfield, labels, grid = (
        cache_dir("xray") / f"volume-{key}-{part}" for part in ("hu.npy", "labels.npy", "grid.json")
    )
    if not grid.is_file():
        volume = make_volume(load_native(resolution), texture_seed)
        for path, values in ((hounsfield, volume.hounsfield), (labels, volume.labels)):
            with replacing(path) as part:
                np.save(part, np.ascontiguousarray(values.transpose(*PLANES_FIRST)))
        # Last, since it says that the others are there.
        write_json(
            grid,
            {
                "origin": volume.origin.tolist(),
                "spacing": volume.spacing.tolist(),
                "names": {str(i): name for i, name in volume.names.items()},
            },
        )
    about = json.loads(grid.read_text())
    return Anatomy(
        labels=_shared(labels),
        spacing=np.array(about["spacing"]),
        origin=np.array(about["origin"]),
        names={int(i): name for i, name in about["names"].items()},
        hounsfield=_shared(hounsfield),
    )


def _shared(path: Path) -> NDArray:
    """Map a file of planes across z, which lie together as `drr` reads them."""
    return np.asarray(np.load(path, mmap_mode="r")).transpose(*np.argsort(PLANES_FIRST))


def make_volume(anatomy: Anatomy, texture_seed: int | None) -> Anatomy:
    """Resample a CT to cubes and add fine structure, unless the seed is None."""
    cubes = isotropic(anatomy)
    return cubes if texture_seed is None else textured(cubes, texture_seed)


def load_native(resolution: Literal["sample", "full"]) -> Anatomy:
    """Load the CT without contrast medium, below the test slab."""
    anatomy = load_anatomy(resolution)
    if resolution == "sample":
        return anatomy
    y = anatomy.origin[1] + anatomy.spacing[1] * np.arange(anatomy.labels.shape[1])
    below = slice(0, int(np.searchsorted(y, TEST_SLAB_Y)))
    return native(
        replace(anatomy, labels=anatomy.labels[:, below], hounsfield=anatomy.hounsfield[:, below])
    )


def volume_key(resolution: str, texture_seed: int | None) -> str:
    """Return a hash of all that a volume depends on, the code that makes it included."""
    code = [Path(str(module.__file__)).read_text() for module in SOURCES]
    return digest([resolution, texture_seed, code])
