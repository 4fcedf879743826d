"""Coil systems: fitted unit fields, linear in the currents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, unit
from mmdtwin.sim.magnetics.fit import cached_fit
from mmdtwin.sim.magnetics.harmonics import (
    derivative_matrices,
    harmonic_basis,
    harmonic_field,
    kernel_coefficients,
    n_harmonics,
)
from mmdtwin.sim.magnetics.windings import all_loops, nearest_winding, rotation_to

if TYPE_CHECKING:
    import magpylib

BORDER = 1e-9  # m; points this far outside still count as on the border (rounding)


class CoilSystem(FieldModel):
    """Electromagnets around a workspace.

    Indices: n points, c coils, i field component, j direction of differentiation. Points and
    fields are in the coils' own frame, whose origin is the centre of the workspace.

    Parameters
    ----------
    config : CoilsConfig
        Windings, limits and the size of the workspace.

    Examples
    --------
    >>> coils = CoilSystem.load("octomag-like")
    >>> coils.n_coils, coils.unit_field([[0.0, 0.0, 0.0]]).shape
    (8, (1, 8, 3))
    """

    def __init__(self, config: CoilsConfig) -> None:
        self.config = config
        degree, self._scale = config.harmonic_degree, config.workspace_radius
        potential = cached_fit(config)
        derivatives = derivative_matrices(degree, self._scale)
        self._degree = max(degree - 1, 0)  # of the field
        n = n_harmonics(self._degree)
        # All nine entries of the gradient are kept here, so that its symmetry and zero trace
        # are a property of the fit that can be checked, not one that is put in by hand.
        field = np.einsum("iab,cb->cia", derivatives, potential)
        gradient = np.einsum("jab,cib->cija", derivatives, field)
        curvature = np.einsum("kab,cijb->cijka", derivatives, gradient)
        self._field = field[..., :n].reshape(-1, n).T.copy()
        self._gradient = gradient[..., :n].reshape(-1, n).T.copy()
        self._curvature = curvature[..., :n].reshape(-1, n).T.copy()
        self._kernel = np.stack([kernel_coefficients(p, derivatives) for p in potential])

    @classmethod
    def load(cls, name_or_path: str | Path) -> CoilSystem:
        """Return the system of a name in configs/coils or of a YAML file.

        Raises
        ------
        ConfigError
            If there is no such system or its file is wrong.
        """
        return cls(load(CoilsConfig, "coils", name_or_path))

    @property
    def workspace_radius(self) -> float:
        return self._scale

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return len(self.config.coils)

    @property
    def n_inputs(self) -> int:
        return self.n_coils

    @property
    def nearest_winding(self) -> float:
        """Distance in m from the origin to the nearest point of a winding."""
        return nearest_winding(self.config)

    @property
    def scale(self) -> float:
        """Length in m that the harmonics are scaled by, for `harmonic_field`."""
        return self._scale

    def unit_field(self, points: ArrayLike) -> Array:
        """Return each coil's field per ampere at points (n, 3) m: (n, c, 3) T/A.

        Raises
        ------
        OutOfWorkspaceError
            If a point lies outside the workspace.
        UserError
            If `points` has another shape or holds a value that is not finite.
        """
        return self._unit(self._points(points), self._field, 3)

    def unit_gradient(self, points: ArrayLike) -> Array:
        """Return dB_i/dx_j per ampere at points (n, 3) m: (n, c, 3, 3) T/(m A).

        Raises as `unit_field` does.
        """
        return self._unit(self._points(points), self._gradient, 3, 3)

    def unit_gradient_derivative(self, points: ArrayLike, direction: ArrayLike) -> Array:
        """Return the rate of change of the unit gradient along a direction.

        Parameters
        ----------
        points : (n, 3) array
            m.
        direction : (3,) array
            Need not have length 1; the rate is per metre along it.

        Returns
        -------
        (n, c, 3, 3) array
            d/ds dB_i/dx_j per ampere, T/(m2 A).
        """
        third = self._unit(self._points(points), self._curvature, 3, 3, 3)
        return third @ unit(direction)

    def field_and_gradient(self, points: ArrayLike, currents: ArrayLike) -> tuple[Array, Array]:
        return self.evaluate(self.combine(currents), points)

    def jacobian(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        self._currents(inputs)
        p = self._points(points)
        return self._unit(p, self._field, 3), self._unit(p, self._gradient, 3, 3)

    def combine(self, currents: ArrayLike) -> Array:
        """Return the coefficient table (n_harmonics, 8) of the field of these currents.

        Made once per set of currents and handed to `evaluate`, or to
        `harmonics.harmonic_field` inside compiled code.

        Raises
        ------
        UserError
            If there is not one finite current per coil.
        """
        return np.tensordot(self._currents(currents), self._kernel, axes=1)

    def evaluate(self, coefficients: Array, points: ArrayLike) -> tuple[Array, Array]:
        """Return field (n, 3) T and gradient (n, 3, 3) T/m of a table from `combine`.

        Raises as `unit_field` does.
        """
        p = self._points(points)
        field, gradient = np.empty((len(p), 3)), np.empty((len(p), 3, 3))
        harmonic_field(coefficients, p, self._scale, field, gradient)
        return field, gradient

    def to_magpylib(self, currents: ArrayLike) -> magpylib.Collection:
        """Return the system as Magpylib objects: one collection of loops per coil.

        The loops carry the coil's current times turns per loop times core gain, so the field is
        that of the coil with its core; the core itself is not an object.
        """
        import magpylib

        coils = []
        for current, loops in zip(self._currents(currents), all_loops(self.config), strict=True):
            orientation = rotation_to(loops.axis)
            coils.append(
                magpylib.Collection(
                    *(
                        magpylib.current.Circle(
                            diameter=2 * float(radius),
                            current=float(current) * loops.weight,
                            position=centre,
                            orientation=orientation,
                        )
                        for centre, radius in zip(loops.centre, loops.radius, strict=True)
                    )
                )
            )
        return magpylib.Collection(*coils)

    def _unit(self, points: Array, table: Array, *shape: int) -> Array:
        basis = harmonic_basis(points, self._scale, self._degree)
        return (basis @ table).reshape(len(points), self.n_coils, *shape)

    def _points(self, points: ArrayLike) -> Array:
        p = np.ascontiguousarray(points, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != 3:
            raise UserError(f"points: shape {p.shape}; allowed is (n, 3), in m")
        furthest = float(np.sqrt(np.max(np.einsum("ni,ni->n", p, p), initial=0.0)))
        if furthest <= self._scale + BORDER:
            return p
        if not np.isfinite(furthest):
            raise UserError("points: a coordinate is not a finite number")
        raise OutOfWorkspaceError(
            f"point {furthest * 1e3:.2f} mm from the centre of the coils is outside the workspace;"
            f" allowed is a radius of {self._scale * 1e3:g} mm"
        )

    def _currents(self, currents: ArrayLike) -> Array:
        values = np.asarray(currents, dtype=np.float64)
        if values.shape != (self.n_coils,):
            raise UserError(f"currents: shape {values.shape}; allowed is ({self.n_coils},), in A")
        if not np.isfinite(values).all():
            raise UserError("currents: a value is not a finite number of A")
        return values
