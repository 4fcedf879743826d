"""Forces of fluid and wall on the nodes of a gel. Any consistent units."""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.compact_drag import skew
from mmdtwin.sim.bodies.sphere_drag import inertial_excess

HOLD = 0.3  # share of an overlap, or of a slip, that the wall takes back in one step


@nb.njit(cache=True)
def second_moment(centred: Array, weight: Array) -> Array:
    """Return sum of w (r^2 1 - r r), (3, 3)."""
    out = np.zeros((3, 3))
    for a in range(len(centred)):
        r = centred[a]
        square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
        for i in range(3):
            out[i, i] += weight[a] * square
            for j in range(3):
                out[i, j] -= weight[a] * r[i] * r[j]
    return out


@nb.njit(cache=True)
def motion(centred: Array, velocity: Array, weight: Array) -> tuple[Array, Array]:
    """Return the mean velocity (3,) and the rate of turning (3,) of weighted nodes."""
    mean = np.zeros(3)
    moment = np.zeros((3, 3))
    for a in range(len(centred)):
        for i in range(3):
            mean[i] += weight[a] * velocity[a, i]
            for j in range(3):
                moment[i, j] += weight[a] * centred[a, i] * velocity[a, j]
    turn = np.array(
        [moment[1, 2] - moment[2, 1], moment[2, 0] - moment[0, 2], moment[0, 1] - moment[1, 0]]
    )
    return mean / weight.sum(), np.linalg.solve(second_moment(centred, weight), turn)


@nb.njit(cache=True)
def spread(centred: Array, weight: Array, force: Array, torque: Array, out: Array) -> None:
    """Add nodal forces (n, 3) to `out` whose sum is `force` and whose torque is `torque`.

    Node a takes w_a (force / sum(w) + b x r_a): the same pull, and a field of couples whose b
    gives the torque, with the `weight` (n,) w.

    Parameters
    ----------
    centred : (n, 3) array
        Positions r from the weighted mean.
    """
    couple = np.linalg.solve(second_moment(centred, weight), torque)
    twist = skew(couple.astype(np.float64))
    pull = force / weight.sum()
    for a in range(len(centred)):
        for i in range(3):
            value = pull[i]
            for j in range(3):
                value += twist[i, j] * centred[a, j]
            out[a, i] += weight[a] * value


@nb.njit(cache=True)
def drag(
    position: Array,
    relative: Array,
    area: Array,
    axes: Array,
    friction: Array,
    turning: Array,
    straining: float,
    reynolds: float,
    out: Array,
) -> None:
    """Add the fluid's forces on the surface to `out` (n, 3).

    Mean and turning of the velocities against the fluid, both weighted by area, meet the body's
    friction; what is left, deformation against the fluid's, meets `straining` per area.

    Parameters
    ----------
    position : (n, 3) array
    relative : (n, 3) array
        Velocities against the undisturbed fluid.
    area : (n,) array
        Of the surface at the nodes.
    axes : (3, 3) array
        Columns: the body's axes.
    friction, turning : (3,) array
        Force per speed and torque per rate along and about them, in creeping flow.
    straining : float
        Force per area and speed.
    reynolds : float
        Reynolds number per speed.
    """
    centred = position - area @ position / area.sum()
    mean, turn = motion(centred, relative, area)
    inertial = 1.0 + inertial_excess(reynolds * np.sqrt((mean**2).sum()))
    force = -inertial * (axes @ (friction * (axes.T @ mean)))
    torque = -axes @ (turning * (axes.T @ turn))
    spread(centred, area, force, torque, out)
    spin = skew(turn)
    for a in range(len(centred)):
        for i in range(3):
            rest = relative[a, i] - mean[i]
            for j in range(3):
                rest -= spin[i, j] * centred[a, j]
            out[a, i] -= straining * area[a] * rest


@nb.njit(cache=True)
def carry_fluid(
    masses: Array,
    axes: Array,
    added: Array,
    displaced: float,
    acceleration: Array,
    out: Array,
) -> None:
    """Add the forces of accelerating fluid to `out` (n, 3), which holds all others.

    The flow's acceleration bears on the displaced and the added mass; the added mass goes along
    with the body's acceleration (Maxey and Riley, Phys. Fluids 26 (1983) 883).

    Parameters
    ----------
    masses : (n,) array
        Of the nodes, over which the forces are spread.
    axes : (3, 3) array
        Columns: the body's axes.
    added : (3,) array
        Added mass along them.
    displaced : float
        Mass of the displaced fluid.
    acceleration : (n, 3) array
        Of the fluid at the nodes.
    """
    mass = masses.sum()
    tensor = (axes * added) @ axes.T
    surge = np.zeros(3)
    for a in range(len(masses)):
        for i in range(3):
            surge[i] += masses[a] / mass * acceleration[a, i]
    force = displaced * surge + tensor @ surge
    whole = mass * np.eye(3) + tensor
    force -= tensor @ np.linalg.solve(whole, out.sum(axis=0) + force)
    for a in range(len(masses)):
        for i in range(3):
            out[a, i] += masses[a] / mass * force[i]


@nb.njit(cache=True)
def rub(
    along: Array, normal: Array, mass: float, load: Array, h: float, limit: float, slip: Array
) -> Array:
    """Return a node's friction (3,), and take its slip to the end of the step; see `hold_off`.

    Parameters
    ----------
    along : (3,) array
        Velocity along the wall.
    limit : float
        Coulomb's, of the force.
    """
    slip -= np.dot(slip, normal) * normal
    stick = -mass / h * (along + HOLD * slip / h)
    size = np.sqrt((stick**2).sum())
    if size > limit:
        stick *= limit / size
        held = stick + load - np.dot(load, normal) * normal
        slip[:] = -held * h * h / (HOLD * mass)  # as much as holds the limit at rest
    else:
        slip *= 1.0 - HOLD  # what is left of it after the step
    return stick


@nb.njit(cache=True)
def hold_off(
    gap: Array,
    normal: Array,
    velocity: Array,
    mass: Array,
    load: Array,
    h: float,
    friction: float,
    slip: Array,
    contact: Array,
    pressing: Array,
) -> None:
    """Fill the wall's forces on the nodes (n, 3) for a step h, `contact`, and their normal parts.

    Normal: what stops a node that would pass the wall within the step, without bounce, and
    takes back a share of its overlap. Tangential: the same for the slip since it touched, up to
    Coulomb's limit (Cundall and Strack, Geotechnique 29 (1979) 47).

    Parameters
    ----------
    gap : (n,) array
        Distances to the wall, negative inside it.
    normal : (n, 3) array
        Into the lumen.
    velocity : (n, 3) array
    mass : (n,) array
    load : (n, 3) array
        What acts on the nodes beside the wall. A guess that lags behind it would let nodes sink
        in as the load grows and lift the body as they come out: energy from nothing.
    slip : (n, 3) array
        Kept from step to step by the caller.
    pressing : (n,) array
        Receives the normal forces.
    """
    contact[:] = 0.0
    for a in range(len(gap)):
        n = normal[a]
        v = velocity[a] + h / mass[a] * load[a]
        approach = n[0] * v[0] + n[1] * v[1] + n[2] * v[2]
        share = HOLD if gap[a] < 0.0 else 1.0
        push = -mass[a] / h * (approach + share * gap[a] / h)
        pressing[a] = max(push, 0.0)
        if push <= 0.0:
            if gap[a] > 0.0:
                slip[a] = 0.0
            continue
        stick = rub(v - approach * n, n, mass[a], load[a], h, friction * push, slip[a])
        for i in range(3):
            contact[a, i] = push * n[i] + stick[i]
