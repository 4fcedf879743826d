"""Shapes of permanent magnets: their exact fields and the derivatives, in the magnet's frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.magnet import CuboidShape, MagnetConfig, SphereShape
from mmdtwin.geometry import Array
from mmdtwin.units import MU0

# Central differences of order 6 over the kernel, step STEP times the distance to the surface. For
# a field that falls as distance^-3 the truncation is 432 STEP^6 = 3e-8 of the gradient. Rounding of
# the kernels stays below that to 40 bounding radii, but for cylinders polarised across their axis
# it grows: 1e-6 of the gradient at 5 to 12 bounding radii, by shape, and 1e-4 and more at 25. They
# are dipoles beyond FAR.
OFFSETS = np.array([1.0, -1.0, 2.0, -2.0, 3.0, -3.0])
WEIGHTS = np.array([45.0, -45.0, -9.0, 9.0, 1.0, -1.0]) / 60.0
STEP = 0.02
FAR = 4.0  # bounding radii from which a cylinder is a sum of dipoles
QUADRATURE = 1e-10  # what that sum may miss of the field at FAR, about
BATCH = 20_000  # dipoles times points at once: some 5 MB


class Body(Protocol):
    """A magnet in its own frame: distance to its surface, field and its derivatives."""

    def distance(self, points: Array) -> Array:
        """Return the distance (n,) m of points (n, 3) to the magnet, 0 inside."""

    def expand(self, points: Array) -> tuple[Array, Array]:
        """Return B (n, 3) and dB_i/dx_j (n, 3, 3)."""

    def curvature(self, points: Array) -> Array:
        """Return d2B_i/dx_j dx_k (n, 3, 3, 3), T/m2."""


class Dipoles:
    """One moment shared out among dipoles at several places.

    Parameters
    ----------
    dipole : (3,) array
        Moment of all together, A m2.
    places : (q, 3) array
        m.
    shares : (q,) array
        Of sum 1.
    """

    def __init__(self, dipole: Array, places: Array, shares: Array) -> None:
        self._m = dipole * MU0 / (4 * np.pi)  # T m3
        self._places, self._shares = places, shares

    def expand(self, points: Array) -> tuple[Array, Array]:
        m = self._m
        y, r2, over_r5 = self._from_places(points)
        along = y @ m
        weighted = along * over_r5
        field = 3 * _sums(weighted, y) - np.sum(over_r5 * r2, axis=1)[:, None] * m
        outer = _sums(over_r5, y)[:, :, None] * m
        gradient = outer + np.swapaxes(outer, 1, 2)
        gradient += np.sum(weighted, axis=1)[:, None, None] * np.eye(3)
        gradient -= 5 * np.swapaxes(y * (weighted / r2)[:, :, None], 1, 2) @ y
        return field, 3 * gradient

    def curvature(self, points: Array) -> Array:
        y, r2, over_r5 = self._from_places(points)
        along, over_r7 = y @ self._m, over_r5 / r2
        yy = (y[:, :, :, None] * y[:, :, None, :]).reshape(*y.shape[:2], 9)
        moments = np.broadcast_to(self._m, points.shape)
        eyes = np.broadcast_to(np.eye(3), (len(points), 3, 3))
        third = _all_orders(np.sum(over_r5, axis=1)[:, None] * moments, eyes)
        third -= 5 * _all_orders(moments, _sums(over_r7, yy).reshape(-1, 3, 3))
        third -= 5 * _all_orders(_sums(over_r7 * along, y), eyes)
        scaled = y * (over_r7 * along / r2)[:, :, None]
        third += 35 * (np.swapaxes(scaled, 1, 2) @ yy).reshape(-1, 3, 3, 3)
        return 3 * third

    def _from_places(self, points: Array) -> tuple[Array, Array, Array]:
        """Vectors from dipoles to points (n, q, 3), their squares, and shares over r^5."""
        y = points[:, None] - self._places
        r2 = np.einsum("nqi,nqi->nq", y, y)
        return y, r2, self._shares / (r2 * r2 * np.sqrt(r2))


def _sums(weights: Array, values: Array) -> Array:
    """Sums over q of weights (n, q) times values (n, q, k): (n, k)."""
    return np.asarray((weights[:, None] @ values)[:, 0])


def _all_orders(v: Array, pair: Array) -> Array:
    """v_i pair_jk + v_j pair_ik + v_k pair_ij for symmetric pairs (n, 3, 3): (n, 3, 3, 3)."""
    product = v[:, :, None, None] * pair[:, None]
    return np.asarray(product + product.transpose(0, 2, 1, 3) + product.transpose(0, 2, 3, 1))


class Ball(Dipoles):
    """A sphere: outside it the field is exactly its dipole's."""

    def __init__(self, radius: float, dipole: Array) -> None:
        super().__init__(dipole, np.zeros((1, 3)), np.ones(1))
        self._radius = radius

    def distance(self, points: Array) -> Array:
        return np.maximum(np.sqrt(np.einsum("ni,ni->n", points, points)) - self._radius, 0.0)


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


