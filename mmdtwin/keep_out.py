"""Convex volumes of the world that an arm-held magnet keeps out of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, unit

ROUNDS, GRID = 6, np.linspace(0.0, 1.0, 17)  # search for the nearest point of a path


class Volume(Protocol):
    """A convex volume."""

    @property
    def name(self) -> str:
        """What the reasons of the gate call it."""

    def distance(self, points: Array) -> Array:
        """Return the signed distance (...,) m of points (..., 3) to the surface, > 0 outside."""


@dataclass(frozen=True, eq=False)
class KeepOutSphere:
    """A ball about `centre` (3,) m with `radius` m."""

    name: str
    centre: Array
    radius: float

    def __post_init__(self) -> None:
        _check(self.name, np.isfinite(self.centre).all() and 0 < self.radius < np.inf)

    def distance(self, points: Array) -> Array:
        return np.asarray(np.linalg.norm(points - self.centre, axis=-1) - self.radius)


@dataclass(frozen=True, eq=False)
class KeepOutBox:
    """A box of `half_extents` (3,) m, centred and turned as `T_world_box` (4, 4) says."""

    name: str
    T_world_box: Array
    half_extents: Array

    def __post_init__(self) -> None:
        half = np.asarray(self.half_extents)
        positive = np.isfinite(half).all() and (half > 0).all()
        _check(self.name, np.isfinite(self.T_world_box).all() and positive)

    def distance(self, points: Array) -> Array:
        local = (points - self.T_world_box[:3, 3]) @ self.T_world_box[:3, :3]
        beyond = np.abs(local) - self.half_extents
        outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=-1)
        return np.asarray(outside + np.minimum(np.max(beyond, axis=-1), 0.0))


@dataclass(frozen=True, eq=False)
class KeepOutHalfSpace:
    """All behind the plane through `point` (3,) m; `normal` (3,) points to the free side."""

    name: str
    point: Array
    normal: Array

    def __post_init__(self) -> None:
        normal = np.asarray(self.normal)
        proper = np.isfinite(normal).all() and normal.any()
        _check(self.name, np.isfinite(self.point).all() and proper)

    def distance(self, points: Array) -> Array:
        return np.asarray((points - self.point) @ unit(self.normal))


def least_distance(volume: Volume, start: Array, end: Array) -> float:
    """Return the least signed distance in m from a volume to a straight path between (3,) points.

    The distance to a convex volume is convex along a line, so a grid that closes in on the least
    value finds it; six rounds leave 1e-7 of the path's length.
    """
    low, high, least = 0.0, 1.0, np.inf
    for _ in range(ROUNDS):
        t = low + (high - low) * GRID
        distance = volume.distance(start + t[:, None] * (end - start))
        k = int(np.argmin(distance))
        least = min(least, float(distance[k]))
        low, high = float(t[max(k - 1, 0)]), float(t[min(k + 1, len(t) - 1)])
    return least


def _check(name: str, good: bool | np.bool) -> None:
    if not good:
        raise UserError(f"keep-out {name}: sizes must be positive and all numbers finite")
