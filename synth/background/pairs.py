"""Pairs to train on: maps of what rays meet, the mask of it, and a caption.

Maps are projected from volumes: the CT below its test slab, limbs and tanks from formulas. From one
projection, a `View`, several pairs are cut at random places and zooms; each has its own turn, flip,
deformation of tissue, densities, contrast medium and instruments. A caption names what the maps
have; the mask leaves out, in some, the channel or the instruments that the caption names, so that
a model learns to put them in when it is asked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.synth.background import phantoms, vocabulary
from mmdtwin.synth.background.classes import AIR, CHANNEL, LAYERS, METAL, SOFT, MaskStack
from mmdtwin.synth.background.classes import BONE as BONE_LAYER
from mmdtwin.synth.background.instruments import draw_instruments, draw_vessels
from mmdtwin.synth.background.matter import (
    ARTERY,
    BONE,
    HEART,
    KINDS,
    LUNG,
    PULMONARY,
    VEIN,
    Matter,
    Shadow,
    covered,
    load_matter,
    project,
)

SIZE = 128  # px along each side of a pair
SIDES = (0.100, 0.200)  # m at the isocentre that a pair shows
VIEW_PIXEL = SIDES[0] / SIZE  # m at the isocentre
VIEW_SPANS = (0.135, 0.205)  # m
SID = 1.1  # m
SODS = (0.70, 0.80)  # m
PRIMARY, SECONDARY = np.deg2rad(45.0), np.deg2rad(20.0)  # largest gantry angles: the CT ends at
# the sides of the body
CT_BOX = ((-0.09, -0.29, -0.02), (0.11, -0.14, 0.02))  # m, of isocentres in the CT
SOURCES = {"ct": 0.7, "limb": 0.15, "tank": 0.15}  # share of each
REGIONS = {"ct": "chest", "limb": "limb", "tank": "phantom tank"}

# What a layer takes to be in the mask: m of the rays in such a structure.
LEAST = {LUNG: 15e-3, BONE: 3e-3, ARTERY: 1.5e-3}
LEAST_BONE, LEAST_SOFT = 0.4e-3, 5e-3  # m of cortical bone, of soft tissue
FEW_CUT = 0.01  # share of rays that the sides of the CT may cut off
FEW_LUNG = 0.2  # share of an image below which it is called one of the abdomen
SMOOTHING = 0.7  # px, Gaussian sigma on lengths, which are counted in voxels
TURN = np.deg2rad(12.0)
WARP_KNOTS, WARP, WARP_TANK = 4, 0.025, 0.002  # of the image, rms displacement of each knot
DENSE, OSTEOPOROTIC, NORMAL = (1.3, 1.7), (0.45, 0.7), (0.88, 1.12)  # bone over the CT's
THIN, LARGE, MEDIUM = (0.65, 0.85), (1.15, 1.35), (0.9, 1.1)  # soft tissue over the CT's
CONTRAST, INSTRUMENTS = 0.4, 0.45  # share of pairs that have it
HIDDEN = 0.3  # share of these whose mask lacks it
FAINT, STRONG = 0.2, 0.6  # share of 300 mg/mL below, and above, which contrast is called so


@dataclass(frozen=True, eq=False)
class Pair:
    """A background and what it was made of.

    Parameters
    ----------
    maps : (3, h, w) float32 array
        Thickness of `maps.MATERIALS`, m.
    mask : (5, h, w) bool array
        Layers of `classes.LAYERS`.
    caption : str
    pixel_size : float
        At the isocentre, m.
    source : str
        "ct-full", "ct-sample", "limb" or "tank", and the pose.
    """

    maps: NDArray[np.float32]
    mask: MaskStack
    caption: str
    pixel_size: float
    source: str


@dataclass(frozen=True, eq=False)
class View:
    """A projection that pairs are cut from, with pixels of `VIEW_PIXEL`."""

    shadow: Shadow
    kind: str
    region: str
    angles: tuple[float, float]
    source: str


def draw_pair(rng: np.random.Generator, size: int = SIZE, source: str | None = None) -> Pair:
    """Draw a pair, from a projection of its own.

    Parameters
    ----------
    rng : Generator
        Decides everything.
    size : int
        Pixels along each side.
    source : str, optional
        "ct" (the full CT), "ct-sample" (the one that ships), "limb" or "tank"; any by default.

    Raises
    ------
    UserError
        If the source is unknown, or the full CT cannot be fetched.
    """
    while True:
        pair = cut_pair(rng, draw_view(rng, source), size)
        if pair is not None:
            return pair


def draw_view(
    rng: np.random.Generator,
    source: str | None = None,
    resolution: Literal["full", "sample"] = "full",
    texture_seed: int = 0,
    spans: tuple[float, float] = VIEW_SPANS,
) -> View:
    """Project a volume at a random pose.

    Parameters
    ----------
    rng, source
        As `draw_pair`.
    resolution : {"full", "sample"}
        Of the CT.
    texture_seed : int
        Of the CT's fine structure.
    spans : (float, float)
        Smallest and largest side of the view at the isocentre, m.
    """
    if source is None:
        source = str(rng.choice(list(SOURCES), p=list(SOURCES.values())))
    if source == "ct-sample":
        source, resolution = "ct", "sample"
    if source not in SOURCES:
        raise UserError(f"source '{source}': allowed: {', '.join(SOURCES)}, ct-sample")
    if source == "ct":
        matter = load_matter(resolution, texture_seed)
    else:
        matter = phantoms.limb(rng) if source == "limb" else phantoms.tank(rng)
    projection, isocentre, angles = _pose(rng, matter, source, spans)
    shadow = project(matter, projection, isocentre)
    name = f"ct-{resolution}" if source == "ct" else source
    where = ",".join(f"{1e3 * c:.0f}" for c in isocentre)
    about = f"{name} {np.rad2deg(angles[0]):.0f},{np.rad2deg(angles[1]):.0f} deg {where} mm"
    return View(shadow, source, REGIONS[source], angles, about)


def _pose(
    rng: np.random.Generator, matter: Matter, source: str, spans: tuple[float, float]
) -> tuple[Projection, Array, tuple[float, float]]:
    while True:
        side = round(rng.uniform(*spans) / VIEW_PIXEL)
        if source == "ct":
            primary = rng.uniform(-PRIMARY, PRIMARY)
            secondary = float(np.clip(rng.normal(0, SECONDARY / 2), -SECONDARY, SECONDARY))
            isocentre = rng.uniform(*CT_BOX)
        else:
            primary, secondary = rng.normal(0, 0.15, 2)
            reach = matter.spacing * np.array(matter.kinds.shape) / 2
            isocentre = rng.uniform(-0.4, 0.4, 3) * reach * [1, 0.5, 0]
        sod = rng.uniform(*SODS)
        pitch = VIEW_PIXEL * SID / sod
        projection = Projection.from_carm(SID, sod, pitch, (side, side), primary, secondary)
        if source == "tank" or covered(matter, projection, isocentre):
            return projection, isocentre, (float(primary), float(secondary))


def cut_pair(
    rng: np.random.Generator, view: View, size: int = SIZE, facts: Facts | None = None
) -> Pair | None:
    """Cut a pair out of a view; None where the body is cut off by the sides of the CT."""
    grid, side = _cut(rng, view, size)
    at = grid[::2, ::2]
    flags = cv2.INTER_NEAREST
    cut = cv2.remap(view.shadow.cut.astype(np.uint8), at[..., 0], at[..., 1], flags)
    if np.mean(cut) > FEW_CUT:
        return None
    facts = facts or draw_facts(rng)
    soft, bone = (_sample(m, grid, cv2.INTER_CUBIC) for m in view.shadow.maps)
    lengths = np.zeros((KINDS, size, size), np.float32)
    for kind in (LUNG, BONE, *facts.vessels):
        lengths[kind] = cv2.GaussianBlur(
            _sample(view.shadow.paths[kind], grid, cv2.INTER_LINEAR), (0, 0), SMOOTHING
        )
    mask = np.zeros((len(LAYERS), size, size), bool)
    mask[AIR] = lengths[LUNG] >= LEAST[LUNG]
    mask[BONE_LAYER] = bone_mask(lengths[BONE], bone)
    bone_after = bone * np.float32(facts.bone)
    soft = (soft * np.float32(facts.soft) + bone - bone_after).clip(0.0)
    mask[SOFT] = soft >= LEAST_SOFT
    said = _caption_facts(rng, view, side, facts, bool(mask[BONE_LAYER].any()))
    third = np.zeros((size, size), np.float32)
    pixel = side / size
    if facts.contrast > 0.0:
        _fill(rng, view, facts, lengths, size, pixel, soft, third, mask)
    if facts.instruments:
        metal, where, names = draw_instruments(rng, size, pixel)
        third += metal
        mask[METAL] = where
    else:
        names = []
    for layer, fact, hidden, extra in (
        (CHANNEL, contrast_fact(facts.contrast), facts.hide_contrast, []),
        (METAL, vocabulary.WITH_INSTRUMENTS, facts.hide_instruments, names),
    ):
        if not mask[layer].any():
            continue
        if hidden or rng.random() < 0.5:
            said.append(fact)
            said += [name for name in extra if rng.random() < 0.4]
        if hidden:
            mask[layer] = False
    maps = np.stack([soft, bone_after, third]).clip(0.0)
    if not mask.any():
        return None
    region = "abdomen" if view.kind == "ct" and mask[AIR].mean() < FEW_LUNG else view.region
    caption = vocabulary.caption(rng, region, said)
    return Pair(maps, mask, caption, pixel, view.source)


@dataclass(frozen=True)
class Facts:
    """What is done to a cut.

    Parameters
    ----------
    bone, soft : float
        Factors on thickness.
    contrast : float
        Share of 300 mg/mL of iodine in the vessels; 0 for none.
    vessels : tuple of int
        Kinds of structure that it fills; where the view shows none of them, a vessel is drawn.
    instruments : bool
    hide_contrast, hide_instruments : bool
        Whether they are left out of the mask.
    """

    bone: float = 1.0
    soft: float = 1.0
    contrast: float = 0.0
    vessels: tuple[int, ...] = (ARTERY,)
    instruments: bool = False
    hide_contrast: bool = False
    hide_instruments: bool = False


def draw_facts(rng: np.random.Generator) -> Facts:
    """Draw what is done to a cut."""
    bone = (NORMAL, DENSE, OSTEOPOROTIC)[rng.choice(3, p=[0.5, 0.25, 0.25])]
    soft = (MEDIUM, THIN, LARGE)[rng.choice(3, p=[0.6, 0.2, 0.2])]
    contrast = float(np.exp(rng.uniform(np.log(0.1), 0.0))) if rng.random() < CONTRAST else 0.0
    sets = ((ARTERY,), (ARTERY, HEART), (VEIN,), (PULMONARY, HEART), (ARTERY, VEIN))
    return Facts(
        float(rng.uniform(*bone)),
        float(rng.uniform(*soft)),
        contrast,
        sets[rng.choice(len(sets), p=[0.5, 0.1, 0.2, 0.1, 0.1])],
        bool(rng.random() < INSTRUMENTS),
        bool(rng.random() < HIDDEN),
        bool(rng.random() < HIDDEN),
    )


def contrast_fact(share: float) -> str:
    """Return what a caption says of so much of 300 mg/mL."""
    strength = "faint " if share < FAINT else "strong " if share > STRONG else ""
    return vocabulary.WITH_CONTRAST.replace("contrast", f"{strength}contrast")


def bone_mask(length: NDArray[np.float32], bone: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where there is bone, of lengths of rays and of bone in m, without specks of it."""
    seen = (length >= LEAST[BONE]) & (cv2.GaussianBlur(bone, (0, 0), 1.0) >= LEAST_BONE)
    found = cv2.medianBlur(seen.astype(np.uint8), 3)
    return np.asarray(found > 0)


