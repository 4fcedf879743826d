"""Kinematics of a chain of links: from PyBullet's coordinates to where each link is and moves.

Conventions are those of `links`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.links import Pose
from mmdtwin.sim.bodies.vectors import Vector, add, cross, less, outof, row, scaled, set_row


@nb.njit(cache=True, fastmath=True)
def quaternion_columns(q: Array) -> tuple[Vector, Vector, Vector]:
    """Columns of the rotation matrix of a unit quaternion (x, y, z, w)."""
    x, y, z, w = q[0], q[1], q[2], q[3]
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)),
        (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)),
        (2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)),
    )


@nb.njit(cache=True, fastmath=True)
def rotation_vector(q: Array) -> Vector:
    """Rotation vector of a unit quaternion (x, y, z, w), of the shorter way round."""
    sine = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    sign = 1.0 if q[3] >= 0.0 else -1.0
    factor = 2.0 * sign
    if sine > 1e-9:
        factor *= np.arctan2(sine, abs(q[3])) / sine
    return (factor * q[0], factor * q[1], factor * q[2])


@nb.njit(cache=True, fastmath=True)
def turn_joint(pose: Pose, i: int, coordinates: Array) -> None:
    """Fill the axes of link i and the bend before it; `coordinates` (1,) or (4,) of the joint."""
    if pose.rates.shape[1] == 1:
        angle = coordinates[0]
        c, s = np.cos(angle), np.sin(angle)
        columns = ((c, 0.0, -s), (0.0, 1.0, 0.0), (s, 0.0, c))
        pose.bend[i - 1, 0] = angle
    else:
        columns = quaternion_columns(coordinates)
        set_row(pose.bend[i - 1], rotation_vector(coordinates))
    for k in range(3):
        set_row(pose.axes[i, :, k], outof(pose.axes[i - 1], columns[k]))


@nb.njit(cache=True, fastmath=True)
def move_half(pose: Pose, i: int, link: int, half: float) -> None:
    """Carry velocity and bias of link i on by half the length of `link`."""
    arm = scaled(half, row(pose.axes[link, :, 0]))
    spin = row(pose.spin[link])
    whirl = cross(spin, arm)
    bias = add(cross(spin, whirl), cross(row(pose.spin_bias[link]), arm))
    set_row(pose.velocity[i], add(row(pose.velocity[i]), whirl))
    set_row(pose.bias[i], add(row(pose.bias[i]), bias))


@nb.njit(cache=True, fastmath=True)
def move(velocity: Array, half: float, pose: Pose) -> None:
    """Fill how the links of a placed pose move at a generalised velocity."""
    n, d = len(pose.centre), pose.rates.shape[1]
    for k in range(3):
        pose.velocity[0, k], pose.spin[0, k] = velocity[k], velocity[3 + k]
    for i in range(1, n):
        pose.velocity[i], pose.bias[i] = pose.velocity[i - 1], pose.bias[i - 1]
        move_half(pose, i, i - 1, half)
        relative = (0.0, 0.0, 0.0)
        for k in range(d):
            rate = velocity[6 + (i - 1) * d + k]
            pose.rates[i - 1, k] = rate
            relative = add(relative, scaled(rate, row(pose.rate_axes[i - 1, k, 3:])))
        before = row(pose.spin[i - 1])
        set_row(pose.spin[i], add(before, relative))
        set_row(pose.spin_bias[i], add(row(pose.spin_bias[i - 1]), cross(before, relative)))
        move_half(pose, i, i, half)


@nb.njit(cache=True, fastmath=True)
def moved(pose: Pose, velocity: Array, half: float) -> Pose:
    """Return the same place of the links at another generalised velocity."""
    links, joints = np.zeros((4, *pose.centre.shape)), np.empty_like(pose.rates)
    other = Pose(
        pose.centre, pose.axes, pose.rate_axes, joints, pose.bend,
        links[0], links[1], links[2], links[3],
    )  # fmt: skip
    move(velocity, half, other)
    return other


@nb.njit(cache=True, fastmath=True)
def observe(
    position: Array, quaternion: Array, joints: Array, velocity: Array, half: float, pose: Pose
) -> None:
    """Fill the pose from PyBullet's coordinates and generalised velocity.

    `joints` (n - 1, 1) are hinge angles or (n - 1, 4) the balls' quaternions (x, y, z, w);
    `half` is half a link's length.
    """
    n, d = len(pose.centre), pose.rates.shape[1]
    columns = quaternion_columns(quaternion)
    for k in range(3):
        set_row(pose.axes[0, :, k], columns[k])
        pose.centre[0, k] = position[k]
    for i in range(1, n):
        turn_joint(pose, i, joints[i - 1])
        arm = scaled(half, add(row(pose.axes[i - 1, :, 0]), row(pose.axes[i, :, 0])))
        set_row(pose.centre[i], add(row(pose.centre[i - 1]), arm))
        joint = less(row(pose.centre[i]), scaled(half, row(pose.axes[i, :, 0])))
        lever = less(joint, row(pose.centre[0]))
        for k in range(d):
            axis = row(pose.axes[i, :, k if d == 3 else 1])
            set_row(pose.rate_axes[i - 1, k, :3], cross(lever, axis))
            set_row(pose.rate_axes[i - 1, k, 3:], axis)
    move(velocity, half, pose)
