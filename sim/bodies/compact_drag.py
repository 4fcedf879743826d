"""Fluid on a compact rigid body, a sphere or a spheroid: drag, flow, walls, inertia of the fluid.

Compiled; PyBullet's units (mm, g, s), vessel's frame.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.sphere_drag import inertial_excess, spin_excess
from mmdtwin.sim.bodies.wall_drag import hindrance

# What the fluid needs to know of a body, as one record; `along` is along its axis, `across` it.
BODY = np.dtype(
    [
        ("radius", float),  # of its spheres, mm
        ("equivalent", float),  # radius of the sphere of its volume, mm
        ("drag_along", float),  # creeping drag over speed, g/s
        ("drag_across", float),
        ("turning_about", float),  # torque over rate about its axis, g mm2/s
        ("turning_over", float),  # end over end
        ("carried_along", float),  # mass of the fluid it displaces and carries, g
        ("carried_across", float),
        ("section_along", float),  # area that the drag by inertia goes with, mm2
        ("section_across", float),
        ("jeffery", float),  # share of the straining flow in its turning
        ("least_gap", float),  # mm
        ("viscosity", float),  # g/(mm s)
        ("density", float),  # of the fluid, g/mm3
    ],
    align=True,
)


@nb.njit(cache=True)
def cross(a: Array, b: Array) -> Array:
    """Cross product of two (3,) vectors."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


@nb.njit(cache=True)
def skew(v: Array) -> Array:
    """Return the matrix (3, 3) of the cross product v x."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


@nb.njit(cache=True)
def times(a: Array, b: Array) -> Array:
    """Product of two (3, 3) matrices: for so small ones much faster than BLAS."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += a[i, k] * b[k, j]
    return out


@nb.njit(cache=True)
def applied(a: Array, v: Array) -> Array:
    """Product of a (3, 3) matrix and a (3,) vector."""
    out = np.zeros(3)
    for i in range(3):
        for k in range(3):
            out[i] += a[i, k] * v[k]
    return out


@nb.njit(cache=True)
def dot(a: Array, b: Array) -> float:
    """Inner product of two (3,) vectors."""
    return float(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


@nb.njit(cache=True)
def about(axis: Array, along: float, across: float) -> Array:
    """Return the matrix (3, 3) with one value along a unit vector and another across it."""
    out = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            out[i, j] = (along - across) * axis[i] * axis[j]
        out[i, i] += across
    return out


@nb.njit(cache=True)
def wall_frame(normal: Array, axis: Array) -> Array:
    """Return (3, 3), rows: along the vessel beside the wall, around it, away from the wall."""
    n = normal.copy()
    if dot(n, n) < 0.5:  # on a ridge of the distance: any direction across will do
        n = np.zeros(3)
        n[np.argmin(np.abs(axis))] = 1.0
        n -= dot(n, axis) * axis
    t = axis - dot(axis, n) * n / dot(n, n)
    if dot(t, t) < 1e-6:  # at a cap
        t = np.zeros(3)
        t[np.argmin(np.abs(n))] = 1.0
        t -= dot(t, n) * n / dot(n, n)
    out = np.empty((3, 3))
    out[2] = n / np.sqrt(dot(n, n))
    out[0] = t / np.sqrt(dot(t, t))
    out[1] = cross(out[2], out[0])
    return out


@nb.njit(cache=True)
def in_frame(frame: Array, a: float, b: float, c: float) -> Array:
    """Return the matrix (3, 3) with these values along the rows of a frame."""
    out = np.zeros((3, 3))
    for k, value in enumerate((a, b, c)):
        for i in range(3):
            for j in range(3):
                out[i, j] += value * frame[k, i] * frame[k, j]
    return out


@nb.njit(cache=True)
def curl(gradient: Array) -> Array:
    """Vorticity (3,) of a velocity gradient dv_i/dx_j."""
    g = gradient
    return np.array([g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1]])


