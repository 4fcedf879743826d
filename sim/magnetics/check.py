"""Accuracy of a fitted coil system against Magpylib's own objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics.coil_system import CoilSystem
from mmdtwin.sim.magnetics.differences import REACH, gradient_by_differences
from mmdtwin.sim.magnetics.fit import GRADIENT_TOLERANCE, sizes
from mmdtwin.sim.magnetics.harmonics import derivative_matrices, harmonic_basis

PERCENTILE = 99.0
MAX_FIELD_ERROR = 1e-3  # relative, at the percentile
MAX_GRADIENT_ERROR = 5e-3
MAX_LAPLACE_ERROR = 1e-12  # divergence and curl, over the largest gradient: rounding
MAX_STEP_ERROR = 1e-6  # relative: what the differences themselves may be off by
STEP = 1 / 30  # of the workspace's radius: 1 mm in 30


@dataclass(frozen=True)
class Figure:
    """One measured relative error with its limit."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """True if the figure keeps its limit."""
        return bool(self.value <= self.limit)


def check(coils: CoilSystem, n_points: int, seed: int) -> list[Figure]:
    """Compare the fit with Magpylib at random points, uniform in the workspace.

    Errors at a percentile are per point and coil: length of the difference over length of the
    reference there. The bound is the fit's own, of the largest error in the workspace. The last
    four are over the coil's largest gradient. The reference gradient is a difference of Magpylib's
    field, which is made of complete elliptic integrals and has none; how far a doubled step moves
    it is a figure too.
    """
    radius = coils.workspace_radius
    points, step = random_points(n_points, radius, np.random.default_rng(seed)), STEP * radius
    inside = points * (1.0 - REACH * STEP)
    field, gradient = coils.units(points)

    def magpylib(p: Array) -> Array:
        return _magpylib(coils, p)

    reference = gradient_by_differences(magpylib, points, step)
    doubled = gradient_by_differences(magpylib, points[:100], 2 * step)
    own = gradient_by_differences(coils.unit_field, inside, step)
    nine = all_entries(coils, points)
    largest = sizes(nine).max()
    return [
        Figure(
            "field, 99th percentile",
            _percentile(_relative(field, magpylib(points))),
            MAX_FIELD_ERROR,
        ),
        Figure(
            "gradient, 99th percentile",
            _percentile(_relative(gradient, reference)),
            MAX_GRADIENT_ERROR,
        ),
        Figure(
            "field, bound of the fit",
            coils.error.relative_field,
            coils.config.tolerance,
        ),
        Figure(
            "gradient, bound of the fit",
            coils.error.relative_gradient,
            GRADIENT_TOLERANCE * coils.config.tolerance,
        ),
        Figure(
            "reference gradient, step doubled",
            _over_largest(doubled, reference[:100]),
            MAX_STEP_ERROR,
        ),
        Figure(
            "gradient is the field's derivative",
            _over_largest(coils.unit_gradient(inside), own),
            MAX_STEP_ERROR,
        ),
        Figure(
            "divergence",
            float(np.abs(np.trace(nine, axis1=2, axis2=3)).max() / largest),
            MAX_LAPLACE_ERROR,
        ),
        Figure(
            "curl",
            float(np.abs(nine - np.swapaxes(nine, 2, 3)).max() / largest),
            MAX_LAPLACE_ERROR,
        ),
    ]


def all_entries(coils: CoilSystem, points: Array) -> Array:
    """Return the gradient per ampere with all nine entries differentiated on their own.

    The kernel keeps five and fills in the rest; here the symmetry and the zero trace are properties
    of the fit that can be checked, not put in by hand.
    """
    derivatives = derivative_matrices(coils.degree, coils.scale)
    basis = harmonic_basis(points, coils.scale, coils.degree)
    potential = coils.potential.T
    return np.stack(
        [np.stack([basis @ (dj @ di @ potential) for dj in derivatives], -1) for di in derivatives],
        axis=-2,
    )


def random_points(n: int, radius: float, rng: np.random.Generator) -> Array:
    """Return n points (n, 3) uniform in a ball about the origin."""
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (radius * rng.uniform(size=(n, 1)) ** (1 / 3))


def _magpylib(coils: CoilSystem, points: Array) -> Array:
    """Return the field per ampere of Magpylib's objects, (n, c, 3) T/A."""
    unit_currents = coils.saturation.inverse(np.ones(coils.n_coils))
    children = coils.to_magpylib(unit_currents).children
    return np.stack([coil.getB(points) for coil in children], axis=1)


def _relative(value: Array, reference: Array) -> Array:
    return sizes(value - reference) / sizes(reference)


def _over_largest(value: Array, reference: Array) -> float:
    return float((sizes(value - reference) / sizes(reference).max(axis=0)).max())


def _percentile(errors: Array) -> float:
    return float(np.percentile(errors, PERCENTILE))
