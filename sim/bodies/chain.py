"""Dynamics of a chain of equal rigid links, joined by hinges or balls: O(n) and linearly implicit.

The chain is a floating base (link 0) followed by links, each joined to the one before it by a
hinge about the y axis, or by a ball. Generalised velocity: base velocity (3), base angular
velocity (3), then the rates of each joint: one about y, or three about the axes of the child.

PyBullet integrates the chain and its contacts; this module computes the generalised force that it
is given. Elasticity, magnetic torque and drag are stiff against the small inertia of a thin link,
so they are evaluated at the end of the step to first order (the stable proportional-derivative
idea of Tan, Liu and Turk 2011, doi 10.1109/MCG.2011.30, extended to every linearised load):

    (M + M_fluid + h C + h^2 K) a = f(q + h v, v) - c(q, v + h a / 2)
    applied force = M' a + c'(q, v)

with M the mass matrix, M_fluid that of the fluid carried along, C the damping and K the stiffness
of all loads, c the terms quadratic in velocity, M' and c' what PyBullet itself has for M and c. So
PyBullet finds exactly the acceleration a, whatever inertia it holds; that inertia is what its
contacts see. c is taken in the middle of the step, by one correction of a: at its start only, it
would feed a body that spins at Omega with energy at a rate of h Omega^2. A static equilibrium
(v = a = 0) satisfies f = 0 exactly, whatever h.

All loads are sums over links and joints, so the left side is one block of 6 x 6 per link and a
diagonal per joint, and Featherstone's articulated-body recursion solves it in O(n)
(R. Featherstone, Rigid Body Dynamics Algorithms, 2008, ch. 7). Spatial vectors are
(linear, angular) about the base's centre.

Conventions are those of `links`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.kinematics import moved
from mmdtwin.sim.bodies.links import Fluid, Held, Links, Pose
from mmdtwin.sim.bodies.loads import link_load
from mmdtwin.sim.bodies.vectors import (
    add,
    cross,
    dot,
    each,
    into,
    less,
    outof,
    row,
    scaled,
    set_row,
)


@nb.njit(cache=True, fastmath=True)
def elastic_torque(links: Links, bend: Array, out: Array) -> None:
    """Write the torque (d,) of a joint about its rate axes.

    Of a ball it is minus the gradient of the energy sum k_i bend_i^2 / 2 on the rotation group:
    -J^-T K bend, with J the right Jacobian of the exponential map.
    """
    if len(bend) == 1:
        out[0] = -links.stiffness[0] * bend[0]
        return
    angles = row(bend)
    angle2 = dot(angles, angles)
    second = 1.0 / 12.0
    if angle2 > 1e-6:
        angle = np.sqrt(angle2)
        second = 1.0 / angle2 - (1.0 + np.cos(angle)) / (2.0 * angle * np.sin(angle))
    torque = scaled(-1.0, each(row(links.stiffness), angles))
    once = cross(angles, torque)
    twice = cross(angles, once)
    set_row(out, add(torque, add(scaled(-0.5, once), scaled(second, twice))))


@nb.njit(cache=True, fastmath=True)
def assemble(
    pose: Pose, middle: Pose, links: Links, fluid: Fluid, h: float, contact: Array,
    left: Array, right: Array, joints: Array,
) -> None:  # fmt: skip
    """Fill the links' blocks `left` (n, 6, 6) and loads `right` (n, 6), and the joints' loads.

    `contact` (3,) is the sum of the contact forces to expect; `joints` is (n - 1, d).
    """
    n, d = len(pose.centre), pose.rates.shape[1]
    share = scaled(1.0 / n, row(contact))
    for i in range(n):
        link_load(pose, middle, links, fluid, i, h, left[i], right[i])
        moment = cross(less(row(pose.centre[i]), row(pose.centre[0])), share)
        for k in range(3):
            right[i, k] += share[k]
            right[i, 3 + k] += moment[k]
    for i in range(n - 1):
        elastic_torque(links, pose.bend[i], joints[i])
        for k in range(d):
            joints[i, k] -= (h * links.stiffness[k] + links.damping[k]) * pose.rates[i, k]


@nb.njit(cache=True, fastmath=True)
def solve(
    pose: Pose, links: Links, h: float, clamped: bool, left: Array, right: Array, joints: Array
) -> Array:
    """Generalised acceleration by the articulated-body recursion; uses up the arrays."""
    n, d = len(pose.centre), pose.rates.shape[1]
    columns, pivots = np.empty((n - 1, d, 6)), np.empty((n - 1, d))
    out = np.zeros(6 + (n - 1) * d)
    for i in range(n - 1, 0, -1):
        for k in range(d - 1, -1, -1):
            axis, column = pose.rate_axes[i - 1, k], columns[i - 1, k]
            pivot = h * links.damping[k] + h * h * links.stiffness[k]
            load = joints[i - 1, k]
            for a in range(6):
                column[a] = 0.0
                for b in range(6):
                    column[a] += left[i, a, b] * axis[b]
                pivot += axis[a] * column[a]
                load += axis[a] * right[i, a]
            joints[i - 1, k], pivots[i - 1, k] = load, pivot
            for a in range(6):
                share = column[a] / pivot
                right[i, a] -= share * load
                for b in range(6):
                    left[i, a, b] -= share * column[b]
        for a in range(6):
            right[i - 1, a] += right[i, a]
            for b in range(6):
                left[i - 1, a, b] += left[i, a, b]
    spatial = np.zeros(6)
    if not clamped:
        spatial[:] = np.linalg.solve(left[0], right[0])
        out[:6] = spatial
    for i in range(n - 1):
        for k in range(d):
            rate = joints[i, k]
            for a in range(6):
                rate -= columns[i, k, a] * spatial[a]
            rate /= pivots[i, k]
            out[6 + i * d + k] = rate
            for a in range(6):
                spatial[a] += rate * pose.rate_axes[i, k, a]
    return out


@nb.njit(cache=True, fastmath=True)
def spread(pose: Pose, generalised: Array) -> Array:
    """Spatial vectors (n, 6) about the base's centre of a generalised velocity or acceleration."""
    n, d = len(pose.centre), pose.rates.shape[1]
    out = np.empty((n, 6))
    for a in range(6):
        out[0, a] = generalised[a]
        for i in range(1, n):
            out[i, a] = out[i - 1, a]
            for k in range(d):
                out[i, a] += generalised[6 + (i - 1) * d + k] * pose.rate_axes[i - 1, k, a]
    return out


