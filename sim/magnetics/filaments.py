"""Windings cut into current filaments, evaluated with Magpylib's array kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.config.coils import CoilsConfig
from mmdtwin.geometry import Array, unit
from mmdtwin.sim.magnetics.formers import Circle
from mmdtwin.sim.magnetics.windings import Part, Winding, all_parts
from mmdtwin.units import MU0

if TYPE_CHECKING:
    import magpylib

BATCH = 200_000  # kernel evaluations at once: some 50 MB


@dataclass(frozen=True, eq=False)
class Loop:
    """A circular filament: centre (3,), unit axis (3,), radius in m, its share of the current."""

    centre: Array
    axis: Array
    radius: float
    weight: float


@dataclass(frozen=True, eq=False)
class Polygon:
    """A closed filament of straight segments: vertices (k, 3) m, and its share of the current."""

    vertices: Array
    weight: float


@dataclass(frozen=True, eq=False)
class Filaments:
    """All filaments that stand for one coil."""

    loops: tuple[Loop, ...]
    polygons: tuple[Polygon, ...]

    def field(self, points: Array) -> Array:
        """Return the coil's field per ampere at points (n, 3) m: (n, 3) T/A."""
        sources = max(len(self.loops) + sum(len(p.vertices) for p in self.polygons), 1)
        chunks = np.array_split(points, max(1, len(points) * sources // BATCH))
        return np.concatenate([self._loops_field(p) + self._polygons_field(p) for p in chunks])

    def to_magpylib(self, current: float) -> magpylib.Collection:
        """Return the coil as a Magpylib collection that carries a current in A."""
        import magpylib

        loops = [
            magpylib.current.Circle(
                diameter=2 * loop.radius,
                current=current * loop.weight,
                position=loop.centre,
                orientation=rotation_to(loop.axis),
            )
            for loop in self.loops
        ]
        polygons = [
            magpylib.current.Polyline(current=current * p.weight, vertices=p.vertices)
            for p in self.polygons
        ]
        return magpylib.Collection(*loops, *polygons)

    def _loops_field(self, points: Array) -> Array:
        if not self.loops:
            return np.zeros_like(points)
        from magpylib.core import current_circle_Hfield

        centre = np.array([loop.centre for loop in self.loops])
        axis = np.array([loop.axis for loop in self.loops])
        relative = points[None] - centre[:, None]
        z = np.einsum("lni,li->ln", relative, axis)
        radial = relative - z[..., None] * axis[:, None]
        r = np.linalg.norm(radial, axis=-1)
        radius = np.repeat([loop.radius for loop in self.loops], len(points))
        weight = np.repeat([loop.weight for loop in self.loops], len(points))
        h = current_circle_Hfield(r0=radius, r=r.ravel(), z=z.ravel(), i0=weight)
        h_r, h_z = h[0].reshape(r.shape), h[2].reshape(r.shape)
        along_radial = np.einsum("ln,lni->ni", h_r, unit(radial))
        return MU0 * (along_radial + np.einsum("ln,li->ni", h_z, axis))

    def _polygons_field(self, points: Array) -> Array:
        if not self.polygons:
            return np.zeros_like(points)
        from magpylib.core import current_polyline_Hfield

        start = np.concatenate([p.vertices[:-1] for p in self.polygons])
        end = np.concatenate([p.vertices[1:] for p in self.polygons])
        weight = np.concatenate([np.full(len(p.vertices) - 1, p.weight) for p in self.polygons])
        n, m = len(points), len(start)
        h = current_polyline_Hfield(
            observers=np.repeat(points, m, axis=0),
            segments_start=np.tile(start, (n, 1)),
            segments_end=np.tile(end, (n, 1)),
            currents=np.tile(weight, n),
        )
        return MU0 * h.reshape(n, m, 3).sum(axis=1)


def filaments_of(config: CoilsConfig) -> list[Filaments]:
    """Return the filaments of every coil: one in the middle of each cell of a winding's section.

    The section of a saddle is cut along the radius only, whatever `loops_axial` is.
    """
    cells = config.loops_radial, config.loops_axial
    return [_join([_cut(part, *cells) for part in parts]) for parts in all_parts(config)]


def _cut(part: Part, n_radial: int, n_axial: int) -> Filaments:
    steps = (np.arange(n_radial) + 0.5) / n_radial
    if not isinstance(part, Winding):
        weight = part.ampere_turns / n_radial
        outlines = [part.outline(part.radius + step * part.thickness) for step in steps]
        return Filaments((), tuple(Polygon(outline, weight) for outline in outlines))
    layers = part.inner + steps * (part.outer - part.inner)
    heights = ((np.arange(n_axial) + 0.5) / n_axial - 0.5) * part.length
    cells = [(float(layer), float(height)) for layer in layers for height in heights]
    weight, axis = part.ampere_turns / len(cells), part.frame[:, 2]
    if isinstance(part.former, Circle):
        loops = [Loop(part.centre + h * axis, axis, layer, weight) for layer, h in cells]
        return Filaments(tuple(loops), ())
    polygons = [Polygon(part.place(part.former.outline(layer), h), weight) for layer, h in cells]
    return Filaments((), tuple(polygons))


def _join(parts: list[Filaments]) -> Filaments:
    return Filaments(
        tuple(loop for part in parts for loop in part.loops),
        tuple(polygon for part in parts for polygon in part.polygons),
    )


def rotation_to(axis: Array) -> Rotation:
    """Return the smallest rotation that takes z to `axis`."""
    z = np.array([0.0, 0.0, 1.0])
    cross = np.cross(z, axis)
    sine, cosine = float(np.linalg.norm(cross)), float(axis[2])
    if sine < 1e-12:
        return Rotation.from_rotvec([0.0, 0.0, 0.0] if cosine > 0 else [np.pi, 0.0, 0.0])
    return Rotation.from_rotvec(cross / sine * np.arctan2(sine, cosine))
