"""Random vessel trees that follow Murray's law, for training in many vessels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.config.branch import BranchConfig, Vector
from mmdtwin.config.phantom import ProceduralConfig, RandomTreeConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, unit
from mmdtwin.seeding import stream

RESTARTS = 150  # of a tree that finds no room
TRIES = 40  # of a fork before its tree is started anew
SHORTEST = 0.6  # of the drawn length, to which a fork that finds no room shrinks by and by
SHRINKING = 0.99  # of all lengths with each restart
WAY_POINTS = 6  # of a branch
FORK_REACH = 3.0  # radii of the parent from a fork, within which its branches may touch
GAP = 3.0  # voxels of wall between branches that do not meet


@dataclass(frozen=True)
class _Stem:
    """Where a branch may begin: name, node, place, direction, radius, forks beyond it."""

    name: str
    node: str
    at: Array
    direction: Array
    radius: float
    levels: int


@dataclass
class _Grown:
    """Branches grown so far; of each its way points (n, 3) m, radius m and node it starts at."""

    points: list[Array] = field(default_factory=list)
    radius: list[float] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    branches: dict[str, BranchConfig] = field(default_factory=dict)


class _NoRoomError(Exception):
    """A fork found no room for its branches."""


def random_tree(config: RandomTreeConfig) -> ProceduralConfig:
    """Draw the tree of a seed.

    Every branch but the last forks in two, r0^3 = r1^3 + r2^3 (Murray, PNAS 12 (1926) 207), at
    the angles of least work, cos t1 = (r0^4 + r1^4 - r2^4) / (2 r0^2 r1^2) (Murray, J Gen Physiol
    9 (1926) 835), in a plane of random roll; it is an arc of random length and bend. Forks that
    would touch other branches, leave the ball of `extent` or rise too steeply are drawn anew, with
    shorter branches the longer it takes.

    Raises
    ------
    UserError
        If no such tree is found.
    """
    rng = stream(config.seed, "phantom")
    for restart in range(RESTARTS):
        try:
            branches = _grow(config, SHRINKING**restart, rng)
        except _NoRoomError:
            continue
        return ProceduralConfig(
            kind="procedural",
            source=f"{config.source} (random tree, seed {config.seed})",
            branches=branches,
            voxel=config.voxel,
            blend=config.blend,
        )
    raise UserError(
        f"vessel.seed: no tree of seed {config.seed} fits a ball of extent "
        f"{config.extent * 1e3:.1f} mm; raise extent or steepest, or lower levels, length or "
        "root_radius"
    )


def _grow(
    config: RandomTreeConfig, share: float, rng: np.random.Generator
) -> dict[str, BranchConfig]:
    radius = config.root_radius
    at = np.array([-(config.extent - radius - GAP * config.voxel), 0.0, 0.0])
    trunk = _Stem("trunk", "inlet", at, np.array([1.0, 0.0, 0.0]), radius, config.levels)
    grown = _Grown()
    for attempt in range(TRIES):
        points, direction = _arc(trunk, share * _shrunk(attempt), config, rng)
        if _fits(points, trunk, grown, config):
            break
    else:
        raise _NoRoomError
    _add(grown, trunk, points)
    stems = [_tip(trunk, points, direction)]
    while stems:
        stems += _fork(stems.pop(0), grown, config, share, rng)
    return grown.branches


def _shrunk(attempt: int) -> float:
    return 1.0 - (1.0 - SHORTEST) * attempt / TRIES


def _tip(stem: _Stem, points: Array, direction: Array) -> _Stem:
    return _Stem(stem.name, f"{stem.name}-fork", points[-1], direction, stem.radius, stem.levels)


def _fork(
    tip: _Stem, grown: _Grown, config: RandomTreeConfig, share: float, rng: np.random.Generator
) -> list[_Stem]:
    """Grow the two branches that follow a tip; return the tips that fork again."""
    prefix = "" if tip.name == "trunk" else tip.name
    for attempt in range(TRIES):
        radii, angles = _daughters(tip, config, rng)
        across = Rotation.from_rotvec(rng.uniform(0, 2 * np.pi) * tip.direction).apply(
            _perpendicular(tip.direction)
        )
        stems = [
            _Stem(
                prefix + letter, tip.node, tip.at,
                np.cos(angle) * tip.direction + sign * np.sin(angle) * across,
                radius, tip.levels - 1,
            )
            for letter, radius, angle, sign in zip("ab", radii, angles, (1.0, -1.0), strict=True)
        ]  # fmt: skip
        arcs = [_arc(stem, share * _shrunk(attempt), config, rng) for stem in stems]
        if not _fits(arcs[0][0], stems[0], grown, config):
            continue
        if not _fits(arcs[1][0], stems[1], grown, config):
            continue
        if _gap(arcs[0][0], arcs[1][0], tip) < radii[0] + radii[1] + GAP * config.voxel:
            continue
        for stem, (points, _) in zip(stems, arcs, strict=True):
            _add(grown, stem, points)
        return [
            _tip(stem, points, direction)
            for stem, (points, direction) in zip(stems, arcs, strict=True)
            if stem.levels > 0
        ]
    raise _NoRoomError


def _daughters(
    tip: _Stem, config: RandomTreeConfig, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Radii, m, and angles to the parent, rad, of the larger and the smaller branch."""
    # The smaller one must still be able to fork `levels - 1` times into equal halves.
    least = (config.minimum_radius / tip.radius) ** 3 * 2.0 ** (tip.levels - 1)
    ratio = max(rng.uniform(*config.asymmetry), min(least / (1.0 - least), 1.0) ** (1 / 3))
    large = tip.radius / (1.0 + ratio**3) ** (1 / 3)
    small = ratio * large
    return (large, small), (_angle(tip.radius, large, small), _angle(tip.radius, small, large))