@nb.njit(cache=True, fastmath=True)
def fastest(pose: Pose, acceleration: Array, h: float) -> float:
    """Largest speed of a link's centre at the end of a step."""
    spatial = spread(pose, acceleration)
    speed2 = 0.0
    for i in range(len(spatial)):
        arm = less(row(pose.centre[i]), row(pose.centre[0]))
        change = add(row(spatial[i, :3]), cross(row(spatial[i, 3:]), arm))
        v = add(row(pose.velocity[i]), scaled(h, add(change, row(pose.bias[i]))))
        speed2 = max(speed2, dot(v, v))
    return np.sqrt(speed2)


@nb.njit(cache=True, fastmath=True)
def bullets_force(
    pose: Pose, held: Held, acceleration: Array, contact: Array, biased: bool
) -> Array:
    """Generalised force that PyBullet needs for a generalised acceleration.

    Less a contact force (3,) that it will add, shared evenly among the links; with `biased`
    including what the terms quadratic in velocity need.
    """
    n, d = len(pose.centre), pose.rates.shape[1]
    wrench = spread(pose, acceleration)
    out = np.empty_like(acceleration)
    inertia = row(held.inertia)
    share = scaled(1.0 / n, row(contact))
    for i in range(n - 1, -1, -1):
        axes, arm = pose.axes[i], less(row(pose.centre[i]), row(pose.centre[0]))
        angular = row(wrench[i, 3:])
        linear = add(row(wrench[i, :3]), cross(angular, arm))
        gyro = (0.0, 0.0, 0.0)
        if biased:
            spin = into(axes, row(pose.spin[i]))
            gyro = cross(spin, each(inertia, spin))
            linear = add(linear, row(pose.bias[i]))
            angular = add(angular, row(pose.spin_bias[i]))
        force = less(scaled(held.mass, linear), share)
        torque = outof(axes, add(gyro, each(inertia, into(axes, angular))))
        set_row(wrench[i, :3], force)
        set_row(wrench[i, 3:], add(torque, cross(arm, force)))
        if i + 1 < n:
            for a in range(6):
                wrench[i, a] += wrench[i + 1, a]
        for k in range(d if i > 0 else 0):
            load = 0.0
            for a in range(6):
                load += pose.rate_axes[i - 1, k, a] * wrench[i, a]
            out[6 + (i - 1) * d + k] = load
    out[:6] = wrench[0]
    return out


@nb.njit(cache=True, fastmath=True)
def advance(
    pose: Pose, velocity: Array, links: Links, held: Held, fluid: Fluid, contact: Array,
    clamped: bool, step: float, least: float, travel: float,
) -> tuple[float, Array, Array]:  # fmt: skip
    """Return the length of the substep, the generalised force for it and the acceleration wanted.

    The step is halved, but not below `least`, until no link is to move further than `travel`.
    `contact` (3,) is the sum of the contact forces to expect: without it a body at rest on a wall
    would be given M' (M + M_fluid + h C + h^2 K)^-1 of its load, and weigh too little on it.
    """
    n = len(pose.centre)
    left, right, joints = np.empty((n, 6, 6)), np.empty((n, 6)), np.empty_like(pose.rates)
    h = step
    while True:
        assemble(pose, pose, links, fluid, h, contact, left, right, joints)
        acceleration = solve(pose, links, h, clamped, left, right, joints)
        if h <= least or fastest(pose, acceleration, h) * h <= travel:
            break
        h /= 2
    middle = moved(pose, velocity + 0.5 * h * acceleration, links.half)
    assemble(pose, middle, links, fluid, h, contact, left, right, joints)
    acceleration = solve(pose, links, h, clamped, left, right, joints)
    force = bullets_force(pose, held, acceleration, contact, True)
    return h, force, acceleration
