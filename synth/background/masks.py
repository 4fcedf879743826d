"""Masks made for people: procedural anatomy, the CT at a pose, and a scenario's own phantom."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.synth.background import phantoms
from mmdtwin.synth.background.classes import AIR, BONE, CHANNEL, LAYERS, METAL, SOFT, MaskStack
from mmdtwin.synth.background.matter import ARTERY, LUNG, Matter, covered, load_matter, project
from mmdtwin.synth.background.matter import BONE as BONE_KIND
from mmdtwin.synth.background.pairs import LEAST, LEAST_SOFT, SID, bone_mask, smooth_lengths
from mmdtwin.synth.background.strokes import stroke, wander

if TYPE_CHECKING:
    from mmdtwin.sim.shapes import Body
    from mmdtwin.sim.world import World

SOD = 0.75  # m
FIELD = 0.15  # m at the isocentre
SPINE, DISC = 0.040, 0.026  # m, width of a spine, and distance of its vertebrae; adult thoracic
RIB, RIBS = 0.009, 0.032  # m, width of a rib in projection, and distance between ribs
RIB_SLOPE = 0.45  # rad by which ribs fall towards the side
# Share of a pixel from which a vessel is in the mask, and an instrument: thin ones are not lost.
COVERED, TOUCHED = 0.5, 0.1
LEAST_CHANNEL = 0.005  # share of a tank's image
THINNEST = 0.6  # px, half width that a thinner one is given, so that it is not lost


def thorax(rng: np.random.Generator, size: int, field: float) -> MaskStack:
    """Compose a frontal view of a chest: spine, ribs, two lungs and the diaphragm's domes."""
    mask, u, v = _blank(size, field)
    mask[SOFT] = True
    middle = rng.uniform(-0.35, 0.35) * field
    dome = rng.uniform(0.05, 0.45) * field
    x = u - middle
    for side in (-1, 1):
        inner, outer = rng.uniform(0.022, 0.03), rng.uniform(0.12, 0.14)
        arch = ((np.abs(x) - (inner + outer) / 2) / ((outer - inner) / 2)) ** 2
        lung = (x * side > inner) & (np.abs(x) < outer) & (v < dome + 0.02 * arch)
        mask[AIR] |= lung
    _spine(mask, rng, x, v)
    phase = rng.uniform(0, RIBS)
    for side in (-1, 1):
        along = np.maximum(x * side - SPINE / 2, 0.0)
        back = (v + phase - along * np.tan(RIB_SLOPE) + 2.2 * along**2) % RIBS
        front = (v + phase + 0.01 - along * np.tan(-0.9 * RIB_SLOPE) - 1.0 * along**2) % RIBS
        beside = (x * side > SPINE / 2 - 2e-3) & (along < 0.125)
        mask[BONE] |= beside & (np.abs(back - RIBS / 2) < RIB / 2)
        mask[BONE] |= beside & (along > 0.04) & (np.abs(front - RIBS / 2) < RIB / 2.4)
    return mask


def abdomen(rng: np.random.Generator, size: int, field: float) -> MaskStack:
    """Compose a frontal view of an abdomen: spine with transverse processes, lowest ribs."""
    mask, u, v = _blank(size, field)
    mask[SOFT] = True
    x = u - rng.uniform(-0.35, 0.35) * field
    _spine(mask, rng, x, v)
    phase, last = rng.uniform(0, RIBS), rng.uniform(-0.4, 0.1) * field
    for side in (-1, 1):
        along = np.maximum(x * side - SPINE / 2, 0.0)
        rib = (v + phase - along * np.tan(1.2 * RIB_SLOPE)) % RIBS
        reach = np.clip((last - v) * 1.5 + 0.05, 0.0, 0.12)
        mask[BONE] |= (x * side > 0) & (along < reach) & (np.abs(rib - RIBS / 2) < RIB / 2)
    if rng.random() < 0.5:
        lung = v < -0.5 * field + rng.uniform(0.02, 0.05) + 1.5 * (np.abs(x) - 0.06) ** 2
        mask[AIR] = lung & (np.abs(x) > 0.025)
    return mask