class FarDipoles:
    """A cylinder by another body nearby, and from FAR bounding radii on by dipoles spread over it.

    Beyond all of the magnet its field is a series in multipoles; a Gauss rule over the volume has
    the moments right up to a degree, and all derivatives are those of dipoles, in closed form.

    Parameters
    ----------
    near : Body
        Serves points nearer than FAR bounding radii.
    radius, half_height : float
        m.
    dipole : (3,) array
        Moment of the whole magnet, A m2.
    """

    def __init__(self, near: Body, radius: float, half_height: float, dipole: Array) -> None:
        self._near, self.distance = near, near.distance
        self._far = FAR * float(np.hypot(radius, half_height))
        places, shares = _cylinder_rule(radius, half_height, self._far)
        self._dipoles = Dipoles(dipole, places, shares)
        self._batch = BATCH // len(places)

    def expand(self, points: Array) -> tuple[Array, Array]:
        field, gradient = np.empty((len(points), 3)), np.empty((len(points), 3, 3))
        for body, rows in self._shared_out(points):
            field[rows], gradient[rows] = body.expand(points[rows])
        return field, gradient

    def curvature(self, points: Array) -> Array:
        result = np.empty((len(points), 3, 3, 3))
        for body, rows in self._shared_out(points):
            result[rows] = body.curvature(points[rows])
        return result

    def _shared_out(self, points: Array) -> Iterator[tuple[Body | Dipoles, NDArray[np.intp]]]:
        """Yield who answers for which points."""
        is_far = np.einsum("ni,ni->n", points, points) > self._far**2
        near, far = np.flatnonzero(~is_far), np.flatnonzero(is_far)
        if len(near):
            yield self._near, near
        for first in range(0, len(far), self._batch):
            yield self._dipoles, far[first : first + self._batch]


def _cylinder_rule(radius: float, half_height: float, far: float) -> tuple[Array, Array]:
    """Return points (q, 3) m in a cylinder and weights (q,) of sum 1: a product rule of Gauss.

    Legendre along the axis and in the square of the radius, equal steps of the angle. What a rule
    of degree p misses falls as (size / distance)^(p + 1), in each direction on its own.
    """

    def half_degree(size: float) -> int:
        return int(np.ceil(np.log(QUADRATURE) / np.log(size / far) / 2))

    across = half_degree(radius)
    heights, axial = np.polynomial.legendre.leggauss(half_degree(half_height))
    squares, radial = np.polynomial.legendre.leggauss((across + 1) // 2)
    rho, z, phi = np.meshgrid(
        radius * np.sqrt((1 + squares) / 2),
        half_height * heights,
        2 * np.pi / (2 * across) * np.arange(2 * across),
    )
    weights = np.broadcast_to(np.outer(axial, radial)[:, :, None], phi.shape).ravel()
    nodes = np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=-1).reshape(-1, 3)
    return nodes, weights / weights.sum()


def body_of(config: MagnetConfig) -> Body:
    """Return the magnet's shape and polarisation as a body."""
    shape, polarisation = config.shape, config.polarisation
    if isinstance(shape, SphereShape):
        return Ball(shape.diameter / 2, polarisation * shape.volume / MU0)
    if isinstance(shape, CuboidShape):
        return _cuboid(np.array(shape.size), polarisation)
    radius, half_height = shape.diameter / 2, shape.height / 2
    near = _cylinder(radius, half_height, polarisation)
    return FarDipoles(near, radius, half_height, polarisation * shape.volume / MU0)


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
