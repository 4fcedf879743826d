"""Do maps keep to their masks and prompts, and is their texture that of projections?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmdtwin.seeding import stream
from mmdtwin.synth.background.classes import AIR, BONE, CHANNEL, LAYERS, METAL, MaskStack, unpack
from mmdtwin.synth.background.evaluate.controls import Paint, noisy
from mmdtwin.synth.background.evaluate.figure import Figure
from mmdtwin.synth.background.evaluate.measures import centreline_offsets, dice, fine_rms
from mmdtwin.synth.background.evaluate.segmenter import Segmenter
from mmdtwin.synth.background.maps import decode, depth
from mmdtwin.synth.background.pair_files import StoredPairs

# Maps (n, 3, h, w) for prompts, masks (n, 5, h, w), seeds, and the side of what they show, m.
Draw = Callable[[list[str], MaskStack, list[int], float], NDArray[np.float32]]

JUDGED = (AIR, BONE, METAL, CHANNEL)
DICE, OF_CEILING = 0.85, 0.85  # of the segmenter on projections; of that, for generated ones
TEXTURE = (0.7, 1.4)  # rms over that of projections with the same masks
BONE_RATIO, RESPONSE = 1.15, 0.8  # of bone maps, dense over osteoporotic; share of pairs
ADDED = {CHANNEL: 0.004, METAL: 0.0015}  # share of an image from which a layer is there, assumed
CENTRELINE = 2.0  # px
SAME_NAME = {CHANNEL: "with contrast", METAL: "with instruments"}


def fidelity(
    draw: Draw, pairs: StoredPairs, paint: Paint, segmenter: Segmenter, seed: int
) -> Iterator[Figure]:
    """Compare layers and texture of maps drawn from the masks of projections with the latter's."""
    masks, truth = unpack(pairs.bits), decode(pairs.encoded)
    drawn = draw(pairs.captions, masks, list(range(seed, seed + len(masks))), 0.15)
    flat = paint(pairs.bits)
    sets = {
        "projections": truth,
        "generated": drawn,
        "painted": flat,
        "painted, noisy": noisy(flat, stream(seed, "background-control")),
    }
    scores = {name: dice(segmenter.masks(maps), masks) for name, maps in sets.items()}
    rms = {name: fine_rms(depth(maps)) for name, maps in sets.items()}
    ceiling = scores["projections"][list(JUDGED)]
    yield Figure(
        "segmenter on projections: Dice",
        _per_layer(scores["projections"]),
        f">= {DICE} each, else the segmenter is at fault",
        bool((ceiling >= DICE).all()),
        {"dice": _named(scores["projections"])},
    )
    kept = {}
    for name in ("generated", "painted", "painted, noisy"):
        layers = bool((scores[name][list(JUDGED)] >= OF_CEILING * ceiling).all())
        ratio = float(np.sqrt((rms[name] ** 2).mean() / (rms["projections"] ** 2).mean()))
        fine = TEXTURE[0] <= ratio <= TEXTURE[1]
        each = rms[name] / rms["projections"]
        inside = float(((each >= TEXTURE[0]) & (each <= TEXTURE[1])).mean())
        kept[name] = layers and fine
        values = {"dice": _named(scores[name]), "texture": ratio, "texture_within": inside}
        if name == "generated":
            yield Figure(
                f"mask fidelity of {len(masks)}: Dice",
                _per_layer(scores[name]),
                f">= {OF_CEILING} of the projections' each",
                layers,
                values,
            )
            yield Figure(
                "texture below 9 px: rms of -log T over projections'",
                f"{ratio:.2f} pooled, {inside:.0%} of them within",
                f"{TEXTURE[0]} to {TEXTURE[1]}",
                fine,
                values,
            )
        else:
            yield Figure(
                f"control: {name}",
                f"Dice {_per_layer(scores[name])}; texture {ratio:.2f}",
                "must fail one of the two",
                not kept[name],
                values,
            )


