"""Shapes of permanent magnets: their exact fields and the derivatives, in the magnet's frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from mmdtwin.config.magnet import CuboidShape, MagnetConfig, SphereShape
from mmdtwin.geometry import Array
from mmdtwin.units import MU0

# Central differences of order 6 over the kernel, step STEP times the distance to the surface. For
# a field that falls as distance^-3 the truncation is 432 STEP^6 = 3e-8 of the gradient. Rounding of
# the kernel grows with distance: for a cylinder polarised across its axis, near that axis, it is
# 2e-7 of the gradient at 12 radii and 8e-6 at 24; for the others 1e-7 at most at 25.
OFFSETS = np.array([1.0, -1.0, 2.0, -2.0, 3.0, -3.0])
WEIGHTS = np.array([45.0, -45.0, -9.0, 9.0, 1.0, -1.0]) / 60.0
STEP = 0.02


class Body(Protocol):
    """A magnet in its own frame: distance to its surface, field and its derivatives."""

    def distance(self, points: Array) -> Array:
        """Return the distance (n,) m of points (n, 3) to the magnet, 0 inside."""

    def expand(self, points: Array) -> tuple[Array, Array]:
        """Return B (n, 3) and dB_i/dx_j (n, 3, 3)."""

    def curvature(self, points: Array) -> Array:
        """Return d2B_i/dx_j dx_k (n, 3, 3, 3), T/m2."""


class Ball:
    """A sphere: outside it the field is exactly its dipole's."""

    def __init__(self, radius: float, dipole: Array) -> None:
        self._radius = radius
        self._m = dipole * MU0 / (4 * np.pi)  # T m3

    def distance(self, points: Array) -> Array:
        return np.maximum(np.sqrt(np.einsum("ni,ni->n", points, points)) - self._radius, 0.0)

    def expand(self, points: Array) -> tuple[Array, Array]:
        m, eye = self._m, np.eye(3)
        r2 = np.einsum("ni,ni->n", points, points)
        along = points @ m
        r5 = (r2 * r2 * np.sqrt(r2))[:, None]
        field = (3 * along[:, None] * points - r2[:, None] * m) / r5
        outer = points[:, :, None] * m
        gradient = outer + np.swapaxes(outer, 1, 2) + along[:, None, None] * eye
        gradient -= (5 * along / r2)[:, None, None] * points[:, :, None] * points[:, None, :]
        return field, 3 * gradient / r5[:, :, None]

    def curvature(self, points: Array) -> Array:
        m, x, eye = self._m, points, np.eye(3)
        r2 = np.einsum("ni,ni->n", x, x)[:, None, None, None]
        along = (x @ m)[:, None, None, None]

        def all_orders(v: Array, pair: Array) -> Array:
            return (
                np.einsum("ni,njk->nijk", v, pair)
                + np.einsum("nj,nik->nijk", v, pair)
                + np.einsum("nk,nij->nijk", v, pair)
            )

        pairs = np.broadcast_to(eye, (len(x), 3, 3))
        xx = x[:, :, None] * x[:, None, :]
        moments = np.broadcast_to(m, x.shape)
        third = all_orders(moments, pairs) - 5 / r2 * (
            all_orders(moments, xx) + along * all_orders(x, pairs)
        )
        third += 35 * along / r2**2 * np.einsum("ni,nj,nk->nijk", x, x, x)
        return 3 * third / r2**2.5


class Differenced:
    """A magnet whose derivatives come from differences of its exact field.

    Parameters
    ----------
    kernel : callable
        (n, 3) m to (n, 3) T in the magnet's frame, outside the magnet.
    distance : callable
        (n, 3) m to the distance from the surface, (n,) m.
    """

    def __init__(
        self, kernel: Callable[[Array], Array], distance: Callable[[Array], Array]
    ) -> None:
        self._kernel, self.distance = kernel, distance
        steps = np.einsum("o,ji->joi", OFFSETS, np.eye(3)).reshape(-1, 3)
        self._stencil = np.concatenate([np.zeros((1, 3)), steps])  # in steps; the point first

    def expand(self, points: Array) -> tuple[Array, Array]:
        h = STEP * self.distance(points)
        # One call of the kernel for everything: it costs far more per call than per point.
        at = points[:, None] + h[:, None, None] * self._stencil
        values = self._kernel(at.reshape(-1, 3)).reshape(at.shape)
        around = values[:, 1:].reshape(len(points), 3, len(OFFSETS), 3)
        gradient = np.einsum("njoi,o->nij", around, WEIGHTS) / h[:, None, None]
        return values[:, 0], gradient

    def curvature(self, points: Array) -> Array:
        h = STEP * self.distance(points)
        at = points[:, None] + h[:, None, None] * self._stencil[1:]
        gradient = self.expand(at.reshape(-1, 3))[1].reshape(len(points), 3, len(OFFSETS), 3, 3)
        return np.einsum("nkoij,o->nijk", gradient, WEIGHTS) / h[:, None, None, None]


def body_of(config: MagnetConfig) -> Body:
    """Return the magnet's shape and polarisation as a body."""
    shape, polarisation = config.shape, config.polarisation
    if isinstance(shape, SphereShape):
        return Ball(shape.diameter / 2, polarisation * shape.volume / MU0)
    if isinstance(shape, CuboidShape):
        return _cuboid(np.array(shape.size), polarisation)
    return _cylinder(shape.diameter / 2, shape.height / 2, polarisation)


def _cuboid(size: Array, polarisation: Array) -> Body:
    from magpylib.core import magnet_cuboid_Bfield

    def kernel(points: Array) -> Array:
        n = len(points)
        return np.asarray(
            magnet_cuboid_Bfield(
                points, np.broadcast_to(size, (n, 3)), np.broadcast_to(polarisation, (n, 3))
            )
        )

    def distance(points: Array) -> Array:
        beyond = np.maximum(np.abs(points) - size / 2, 0.0)
        return np.asarray(np.sqrt(np.einsum("ni,ni->n", beyond, beyond)))

    return Differenced(kernel, distance)


def _cylinder(radius: float, half_height: float, polarisation: Array) -> Body:
    """The axial and the diametral part of the polarisation have a kernel each."""
    from magpylib.core import magnet_cylinder_axial_Bfield, magnet_cylinder_diametral_Hfield

    across, along = float(np.hypot(*polarisation[:2])), float(polarisation[2])
    azimuth = float(np.arctan2(polarisation[1], polarisation[0]))

    def kernel(points: Array) -> Array:
        r, phi = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
        r_, z_, h_ = r / radius, points[:, 2] / radius, np.full(len(points), half_height / radius)
        parts = np.zeros((3, len(points)))  # radial, azimuthal, axial
        if along:
            parts += along * np.asarray(magnet_cylinder_axial_Bfield(h_, r_, z_))
        if across:  # of unit magnetisation; outside the magnet B = mu0 H
            parts += across * np.asarray(
                magnet_cylinder_diametral_Hfield(h_, r_, z_, phi - azimuth)
            )
        c, s = np.cos(phi), np.sin(phi)
        return np.stack([c * parts[0] - s * parts[1], s * parts[0] + c * parts[1], parts[2]], 1)

    def distance(points: Array) -> Array:
        beyond = np.maximum(np.hypot(points[:, 0], points[:, 1]) - radius, 0.0)
        return np.hypot(beyond, np.maximum(np.abs(points[:, 2]) - half_height, 0.0))

    return Differenced(kernel, distance)
