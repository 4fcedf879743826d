"""What pose allocation solves: the miss as a function of a pose, and of an arm's joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.arm import Arm
from mmdtwin.control.allocation import FIELD_UNIT, FORCE_UNIT
from mmdtwin.errors import OutOfWorkspaceError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, transform, unit
from mmdtwin.keep_out import Volume
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.pose import pose_vector, turn_per_rotation_vector
from mmdtwin.wrench import dipole_wrench

WALL = 1e-6  # m into a volume that costs as much as one unit of residual, and
MARGIN = 1e-5  # m that the search stays off it, so that what it finds is clear


@dataclass(frozen=True, eq=False)
class Goal:
    """What is wanted at a point, and what it is wanted from: the arguments of `allocate_pose`."""

    model: FieldModel
    point: Array
    field: Array | None
    force: Array | None
    moment: Array | None
    limits: MagnetLimits | None

    @property
    def volumes(self) -> tuple[Volume, ...]:
        return () if self.limits is None else self.limits.keep_out

    def gaps(self, T: Array) -> Array:
        """Return what is left to each volume beyond the distance to be kept (k,), m."""
        if self.limits is None:
            return np.zeros(0)
        return np.array([float(v.distance(T[:3, 3])) for v in self.volumes]) - self.limits.distance

    def achieved(self, T: Array) -> tuple[Array, Array | None]:
        """Return field and force at the point."""
        field, gradient = self.model.field_and_gradient(self.point[None], pose_vector(T))
        if self.moment is None:
            return field[0], None
        return field[0], dipole_wrench(self.moment, field[0], gradient[0])[0]

    def miss(self, field: Array, force: Array | None) -> Array:
        """Return the difference to what is wanted, in units of FIELD_UNIT and FORCE_UNIT."""
        rows = []
        if self.field is not None:
            rows.append((field - self.field) / FIELD_UNIT)
        if self.force is not None and force is not None:
            rows.append((force - self.force) / FORCE_UNIT)
        return np.concatenate(rows)

    def residuals(self, T: Array) -> Array:
        """Return the miss and how deep the walls are entered; infinite inside the magnet."""
        walls = np.maximum(MARGIN - self.gaps(T), 0.0) / WALL
        try:
            return np.concatenate([self.miss(*self.achieved(T)), walls])
        except OutOfWorkspaceError:
            rows = 3 * ((self.field is not None) + (self.force is not None))
            return np.full(rows + len(walls), np.inf)

    def slopes(self, T: Array) -> Array:
        """Return d residuals / d (translation m, turn rad) in the model's frame (rows, 6)."""
        pose = pose_vector(T)
        d_field, d_gradient = self.model.jacobian(self.point[None], pose)
        per_turn = np.eye(6)
        per_turn[3:, 3:] = np.linalg.inv(turn_per_rotation_vector(pose[3:]))
        rows = []
        if self.field is not None:
            rows.append(d_field[0].T @ per_turn / FIELD_UNIT)
        if self.force is not None and self.moment is not None:
            d_force = np.einsum("i,mij->jm", self.moment, d_gradient[0])
            rows.append(d_force @ per_turn / FORCE_UNIT)
        rows.append(self._wall_slopes(T))
        return np.concatenate(rows)

    def _wall_slopes(self, T: Array) -> Array:
        slopes, h = np.zeros((len(self.volumes), 6)), 1e-7
        inside = self.gaps(T) < MARGIN
        around = T[:3, 3] + h * np.concatenate([np.eye(3), -np.eye(3)])
        for k in np.flatnonzero(inside):
            d = self.volumes[k].distance(around)
            slopes[k, :3] = -(d[:3] - d[3:]) / (2 * h) / WALL
        return slopes


class Holder(Protocol):
    """How unknowns make a pose."""

    bounds: tuple[Array, Array]
    scale: Array  # steps of the unknowns that matter alike

    def pose(self, x: Array) -> Array: ...

    def twist(self, x: Array) -> Array:
        """Return d (translation, turn) / dx (6, n) in the model's frame."""


class FreeHolder:
    """A pose without an arm: unknowns are a translation and a rotation vector from a start."""

    def __init__(self, start: Array) -> None:
        self._start = start
        self.bounds = (np.full(6, -np.inf), np.full(6, np.inf))
        self.scale = np.repeat([0.01, 0.1], 3)  # m, rad

    def pose(self, x: Array) -> Array:
        turn = Rotation.from_rotvec(x[3:]).as_matrix()
        return transform(turn @ self._start[:3, :3], self._start[:3, 3] + x[:3])

    def twist(self, x: Array) -> Array:
        result = np.eye(6)
        result[3:, 3:] = turn_per_rotation_vector(x[3:])
        return result


class ArmHolder:
    """An arm, and the spindle on it if there is one: unknowns are joints and spin, rad."""

    def __init__(self, arm: Arm, spin_axis: Array | None) -> None:
        self.arm = arm
        self.axis = None if spin_axis is None else unit(spin_axis)
        free = np.full(0 if spin_axis is None else 1, np.inf)
        self.bounds = (np.append(arm.lower, -free), np.append(arm.upper, free))
        self.scale = np.full(len(self.bounds[0]), 0.1)

    def start(self, T: Array, joints: Array) -> Array:
        if self.axis is None:
            return joints
        return np.append(joints, self.arm.spin_angle(joints, T, self.axis))

    def pose(self, x: Array) -> Array:
        T = self.arm.forward(x[: self.arm.n_joints])
        if self.axis is not None:
            T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(x[-1] * self.axis).as_matrix()
        return T

    def twist(self, x: Array) -> Array:
        joints = x[: self.arm.n_joints]
        jacobian = self.arm.jacobian(joints)
        if self.axis is None:
            return jacobian
        spin = np.zeros(6)
        spin[3:] = self.arm.forward(joints)[:3, :3] @ self.axis
        return np.column_stack([jacobian, spin])