@nb.njit(cache=True)
def reynolds_numbers(
    bodies: NDArray, velocity: Array, flow: Array, turn: Array
) -> tuple[float, float]:
    """Return Re of translation on the equivalent diameter, and of rotation.

    `flow` and `turn` (3,) are the fluid's velocity and angular velocity.
    """
    body = bodies[0]
    u, w = velocity[:3] - flow, velocity[3:] - turn
    scale = body.density * body.equivalent / body.viscosity
    return (
        float(2.0 * scale * np.sqrt(dot(u, u))),
        float(scale * body.equivalent * np.sqrt(dot(w, w))),
    )


@nb.njit(cache=True)
def fluid_loads(
    bodies: NDArray,
    axis: Array,
    velocity: Array,
    flow: Array,
    gradient: Array,
    laplacian: Array,
    acceleration: Array,
    gap: float,
    normal: Array,
    vessel_axis: Array,
    vessel_radius: float,
) -> tuple[Array, Array]:
    """Return the resistance (6, 6) and the force and torque (6,) of the fluid on a body at rest.

    The load on the moving body is force - resistance @ velocity. Creeping drag times the wall's
    factors, plus the excess by inertia in unbounded fluid; the flow enters with Faxen's term
    a^2/6 lap u, with its half vorticity (and strain, of a spheroid), and with its acceleration
    times displaced and added mass (Maxey and Riley, Phys. Fluids 26 (1983) 883; Auton, Hunt and
    Prud'homme, J. Fluid Mech. 197 (1988) 241). `bodies` holds one BODY; the flow's velocity,
    gradient, Laplacian and acceleration are at its centre.
    """
    body = bodies[0]
    h = hindrance(body.radius, body.radius + gap, vessel_radius, body.least_gap)
    frame = wall_frame(normal, vessel_axis)
    faxen = flow + body.equivalent**2 / 6.0 * laplacian
    strained = 0.5 * (applied(gradient, axis) + applied(gradient.T, axis))
    turn = 0.5 * curl(gradient) + body.jeffery * cross(axis, strained)
    reynolds, spin = reynolds_numbers(bodies, velocity, faxen, turn)

    root = in_frame(frame, np.sqrt(h.axial), np.sqrt(h.around), np.sqrt(h.normal))
    creeping = times(times(root, about(axis, body.drag_along, body.drag_across)), root)
    drift = in_frame(frame, h.flow_axial / h.axial, h.flow_around / h.around, 1.0)
    u = velocity[:3] - faxen
    part = dot(u, axis) ** 2 / max(dot(u, u), 1e-30)
    section = body.section_along * np.sqrt(part)
    section += body.section_across * np.sqrt(max(1.0 - part, 0.0))
    # 6 pi mu a for the equivalent sphere, whose section is pi a^2.
    inertial = 6.0 * body.viscosity / body.equivalent * section * inertial_excess(reynolds)

    root = in_frame(frame, np.sqrt(h.roll), np.sqrt(h.roll), np.sqrt(h.spin))
    free = about(axis, body.turning_about, body.turning_over)
    turning = times(times(root, free), root)
    swirl = in_frame(frame, h.flow_roll / h.roll, h.flow_roll / h.roll, 1.0)
    faster = free * spin_excess(spin)
    couple = 8.0 * np.pi * body.viscosity * body.radius**2 * h.coupling * skew(frame[2])

    resistance = np.zeros((6, 6))
    resistance[:3, :3] = creeping
    resistance[3:, 3:] = turning + faster
    resistance[:3, 3:] = couple
    resistance[3:, :3] = -couple
    for i in range(3):
        resistance[i, i] += inertial
    carried = about(axis, body.carried_along, body.carried_across)
    force = np.empty(6)
    force[:3] = applied(creeping, applied(drift, faxen)) + inertial * faxen
    force[:3] += applied(carried, acceleration)
    force[3:] = applied(turning, applied(swirl, turn)) + applied(faster, turn)
    return resistance, force