def _angle(parent: float, radius: float, other: float) -> float:
    cosine = (parent**4 + radius**4 - other**4) / (2.0 * parent**2 * radius**2)
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _perpendicular(direction: Array) -> Array:
    return unit(np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))]))


def _arc(
    stem: _Stem, share: float, config: RandomTreeConfig, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Way points (n, 3) m of an arc of a circle from a stem, and its direction at the end."""
    length = share * rng.uniform(*config.length) * stem.radius
    bend = rng.uniform(0.0, config.bend)
    towards = Rotation.from_rotvec(rng.uniform(0, 2 * np.pi) * stem.direction).apply(
        _perpendicular(stem.direction)
    )
    turned = bend * np.linspace(0.0, 1.0, WAY_POINTS)
    scale = length / max(bend, 1e-6)
    along, aside = scale * np.sin(turned), scale * (1.0 - np.cos(turned))
    points = stem.at + along[:, None] * stem.direction + aside[:, None] * towards
    end = np.cos(bend) * stem.direction + np.sin(bend) * towards
    return np.vstack([stem.at, np.round(points[1:], 6)]), unit(end)


def _fits(points: Array, stem: _Stem, grown: _Grown, config: RandomTreeConfig) -> bool:
    """True if a branch stays in the ball, is not too steep and clear of those grown before."""
    radius, wall = stem.radius, GAP * config.voxel
    if np.linalg.norm(points, axis=1).max() + radius + wall > config.extent:
        return False
    steps = unit(np.diff(points, axis=0))
    if np.abs(steps[:, 2]).max() > np.sin(config.steepest):
        return False
    for other, other_radius, start in zip(grown.points, grown.radius, grown.start, strict=True):
        if start == stem.node:
            continue  # its twin, which `_fork` looks at
        if _gap(points, other, stem) < radius + other_radius + wall:
            return False
    return True


def _gap(points: Array, other: Array, fork: _Stem) -> float:
    """Least distance of two branches, m, where at least one is out of the reach of a fork."""
    a, b = _dense(points), _dense(other)
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    reach = FORK_REACH * fork.radius
    near_a = np.linalg.norm(a - fork.at, axis=1) < reach
    near_b = np.linalg.norm(b - fork.at, axis=1) < reach
    return float(distance[~(near_a[:, None] & near_b[None])].min(initial=np.inf))


def _dense(points: Array) -> Array:
    at = np.linspace(0, len(points) - 1, 6 * len(points))
    return np.stack([np.interp(at, np.arange(len(points)), c) for c in points.T], axis=1)


def _add(grown: _Grown, stem: _Stem, points: Array) -> None:
    way: tuple[Vector, ...] = tuple(tuple(map(float, p)) for p in points)  # type: ignore[misc]
    grown.points.append(points)
    grown.radius.append(stem.radius)
    grown.start.append(stem.node)
    grown.branches[stem.name] = BranchConfig(
        start=stem.node,
        end=f"{stem.name}-fork" if stem.levels > 0 else stem.name,
        points=way,
        radius=(float(np.round(stem.radius, 7)),),
    )
