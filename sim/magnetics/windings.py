"""Windings as solids: where they are, how near they come, and whether they run into each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.coils import (
    CoilConfig,
    CoilsConfig,
    PairConfig,
    RacetrackConfig,
    RectangleConfig,
    SaddleConfig,
)
from mmdtwin.errors import ConfigError
from mmdtwin.geometry import Array, aligning_rotation, unit
from mmdtwin.sim.magnetics.formers import Circle, Former, Rectangle, Stadium

SAMPLES = 7  # across a winding's section and along its axis, where overlaps are looked for
# Along the wire they are half its thickness apart, so that no wire as thick passes between them.
PER_THICKNESS = 2
MOST = 1000  # along one straight run, which bounds memory: a wire thinner than 1/500 of it may pass
TOUCHING = 1e-6  # m: windings may touch


@dataclass(frozen=True, eq=False)
class Winding:
    """A winding of rectangular section around a former.

    Parameters
    ----------
    centre : (3,) array
        m, in the coils' frame.
    frame : (3, 3) array
        Columns: the plane's u and v, and the axis.
    former : Former
        The curve that the wire follows.
    inner, outer : float
        Distances from the former's reference between which the wire lies, m.
    length : float
        Along the axis, m.
    ampere_turns : float
        Per ampere, with the core's gain; negative where the current runs the other way.
    core : bool
        True if a core fills the bore.
    """

    centre: Array
    frame: Array
    former: Former
    inner: float
    outer: float
    length: float
    ampere_turns: float
    core: bool

    def contains(self, points: Array, margin: float = 0.0) -> NDArray[np.bool_]:
        """Return which points (n, 3) lie in the wire or the core, at least `margin` m deep."""
        rho, along = self._coordinates(points)
        inside = (rho < self.outer - margin) & (np.abs(along) < self.length / 2 - margin)
        return np.asarray(inside if self.core else inside & (rho > self.inner + margin))

    def distance(self, point: Array) -> float:
        """Distance in m from a point (3,) to the nearest wire; a lower bound beside corners."""
        rho, along = (float(a[0]) for a in self._coordinates(point[None]))
        across = max(self.inner - rho, rho - self.outer, 0.0)
        return float(np.hypot(across, max(abs(along) - self.length / 2, 0.0)))

    def samples(self) -> Array:
        """Return points (n, 3) all over the wire, m."""
        layers = np.linspace(self.inner, self.outer, SAMPLES)
        spacing = min(self.outer - self.inner, self.length) / PER_THICKNESS
        outlines = np.concatenate([_filled(self.former.outline(float(r)), spacing) for r in layers])
        heights = np.linspace(-self.length / 2, self.length / 2, SAMPLES)
        return np.concatenate([self.place(outlines, h) for h in heights])

    def place(self, plane: Array, along: float) -> Array:
        """Return points (n, 3) of plane coordinates (n, 2) at a height along the axis, m."""
        return self.centre + plane @ self.frame[:, :2].T + along * self.frame[:, 2]

    def _coordinates(self, points: Array) -> tuple[Array, Array]:
        local = (points - self.centre) @ self.frame
        return self.former.rho(local[:, :2]), local[:, 2]


@dataclass(frozen=True, eq=False)
class Saddle:
    """Half of a saddle coil: two arcs and two straight runs on a cylinder.

    The frame's columns are the cylinder's axis, across, and the field's direction; the half lies
    towards +-field. As a solid the wire is a tube of the winding's thickness. Its filaments lie
    above one another, at `loops_radial` radii; `loops_axial` does nothing here.
    """

    centre: Array
    frame: Array
    radius: float
    thickness: float
    length: float
    angle: float
    ampere_turns: float
    towards: float  # +1 or -1

    def outline(self, radius: float) -> Array:
        """Return the closed polygon (k, 3) m of a wire at a radius, its first point last."""
        n = max(int(np.ceil(self.angle / np.pi * 72)), 8)
        step = self.angle / n
        # The mean of a chord polygon's radii inside and outside the arc.
        swollen = radius * (1 + step**2 / 24)
        angle = np.linspace(-self.angle / 2, self.angle / 2, n + 1)
        across, along = swollen * np.sin(angle), self.towards * swollen * np.cos(angle)
        near = np.stack([np.full_like(angle, -self.length / 2), across, along], axis=1)
        far = near * [-1.0, 1.0, 1.0]
        # Counter-clockwise about the field's direction on either side.
        local = np.concatenate([far, near[::-1], far[:1]])
        return self.centre + local @ self.frame.T

    def contains(self, points: Array, margin: float = 0.0) -> NDArray[np.bool_]:
        """Return which points (n, 3) lie in the wire, at least `margin` m deep."""
        return np.asarray(self._from_middle(points) < self.thickness / 2 - margin)

    def distance(self, point: Array) -> float:
        """Distance in m from a point (3,) to the nearest wire."""
        return max(float(self._from_middle(point[None])[0]) - self.thickness / 2, 0.0)

    def samples(self) -> Array:
        """Return points (n, 3) all over the wire, m."""
        middle = _filled(self._middle, self.thickness / PER_THICKNESS)
        border = self.thickness / 2 * np.concatenate([self.frame.T, -self.frame.T])
        return np.concatenate([middle, *(middle + offset for offset in border)])

    @property
    def _middle(self) -> Array:
        return self.outline(self.radius + self.thickness / 2)

    def _from_middle(self, points: Array) -> Array:
        """Distance (n,) m of points (n, 3) to the wire's middle line."""
        least = np.full(len(points), np.inf)
        for start, step in _segments(self._middle):
            offset = points - start
            along = np.clip(offset @ step / (step @ step), 0.0, 1.0)
            least = np.minimum(least, np.linalg.norm(offset - along[:, None] * step, axis=1))
        return least