def limb(rng: np.random.Generator, size: int, field: float) -> MaskStack:
    """Project a limb made from formulas."""
    return _analytic(phantoms.limb(rng), rng, size, field, channel=False)


def tank(rng: np.random.Generator, size: int, field: float) -> MaskStack:
    """Project a phantom tank with a channel in a block of plastic."""
    while True:
        mask = _analytic(phantoms.tank(rng), rng, size, field, channel=True)
        if mask[CHANNEL].mean() > LEAST_CHANNEL:
            return mask


KINDS: dict[str, Callable[[np.random.Generator, int, float], MaskStack]] = {
    "abdomen": abdomen,
    "thorax": thorax,
    "limb": limb,
    "tank": tank,
}


def make_mask(kind: str, seed: int = 0, size: int = 256, field: float = FIELD) -> MaskStack:
    """Compose a mask.

    Parameters
    ----------
    kind : {"abdomen", "thorax", "limb", "tank"}
    seed : int
        Another seed, another patient and another place.
    size : int
        Pixels along each side.
    field : float
        Side of what it shows at the isocentre, m.

    Raises
    ------
    UserError
        If the kind is unknown.
    """
    if kind not in KINDS:
        raise UserError(f"mask '{kind}': unknown; allowed: {', '.join(KINDS)}, ct")
    rng = np.random.default_rng(seed)
    return KINDS[kind](rng, size, field)


def add_channel(
    mask: MaskStack, rng: np.random.Generator, field: float, diameter: float = 4e-3
) -> MaskStack:
    """Return a mask with a vessel drawn across it, its diameter in m."""
    side = mask.shape[-1]
    start = np.array([rng.uniform(0.2, 0.8) * side, side + 1.0])
    points = wander(rng, start, -np.pi / 2 + rng.normal(0, 0.3), 1.3 * side, 0.6)
    return _with_line(mask, CHANNEL, points, diameter / 2 * side / field)


def add_wire(
    mask: MaskStack, rng: np.random.Generator, field: float, diameter: float = 0.9e-3
) -> MaskStack:
    """Return a mask with a wire drawn across it, its diameter in m."""
    side = mask.shape[-1]
    start = np.array([-2.0, rng.uniform(0.2, 0.8) * side])
    points = wander(rng, start, rng.normal(0, 0.3), 1.2 * side, 0.6)
    return _with_line(mask, METAL, points, diameter / 2 * side / field)


def ct_mask(
    isocentre: Array,
    primary: float = 0.0,
    secondary: float = 0.0,
    size: int = 256,
    field: float = FIELD,
    *,
    vessels: bool = False,
    resolution: Literal["sample", "full"] = "sample",
) -> MaskStack:
    """Project the labels of the CT at a pose.

    Parameters
    ----------
    isocentre : (3,) array
        Point of the CT at the isocentre, m.
    primary, secondary : float
        Gantry angles, rad; up to 45 deg, since the CT ends at the sides of the body.
    size, field
        As `make_mask`.
    vessels : bool
        Whether the aorta and its branches are channels.
    resolution : {"sample", "full"}
        Of the CT.

    Raises
    ------
    UserError
        If rays leave the CT, or the full one cannot be fetched.
    """
    if abs(primary) > np.pi / 4 + 1e-9 or abs(secondary) > np.pi / 4 + 1e-9:
        raise UserError(
            f"ct mask: gantry angles {np.rad2deg(primary):.0f}, {np.rad2deg(secondary):.0f} deg; "
            "allowed: up to 45 deg"
        )
    projection = _carm(size, field, primary, secondary)
    matter = load_matter(resolution)
    if not covered(matter, projection, isocentre):
        ends = matter.origin[1] + np.array([0, matter.kinds.shape[1] - 1]) * matter.spacing[1]
        raise UserError(
            f"ct mask: rays leave the CT, which reaches from y {ends[0]:.3f} to {ends[1]:.3f} m; "
            "use a smaller field, less angulation or another isocentre"
        )
    return project_mask(matter, projection, isocentre, channel=vessels)


