"""Pose vectors of a magnet, and the spin that makes its field rotate at a device.

A pose vector (6,) is a position in m and a rotation vector in rad.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, transform, unit


def pose_vector(T: ArrayLike) -> Array:
    """Return the pose vector (6,) of a rigid transform (4, 4); its angle is at most pi."""
    matrix = np.asarray(T, float)
    return np.concatenate([matrix[:3, 3], Rotation.from_matrix(matrix[:3, :3]).as_rotvec()])


def pose_matrix(pose: ArrayLike) -> Array:
    """Return the rigid transform (4, 4) of a pose vector (6,)."""
    vector = np.asarray(pose, float)
    return transform(Rotation.from_rotvec(vector[3:]).as_matrix(), vector[:3])


def cross_matrix(v: ArrayLike) -> Array:
    """Return the (3, 3) matrix of the cross product: cross_matrix(v) @ w = v x w."""
    x, y, z = np.asarray(v, float)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def turn_per_rotation_vector(rotation_vector: ArrayLike) -> Array:
    """Return the (3, 3) derivative of the turn in the outer frame by the rotation vector, rad.

    The left Jacobian of SO(3) (Chirikjian 2012, vol. 2, section 10.7): a change dr of the
    rotation vector r turns the body by J(r) dr, whose components are in the frame that r is in.
    """
    r = np.asarray(rotation_vector, float)
    angle = float(np.linalg.norm(r))
    k = cross_matrix(r)
    if angle < 1e-4:  # the next term of the series is angle^2 / 24 = 4e-10
        return np.eye(3) + k / 2 + k @ k / 6
    a = (1 - np.cos(angle)) / angle**2
    b = (angle - np.sin(angle)) / angle**3
    return np.eye(3) + a * k + b * k @ k


def spin_axis_for(field_axis: ArrayLike, magnet: ArrayLike, device: ArrayLike) -> Array:
    """Return the axis that a dipole must spin about for its field to rotate about another.

    n_magnet = (3 p p^T - I) n_field, normalised, with p from the magnet to the device. The dipole
    is perpendicular to its spin axis. A positive turn of the magnet is a positive turn of the
    field. Mahoney and Abbott, IEEE Trans. Robotics 30(2), 411-420 (2014).

    Parameters
    ----------
    field_axis : (3,) array
        Wanted axis of the field's rotation at the device; any length.
    magnet, device : (3,) array
        Positions, m.

    Raises
    ------
    UserError
        If the axis is zero or the two are in the same place.
    """
    n, offset = unit(field_axis), np.asarray(device, float) - np.asarray(magnet, float)
    if not n.any() or not offset.any():
        raise UserError("spin axis: needs an axis that is not zero and a device off the magnet")
    p = unit(offset)
    return unit(3.0 * p * float(p @ n) - n)


def spun(pose: ArrayLike, spin_axis: ArrayLike, angle: float) -> Array:
    """Return the pose vector (6,) turned by `angle` rad about an axis in the magnet's own frame."""
    vector = np.array(pose, float)
    spin = Rotation.from_rotvec(angle * unit(spin_axis))
    vector[3:] = (Rotation.from_rotvec(vector[3:]) * spin).as_rotvec()
    return vector
