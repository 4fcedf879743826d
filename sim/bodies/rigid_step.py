"""A substep of a rigid body under stiff loads, taken at its end.

    (M + h C + h^2 K) a = f(q + h v, v),      applied force and torque = M a

with M the mass, C the resistance of the fluid and K the magnetic alignment; see `chain` for the
idea. The contact force that a body rests on is expected in f, as the whole load would not arrive
at the wall otherwise. Friction beyond PyBullet's contacts is solved at the end of the step, too.

Compiled; PyBullet's units (mm, g, s), vessel's frame.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.device import CONTACT_MEMORY

WALL_ENTRY = 5e-3  # mm that a body may enter the wall in a substep
WALL_LOSS = 40e-3  # mm, the same if PyBullet misses the contact; under its weight alone: 3 ms
LOSS_SHARE = 0.25  # of a sphere's radius: no more than that, lest it gets through
SMALLEST_SUBSTEP = 1 / 32  # of the nominal step
CREEP = 10e-3  # mm/s of slip below which friction is viscous, for the solver's sake
SWEEPS = 20  # over the frictions, each held at what the others are


@nb.njit(cache=True)
def rotation_matrix(quaternion: Array) -> Array:
    """Return the (3, 3) rotation of a unit quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@nb.njit(cache=True)
