"""Coil systems as drawn: fitted unit fields, cores that may saturate."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError, OutOfWorkspaceError, UserError
from mmdtwin.field import Evaluation
from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics.differences import gradient_by_differences
from mmdtwin.sim.magnetics.filaments import Filaments, filaments_of
from mmdtwin.sim.magnetics.fit import FitError, cached_fit
from mmdtwin.sim.magnetics.harmonic_model import HarmonicModel, as_points
from mmdtwin.sim.magnetics.harmonics import furthest
from mmdtwin.sim.magnetics.windings import all_parts, nearest_winding

if TYPE_CHECKING:
    import magpylib

BEYOND_STEP = 0.5e-3  # m, of the differences for gradients outside the workspace
WIRE_MARGIN = 2e-3  # m from a winding within which its filaments are no winding any more


class CoilSystem(HarmonicModel):
    """Electromagnets around a workspace.

    Indices: n points, c coils, i field component, j direction of differentiation. Points and
    fields are in the coils' own frame, whose origin is the centre of the workspace.

    Parameters
    ----------
    config : CoilsConfig
        Windings, limits and the size of the workspace.
    beyond : "refuse" or "magpylib"
        What to do with points outside the workspace: refuse them, or ask Magpylib's kernels for
        the filaments' field (some thousand times slower, for pictures).

    Examples
    --------
    >>> coils = CoilSystem.load("octomag-like")
    >>> coils.n_coils, coils.unit_field([[0.0, 0.0, 0.0]]).shape
    (8, (1, 8, 3))
    """

    def __init__(
        self, config: CoilsConfig, beyond: Literal["refuse", "magpylib"] = "refuse"
    ) -> None:
        found = cached_fit(config)
        radius = config.workspace_radius
        super().__init__(found.potential, radius, radius, config.saturation)
        self.config = config
        self.error: FitError = found.error  # bound of the unit fields' error in the workspace
        self.beyond = beyond

    @classmethod
    def load(
        cls, name_or_path: str | Path, beyond: Literal["refuse", "magpylib"] = "refuse"
    ) -> CoilSystem:
        """Return the system of a name in configs/coils or of a YAML file.

        Raises
        ------
        ConfigError
            If there is no such system, its file is wrong, or its coils cannot be.
        """
        config = load(CoilsConfig, "coils", name_or_path)
        try:
            return cls(config, beyond)
        except ConfigError as error:
            raise ConfigError(f"{name_or_path}: {error}") from error

    @property
    def nearest_winding(self) -> float:
        """Distance in m from the origin to the nearest point of a winding."""
        return nearest_winding(self.config)

    def units(self, points: ArrayLike) -> tuple[Array, Array]:
        if self.beyond == "refuse":
            return super().units(points)
        p = as_points(points)
        if np.isnan(furthest(p)):
            raise UserError("points: a coordinate is not a finite number")
        inside = np.einsum("ni,ni->n", p, p) <= self.workspace_radius**2
        field = np.empty((len(p), self.n_coils, 3))
        gradient = np.empty((len(p), self.n_coils, 3, 3))
        field[inside], gradient[inside] = super().units(p[inside])
        if not inside.all():
            outside = p[~inside]
            self._refuse_wires(outside)
            field[~inside] = self._exact(outside)
            gradient[~inside] = gradient_by_differences(self._exact, outside, BEYOND_STEP)
        return field, gradient

    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        if self.beyond == "refuse":
            return super().field_and_gradient(points, inputs)
        return self.at(inputs)(points)

    def at(self, inputs: ArrayLike) -> Evaluation:
        if self.beyond == "refuse":
            return super().at(inputs)
        effective = self.saturation.effective(self._currents(inputs))

        def evaluate(points: ArrayLike) -> tuple[Array, Array]:
            field, gradient = self.units(points)
            return np.tensordot(effective, field, (0, 1)), np.tensordot(effective, gradient, (0, 1))

        return evaluate

    def to_magpylib(self, currents: ArrayLike) -> magpylib.Collection:
        """Return the system as Magpylib objects: one collection of filaments per coil.

        A filament carries the coil's effective current times turns per filament times core gain,
        so the field is that of the coil with its core; the core itself is not an object.
        """
        import magpylib

        effective = self.saturation.effective(self._currents(currents))
        coils = zip(self._filaments, effective, strict=True)
        return magpylib.Collection(*(coil.to_magpylib(float(current)) for coil, current in coils))

    @cached_property
    def _filaments(self) -> list[Filaments]:
        return filaments_of(self.config)

    def _exact(self, points: Array) -> Array:
        return np.stack([coil.field(points) for coil in self._filaments], axis=1)

    def _refuse_wires(self, points: Array) -> None:
        for k, parts in enumerate(all_parts(self.config)):
            for part in parts:
                inside = part.contains(points, -WIRE_MARGIN)
                if inside.any():
                    where = np.round(points[int(np.argmax(inside))] * 1e3, 1).tolist()
                    raise OutOfWorkspaceError(
                        f"point {where} mm lies in coil {k} or within"
                        f" {WIRE_MARGIN * 1e3:g} mm of it; its field is not known there"
                    )
