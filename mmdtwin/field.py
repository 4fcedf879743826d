"""The field model contract: coil systems, magnets and calibrations answer alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, apply, invert, rotate
from mmdtwin.saturation import Saturation

Evaluation = Callable[[ArrayLike], tuple[Array, Array]]


class FieldModel(ABC):
    """Magnetic flux density of an actuator as a function of its input vector.

    Indices: n points, m inputs, i field component, j direction of differentiation.
    Points are in the model's own frame unless wrapped in `PlacedField`.
    """

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Number of actuation inputs (coil currents, or pose coordinates of a magnet)."""

    @property
    @abstractmethod
    def workspace_radius(self) -> float:
        """Radius in m of the sphere about the origin inside which the model is valid."""

    @abstractmethod
    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        """Return field (n, 3) T and gradient (n, 3, 3) T/m, gradient[n, i, j] = dB_i/dx_j.

        Raises
        ------
        OutOfWorkspaceError
            If a point lies outside the workspace.
        """

    @abstractmethod
    def jacobian(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        """Return d field / d inputs (n, m, 3) and d gradient / d inputs (n, m, 3, 3)."""

    def field(self, points: ArrayLike, inputs: ArrayLike) -> Array:
        """Return the field (n, 3) T."""
        return self.field_and_gradient(points, inputs)[0]

    @property
    def saturation(self) -> Saturation | None:
        """How currents make the effective currents that the field is linear in.

        None where the inputs are no currents: the pose of a magnet.
        """
        return None

    def units(self, points: ArrayLike) -> tuple[Array, Array]:
        """Return what one effective ampere of each coil makes at points (n, 3) m.

        Fields (n, c, 3) T/A and gradients (n, c, 3, 3) T/(m A): the jacobian without current,
        where no coil saturates. Of use where `saturation` is not None.
        """
        return self.jacobian(points, np.zeros(self.n_inputs))

    def at(self, inputs: ArrayLike) -> Evaluation:
        """Return a function of points (n, 3) that gives field and gradient for fixed inputs.

        What depends on the inputs alone is done once.
        """
        fixed = np.array(inputs, float)
        return lambda points: self.field_and_gradient(points, fixed)


class CoilModel(FieldModel):
    """A field model of coils: B(x, i) = sum over coils c of e_c(i_c) u_c(x).

    u_c is the field of one effective ampere; e_c is the current itself unless the coil saturates.
    """

    @abstractmethod
    def unit_field(self, points: ArrayLike) -> Array:
        """Return each coil's field per effective ampere at points (n, 3) m: (n, c, 3) T/A.

        Raises
        ------
        OutOfWorkspaceError
            If a point lies outside the workspace.
        UserError
            If `points` has another shape or holds a value that is not finite.
        """

    @abstractmethod
    def unit_gradient(self, points: ArrayLike) -> Array:
        """Return dB_i/dx_j per effective ampere at points (n, 3) m: (n, c, 3, 3) T/(m A).

        Raises as `unit_field` does.
        """

    @property
    @abstractmethod
    def saturation(self) -> Saturation: ...

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return len(self.saturation.knee)

    @property
    def n_inputs(self) -> int:
        return self.n_coils

    def units(self, points: ArrayLike) -> tuple[Array, Array]:
        return self.unit_field(points), self.unit_gradient(points)

    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        effective = self.saturation.effective(self._currents(inputs))
        field, gradient = self.units(points)
        return (
            np.einsum("c,nci->ni", effective, field),
            np.einsum("c,ncij->nij", effective, gradient),
        )

    def jacobian(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        currents, saturation = self._currents(inputs), self.saturation
        field, gradient = self.units(points)
        if saturation.linear:
            return field, gradient
        slope = saturation.slope(currents)
        return slope[:, None] * field, slope[:, None, None] * gradient

    def _currents(self, currents: ArrayLike) -> Array:
        values = np.asarray(currents, dtype=np.float64)
        if values.shape != (self.n_coils,):
            raise UserError(f"currents: shape {values.shape}; allowed is ({self.n_coils},), in A")
        if not isfinite(values @ values):  # three times as fast as isfinite(values).all()
            raise UserError("currents: a value is not a finite number of A")
        return values


class PlacedField(FieldModel):
    """A field model seen from another frame, e.g. a coil system as registered in the world."""

    def __init__(self, model: FieldModel, T_world_model: Array) -> None:
        self.model = model
        self.T = np.asarray(T_world_model, float)
        self._T_inverse = invert(self.T)

    @property
    def n_inputs(self) -> int:
        return self.model.n_inputs

    @property
    def workspace_radius(self) -> float:
        """Radius about the frame's origin that is certainly inside the model's own workspace."""
        return self.model.workspace_radius - float(np.linalg.norm(self.T[:3, 3]))

    @property
    def saturation(self) -> Saturation | None:
        return self.model.saturation

    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        field, gradient = self.model.field_and_gradient(apply(self._T_inverse, points), inputs)
        return rotate(self.T, field), self._rotate_gradient(gradient)

    def jacobian(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        field, gradient = self.model.jacobian(apply(self._T_inverse, points), inputs)
        return rotate(self.T, field), self._rotate_gradient(gradient)

    def units(self, points: ArrayLike) -> tuple[Array, Array]:
        field, gradient = self.model.units(apply(self._T_inverse, points))
        return rotate(self.T, field), self._rotate_gradient(gradient)

    def _rotate_gradient(self, gradient: Array) -> Array:
        rotation = self.T[:3, :3]
        return rotation @ gradient @ rotation.T