def prompt_response(
    draw: Draw, alone: Draw, pairs: StoredPairs, segmenter: Segmenter, seed: int
) -> Iterator[Figure]:
    """Draw pairs with the same mask and seed, and another prompt.

    What the mask lacks is given a place by `draw`, and left to the model by `alone`.
    """
    masks = unpack(pairs.bits)
    masks[:, [METAL, CHANNEL]] = False
    masks = masks[masks[:, BONE].mean(axis=(1, 2)) > 0.05]
    seeds = list(range(seed, seed + len(masks)))

    def drawn(prompt: str) -> NDArray[np.float32]:
        return draw([prompt] * len(masks), masks, seeds, 0.15)

    swapped = stream(seed, "background-shuffle").random(len(masks)) < 0.5
    bone = [_within(drawn(f"chest, {kind} bone")[:, 1], masks[:, BONE])
            for kind in ("dense", "osteoporotic")]  # fmt: skip
    ratio = bone[0] / np.maximum(bone[1], 1e-9)
    mixed = np.where(swapped, 1.0 / np.maximum(ratio, 1e-9), ratio)
    share, chance = float((ratio >= BONE_RATIO).mean()), float((mixed >= BONE_RATIO).mean())
    yield _response(
        f"dense over osteoporotic bone, {len(masks)} pairs",
        f"median {np.median(ratio):.2f}, >= {BONE_RATIO} in {share:.0%}",
        share, chance, {"median": float(np.median(ratio))},
    )  # fmt: skip
    plain = segmenter.masks(drawn("chest"))
    for layer, words in SAME_NAME.items():
        asked = segmenter.masks(drawn(f"chest, {words}"))
        areas = [found[:, layer].mean(axis=(1, 2)) for found in (asked, plain)]
        shuffled = [np.where(swapped, areas[1], areas[0]), np.where(swapped, areas[0], areas[1])]
        share, chance = (
            float(((a >= ADDED[layer]) & (b < a / 2)).mean()) for a, b in (areas, shuffled)
        )
        own = segmenter.masks(alone([f"chest, {words}"] * len(masks), masks, seeds, 0.15))
        area = own[:, layer].mean(axis=(1, 2))
        without = float(((area >= ADDED[layer]) & (areas[1] < area / 2)).mean())
        yield _response(
            f"'{words}' adds {LAYERS[layer]} that the mask lacks",
            f"in {share:.0%}, {without:.0%} where the model itself has to place it; without the "
            f"words {np.mean(areas[1] >= ADDED[layer]):.0%} have it",
            share, chance, {"alone": without},
        )  # fmt: skip


def channel_places(draw: Draw, poses: int, seed: int) -> Figure:
    """Project a scenario's vessel at random poses, and find the drawn channel's middle."""
    from mmdtwin.config import load_scenario
    from mmdtwin.frame import Projection
    from mmdtwin.sim import World
    from mmdtwin.synth.background.masks import make_mask, phantom_mask

    world = World.from_config(load_scenario("soft-sheet-bifurcation"))
    rng = stream(seed, "background-channel")
    field, side = 0.105, 128
    masks, lines = [], []
    T = world.T_world_rest
    for i in range(poses):
        primary, secondary = rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
        pitch = field / side * 1.1 / 0.75
        projection = Projection.from_carm(1.1, 0.75, pitch, (side, side), primary, secondary)
        around = make_mask(("abdomen", "thorax")[i % 2], seed + i, side, field)
        masks.append(phantom_mask(world, projection, around))
        points = [b.points @ T[:3, :3].T + T[:3, 3] for b in world.vessel.map.branches.values()]
        lines.append([projection.project(p) for p in points])
    seeds = list(range(seed, seed + poses))
    maps = draw(["chest, with contrast"] * poses, np.stack(masks), seeds, field)
    off = []
    for third, branches in zip(maps[:, 2], lines, strict=True):
        found = np.concatenate([centreline_offsets(third, line) for line in branches])
        off.append(float(found.mean()) if len(found) else np.inf)
    worst = float(np.max(off))
    return Figure(
        f"channel centreline off the projected vessel's, {poses} poses",
        f"mean {np.mean(off):.2f} px, worst pose {worst:.2f} px",
        f"<= {CENTRELINE} px each",
        worst <= CENTRELINE,
        {"mean_px": float(np.mean(off)), "worst_px": worst},
    )


def _response(
    name: str, result: str, share: float, chance: float, values: dict[str, float]
) -> Figure:
    return Figure(
        name,
        f"{result}; shuffled {chance:.0%}",
        f"in >= {RESPONSE:.0%}; shuffled, about half of that",
        share >= RESPONSE and chance <= 0.65,
        {**values, "share": share, "shuffled": chance},
    )


def _within(images: NDArray, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([image[mask].mean() for image, mask in zip(images, masks, strict=True)])


def _per_layer(scores: NDArray) -> str:
    return ", ".join(f"{LAYERS[i]} {scores[i]:.2f}" for i in JUDGED)


def _named(scores: NDArray) -> dict[str, float]:
    return {LAYERS[i]: float(scores[i]) for i in range(len(LAYERS)) if np.isfinite(scores[i])}
