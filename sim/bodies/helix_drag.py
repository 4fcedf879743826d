"""Drag of rigid helices: slender-body theory of the filament, and a ball as a head."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from mmdtwin.config import FlowConfig, HelixConfig
from mmdtwin.geometry import Array

MAX_REYNOLDS = 1.0  # on the filament's diameter
CORE = np.sqrt(np.e)  # filament radii: size of the Stokeslets' cores, and length of the segments


class Parts(NamedTuple):
    """Segments of a helix, and its head, about its centre of mass, in its frame, SI.

    Parameters
    ----------
    points : (n, 3) array
        Middles of the segments, m; the head's centre is the last, if there is one.
    tangents : (n, 3) array
        Directions; zero for the head.
    length : float
        Of each segment, m.
    volume, mass : (n,) array
        m3, kg.
    """

    points: Array
    tangents: Array
    length: float
    volume: Array
    mass: Array


def parts_of(config: HelixConfig) -> Parts:
    """Return the parts of a helix whose axis is x."""
    whole = config.filament_length
    n = max(4, round(whole / (CORE * config.filament_diameter / 2)))
    angle = 2 * np.pi * config.turns * ((np.arange(n) + 0.5) / n - 0.5)
    radius, sign = config.helix_diameter / 2, config.sense
    y, z, rise = np.cos(angle), sign * np.sin(angle), config.pitch / (2 * np.pi)
    points = np.stack([rise * angle, radius * y, radius * z], axis=1)
    tangents = np.stack([np.full(n, rise), -radius * sign * z, radius * sign * y], axis=1)
    tangents /= np.hypot(rise, radius)
    length = whole / n
    volume = np.full(n, np.pi / 4 * config.filament_diameter**2 * length)
    mass = config.density * volume
    if config.head:
        ahead = config.pitch * config.turns / 2 + config.head.diameter / 2
        ball = np.pi / 6 * config.head.diameter**3
        points = np.append(points, [[ahead, 0.0, 0.0]], axis=0)
        tangents = np.append(tangents, [[0.0, 0.0, 0.0]], axis=0)
        volume, mass = np.append(volume, ball), np.append(mass, config.head.density * ball)
    return Parts(points - mass @ points / mass.sum(), tangents, float(length), volume, mass)


def levers(arms: Array) -> Array:
    """Matrices (n, 3, 6) from velocity and angular velocity to the velocity at arms (n, 3)."""
    out = np.zeros((len(arms), 3, 6))
    out[:, :, :3] = np.eye(3)
    out[:, 0, 4], out[:, 0, 5] = arms[:, 2], -arms[:, 1]
    out[:, 1, 3], out[:, 1, 5] = -arms[:, 2], arms[:, 0]
    out[:, 2, 3], out[:, 2, 4] = arms[:, 1], -arms[:, 0]
    return out


def flow_to_load(config: HelixConfig, fluid: FlowConfig) -> Array:
    """Return (6, n, 3): force and torque on the helix at rest from the flow at its parts, SI.

    Slender-body theory by regularised Stokeslets, one a segment (R. Cortez, L. Fauci and
    A. Medovikov, Phys. Fluids 17 (2005) 031504): (r^2 + 2 e^2) I + r r over 8 pi mu (r^2 +
    e^2)^(3/2). With e = e^(1/2) a a line of them has the drag of a slender cylinder of radius a,
    along and across (J. Lighthill, SIAM Review 18 (1976) 161). The head is one more, which by
    itself moves as a ball does.
    """
    parts, mu = parts_of(config), fluid.viscosity
    n = len(parts.points)
    d = parts.points[:, None] - parts.points[None]
    r2, e2 = (d**2).sum(axis=2), (CORE * config.filament_diameter / 2) ** 2
    near = (r2 + 2 * e2)[..., None, None] * np.eye(3) + d[..., :, None] * d[..., None, :]
    mobility = near / (8 * np.pi * mu * (r2 + e2) ** 1.5)[..., None, None]
    if config.head:
        mobility[-1, -1] = np.eye(3) / (3 * np.pi * mu * config.head.diameter)
    square = mobility.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    arms = levers(parts.points).reshape(3 * n, 6)
    return np.asarray(np.linalg.solve(square, arms).T.reshape(6, n, 3))


def resistance(config: HelixConfig, fluid: FlowConfig) -> Array:
    """Return force and torque over velocity and angular velocity (6, 6), in its frame, SI."""
    arms = levers(parts_of(config).points)
    matrix = np.einsum("jnk,nkl->jl", flow_to_load(config, fluid), arms)
    if config.head:
        matrix[3:, 3:] += np.pi * fluid.viscosity * config.head.diameter**3 * np.eye(3)
    return np.asarray((matrix + matrix.T) / 2)


def inertia(config: HelixConfig, fluid: FlowConfig) -> Array:
    """Return mass along and moments of inertia about the axes of a helix (6,), SI.

    With the fluid that is carried across the filament, rho pi a^2 a length, and by the head, half
    of what it displaces. Products of inertia are left out.
    """
    parts = parts_of(config)
    t, carried = parts.tangents, fluid.density * parts.volume
    tensor = (parts.mass + carried)[:, None, None] * np.eye(3)
    tensor -= carried[:, None, None] * t[:, :, None] * t[:, None, :]
    arms = levers(parts.points)
    if config.head:
        tensor[-1] -= carried[-1] / 2 * np.eye(3)
    whole = np.einsum("nij,nik,nkl->jl", arms, tensor, arms)
    if config.head:
        whole[3:, 3:] += parts.mass[-1] * config.head.diameter**2 / 10 * np.eye(3)
    return np.diag(whole)


@nb.njit(cache=True)
def placed(rotation: Array, block: Array) -> Array:
    """Turn a resistance (6, 6) from the body's frame into that of `rotation`'s rows."""
    turn = np.zeros((6, 6))
    turn[:3, :3] = rotation
    turn[3:, 3:] = rotation
    return turn @ block @ turn.T


@nb.njit(cache=True)
def flow_load(rotation: Array, to_load: Array, flow: Array) -> Array:
    """Return force and torque (6,) of a flow (n, 3) at the segments, all in the vessel's frame."""
    total = np.zeros(6)
    for i in range(flow.shape[0]):
        for k in range(3):
            u = 0.0
            for m in range(3):
                u += rotation[m, k] * flow[i, m]
            for j in range(6):
                total[j] += to_load[j, i, k] * u
    out = np.empty(6)
    out[:3] = rotation @ total[:3]
    out[3:] = rotation @ total[3:]
    return out


@nb.njit(cache=True)
def thread_ways(axis: Array, radius: float, lead: float) -> Array:
    """Slip speeds (2, 6) of a screw's thread against the wall: across the thread, and along it.

    At no slip across it the screw advances by `lead` in a turn.
    """
    slope = lead / (2.0 * np.pi * radius)
    cos = 1.0 / np.sqrt(1.0 + slope * slope)
    sin = slope * cos
    out = np.empty((2, 6))
    out[0, :3], out[0, 3:] = cos * axis, -radius * sin * axis
    out[1, :3], out[1, 3:] = sin * axis, radius * cos * axis
    return out
