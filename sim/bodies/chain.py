"""Dynamics of a hinge chain: kinematics, mass matrix, loads, and a linearly implicit step.

The chain is a floating base (link 0) followed by links joined by hinges that all turn about the
body's y axis. Generalised velocity: base velocity (3), base angular velocity (3), hinge rates.

PyBullet integrates the chain and its contacts; this module computes the generalised force that it
is given. Elasticity, magnetic torque and drag are stiff against the small inertia of a thin link,
so they are evaluated at the end of the step to first order (the stable proportional-derivative
idea of Tan, Liu and Turk 2011, doi 10.1109/MCG.2011.30, extended to every linearised load):

    (M + h C + h^2 K) a = f(q + h v, v),      applied force = M a,

with M the mass matrix, C the damping and K the stiffness of all loads. The gyroscopic terms are
left to PyBullet. A static equilibrium (v = a = 0) satisfies f = 0 exactly, whatever h.

Arrays are in PyBullet's units (mm, g, s; see `mmdtwin.units`) and in the vessel's frame.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array


@nb.njit(cache=True, fastmath=True)
def kinematics(
    base_position: Array,
    base_quaternion: Array,
    angles: Array,
    offsets: Array,
    centre: Array,
    axis_x: Array,
    axis_z: Array,
    joint: Array,
) -> Array:
    """Fill centres, x and z axes and joint positions (n, 3) of all links; return the y axis (3,).

    `offsets` (n, 2): distance from the parent's centre to the hinge and from the hinge to the
    link's own centre, mm. `base_quaternion` is (x, y, z, w).
    """
    x, y, z, w = base_quaternion
    ex = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
    ey = np.array([2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)])
    ez = np.array([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)])
    theta = 0.0
    for i in range(len(offsets)):
        if i > 0:
            for k in range(3):
                joint[i, k] = centre[i - 1, k] + offsets[i, 0] * axis_x[i - 1, k]
            theta += angles[i - 1]
        c, s = np.cos(theta), np.sin(theta)
        for k in range(3):
            axis_x[i, k] = c * ex[k] - s * ez[k]
            axis_z[i, k] = s * ex[k] + c * ez[k]
            centre[i, k] = joint[i, k] + offsets[i, 1] * axis_x[i, k] if i > 0 else base_position[k]
    return ey


@nb.njit(cache=True, fastmath=True)
def jacobians(centre: Array, joint: Array, axis_y: Array, linear: Array, angular: Array) -> None:
    """Fill d(link velocity)/d(generalised velocity): linear and angular, (n, 3, 6 + n - 1)."""
    n = len(centre)
    linear[:] = 0.0
    angular[:] = 0.0
    for i in range(n):
        rx = centre[i, 0] - centre[0, 0]
        ry = centre[i, 1] - centre[0, 1]
        rz = centre[i, 2] - centre[0, 2]
        for k in range(3):
            linear[i, k, k] = 1.0
            angular[i, k, 3 + k] = 1.0
        linear[i, 0, 4], linear[i, 0, 5] = rz, -ry
        linear[i, 1, 3], linear[i, 1, 5] = -rz, rx
        linear[i, 2, 3], linear[i, 2, 4] = ry, -rx
        for j in range(1, i + 1):
            dx = centre[i, 0] - joint[j, 0]
            dy = centre[i, 1] - joint[j, 1]
            dz = centre[i, 2] - joint[j, 2]
            linear[i, 0, 5 + j] = axis_y[1] * dz - axis_y[2] * dy
            linear[i, 1, 5 + j] = axis_y[2] * dx - axis_y[0] * dz
            linear[i, 2, 5 + j] = axis_y[0] * dy - axis_y[1] * dx
            for k in range(3):
                angular[i, k, 5 + j] = axis_y[k]


@nb.njit(cache=True, fastmath=True)
def accumulate(matrix: Array, jacobian: Array, weight: Array, columns: int, factor: float) -> None:
    """Add factor * J^T W J to `matrix`, for one link: J (3, dofs), W (3, 3).

    Only the first `columns` columns of J are not zero.
    """
    for a in range(columns):
        wa0 = weight[0, 0] * jacobian[0, a] + weight[1, 0] * jacobian[1, a]
        wa0 += weight[2, 0] * jacobian[2, a]
        wa1 = weight[0, 1] * jacobian[0, a] + weight[1, 1] * jacobian[1, a]
        wa1 += weight[2, 1] * jacobian[2, a]
        wa2 = weight[0, 2] * jacobian[0, a] + weight[1, 2] * jacobian[1, a]
        wa2 += weight[2, 2] * jacobian[2, a]
        for b in range(columns):
            matrix[a, b] += factor * (
                wa0 * jacobian[0, b] + wa1 * jacobian[1, b] + wa2 * jacobian[2, b]
            )


@nb.njit(cache=True, fastmath=True)
def project(generalised: Array, jacobian: Array, vector: Array, columns: int) -> None:
    """Add J^T vector to the generalised force, for one link."""
    for a in range(columns):
        generalised[a] += (
            jacobian[0, a] * vector[0] + jacobian[1, a] * vector[1] + jacobian[2, a] * vector[2]
        )


@nb.njit(cache=True, fastmath=True)
def frame_diagonal(axis_x: Array, axis_y: Array, axis_z: Array, d: Array) -> Array:
    """Return the (3, 3) matrix with eigenvalues d along the three axes."""
    out = np.empty((3, 3))
    for a in range(3):
        for b in range(3):
            out[a, b] = (
                d[0] * axis_x[a] * axis_x[b]
                + d[1] * axis_y[a] * axis_y[b]
                + d[2] * axis_z[a] * axis_z[b]
            )
    return out
