"""Coils whose unit fields are sums of regular solid harmonics: drawn systems and calibrations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import CoilModel, Evaluation
from mmdtwin.geometry import Array
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics.harmonics import (
    derivative_matrices,
    harmonic_field,
    harmonic_sum,
    harmonic_units,
    kernel_coefficients,
)

BORDER = 1e-9  # m; points this far outside still count as on the border (rounding)


class HarmonicModel(CoilModel):
    """Unit fields as gradients of harmonic potentials about the origin.

    Indices: n points, c coils, i field component, j direction of differentiation.

    Parameters
    ----------
    potential : (c, n_harmonics) array
        Coefficients of each coil's potential per effective ampere, T m/A, in the order of
        `harmonics`.
    scale : float
        Length that the harmonics are scaled by, m.
    workspace_radius : float
        m about the origin, where the model is valid.
    saturation : Saturation, optional
        By default none.
    """

    def __init__(
        self,
        potential: Array,
        scale: float,
        workspace_radius: float,
        saturation: Saturation | None = None,
    ) -> None:
        self.potential = np.asarray(potential, float)
        self.scale = scale
        self._workspace_radius = workspace_radius
        self._saturation = saturation or Saturation.none(len(self.potential))
        derivatives = derivative_matrices(self.degree, scale)
        self._by_coil = np.stack([kernel_coefficients(p, derivatives) for p in self.potential])
        self._by_harmonic = np.ascontiguousarray(self._by_coil.transpose(1, 0, 2))

    @property
    def degree(self) -> int:
        """Highest degree of the potentials; the fields' is one less."""
        return round(float(np.sqrt(self.potential.shape[1]))) - 1

    @property
    def workspace_radius(self) -> float:
        return self._workspace_radius

    @property
    def saturation(self) -> Saturation:
        return self._saturation

    def unit_field(self, points: ArrayLike) -> Array:
        return self.units(points)[0]

    def unit_gradient(self, points: ArrayLike) -> Array:
        return self.units(points)[1]

    def units(self, points: ArrayLike) -> tuple[Array, Array]:
        p = as_points(points)
        field = np.empty((len(p), self.n_coils, 3))
        gradient = np.empty((len(p), self.n_coils, 3, 3))
        self._check(harmonic_units(self._by_harmonic, p, self.scale, field, gradient))
        return field, gradient

    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        effective = self.saturation.effective(self._currents(inputs))
        p = as_points(points)
        field, gradient = np.empty((len(p), 3)), np.empty((len(p), 3, 3))
        self._check(harmonic_sum(effective, self._by_coil, p, self.scale, field, gradient))
        return field, gradient

    def at(self, inputs: ArrayLike) -> Evaluation:
        effective = self.saturation.effective(self._currents(inputs))
        tables = self._by_coil
        table = (effective @ tables.reshape(len(tables), -1)).reshape(tables.shape[1:])

        def evaluate(points: ArrayLike) -> tuple[Array, Array]:
            p = as_points(points)
            field, gradient = np.empty((len(p), 3)), np.empty((len(p), 3, 3))
            self._check(harmonic_field(table, p, self.scale, field, gradient))
            return field, gradient

        return evaluate

    def _check(self, distance: float) -> None:
        """Raise an error if the furthest point asked for lies outside the workspace."""
        if distance <= self._workspace_radius + BORDER:
            return
        if np.isnan(distance):
            raise UserError("points: a coordinate is not a finite number")
        raise OutOfWorkspaceError(
            f"point {distance * 1e3:.2f} mm from the centre of the coils is outside the"
            f" workspace; allowed is a radius of {self._workspace_radius * 1e3:g} mm"
        )


def as_points(points: ArrayLike) -> Array:
    """Return points (n, 3) as contiguous floats; UserError if they have another shape."""
    p = np.ascontiguousarray(points, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != 3:
        raise UserError(f"points: shape {p.shape}; allowed is (n, 3), in m")
    return p