def project_mask(
    matter: Matter, projection: Projection, isocentre: Array, *, channel: bool
) -> MaskStack:
    """Return the mask of a volume of matter; layers as in the pairs that models are trained on."""
    shadow = project(matter, projection, isocentre)
    lengths = smooth_lengths(shadow.paths, projection.pixel_size)
    mask = np.zeros((len(LAYERS), *projection.shape), bool)
    mask[AIR] = lengths[LUNG] >= LEAST[LUNG]
    mask[BONE] = bone_mask(lengths[BONE_KIND], shadow.maps[1])
    mask[SOFT] = shadow.maps[0] >= LEAST_SOFT
    if channel:
        mask[CHANNEL] = lengths[ARTERY] >= LEAST[ARTERY]
    return mask


def phantom_mask(
    world: World, projection: Projection, mask: MaskStack | None = None, *, instruments: bool = True
) -> MaskStack:
    """Draw a scenario's own vessel into a mask, where its imager sees it with the anatomy at rest.

    Parameters
    ----------
    world : World
        Of the scenario.
    projection : Projection
        Of the imager; distortion is left out, as backgrounds have none.
    mask : (5, h, w) bool array, optional
        What lies around the vessel, on the imager's pixels; soft tissue everywhere by default.
    instruments : bool
        Whether the scenario's instruments are drawn as metal. An imager adds its own shadows of
        them: leave them out where the background is for that imager.

    Raises
    ------
    UserError
        If the mask is not of the imager's shape.
    """
    from mmdtwin.sim.shapes import Mesh
    from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths

    projection = projection.ideal
    if mask is None:
        mask = np.zeros((len(LAYERS), *projection.shape), bool)
        mask[SOFT] = True
    if mask.shape != (len(LAYERS), *projection.shape):
        raise UserError(
            f"phantom mask: the mask has {mask.shape[2]} x {mask.shape[1]} px, the imager "
            f"{projection.shape[1]} x {projection.shape[0]}; they must be the same"
        )
    mask = mask.copy()
    vessel = Mesh(world.vessel.vertices, world.vessel.faces, "blood").placed(world.T_world_rest)
    drawn: list[tuple[int, Body, float]] = [(CHANNEL, vessel, COVERED)]
    if instruments:
        drawn += [(METAL, body, TOUCHED) for body in world.scene().instruments]
    for layer, body, least in drawn:
        roi = covered_roi(body, projection)
        if roi is not None:
            _, share = path_lengths(body, projection, roi)
            mask[layer, roi[0] : roi[1], roi[2] : roi[3]] |= share >= least
    return mask


def _analytic(
    matter: Matter, rng: np.random.Generator, size: int, field: float, *, channel: bool
) -> MaskStack:
    projection = _carm(size, field, *rng.normal(0, 0.1, 2).tolist())
    isocentre = np.array([0.0, rng.uniform(-0.03, 0.03), 0.0])
    return project_mask(matter, projection, isocentre, channel=channel)


def _carm(size: int, field: float, primary: float, secondary: float) -> Projection:
    return Projection.from_carm(
        SID, SOD, field / size * SID / SOD, (size, size), primary, secondary
    )


def _blank(size: int, field: float) -> tuple[MaskStack, NDArray, NDArray]:
    across = ((np.arange(size) + 0.5) / size - 0.5) * field
    u, v = np.meshgrid(across, across)
    return np.zeros((len(LAYERS), size, size), bool), u, v


def _spine(mask: MaskStack, rng: np.random.Generator, x: NDArray, v: NDArray) -> None:
    """Draw vertebrae: waisted bodies close to each other, and transverse processes."""
    step = (v + rng.uniform(0, DISC)) % DISC - DISC / 2
    waist = SPINE / 2 * (0.88 + 0.12 * (2 * step / DISC) ** 2)
    mask[BONE] |= np.abs(x) < waist
    process = (np.abs(step) < 5e-3) & (np.abs(x) < rng.uniform(0.62, 0.8) * SPINE)
    mask[BONE] |= process


def _with_line(mask: MaskStack, layer: int, points: Array, radius: float) -> MaskStack:
    _, gap = stroke(mask.shape[1:], points, max(radius, THINNEST))
    found = mask.copy()
    found[layer] |= gap < 0.0
    return found