Part = Winding | Saddle


def parts_of(coil: CoilConfig) -> list[Part]:
    """Return the windings that a coil's current flows through."""
    centre, axis = np.asarray(coil.position, float), unit(coil.axis)
    ampere_turns, core = coil.turns * coil.core_gain, coil.core_gain > 1.0
    if isinstance(coil, SaddleConfig):
        frame = _frame(axis, coil.side)
        size = (coil.radius, coil.thickness, coil.length, coil.angle)
        return [Saddle(centre, frame, *size, ampere_turns, towards) for towards in (1.0, -1.0)]
    if isinstance(coil, PairConfig):
        inner, outer = coil.radius - coil.thickness / 2, coil.radius + coil.thickness / 2
        section = (_frame(axis), Circle(), inner, outer, coil.length)
        shift = coil.spacing / 2 * axis
        reversed_turns = ampere_turns if coil.kind == "helmholtz" else -ampere_turns
        return [
            Winding(centre + shift, *section, ampere_turns, core),
            Winding(centre - shift, *section, reversed_turns, core),
        ]
    former: Former = Circle()
    side = None
    if isinstance(coil, RectangleConfig):
        former, side = Rectangle(coil.width, coil.height), coil.side
        inner, outer = 0.0, coil.thickness
    else:
        inner, outer = coil.inner_radius, coil.outer_radius
    if isinstance(coil, RacetrackConfig):
        former, side = Stadium(coil.straight), coil.side
    frame = _frame(axis, side)
    return [Winding(centre, frame, former, inner, outer, coil.length, ampere_turns, core)]


def all_parts(config: CoilsConfig) -> list[list[Part]]:
    """Return the windings of every coil of a system."""
    return [parts_of(coil) for coil in config.coils]


def nearest_winding(config: CoilsConfig) -> float:
    """Return the distance in m from the origin to the nearest point of any winding.

    The harmonics converge inside this radius and nowhere beyond it.
    """
    origin = np.zeros(3)
    return min(part.distance(origin) for parts in all_parts(config) for part in parts)


def refuse_overlaps(config: CoilsConfig) -> None:
    """Raise ConfigError if windings or cores of two coils run into each other."""
    solids = [(k, part) for k, parts in enumerate(all_parts(config)) for part in parts]
    samples = [part.samples() for _, part in solids]
    reach = [(p.mean(axis=0), np.ptp(p, axis=0).max()) for p in samples]
    for i, (coil, part) in enumerate(solids):
        for j, (other, _) in enumerate(solids):
            apart = float(np.linalg.norm(reach[i][0] - reach[j][0]))
            if i == j or apart > reach[i][1] + reach[j][1]:
                continue
            inside = part.contains(samples[j], TOUCHING)
            if inside.any():
                where = np.round(samples[j][int(np.argmax(inside))] * 1e3, 1)
                raise ConfigError(
                    f"coils.{min(coil, other)} and coils.{max(coil, other)} overlap near"
                    f" {where.tolist()} mm; move them apart or make them thinner"
                )


def _frame(axis: Array, side: tuple[float, float, float] | None = None) -> Array:
    """Columns: side made perpendicular to the axis, across, axis; right-handed."""
    if side is None:  # round: any will do
        x, y, z = aligning_rotation(axis).T
        return np.stack([y, z, x], axis=1)
    along = np.asarray(side, float)
    u = unit(along - axis * (axis @ along))
    return np.stack([u, np.cross(axis, u), axis], axis=1)


def _filled(polygon: Array, spacing: float) -> Array:
    """Return points all along a closed polygon, `spacing` m apart or less."""
    sides = []
    for start, step in _segments(polygon):
        n = min(int(np.ceil(np.linalg.norm(step) / spacing)), MOST)
        sides.append(start + np.arange(n)[:, None] / n * step)
    return np.concatenate(sides)


def _segments(polygon: Array) -> Iterator[tuple[Array, Array]]:
    """Start and step of each side of a closed polygon; corners that coincide have none."""
    for start, step in zip(polygon[:-1], np.diff(polygon, axis=0), strict=True):
        if step.any():
            yield start, step
