"""How near sets of backgrounds are to projections and to real radiographs, and to each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.seeding import stream
from mmdtwin.sim.scene import Scene
from mmdtwin.synth.background.evaluate.controls import Paint, blurred
from mmdtwin.synth.background.evaluate.figure import Figure
from mmdtwin.synth.background.evaluate.measures import (
    Whitening,
    fine_rms,
    histogram_distance,
    kid,
    nearest_correlation,
)
from mmdtwin.synth.background.evaluate.segmenter import Segmenter
from mmdtwin.synth.background.fine_structure import refine
from mmdtwin.synth.background.maps import MATERIALS, decode, depth
from mmdtwin.synth.background.pair_files import StoredPairs
from mmdtwin.synth.xray.background import Background, Pose
from mmdtwin.synth.xray.checks.thorax import RATIOS, SLOPES, measure_texture
from mmdtwin.synth.xray.imager import Imager

COPIED, UNCOPIED = 0.98, 0.95  # correlation that counts as a copy; share that must lie below
NATURAL = 0.9  # share whose spectrum must be natural
OF_SLAB = 0.5  # of the distance from slab to slab, for generated ones
FINE_PIXEL, FINE_SIDE = 0.2e-3, 512  # m and px of frames whose spectrum is judged
MULTIPLE = 1000.0  # kernel distances are printed in thousandths


def distances(
    drawn: NDArray[np.float32],
    held_out: StoredPairs,
    reference: StoredPairs,
    slab: StoredPairs | None,
    paint: Paint,
    segmenter: Segmenter,
    seed: int,
) -> Iterator[Figure]:
    """Compare kernel distances to a reference set of projections.

    Parameters
    ----------
    drawn : (n, 3, h, w) float32 array
        Maps generated from the masks of `held_out`, m.
    held_out, reference : StoredPairs
        Projections at two sets of poses.
    slab : StoredPairs or None
        Of another slab of the patient; None if the full CT is not there.
    paint : Paint
        The control.
    segmenter : Segmenter
        Of maps.
    seed : int
        Of the bootstrap.
    """
    truth = decode(held_out.encoded)
    sets = {
        "projections": truth,
        "another slab": None if slab is None else decode(slab.encoded),
        "blurred projections": blurred(truth),
        "painted": paint(held_out.bits),
        "generated": drawn,
    }
    known = segmenter.features(decode(reference.encoded))
    whiten = Whitening.of(known)
    rng = stream(seed, "background-bootstrap")
    found = {
        name: kid(whiten(known), whiten(segmenter.features(maps)), rng)
        for name, maps in sets.items()
        if maps is not None
    }
    values = {name: dict(zip(("kid", "low", "high"), k, strict=True)) for name, k in found.items()}
    order = [found[name][0] for name in sets if name != "generated" and name in found]
    text = "; ".join(
        f"{name} {k[0] * MULTIPLE:.1f} ({k[1] * MULTIPLE:.1f}..{k[2] * MULTIPLE:.1f})"
        for name, k in found.items()
    )
    yield Figure(
        "kernel distance to projections, thousandths (95 %)",
        text,
        "ranks projections < another slab < blurred < painted",
        order == sorted(order) if slab is not None else None,
        values,
    )
    upper = found["generated"][2]
    limit = min(found["blurred projections"][0],
                OF_SLAB * found["another slab"][0] if slab is not None else np.inf)  # fmt: skip
    yield Figure(
        "kernel distance of generated ones",
        f"upper bound {upper * MULTIPLE:.1f}",
        f"below {limit * MULTIPLE:.1f}: blurred projections', and half from slab to slab",
        bool(upper < limit) if slab is not None else None,
        {"upper": upper, "limit": float(limit)},
    )


def against_radiographs(
    drawn: NDArray[np.float32],
    held_out: StoredPairs,
    patches: dict[str, NDArray[np.float32]],
    segmenter: Segmenter,
    seed: int,
) -> Iterator[Figure]:
    """Print kernel and histogram distances of patches of -log T to real ones' (n, h, w).

    Features are whitened on real patches of all kinds and projections together: on one radiograph
    alone, whose patches are alike, whatever is not of it would be thousands of deviations away.
    """
    rng = stream(seed, "background-radiographs")
    names = list(patches)
    truth = decode(held_out.encoded)
    shape = next(iter(patches.values())).shape
    sets = {
        "generated": depth(drawn),
        "projections": depth(truth),
        "noise alone": rng.normal(0.0, 1.0, shape).astype(np.float32),
    }
    pool = [*patches.values(), sets["projections"]]
    whiten = Whitening.of(np.concatenate([segmenter.features(images) for images in pool]))
    for name, real in patches.items():
        half = len(real) // 2
        known = segmenter.features(real[:half])
        others = {"itself": real[half:], **{n: patches[n] for n in names if n != name}, **sets}
        found = {
            k: (
                kid(whiten(known), whiten(segmenter.features(images)), rng, 50)[0],
                histogram_distance(real[:half], images),
            )
            for k, images in others.items()
        }
        text = "; ".join(f"{k} {d * MULTIPLE:.0f} / {h:.2f}" for k, (d, h) in found.items())
        yield Figure(
            f"real radiograph '{name}': kernel, in thousandths / histogram distance to it",
            text,
            values={k: {"kid": d, "histogram": h} for k, (d, h) in found.items()},
        )


def copies(drawn: NDArray[np.float32], training: StoredPairs) -> Figure:
    """Correlate -log T with the nearest of the training set."""
    known = np.concatenate(
        [
            depth(decode(training.encoded[i : i + 512])).astype(np.float16)
            for i in range(0, len(training.captions), 512)
        ]
    )
    found = nearest_correlation(depth(drawn), known)
    share = float((found < COPIED).mean())
    return Figure(
        f"registered correlation with the nearest of {len(known)} training maps",
        f"median {np.median(found):.3f}, < {COPIED} in {share:.0%}",
        f"in >= {UNCOPIED:.0%}",
        share >= UNCOPIED,
        {"median": float(np.median(found)), "share": share},
    )


def diversity(first: NDArray[np.float32], second: NDArray[np.float32], truth: NDArray) -> Figure:
    """Compare maps from the same masks and prompts with other seeds."""
    a, b = depth(first), depth(second)
    apart = fine_rms(a - b) / np.sqrt(2) / np.maximum(fine_rms(depth(truth)), 1e-9)
    whole = (a - b).std(axis=(1, 2)) / np.sqrt(2) / np.maximum(depth(truth).std(axis=(1, 2)), 1e-9)
    return Figure(
        "diversity: what other seeds change, over what is there",
        f"fine texture {np.median(apart):.2f}, all {np.median(whole):.2f}",
        values={"fine": float(np.median(apart)), "all": float(np.median(whole))},
    )


def spectra(drawn: NDArray[np.float32], pairs: StoredPairs, seed: int) -> Iterator[Figure]:
    """Measure slope and direction ratio of noise-free frames, as the X-ray checks do.

    Parameters
    ----------
    drawn : (n, 3, h, w) float32 array
        Maps generated from the masks of `pairs`, m.
    pairs : StoredPairs
        Projections, without contrast medium and instruments.
    seed : int
        Of the fine structure that both are given.
    """
    pixels = pairs.pixel_sizes
    sets = {
        "generated": [_frame(m, float(p), seed) for m, p in zip(drawn, pixels, strict=True)],
        "projections": [
            _frame(m, float(p), seed) for m, p in zip(decode(pairs.encoded), pixels, strict=True)
        ],
        "noise alone": [_noise(seed)],
    }
    for name, frames in sets.items():
        found = [measure_texture(frame) for frame in frames]
        slopes, ratios = (np.array([getattr(t, k) for t in found]) for k in ("slope", "ratio"))
        good = (slopes >= SLOPES[0]) & (slopes <= SLOPES[1])
        good &= (ratios >= RATIOS[0]) & (ratios <= RATIOS[1])
        share = float(good.mean())
        asked = {
            "generated": f"slope {SLOPES[0]}..{SLOPES[1]}, ratio 1/3..3 in >= {NATURAL:.0%}",
            "noise alone": "must not be natural",
        }
        yield Figure(
            f"spectrum at 0.2 mm a pixel: {name}",
            f"slope {np.median(slopes):.2f}, ratio {np.median(ratios):.2f}, natural in {share:.0%}",
            asked.get(name, ""),
            {"generated": share >= NATURAL, "noise alone": share == 0.0}.get(name),
            {"slope": float(np.median(slopes)), "ratio": float(np.median(ratios)), "share": share},
        )


def _frame(maps: NDArray[np.float32], pixel: float, seed: int) -> NDArray:
    """A noise-free frame of maps (3, h, w), their pixels refined to `FINE_PIXEL`."""
    side = round(maps.shape[-1] * pixel / FINE_PIXEL)
    fine = refine(maps, side, pixel, stream(seed, "fine structure"))
    start = max((side - FINE_SIDE) // 2, 0)
    inner = slice(start, start + FINE_SIDE)
    short = max(FINE_SIDE - side, 0)
    pad = ((0, 0), (0, short), (0, short))
    fine = np.pad(fine[:, inner, inner], pad, mode="symmetric")
    return _imager(dict(zip(MATERIALS, fine, strict=True)), seed).expected()


def _noise(seed: int) -> NDArray:
    imager = _imager({MATERIALS[0]: np.full((FINE_SIDE, FINE_SIDE), 0.2, np.float32)}, seed)
    return np.asarray(imager.render(_Nothing()).image / imager.expected())


def _imager(maps: dict[str, NDArray[np.float32]], seed: int) -> Imager:
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    pitch = FINE_PIXEL * config.sid / config.sod
    detector = {"pitch": pitch, "rows": FINE_SIDE, "columns": FINE_SIDE}
    config = config.model_copy(update={"detector": config.detector.model_copy(update=detector)})
    poses, noise = np.random.default_rng(seed).spawn(2)
    return Imager(config, poses, noise, background=Background(maps, Pose()))


class _Nothing:
    """A world with no device."""

    def scene(self) -> Scene:
        return Scene(0.0, ())
