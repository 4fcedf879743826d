"""What devices are mistaken for, or hidden by: instruments, markers, contrast-filled vessels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Body, Solids, Wire

STEP = 0.5e-3  # m between points of a line
DEPTH = 0.03  # m from the isocentre along the central ray within which things lie


class Place:
    """Where in a view things are put: random places and lines at random depths.

    Parameters
    ----------
    rng : Generator
    projection : Projection
        Of the view.
    """

    def __init__(self, rng: np.random.Generator, projection: Projection) -> None:
        self.rng, self.projection = rng, projection
        height, width = projection.shape
        self._size = np.array([width, height], float)

    def point(self, margin: float = 0.05) -> Array:
        """Return a point (3,) in the view, m."""
        pixel = self.rng.uniform(margin, 1.0 - margin, 2) * self._size
        return self.projection.back_project(pixel, self.depth())

    def depth(self) -> float:
        """Return a distance from the source near the isocentre, m."""
        return self.projection.sod + float(self.rng.uniform(-DEPTH, DEPTH))

    def line(self, length: float, bend: float, *, entering: bool) -> Array:
        """Return a smooth line (n, 3) in the view's plane, m; entering ones begin at its rim."""
        rng = self.rng
        count = max(int(length / STEP), 4)
        s = np.linspace(0.0, 1.0, count)
        waves = np.zeros(count)
        for k in (1, 2, 3):
            waves += rng.normal(0.0, bend / k) * np.sin(2 * np.pi * (k * s / 2 + rng.random()))
        size, depth = self._size, self.depth()
        start = rng.uniform(0.1, 0.9, 2) * size
        angle = rng.uniform(0.0, 2 * np.pi)
        if entering:
            inwards = size / 2 + rng.normal(0.0, 0.15, 2) * size - start
            angle = float(np.arctan2(inwards[1], inwards[0]))
            start -= np.array([np.cos(angle), np.sin(angle)]) * size.max()
            start = np.clip(start, -0.02 * size, 1.02 * size)
        heading = angle + waves - waves[0]
        per_pixel = self.projection.pitch * depth / self.projection.sid
        steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * (length / count / per_pixel)
        pixels = start + np.cumsum(steps, axis=0)
        return self.projection.back_project(pixels, np.full(count, depth))


def draw_distractor(place: Place, kind: str) -> tuple[Body, ...]:
    """Return the bodies of an instrument of one of `KINDS`, in the world."""
    return KINDS[kind](place)


def draw_vessel(place: Place, diameter: float, iodine: float) -> Wire:
    """Return a vessel of a diameter, m, filled with iodine, mg/mL."""
    rng = place.rng
    line = place.line(rng.uniform(0.06, 0.16), rng.uniform(0.2, 0.8), entering=True)
    # Points of a wide wire must not lie so close that its mitres fold.
    every = max(1, int(0.5 * diameter / STEP))
    return Wire(line[::every], diameter / 2, f"iodine:{iodine:.4g}", displaces="soft-tissue")


def _guidewire(place: Place) -> tuple[Body, ...]:
    rng = place.rng
    line = place.line(rng.uniform(0.05, 0.15), rng.uniform(0.1, 0.7), entering=True)
    return (Wire(line, rng.uniform(0.18e-3, 0.46e-3), rng.choice(["stainless-steel", "nitinol"])),)


def _catheter(place: Place) -> tuple[Body, ...]:
    rng = place.rng
    line = place.line(rng.uniform(0.05, 0.15), rng.uniform(0.1, 0.6), entering=True)
    radius = rng.uniform(0.6e-3, 1.2e-3)
    tube = Wire(line, radius, "barium-polyurethane", 0.7 * radius)
    if rng.random() < 0.4:
        return (tube,)
    return tube, Wire(line[-4:-1], radius + 50e-6, "platinum-iridium", radius)


def _clip(place: Place) -> tuple[Body, ...]:
    rng, point = place.rng, place.point()
    along = _in_plane(place)
    half = rng.uniform(2e-3, 5e-3) * along
    return (Wire(np.array([point - half, point + half]), rng.uniform(0.3e-3, 0.7e-3), "titanium"),)


def _screw(place: Place) -> tuple[Body, ...]:
    rng, point = place.rng, place.point()
    along, length = _in_plane(place), rng.uniform(8e-3, 30e-3)
    radius = rng.uniform(1.0e-3, 2.5e-3)
    shaft = Wire(np.array([point, point + length * along]), radius, "titanium")
    head = Wire(np.array([point - 2e-3 * along, point]), 1.8 * radius, "titanium")
    return shaft, head


def _marker(place: Place) -> tuple[Body, ...]:
    rng = place.rng
    count = int(rng.integers(1, 5))
    points = np.array([place.point() for _ in range(count)])
    radii = np.full(count, rng.uniform(0.3e-3, 1.0e-3))
    return (Solids.balls(points, radii, str(rng.choice(["stainless-steel", "tantalum", "gold"]))),)


def _ruler(place: Place) -> tuple[Body, ...]:
    rng = place.rng
    points = place.point() + np.arange(int(rng.integers(4, 12)))[:, None] * 10e-3 * _in_plane(place)
    radii = np.full(len(points), rng.uniform(0.5e-3, 1.0e-3))
    return (Solids.balls(points, radii, "stainless-steel"),)


def _in_plane(place: Place) -> Array:
    """Return a random direction (3,) across the central ray."""
    angle = place.rng.uniform(0.0, 2 * np.pi)
    axes = place.projection.axes
    return np.asarray(np.cos(angle) * axes[0] + np.sin(angle) * axes[1])


KINDS: dict[str, Callable[[Place], tuple[Body, ...]]] = {
    "guidewire": _guidewire,
    "catheter": _catheter,
    "clip": _clip,
    "screw": _screw,
    "marker": _marker,
    "ruler": _ruler,
}