def turned(rotation: Array, values: Array) -> Array:
    """Return the matrix (3, 3) with `values` (3,) along the columns of a rotation."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += rotation[i, k] * values[k] * rotation[j, k]
    return out


@nb.njit(cache=True)
def expected_contact(
    contact: Array,
    applied: Array,
    before: Array,
    matrix: Array,
    h: float,
    now: Array,
    rotation: Array,
    bullet: Array,
) -> Array:
    """Return the contact force and torque (6,) smoothed over the past, one substep h later.

    What the wall did in it follows from the change of velocity and the wrench `applied`. Of a
    change of the force it feels only M (M + h C)^-1; `matrix` (3, 3) is the one in brackets.
    """
    change = (now - before) / h
    missed = -applied - contact
    missed[:3] += bullet[0] * change[:3]
    missed[3:] += turned(rotation, bullet[1:]) @ change[3:]
    share = 1.0 - np.exp(-h / CONTACT_MEMORY)
    out = contact + share * missed
    whole = matrix @ missed[:3] / bullet[0]
    size = np.sqrt(np.dot(whole, whole))
    if size > 0.0:  # never more than what was missed, lest a lost contact pulls
        share = min(share, np.sqrt(np.dot(missed[:3], missed[:3])) / size)
    out[:3] = contact[:3] + share * whole
    return out


@nb.njit(cache=True)
def coulomb(slip: Array, yielding: Array, largest: Array) -> Array:
    """Return the friction forces (k,) that a step ends with.

    `slip` (k,) are the speeds that it would end with without them, `yielding` (k, k) how much a
    force changes them; each force is `largest` (k,) against the slip, less below CREEP.
    """
    force = np.zeros(len(slip))
    for _ in range(SWEEPS):
        for k in range(len(slip)):
            others = slip[k] + np.dot(yielding[k], force) - yielding[k, k] * force[k]
            # Where nothing presses there is nothing to hold.
            soft = CREEP / max(largest[k], 1e-12)
            wanted = -others / (soft + yielding[k, k])
            force[k] = min(max(wanted, -largest[k]), largest[k])
    return force


@nb.njit(cache=True)
def implicit_wrench(
    h: float,
    velocity: Array,
    rotation: Array,
    mass: Array,
    bullet: Array,
    resistance: Array,
    force: Array,
    moments: Array,
    fields: Array,
    ways: Array,
    friction: Array,
    contact: Array,
) -> tuple[Array, Array, Array]:
    """Return force and torque (6,) to apply for a step h, the velocity (6,) expected after it, and
    M + h C (3, 3).

    `mass` (3,) is the mass along the body's axes; `bullet` (4,) what PyBullet has: mass and
    principal inertia.
    """
    matrix = h * resistance
    inertia = turned(rotation, bullet[1:])
    matrix[:3, :3] += turned(rotation, mass)
    matrix[3:, 3:] += inertia
    load = force - resistance @ velocity
    for i in range(len(moments)):
        m, b = moments[i], fields[i]
        load[3] += m[1] * b[2] - m[2] * b[1]
        load[4] += m[2] * b[0] - m[0] * b[2]
        load[5] += m[0] * b[1] - m[1] * b[0]
        alignment = np.dot(m, b)
        if alignment > 0.0:
            stiffness = alignment * (np.eye(3) - np.outer(b, b) / np.dot(b, b))
            matrix[3:, 3:] += h * h * stiffness
            load[3:] -= h * (stiffness @ velocity[3:])
    # One column for the load, one for a unit force along each way that friction resists.
    columns = np.empty((6, 1 + len(friction)))
    columns[:, 0] = load + contact
    for k in range(len(friction)):
        columns[:, 1 + k] = ways[k]
    answers = np.linalg.solve(matrix, columns)
    acceleration = answers[:, 0].copy()
    if len(friction) > 0:
        yielding = np.ascontiguousarray(answers[:, 1:])
        slip = ways @ (velocity + h * acceleration)
        acceleration += yielding @ coulomb(slip, h * ways @ yielding, friction)
    wrench = -contact
    wrench[:3] += bullet[0] * acceleration[:3]
    wrench[3:] += inertia @ acceleration[3:]
    return wrench, velocity + h * acceleration, matrix[:3, :3].copy()


@nb.njit(cache=True)
def moved(velocity: Array, arm: Array) -> Array:
    """Velocity (3,) of the point of a body (6 velocities) at an arm (3,)."""
    v, w = velocity[:3], velocity[3:]
    out = np.empty(3)
    out[0] = v[0] + w[1] * arm[2] - w[2] * arm[1]
    out[1] = v[1] + w[2] * arm[0] - w[0] * arm[2]
    out[2] = v[2] + w[0] * arm[1] - w[1] * arm[0]
    return out


@nb.njit(cache=True)
def touches(h: float, velocity: Array, gaps: Array, normals: Array, arms: Array) -> bool:
    """Whether a sphere is at the wall, and not about to leave it in h."""
    for i in range(len(gaps)):
        if gaps[i] + h * np.dot(moved(velocity, arms[i]), normals[i]) <= WALL_ENTRY:
            return True
    return False


@nb.njit(cache=True)
def stays_out(
    h: float, end: Array, free: Array, loss: float, gaps: Array, normals: Array, arms: Array
) -> bool:
    """Whether no sphere enters the wall too far in h.

    Moving at the velocity `end` (6,) that is expected, it may enter by WALL_ENTRY; at `free` (6,),
    if PyBullet misses the contacts, by `loss`. Nor may it move farther along the wall than its gap
    and `loss`: how deep it is changes by no more than that, whatever the wall's shape.
    """
    for i in range(len(gaps)):
        room = max(gaps[i], 0.0)
        motion = moved(end, arms[i])
        if -h * np.dot(motion, normals[i]) > room + WALL_ENTRY:
            return False
        if h * np.sqrt(np.dot(motion, motion)) > room + loss:
            return False
        if -h * np.dot(moved(free, arms[i]), normals[i]) > room + loss:
            return False
    return True


@nb.njit(cache=True)
def substep(
    step: float,
    velocity: Array,
    rotation: Array,
    mass: Array,
    bullet: Array,
    resistance: Array,
    force: Array,
    moments: Array,
    fields: Array,
    ways: Array,
    friction: Array,
    contact: Array,
    travel: float,
    reach: float,
    loss: float,
    gaps: Array,
    normals: Array,
    arms: Array,
) -> tuple[float, Array, Array, Array]:
    """Return the length of the next substep, `step` halved until short enough.

    Short enough: no point moves farther than `travel`, and no sphere, `gaps` (k,) from the wall
    with the `normals` (k, 3) and at `arms` (k, 3), enters it too far (`stays_out`). A contact
    force is expected only where a sphere is at the wall and not about to leave it: else it would
    be pulled where nothing pushes. Nor is one where the shortest substep is too long for it to
    fail.

    Returns
    -------
    h : float
    wrench : (6,) array
    contact : (6,) array
        What was expected.
    matrix : (3, 3) array
        See `implicit_wrench`.
    """
    h, expected = step, contact
    while True:
        if not touches(h, velocity, gaps, normals, arms):
            expected = np.zeros(6)
        wrench, end, matrix = implicit_wrench(
            h, velocity, rotation, mass, bullet, resistance, force, moments, fields, ways, friction,
            expected,
        )  # fmt: skip
        speed = np.sqrt(np.dot(end[:3], end[:3])) + reach * np.sqrt(np.dot(end[3:], end[3:]))
        free = velocity.copy()
        free[:3] += h / bullet[0] * wrench[:3]
        free[3:] += h * (turned(rotation, 1.0 / bullet[1:]) @ wrench[3:])
        if speed * h <= travel and stays_out(h, end, free, loss, gaps, normals, arms):
            return h, wrench, expected, matrix
        if h > step * SMALLEST_SUBSTEP:
            h /= 2
        elif np.any(expected != 0.0):
            expected = np.zeros(6)
        else:
            return h, wrench, expected, matrix
