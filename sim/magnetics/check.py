"""Accuracy of a fitted coil system against Magpylib's own loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics.coil_system import CoilSystem

PERCENTILE = 99.0
MAX_FIELD_ERROR = 1e-3  # relative, at the percentile
MAX_GRADIENT_ERROR = 5e-3
MAX_LAPLACE_ERROR = 1e-9  # T/m per A: divergence and curl are rounding and nothing else
MAX_STEP_ERROR = 1e-6  # relative: what the differences themselves may be off by

STEP = 1e-3  # m
# Central difference of sixth order: sum of weight * (B(x + k h) - B(x - k h)) / h, k = 1, 2, 3.
WEIGHTS = (3 / 4, -3 / 20, 1 / 60)
REACH = len(WEIGHTS) * STEP


@dataclass(frozen=True)
class Figure:
    """One measured figure with its limit; `unit` is empty for a relative error."""

    name: str
    value: float
    limit: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """True if the figure keeps its limit."""
        return bool(self.value <= self.limit)


def check(coils: CoilSystem, n_points: int, seed: int) -> list[Figure]:
    """Compare the fit with Magpylib at random points, uniform in the workspace.

    Relative errors are per point and coil: length of the difference over length of the
    reference. The reference gradient is a difference of Magpylib's field, which is made of
    complete elliptic integrals and has none; how far a doubled step moves it is a figure too.
    """
    points = random_points(n_points, coils.workspace_radius, np.random.default_rng(seed))
    field, gradient = coils.unit_field(points), coils.unit_gradient(points)
    inside = points * (1.0 - REACH / coils.workspace_radius)
    reference = _difference(lambda p: _magpylib(coils, p), points, STEP)
    doubled = _difference(lambda p: _magpylib(coils, p), points[:100], 2 * STEP)
    own = _difference(coils.unit_field, inside, STEP)
    trace = np.abs(np.trace(gradient, axis1=2, axis2=3))
    curl = np.abs(gradient - np.swapaxes(gradient, 2, 3))
    field_error = _relative(field, _magpylib(coils, points))
    gradient_error = _relative(gradient, reference)
    return [
        Figure("field, 99th percentile", _percentile(field_error), MAX_FIELD_ERROR),
        Figure("gradient, 99th percentile", _percentile(gradient_error), MAX_GRADIENT_ERROR),
        Figure(
            "reference gradient, step doubled",
            float(_relative(doubled, reference[:100]).max()),
            MAX_STEP_ERROR,
        ),
        Figure(
            "gradient against differences of the fitted field",
            float(_relative(gradient_of(coils, inside), own).max()),
            MAX_STEP_ERROR,
        ),
        Figure("divergence", float(trace.max()), MAX_LAPLACE_ERROR, "T/m per A"),
        Figure("curl", float(curl.max()), MAX_LAPLACE_ERROR, "T/m per A"),
    ]


def gradient_of(coils: CoilSystem, points: Array) -> Array:
    """Return the gradient per ampere as the physics step gets it, (n, c, 3, 3) T/(m A)."""
    unit_currents = np.eye(coils.n_coils)
    each = [coils.field_and_gradient(points, current)[1] for current in unit_currents]
    return np.stack(each, axis=1)


def random_points(n: int, radius: float, rng: np.random.Generator) -> Array:
    """Return n points (n, 3) uniform in a ball about the origin."""
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (radius * rng.uniform(size=(n, 1)) ** (1 / 3))


def _magpylib(coils: CoilSystem, points: Array) -> Array:
    """Return the field per ampere of Magpylib's loops, (n, c, 3) T/A."""
    children = coils.to_magpylib(np.ones(coils.n_coils)).children
    return np.stack([coil.getB(points) for coil in children], axis=1)


def _difference(field: Callable[[Array], Array], points: Array, step: float) -> Array:
    """Return d field_i / d x_j (n, c, 3, 3) by central differences of sixth order."""
    columns = [
        sum(
            weight / step * (field(points + k * step * axis) - field(points - k * step * axis))
            for k, weight in enumerate(WEIGHTS, start=1)
        )
        for axis in np.eye(3)
    ]
    return np.stack(columns, axis=-1)


def _relative(value: Array, reference: Array) -> Array:
    """Return |value - reference| / |reference| per point and coil, (n, c)."""
    flat = (value - reference).reshape(*value.shape[:2], -1)
    whole = reference.reshape(*value.shape[:2], -1)
    return np.linalg.norm(flat, axis=-1) / np.linalg.norm(whole, axis=-1)


def _percentile(errors: Array) -> float:
    return float(np.percentile(errors, PERCENTILE))
