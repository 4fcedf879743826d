"""Devices drawn at random: what they are made of and how they are bent, in a frame of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.geometry import Array, apply, arclength, transform
from mmdtwin.sim.shapes import Body, Film, Solids, Wire

LINKS = 14  # boxes of a sheet
LINE_POINTS = 48  # of a rod
TURN_POINTS = 24  # per turn of a helix or stent
STENT_WIRES = 4  # of each hand
MOST_BEND = 1.2 * np.pi  # rad from end to end of a sheet; of a rod twice that
# Filled materials and the volume fractions of filler that devices have: from a trace, so that any
# faint contrast has its material, to what can be cast (silicone) or still flows (ferrofluid).
SOLID, LIQUID = "ndfeb-silicone", "ferrofluid"
FRACTIONS = {SOLID: (1e-3, 0.6), LIQUID: (1e-3, 0.25)}


@dataclass(frozen=True, eq=False)
class Device:
    """A device.

    Parameters
    ----------
    kind : str
    bodies : tuple of Body
        Of one material.
    line : (n, 3) array
        Its centreline from end to end, m; of what has none the ends of its longest axis.
    family : str
        Filled material that it is of, whose fraction sets its contrast.
    origin : str
        Where its shape comes from.
    """

    kind: str
    bodies: tuple[Body, ...]
    line: Array
    family: str
    origin: str = "algorithmic"

    def placed(self, T: Array) -> Device:
        """Return it moved by a transform (4, 4)."""
        moved = tuple(body.placed(T) for body in self.bodies)
        return replace(self, bodies=moved, line=apply(T, self.line))

    def made_of(self, material: str, displaces: str) -> Device:
        """Return it of an X-ray material, in the place of another."""
        bodies = tuple(replace(b, material=material, displaces=displaces) for b in self.bodies)
        return replace(self, bodies=bodies)

    @property
    def centre(self) -> Array:
        """Middle of its bodies (3,), m, weighed by volume where they are solids."""
        return _centre(self.bodies)


def draw_device(rng: np.random.Generator, kind: str, size: float) -> Device:
    """Return a device whose longest extent is `size`, m, about the origin.

    Parameters
    ----------
    rng : Generator
    kind : str
        One of `KINDS`.
    size : float
        m.
    """
    bodies, line = KINDS[kind](rng)
    family = LIQUID if kind == "droplet" else SOLID
    return about_origin(scaled_to(Device(kind, tuple(bodies), line, family), size))


def scaled_to(device: Device, size: float) -> Device:
    """Return a device whose longest extent is `size`, m, scaled about the origin."""
    scale = size / extent(device.bodies)
    bodies = tuple(_scaled(body, scale) for body in device.bodies)
    return replace(device, bodies=bodies, line=device.line * scale)


def about_origin(device: Device) -> Device:
    """Return a device with its centre at the origin."""
    return device.placed(transform(translation=-device.centre))


def extent(bodies: tuple[Body, ...]) -> float:
    """Return the longest extent of bodies, m: of the hull of points on their surfaces."""
    points = np.concatenate([_surface(body) for body in bodies])
    if len(points) > 400:
        from scipy.spatial import ConvexHull

        points = points[ConvexHull(points).vertices]
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())


def _sheet(rng: np.random.Generator) -> tuple[list[Body], Array]:
    """A strip of length 1, bent to one side or in waves."""
    width, thickness = rng.uniform(0.2, 0.6), rng.uniform(0.03, 0.09)
    s = (np.arange(LINKS) + 0.5) / LINKS
    bend = rng.uniform(-MOST_BEND, MOST_BEND) * rng.uniform(0.0, 1.0)
    wave = rng.normal(0.0, 0.5) * np.sin(2 * np.pi * (s * rng.uniform(0.5, 1.5) + rng.random()))
    angles = bend * (s - 0.5) + wave
    axes = np.stack([Rotation.from_rotvec([0.0, a, 0.0]).as_matrix() for a in angles])
    half = np.array([1.0 / LINKS, width, thickness]) / 2
    steps = axes[:, :, 0] / LINKS
    ends = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    centres = (ends[1:] + ends[:-1]) / 2
    body = Solids.chain(centres, axes, np.tile(half, (LINKS, 1)), SOLID)
    return [body], ends


def _rod(rng: np.random.Generator) -> tuple[list[Body], Array]:
    """A rod of length 1, curled in space."""
    s = np.linspace(0.0, 1.0, LINE_POINTS)
    bend = 2 * MOST_BEND * rng.uniform(0.0, 1.0) ** 2
    heading = np.stack(
        [np.ones_like(s), bend * (s - 0.5), 0.4 * rng.normal() * np.sin(np.pi * s)], axis=1
    )
    angle = heading[:, 1]
    steps = np.stack([np.cos(angle), np.sin(angle), heading[:, 2]], axis=1)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True) * LINE_POINTS
    line = np.cumsum(steps, axis=0)
    return [Wire(line, rng.uniform(0.025, 0.07), SOLID)], line


def _droplet(rng: np.random.Generator) -> tuple[list[Body], Array]:
    """An ellipsoid about as long as it is wide up to 2.5 times, with satellites at times."""
    ratio = rng.uniform(1.0, 2.5)
    radii = [np.array([ratio, 1.0, rng.uniform(0.85, 1.0)])]
    centres = [np.zeros(3)]
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 4)):
            away = rng.choice([-1.0, 1.0]) * (ratio + rng.uniform(0.15, 0.8))
            centres.append(np.array([away, *rng.normal(0.0, 0.3, 2)]))
            radii.append(np.full(3, rng.uniform(0.12, 0.4)))
    count = len(centres)
    turns = np.tile(np.eye(3), (count, 1, 1))
    body = Solids(np.array(centres), turns, np.array(radii), LIQUID, "ellipsoid")
    ends = np.array([[-ratio, 0.0, 0.0], [ratio, 0.0, 0.0]])
    return [body], ends


def _helix(rng: np.random.Generator) -> tuple[list[Body], Array]:
    """A helix of length 1 of two to five turns."""
    turns, radius = rng.uniform(2.0, 5.0), rng.uniform(0.1, 0.22)
    s = np.linspace(0.0, 1.0, int(turns * TURN_POINTS) + 1)
    phase = 2 * np.pi * turns * s * rng.choice([-1, 1])
    points = np.stack([s, radius * np.cos(phase), radius * np.sin(phase)], axis=1)
    wire = min(0.25 / turns, rng.uniform(0.03, 0.06))
    return [Wire(points, wire, SOLID)], np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


def _stent(rng: np.random.Generator) -> tuple[list[Body], Array]:
    """A braid of length 1."""
    radius, turns = rng.uniform(0.15, 0.3), rng.uniform(0.7, 1.5)
    s = np.linspace(0.0, 1.0, int(turns * TURN_POINTS) + 8)
    wire = rng.uniform(0.015, 0.03)
    bodies: list[Body] = []
    for number in range(STENT_WIRES):
        for hand in (1, -1):
            phase = 2 * np.pi * (number / STENT_WIRES + hand * turns * s)
            points = np.stack([s, radius * np.cos(phase), radius * np.sin(phase)], axis=1)
            bodies.append(Wire(points, wire, SOLID))
    return bodies, np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


def _bead(rng: np.random.Generator) -> tuple[list[Body], Array]:
    """A ball, or a capsule of three."""
    if rng.random() < 0.7:
        body = Solids.balls(np.zeros((1, 3)), np.array([0.5]), SOLID)
        return [body], np.array([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])
    places = np.linspace(-0.5, 0.5, 5)[:, None] * np.array([[1.0, 0.0, 0.0]])
    return [Solids.balls(places, np.full(5, 0.4), SOLID)], places[[0, -1]] * 1.8


KINDS: dict[str, Callable[[np.random.Generator], tuple[list[Body], Array]]] = {
    "sheet": _sheet,
    "rod": _rod,
    "droplet": _droplet,
    "helix": _helix,
    "stent": _stent,
    "bead": _bead,
}


def line_points(line: Array, count: int) -> Array:
    """Return `count` points (count, 3) evenly along a line (n, 3)."""
    s = arclength(line)
    at = np.linspace(0.0, s[-1], count)
    return np.stack([np.interp(at, s, c) for c in line.T], axis=1)


def turned(rng: np.random.Generator, place: Array) -> Array:
    """Return a transform (4, 4) to a place (3,) with a random attitude."""
    return transform(Rotation.random(random_state=rng).as_matrix(), place)


def _scaled(body: Body, scale: float) -> Body:
    if isinstance(body, Solids):
        return replace(body, centre=body.centre * scale, half_extents=body.half_extents * scale)
    if isinstance(body, Wire):
        return replace(
            body, points=body.points * scale, radius=body.radius * scale, inner=body.inner * scale
        )
    if isinstance(body, Film):
        T = body.T.copy()
        T[:3, 3] *= scale
        thickness = body.thickness * np.float32(scale)
        return replace(body, T=T, thickness=thickness, pixel_size=body.pixel_size * scale)
    return replace(body, vertices=body.vertices * scale)


def _surface(body: Body) -> Array:
    """Points (n, 3) whose hull is the body's, nearly."""
    if isinstance(body, Wire):
        around = np.concatenate([np.eye(3), -np.eye(3)]) * body.radius
        return (body.points[:, None] + around).reshape(-1, 3)
    if isinstance(body, Film):
        half = body.thickness[body.thickness > 0.0][:, None] / 2 * body.T[:3, 2]
        middle = _film_points(body)
        return np.concatenate([middle - half, middle + half])
    if not isinstance(body, Solids):
        return body.vertices
    if body.shape == "box":
        signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    else:
        signs = np.concatenate([np.eye(3), -np.eye(3)])
        signs = np.concatenate([signs, signs[:, [1, 2, 0]]])
    local = signs * body.half_extents[:, None]
    local = np.einsum("nij,nkj->nki", body.rotation, local)
    return (body.centre[:, None] + local).reshape(-1, 3)


def _film_points(film: Film) -> Array:
    """Places (n, 3) of the pixels of a film where there is any of it."""
    rows, columns = np.nonzero(film.thickness > 0.0)
    height, width = film.thickness.shape
    flat = np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2], axis=1) * film.pixel_size
    return apply(film.T, np.column_stack([flat, np.zeros(len(flat))]))


def _centre(bodies: tuple[Body, ...]) -> Array:
    places, weights = [], []
    for body in bodies:
        if isinstance(body, Solids):
            places.append(body.centre)
            weights.append(np.prod(body.half_extents, axis=1))
        elif isinstance(body, Wire):
            steps = np.linalg.norm(np.diff(body.points, axis=0), axis=1)
            places.append((body.points[1:] + body.points[:-1]) / 2)
            weights.append(steps * (body.radius**2 - body.inner**2))
        elif isinstance(body, Film):
            places.append(_film_points(body))
            weights.append(body.thickness[body.thickness > 0.0])
        else:
            places.append(body.vertices)
            weights.append(np.ones(len(body.vertices)))
    return np.average(np.concatenate(places), axis=0, weights=np.concatenate(weights))
