"""Windings as sets of circular current loops, evaluated with Magpylib's array kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.config.coils import CoilConfig, CoilsConfig
from mmdtwin.geometry import Array, unit
from mmdtwin.units import MU0


@dataclass(frozen=True, eq=False)
class Loops:
    """Current loops that stand for one winding.

    Parameters
    ----------
    centre : (n, 3) array
        Loop centres, m.
    radius : (n,) array
        Loop radii, m.
    axis : (3,) array
        Unit normal shared by the loops; a positive current makes a field along it.
    weight : float
        Loop current per coil current: turns per loop times the core's gain.
    """

    centre: Array
    radius: Array
    axis: Array
    weight: float


def loops_of(coil: CoilConfig, n_radial: int, n_axial: int) -> Loops:
    """Cut a winding's cross-section into n_radial x n_axial cells with a loop in each centre."""
    axis = unit(coil.axis)
    steps_radial = (np.arange(n_radial) + 0.5) / n_radial
    steps_axial = (np.arange(n_axial) + 0.5) / n_axial - 0.5
    radii = coil.inner_radius + steps_radial * (coil.outer_radius - coil.inner_radius)
    offsets = steps_axial * coil.length
    radius, offset = (a.ravel() for a in np.meshgrid(radii, offsets, indexing="ij"))
    centre = np.asarray(coil.position) + offset[:, None] * axis
    weight = coil.turns * coil.core_gain / (n_radial * n_axial)
    return Loops(centre, radius, axis, weight)


def all_loops(config: CoilsConfig) -> list[Loops]:
    """Return the loops of every coil of a system."""
    return [loops_of(coil, config.loops_radial, config.loops_axial) for coil in config.coils]


def loops_field(loops: Loops, points: Array) -> Array:
    """Return the field (n, 3) T/A of a winding at points (n, 3) m, from Magpylib's loop kernel."""
    from magpylib.core import current_circle_Hfield

    relative = points[None] - loops.centre[:, None]
    z = relative @ loops.axis
    radial = relative - z[..., None] * loops.axis
    r = np.linalg.norm(radial, axis=-1)
    radius = np.broadcast_to(loops.radius[:, None], r.shape)
    h = current_circle_Hfield(
        r0=radius.ravel(), r=r.ravel(), z=z.ravel(), i0=np.full(r.size, loops.weight)
    )
    h_r, h_z = h[0].reshape(r.shape), h[2].reshape(r.shape)
    along_radial = np.einsum("pn,pni->ni", h_r, unit(radial))
    return MU0 * (along_radial + h_z.sum(axis=0)[:, None] * loops.axis)


def nearest_winding(config: CoilsConfig) -> float:
    """Return the distance in m from the origin to the nearest point of any winding.

    The harmonics converge inside this radius and nowhere beyond it.
    """
    return min(_distance_to_winding(coil) for coil in config.coils)


def _distance_to_winding(coil: CoilConfig) -> float:
    axis = unit(coil.axis)
    along = float(np.asarray(coil.position) @ axis)
    across = float(np.linalg.norm(np.asarray(coil.position) - along * axis))
    gap_axial = max(abs(along) - coil.length / 2, 0.0)
    gap_radial = max(coil.inner_radius - across, across - coil.outer_radius, 0.0)
    return float(np.hypot(gap_axial, gap_radial))


def rotation_to(axis: Array) -> Rotation:
    """Return the smallest rotation that takes z to `axis`."""
    z = np.array([0.0, 0.0, 1.0])
    cross = np.cross(z, axis)
    sine, cosine = float(np.linalg.norm(cross)), float(axis[2])
    if sine < 1e-12:
        return Rotation.from_rotvec([0.0, 0.0, 0.0] if cosine > 0 else [np.pi, 0.0, 0.0])
    return Rotation.from_rotvec(cross / sine * np.arctan2(sine, cosine))