def smooth_lengths(paths: NDArray[np.float32], pixel: float) -> NDArray[np.float32]:
    """Return lengths of rays (k, h, w), counted in voxels, without the steps between these."""
    sigma = SMOOTHING * VIEW_PIXEL / pixel
    return np.stack([cv2.GaussianBlur(path, (0, 0), max(sigma, 0.3)) for path in paths])


def _fill(
    rng: np.random.Generator,
    view: View,
    facts: Facts,
    lengths: NDArray[np.float32],
    size: int,
    pixel: float,
    soft: NDArray[np.float32],
    third: NDArray[np.float32],
    mask: MaskStack,
) -> None:
    """Put contrast medium in the vessels, in place of what was there."""
    length = lengths[list(facts.vessels)].sum(axis=0)
    where = length >= LEAST[ARTERY]
    if view.kind != "tank" and (where.mean() < 0.004 or rng.random() < 0.4):
        length, where = draw_vessels(rng, size, pixel)
    # Large cavities are never full of undiluted contrast medium.
    share = min(facts.contrast, 12e-3 / max(float(length.max()), 1e-6))
    np.copyto(length, 0.0, where=length < 0.2e-3)
    length = np.minimum(length, soft)
    soft -= length
    # What is not medium is blood, or water.
    soft += length * np.float32(1.0 - share)
    third += length * np.float32(share)
    mask[CHANNEL] = where & (length > 0.0)


