"""The field model contract: coil systems, magnets and calibrations answer alike."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.geometry import Array, apply, invert, rotate


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

    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        field, gradient = self.model.field_and_gradient(apply(self._T_inverse, points), inputs)
        return rotate(self.T, field), self._rotate_gradient(gradient)

    def jacobian(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        field, gradient = self.model.jacobian(apply(self._T_inverse, points), inputs)
        return rotate(self.T, field), self._rotate_gradient(gradient)

    def _rotate_gradient(self, gradient: Array) -> Array:
        rotation = self.T[:3, :3]
        return rotation @ gradient @ rotation.T
