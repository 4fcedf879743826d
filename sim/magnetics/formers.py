"""The plane curves that windings follow, each with its outlines at a distance from the former."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmdtwin.geometry import Array

ARC_SEGMENTS = 36  # chords of a half circle


class Former(Protocol):
    """A closed convex curve; `rho` is the distance outwards from its innermost reference curve."""

    def rho(self, plane: Array) -> Array:
        """Return the distance (n,) m of points (n, 2) m from the reference, outwards."""

    def outline(self, rho: float) -> Array:
        """Return a closed polygon (k, 2) m at a distance, counter-clockwise, its first point last.

        Where arcs are cut into chords the polygon encloses the curve's area, so that the far field
        of a current along it is that of the curve.
        """


@dataclass(frozen=True)
class Circle:
    """A circle; the reference is its centre."""

    def rho(self, plane: Array) -> Array:
        return np.hypot(plane[:, 0], plane[:, 1])

    def outline(self, rho: float) -> Array:
        return _arcs(rho, 0.0)


@dataclass(frozen=True)
class Stadium:
    """Two half circles joined by straight runs along u; the reference is the middle line."""

    straight: float  # m

    def rho(self, plane: Array) -> Array:
        beyond = np.maximum(np.abs(plane[:, 0]) - self.straight / 2, 0.0)
        return np.hypot(beyond, plane[:, 1])

    def outline(self, rho: float) -> Array:
        return _arcs(rho, self.straight)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle with sharp corners; the reference is the former itself, negative inside."""

    width: float  # m, along u
    height: float  # m, along v

    def rho(self, plane: Array) -> Array:
        u, v = np.abs(plane).T
        return np.maximum(u - self.width / 2, v - self.height / 2)

    def outline(self, rho: float) -> Array:
        a, b = self.width / 2 + rho, self.height / 2 + rho
        return np.array([[a, -b], [a, b], [-a, b], [-a, -b], [a, -b]])


def _arcs(radius: float, straight: float) -> Array:
    step = np.pi / ARC_SEGMENTS
    # A chord polygon inscribed in this radius has the area of the circle.
    swollen = radius * np.sqrt(step / np.sin(step))
    angle = np.linspace(-np.pi / 2, np.pi / 2, ARC_SEGMENTS + 1)
    half = swollen * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    run = np.array([straight / 2, 0.0])
    right, left = half + run, -half - run
    if straight == 0.0:
        return np.concatenate([right, left[1:]])
    return np.concatenate([right, left, right[:1]])