def _caption_facts(
    rng: np.random.Generator, view: View, side: float, facts: Facts, bones: bool
) -> list[str]:
    """What a caption says; strong densities always, the rest at times."""
    said = []
    if bones and DENSE[0] <= facts.bone:
        said.append(vocabulary.DENSE)
    elif bones and facts.bone <= OSTEOPOROTIC[1]:
        said.append(vocabulary.OSTEOPOROTIC)
    elif bones and rng.random() < 0.15:
        said.append("normal bone")
    if view.kind == "tank":
        return said
    at_times: list[tuple[bool, str]] = [
        (facts.soft <= THIN[1], "thin patient"),
        (facts.soft >= LARGE[0], "large patient"),
        (side < 0.12, "close up"),
        (side > 0.18, "wide field"),
    ]
    if view.kind == "ct":
        primary, secondary = view.angles
        oblique = abs(primary) > np.deg2rad(12)
        at_times += [
            (not oblique, "frontal view"),
            (oblique, "oblique view"),
            (secondary > np.deg2rad(8), "cranial view"),
            (secondary < -np.deg2rad(8), "caudal view"),
        ]
    return said + [text for true, text in at_times if true and rng.random() < 0.5]


def _cut(rng: np.random.Generator, view: View, size: int) -> tuple[NDArray[np.float32], float]:
    """Where in a view the pixels of a cut, twice as fine, lie (2 size, 2 size, 2); its side, m."""
    pixels = view.shadow.cut.shape[0]
    quarter = rng.integers(4) if view.kind != "ct" else 0
    turn = rng.normal(0, TURN / 2)
    box = abs(np.cos(turn)) + abs(np.sin(turn))
    largest = min(SIDES[1], 0.98 * pixels * VIEW_PIXEL / box)
    side = rng.uniform(min(SIDES[0], largest), largest)
    room = pixels - side / VIEW_PIXEL * box
    centre = (pixels - 1) / 2 + rng.uniform(-0.5, 0.5, 2) * max(room, 0.0)
    fine = 2 * size
    step = side / VIEW_PIXEL / fine
    across = (np.arange(fine, dtype=np.float32) - (fine - 1) / 2) * step
    u, v = np.meshgrid(across, across)
    if rng.random() < 0.5:
        u = -u
    rms = (WARP_TANK if view.kind == "tank" else WARP) * side / VIEW_PIXEL
    knots = rng.normal(0.0, rms, (WARP_KNOTS, WARP_KNOTS, 2))
    warp = cv2.resize(knots.astype(np.float32), (fine, fine), interpolation=cv2.INTER_CUBIC)
    c, s = np.cos(turn + quarter * np.pi / 2), np.sin(turn + quarter * np.pi / 2)
    grid = np.stack([c * u - s * v, s * u + c * v], axis=-1) + centre + warp
    return grid.astype(np.float32), float(side)


def _sample(image: NDArray[np.float32], grid: NDArray[np.float32], way: int) -> NDArray[np.float32]:
    fine = cv2.remap(image, grid[..., 0], grid[..., 1], way, borderMode=cv2.BORDER_REFLECT)
    half = (fine.shape[1] // 2, fine.shape[0] // 2)
    return np.maximum(cv2.resize(fine, half, interpolation=cv2.INTER_AREA), 0.0)
