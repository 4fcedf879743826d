"""A permanent magnet as a field model: exact kernels, its pose as the input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.magnet import CuboidShape, CylinderShape, MagnetConfig
from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import Evaluation, FieldModel
from mmdtwin.geometry import Array, unit
from mmdtwin.pose import cross_matrix, turn_per_rotation_vector
from mmdtwin.sim.magnetics.magnet_shapes import body_of
from mmdtwin.units import MU0

if TYPE_CHECKING:
    import magpylib

BORDER = 1e-9  # m; points this far outside the workspace still count as on its border (rounding)
MIN_GAP = 1e-6  # m from the magnet's surface; anything nearer counts as inside


class Magnet(FieldModel):
    """A cuboid, cylinder or sphere with uniform polarisation, e.g. in the hand of a robot arm.

    The input is the magnet's pose in the model's frame: position (m) and rotation vector (rad),
    (6,). Indices as in `FieldModel`. The field is exact outside the magnet; its relative
    permeability (1.05 for NdFeB) is taken as 1. `workspace_radius` bounds where devices may be
    and is no limit of the physics.

    Parameters
    ----------
    config : MagnetConfig
        Shape, polarisation, spindle.

    Examples
    --------
    >>> magnet = Magnet.load("cube-30mm")
    >>> field, _ = magnet.field_and_gradient([[0.0, 0.0, 0.0]], [0, 0, -0.055, 0, 0, 0])
    >>> print(field.round(4))  # T
    [[0.     0.     0.0335]]
    """

    def __init__(self, config: MagnetConfig) -> None:
        self.config = config
        self.dipole: Array = config.polarisation * config.shape.volume / MU0
        self._body = body_of(config)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Magnet:
        """Return the magnet of a name in configs/magnets or of a YAML file.

        Raises
        ------
        ConfigError
            If there is no such magnet or its file is wrong.
        """
        return cls(load(MagnetConfig, "magnets", name_or_path))

    @property
    def n_inputs(self) -> int:
        return 6

    @property
    def workspace_radius(self) -> float:
        return self.config.workspace_radius

    @property
    def bounding_radius(self) -> float:
        """Radius in m of the sphere about its centre that holds the magnet."""
        return self.config.shape.bounding_radius

    @property
    def spin_axis(self) -> Array | None:
        """Axis (3,) of the spindle in the magnet's frame, length 1; None without one."""
        return None if self.config.spin_axis is None else unit(self.config.spin_axis)

    def field_and_gradient(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        """Return field (n, 3) T and gradient (n, 3, 3) T/m, gradient[n, i, j] = dB_i/dx_j.

        The gradient of a cuboid or a cylinder comes from differences of its field and is left as
        they give it: symmetric and traceless to some 1e-7 of its size.

        Raises
        ------
        OutOfWorkspaceError
            If a point lies outside the workspace, or in the magnet.
        UserError
            If an argument has another shape or holds a value that is not finite.
        """
        return self.at(inputs)(points)

    def at(self, inputs: ArrayLike) -> Evaluation:
        pose = self._pose(inputs)
        rotation = Rotation.from_rotvec(pose[3:]).as_matrix()

        def evaluate(points: ArrayLike) -> tuple[Array, Array]:
            local = self._local(points, pose[:3], rotation)
            field, gradient = self._body.expand(local)
            return field @ rotation.T, rotation @ gradient @ rotation.T

        return evaluate

    def jacobian(self, points: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
        """Return d field / d pose (n, 6, 3) and d gradient / d pose (n, 6, 3, 3).

        Moving the magnet is moving the point the other way. Turning it by a small phi turns field
        and gradient with it and moves the point by -phi x (point - position).
        """
        pose = self._pose(inputs)
        rotation = Rotation.from_rotvec(pose[3:]).as_matrix()
        local = self._local(points, pose[:3], rotation)
        b, g = self._body.expand(local)
        field, gradient = b @ rotation.T, rotation @ g @ rotation.T
        curvature = rotation @ (self._body.curvature(local) @ rotation.T)  # its last two indices
        curvature = (rotation @ curvature.reshape(-1, 3, 9)).reshape(-1, 3, 3, 3)
        offset = local @ rotation.T
        n = len(local)
        d_field, d_gradient = np.empty((n, 6, 3)), np.empty((n, 6, 3, 3))
        d_field[:, :3] = -np.swapaxes(gradient, 1, 2)
        d_gradient[:, :3] = -np.moveaxis(curvature, 3, 1)
        turns = turn_per_rotation_vector(pose[3:])
        for k in range(3):
            phi = turns[:, k]
            turn, shift = cross_matrix(phi), np.cross(phi, offset)
            d_field[:, 3 + k] = field @ turn.T - np.einsum("nij,nj->ni", gradient, shift)
            d_gradient[:, 3 + k] = turn @ gradient - gradient @ turn
            d_gradient[:, 3 + k] -= np.einsum("nijk,nk->nij", curvature, shift)
        return d_field, d_gradient

    def to_magpylib(
        self, inputs: ArrayLike
    ) -> magpylib.magnet.Cuboid | magpylib.magnet.Cylinder | magpylib.magnet.Sphere:
        """Return the magnet at a pose as a Magpylib `Cuboid`, `Cylinder` or `Sphere`."""
        import magpylib

        pose, shape = self._pose(inputs), self.config.shape
        placed: dict[str, Any] = {
            "polarization": self.config.polarisation,
            "position": pose[:3],
            "orientation": Rotation.from_rotvec(pose[3:]),
        }
        if isinstance(shape, CuboidShape):
            return magpylib.magnet.Cuboid(dimension=shape.size, **placed)
        if isinstance(shape, CylinderShape):
            return magpylib.magnet.Cylinder(dimension=(shape.diameter, shape.height), **placed)
        return magpylib.magnet.Sphere(diameter=shape.diameter, **placed)

    def _local(self, points: ArrayLike, position: Array, rotation: Array) -> Array:
        """Check points (n, 3) and return them in the magnet's frame."""
        p = np.asarray(points, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != 3:
            raise UserError(f"points: shape {p.shape}; allowed is (n, 3), in m")
        furthest = float(np.sqrt(np.max(np.einsum("ni,ni->n", p, p), initial=0.0)))
        if not np.isfinite(furthest):
            raise UserError("points: a coordinate is not a finite number")
        if furthest > self.workspace_radius + BORDER:
            raise OutOfWorkspaceError(
                f"point {furthest * 1e3:.2f} mm from the origin is outside the magnet's workspace;"
                f" allowed is a radius of {self.workspace_radius * 1e3:g} mm"
            )
        local: Array = (p - position) @ rotation
        if np.min(self._body.distance(local), initial=np.inf) < MIN_GAP:
            nearest = float(np.min(np.linalg.norm(local, axis=1)))
            raise OutOfWorkspaceError(
                f"a point lies in the magnet, {nearest * 1e3:.2f} mm from its centre;"
                f" allowed is {MIN_GAP * 1e6:g} um or more outside it"
            )
        return local

    def _pose(self, inputs: ArrayLike) -> Array:
        pose = np.array(inputs, dtype=np.float64)
        if pose.shape != (6,):
            raise UserError(
                f"pose: shape {pose.shape}; allowed is (6,), position m and rotation vector rad"
            )
        if not np.isfinite(pose).all():
            raise UserError("pose: a value is not a finite number")
        return pose
