"""Loads on the links of a magnetic soft sheet, and the generalised force handed to PyBullet.

Arrays are in PyBullet's units (mm, g, s) and in the vessel's frame.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.chain import accumulate, frame_diagonal, jacobians, project


@nb.njit(cache=True, fastmath=True)
def cross(a: Array, b: Array) -> Array:
    """Cross product of two (3,) vectors."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


@nb.njit(cache=True, fastmath=True)
def drag_coefficients(speed_in_plane: float, speed_normal: float, drag: Array) -> Array:
    """Return force per speed along the sheet's (x, y, z) axes for one link, g/s.

    `drag` holds, for the link: linear in-plane, linear normal, Blasius and pressure coefficients
    (see `SheetDrag`).
    """
    in_plane = drag[0] + drag[2] * np.sqrt(speed_in_plane)
    return np.array([in_plane, in_plane, drag[1] + drag[3] * speed_normal])


@nb.njit(cache=True, fastmath=True)
def implicit_force(
    h: float,
    centre: Array,
    joint: Array,
    axis_x: Array,
    axis_y: Array,
    axis_z: Array,
    velocity: Array,
    angles: Array,
    mass: Array,
    inertia: Array,
    extent2: Array,
    weight: Array,
    moment: Array,
    hinge_stiffness: float,
    hinge_damping: float,
    drag: Array,
    field: Array,
    gradient: Array,
    flow: Array,
    contact: Array,
    fixed_base: bool,
    linear: Array,
    angular: Array,
) -> tuple[Array, float, Array]:
    """Return the generalised force (5 + n,) for a step h, the end speed, and the mass matrix.

    The end speed is the largest that a link is predicted to have at the end of the step, mm/s.
    Parameters are per link: mass (n,), inertia about the link axes (n, 3), extent2 (n, 2) =
    length^2/12 and width^2/12, weight minus buoyancy (n, 3), moment components along the link's x
    and z axes (n, 2), drag (n, 4), field (n, 3) T, gradient (n, 3, 3) T/mm, flow (n, 3).
    `contact` (5 + n,) is the generalised contact force to expect: without it a body at rest on a
    wall would be given M (M + h C + h^2 K)^-1 of its load. `linear`, `angular` are scratch.
    """
    n = len(centre)
    dofs = 5 + n
    v = np.zeros(3)
    w = np.zeros(3)
    jacobians(centre, joint, axis_y, linear, angular)
    mass_matrix = np.zeros((dofs, dofs))
    implicit = np.zeros((dofs, dofs))
    force = np.zeros(dofs)
    for i in range(n):
        columns = 6 + i
        v[:] = 0.0
        w[:] = 0.0
        for k in range(3):
            for a in range(columns):
                v[k] += linear[i, k, a] * velocity[a]
                w[k] += angular[i, k, a] * velocity[a]
        x, z = axis_x[i], axis_z[i]
        u = v - flow[i]
        ux, uy, uz = np.dot(u, x), np.dot(u, axis_y), np.dot(u, z)
        c = drag_coefficients(np.sqrt(ux * ux + uy * uy), abs(uz), drag[i])
        damping = frame_diagonal(x, axis_y, z, c)
        turning = np.array(
            [c[2] * extent2[i, 1], c[2] * extent2[i, 0], c[0] * (extent2[i, 0] + extent2[i, 1])]
        )
        turn_damping = frame_diagonal(x, axis_y, z, turning)
        m = moment[i, 0] * x + moment[i, 1] * z
        b = field[i]
        f = weight[i] + gradient[i] @ m - damping @ u
        t = cross(m, b) - turn_damping @ w
        project(force, linear[i], f, columns)
        project(force, angular[i], t, columns)
        eye = np.eye(3)
        accumulate(mass_matrix, linear[i], eye * mass[i], columns, 1.0)
        inertia_world = frame_diagonal(x, axis_y, z, inertia[i])
        accumulate(mass_matrix, angular[i], inertia_world, columns, 1.0)
        accumulate(implicit, linear[i], damping, columns, h)
        turn = h * turn_damping
        alignment = np.dot(m, b)
        if alignment > 0.0:
            bb = np.outer(b, b) / max(np.dot(b, b), 1e-30)
            magnetic = alignment * (eye - bb)
            turn = turn + h * h * magnetic
            project(force, angular[i], -h * (magnetic @ w), columns)
        accumulate(implicit, angular[i], turn, columns, 1.0)
    for j in range(6, dofs):
        rate = velocity[j]
        force[j] -= hinge_stiffness * (angles[j - 6] + h * rate) + hinge_damping * rate
        implicit[j, j] += h * hinge_damping + h * h * hinge_stiffness
    if fixed_base:
        for j in range(6):
            mass_matrix[j, :] = 0.0
            mass_matrix[:, j] = 0.0
            implicit[j, :] = 0.0
            implicit[:, j] = 0.0
            mass_matrix[j, j] = 1.0
            force[j] = 0.0
    acceleration = np.linalg.solve(mass_matrix + implicit, force + contact)
    fastest = 0.0
    for i in range(n):
        for k in range(3):
            v[k] = 0.0
            for a in range(6 + i):
                v[k] += linear[i, k, a] * (velocity[a] + h * acceleration[a])
        fastest = max(fastest, np.sqrt(np.dot(v, v)))
    return force - implicit @ acceleration, fastest, mass_matrix
