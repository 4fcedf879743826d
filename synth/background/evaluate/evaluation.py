"""The evaluation of a generator: every figure, from fidelity to likeness."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.synth.background.classes import MaskStack, unpack
from mmdtwin.synth.background.evaluate import fidelity, likeness
from mmdtwin.synth.background.evaluate.controls import Paint
from mmdtwin.synth.background.evaluate.figure import Figure
from mmdtwin.synth.background.evaluate.radiographs import real_patches
from mmdtwin.synth.background.evaluate.segmenter import Segmenter, load_segmenter
from mmdtwin.synth.background.evaluate.sets import (
    Resolution,
    held_out_pairs,
    narrow_pairs,
    slab_pairs,
)
from mmdtwin.synth.background.maps import decode
from mmdtwin.synth.background.pair_files import StoredPairs, read_pairs

if TYPE_CHECKING:
    from mmdtwin.synth.background.generator import BackgroundGenerator

SIDE = 128  # px, of the projections, and so of what is compared with them
REFERENCES = 5  # times as many projections as masks, for the distribution that is compared with
PAINTED = 512  # projections that the painted control takes its means from
# Seeds of poses, apart from those that generators and segmenters are trained on by default.
POSES = 1000


def evaluate(
    generator: BackgroundGenerator,
    *,
    count: int = 200,
    seed: int = 0,
    steps: int = 20,
    resolution: Resolution = "full",
    training: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Figure]:
    """Yield the figures of a generator.

    Parameters
    ----------
    generator : BackgroundGenerator
    count : int
        Masks; prompts take half as many pairs, channels a quarter.
    seed : int
        Of poses and of noise.
    steps : int
        Of denoising.
    resolution : {"full", "sample"}
        Of the CT. The sample lacks the other slab, so that what is compared with it is skipped.
    training : path, optional
        Folder of the pairs that the generator was trained on, to look for copies in.
    progress : callable, optional
        Called with the number of backgrounds that have been drawn.

    Raises
    ------
    UserError
        If the full CT is asked for and cannot be fetched, or the segmenter is not there.
    """
    done = 0

    def draw(
        prompts: list[str], masks: MaskStack, seeds: list[int], field: float, place: bool = True
    ) -> NDArray[np.float32]:
        nonlocal done
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            drawn = generator.generate(
                prompts, masks, seeds, size=SIDE, steps=steps, field=field, place=place
            )
        done += len(drawn)
        if progress is not None:
            progress(done)
        return np.stack([each.maps for each in drawn])

    segmenter, grey = load_segmenter("maps"), load_segmenter("grey")
    held_out = held_out_pairs(count, POSES + seed, resolution)
    paint = Paint.of(held_out_pairs(PAINTED, POSES + seed + 1, resolution))
    yield from fidelity.fidelity(draw, held_out, paint, segmenter, seed)
    narrow = narrow_pairs(count, POSES + seed, resolution)
    half = narrow.first(max(count // 2, 2))
    alone = partial(draw, place=False)
    yield from fidelity.prompt_response(draw, alone, half, segmenter, seed)
    yield fidelity.channel_places(draw, max(count // 4, 1), seed)
    masks, seeds = unpack(narrow.bits), [seed + i for i in range(len(narrow.captions))]
    drawn = draw(narrow.captions, masks, seeds, 0.115)
    again = draw(half.captions, unpack(half.bits), [s + 10_000 for s in seeds[: len(half.bits)]],
                 0.115)  # fmt: skip
    plain = narrow_pairs(count, POSES + seed + 2, resolution, plain=True)
    simple = draw(plain.captions, unpack(plain.bits), seeds, 0.115)
    yield from likeness.spectra(simple, plain, seed)
    reference = narrow_pairs(REFERENCES * count, POSES + seed + 1, resolution)
    slab = None
    if resolution == "full":
        slab = slab_pairs(count, POSES + seed)
    yield from likeness.distances(drawn, narrow, reference, slab, paint, segmenter, seed)
    yield likeness.diversity(drawn[: len(again)], again, decode(half.encoded))
    if training is not None:
        yield likeness.copies(drawn, read_pairs(training))
    else:
        yield Figure("copies of training maps", "skipped: name the pairs by --training")
    yield from _radiographs(drawn, narrow, grey, count, seed)


def _radiographs(
    drawn: NDArray[np.float32], narrow: StoredPairs, grey: Segmenter, count: int, seed: int
) -> Iterator[Figure]:
    pixel = float(np.mean(narrow.pixel_sizes))
    try:
        patches = real_patches(2 * count, pixel, np.random.default_rng(seed), SIDE)
    except (UserError, ImportError) as error:
        yield Figure("real radiographs", f"skipped: {error}")
        return
    yield from likeness.against_radiographs(drawn, narrow, patches, grey, seed)
