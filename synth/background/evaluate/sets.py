"""Sets of projections that backgrounds are compared with, made once, kept in the user's cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.frame import Projection
from mmdtwin.seeding import stream
from mmdtwin.sim.anatomy import TEST_SLAB_Y, Anatomy, load_anatomy, native
from mmdtwin.synth.background import matter as matter_module
from mmdtwin.synth.background import pair_files, pairs
from mmdtwin.synth.background.matter import Matter, covered, matter_of, project
from mmdtwin.synth.background.pair_files import (
    StoredPairs,
    read_pairs,
    read_shard,
    write_pairs,
    write_shard,
)
from mmdtwin.synth.background.pairs import (
    SID,
    SODS,
    VIEW_PIXEL,
    Facts,
    Pair,
    View,
    cut_pair,
    draw_facts,
    draw_view,
)
from mmdtwin.synth.xray.volume import make_volume

Resolution = Literal["full", "sample"]
NARROW = (0.130, 0.138)  # m, views of what the sets of the CT compare: fields of 100 to 135 mm
OVERLAP = 0.06  # m of the body below the test slab that rays to it cross
# m, isocentres of another slab: its middle, since it is only 80 mm high.
SLAB_BOX = ((-0.08, -0.072, -0.02), (0.10, -0.062, 0.02))
SLAB_SPAN = 0.105  # m
SLAB_PRIMARY = np.deg2rad(25.0)
CUTS = 2  # pairs from a projection


def held_out_pairs(count: int, seed: int, resolution: Resolution) -> StoredPairs:
    """Return projections at poses that no model was trained on, with complete masks."""
    key = _key("pairs", seed, resolution)
    folder = cache_dir("background") / f"held-out-{key}"
    write_pairs(folder, count, seed, split="held-out", resolution=resolution, complete=True)
    return read_pairs(folder, count)


def narrow_pairs(
    count: int, seed: int, resolution: Resolution, *, plain: bool = False
) -> StoredPairs:
    """Return held-out projections of the CT alone, of fields of 100 to 135 mm.

    Plain ones have no contrast medium, no instruments, and the densities of the CT.
    """
    rng = stream(seed, "background-held-out-narrow")

    def views() -> View:
        return draw_view(rng, "ct", resolution, spans=NARROW)

    name = f"narrow-{_key(count, seed, resolution, plain)}"
    return _stored(name, count, rng, views, plain=plain)


def slab_pairs(count: int, seed: int) -> StoredPairs:
    """Return projections of another slab of the patient: the test anatomy, shoulders and neck.

    Raises
    ------
    UserError
        If the full CT, which alone has it, cannot be fetched.
    """
    rng = stream(seed, "background-other-slab")

    def views() -> View:
        return slab_view(rng)

    return _stored(f"slab-{_key(count, seed)}", count, rng, views)


def slab_view(rng: np.random.Generator) -> View:
    """Project the test slab at a random pose."""
    matter = _slab_matter()
    side = round(SLAB_SPAN / VIEW_PIXEL)
    while True:
        primary, secondary = rng.uniform(-SLAB_PRIMARY, SLAB_PRIMARY), rng.normal(0, 0.03)
        isocentre = rng.uniform(*SLAB_BOX)
        sod = rng.uniform(*SODS)
        pitch = VIEW_PIXEL * SID / sod
        projection = Projection.from_carm(SID, sod, pitch, (side, side), primary, secondary)
        if covered(matter, projection, isocentre):
            break
    shadow = project(matter, projection, isocentre)
    return View(shadow, "ct", "shoulder", (float(primary), float(secondary)), "ct-slab")


def slab_anatomy() -> Anatomy:
    """Return the CT of the test slab and what rays to it cross: native tissue, on its own grid.

    Raises
    ------
    UserError
        If the full CT cannot be fetched.
    """
    whole = load_anatomy("full")
    y = whole.origin[1] + whole.spacing[1] * np.arange(whole.labels.shape[1])
    first = int(np.searchsorted(y, TEST_SLAB_Y - OVERLAP))
    return native(
        replace(
            whole,
            labels=whole.labels[:, first:],
            hounsfield=whole.hounsfield[:, first:],
            origin=whole.origin + np.array([0, first, 0]) * whole.spacing,
        )
    )


@lru_cache(maxsize=1)
def _slab_matter() -> Matter:
    path = cache_dir("background") / f"slab-matter-{_key()}.npz"
    if not path.is_file():
        found = matter_of(make_volume(slab_anatomy(), 0))
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, **vars(found))
    with np.load(path) as data:
        return Matter(**{name: data[name] for name in data.files})


def _stored(
    name: str,
    count: int,
    rng: np.random.Generator,
    views: Callable[[], View],
    *,
    plain: bool = False,
) -> StoredPairs:
    path = cache_dir("background") / f"{name}.npz"
    if not path.is_file():
        found: list[Pair] = []
        tries = 0
        while len(found) < count:
            tries += 1
            if tries > 50 * count:
                raise UserError(f"eval background: no views of '{name}' that the CT covers")
            view = views()
            for _ in range(CUTS):
                drawn = replace(draw_facts(rng), hide_contrast=False, hide_instruments=False)
                facts = Facts() if plain else drawn
                pair = cut_pair(rng, view, facts=facts)
                if pair is not None:
                    found.append(pair)
        write_shard(path, found[:count])
    return read_shard(path)


def _key(*what: object) -> str:
    code = [Path(str(m.__file__)).read_text() for m in (matter_module, pair_files, pairs)]
    return digest([__name__, *what, code])
