"""The velocity of the fluid, its gradient, Laplacian and acceleration at points, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmdtwin.geometry import Array

BLOCK = 8  # neighbouring centreline points that are searched, or passed over, together
EDGE = 1.5  # of squared relative distance: beyond every circle, whatever its tangent


def blocks(points: Array, radius: Array) -> Array:
    """Return the balls about each BLOCK of centreline points and their largest radius, (b, 5)."""
    result = []
    for i in range(0, len(points), BLOCK):
        part = points[i : i + BLOCK]
        centre = (part.min(axis=0) + part.max(axis=0)) / 2
        reach = np.linalg.norm(part - centre, axis=1).max()
        result.append([*centre, reach, radius[i : i + BLOCK].max()])
    return np.array(result)


@njit(cache=True)
def nearest_in_radii(point, line, radius, balls):  # type: ignore[no-untyped-def]
    """Number of the centreline point that is nearest in local radii; -1 outside all circles."""
    best, least = -1, EDGE
    root = np.sqrt(least)
    x, y, z = point[0], point[1], point[2]
    for b in range(balls.shape[0]):
        dx, dy, dz = x - balls[b, 0], y - balls[b, 1], z - balls[b, 2]
        reach = balls[b, 3] + root * balls[b, 4]
        if dx * dx + dy * dy + dz * dz > reach * reach:
            continue
        for i in range(b * BLOCK, min((b + 1) * BLOCK, line.shape[0])):
            dx, dy, dz = x - line[i, 0], y - line[i, 1], z - line[i, 2]
            relative = (dx * dx + dy * dy + dz * dz) / (radius[i] * radius[i])
            if relative < least:
                best, least = i, relative
        root = np.sqrt(least)
    return best


@njit(cache=True, fastmath=True)
def clenshaw(c, z):  # type: ignore[no-untyped-def]
    """Value and first two derivatives in y = (z + 1) / 2 of sum c_j T_j(z)."""
    b1 = b2 = d1 = d2 = e1 = e2 = 0.0
    for j in range(c.shape[0] - 1, 0, -1):
        e1, e2 = 4.0 * d1 + 2.0 * z * e1 - e2, e1
        d1, d2 = 2.0 * b1 + 2.0 * z * d1 - d2, d1
        b1, b2 = c[j] + 2.0 * z * b1 - b2, b1
    value = c[0] + z * b1 - b2
    slope = b1 + z * d1 - d2
    bend = 2.0 * d1 + z * e1 - e2
    return value, 2.0 * slope, 4.0 * bend


@njit(cache=True)
def foot(point, i, line, tangents, radius, branch):  # type: ignore[no-untyped-def]
    """Return where a point lies about centreline point i.

    The neighbour towards which it lies, the share of the way there, the share's slope along the
    axis, the radius and its slope, the vector from the axis (3,), and its square over the radius.
    """
    d = (point[0] - line[i, 0], point[1] - line[i, 1], point[2] - line[i, 2])
    along = d[0] * tangents[i, 0] + d[1] * tangents[i, 1] + d[2] * tangents[i, 2]
    sign = 1 if along > 0.0 else -1
    j = i + sign
    share, slope = 0.0, 0.0
    if 0 <= j < line.shape[0] and branch[j] == branch[i]:
        gx, gy, gz = line[j, 0] - line[i, 0], line[j, 1] - line[i, 1], line[j, 2] - line[i, 2]
        step = np.sqrt(gx * gx + gy * gy + gz * gz)
        share, slope = abs(along) / step, sign / step
        if share > 1.0:
            share, slope = 1.0, 0.0
    else:
        j, along = i, 0.0  # past the branch's last point: the profile closes over a hemisphere
    r = radius[i] + share * (radius[j] - radius[i])
    px, py, pz = (
        d[0] - along * tangents[i, 0],
        d[1] - along * tangents[i, 1],
        d[2] - along * tangents[i, 2],
    )
    square = (px * px + py * py + pz * pz) / (r * r)
    return j, share, slope, r, slope * (radius[j] - radius[i]), (px, py, pz), square


@njit(cache=True, fastmath=True)
def flow_at(  # type: ignore[no-untyped-def]
    points, line, tangents, radius, branch, balls, profiles, omega, t,
    velocity, gradient, laplacian, acceleration,
):  # fmt: skip
    """Write velocity, Laplacian, acceleration (n, 3) and gradient (n, 3, 3) at `points` (n, 3).

    See `Flow` for the other arrays; usable from compiled code. `omega` is 2 pi rate, t the time.
    """
    modes, terms = profiles.shape[1], profiles.shape[2]
    basis, rate = np.zeros(modes), np.zeros(modes)  # 1, cos, -sin, cos 2, ... and their slopes
    basis[0] = 1.0
    for m in range(1, modes, 2):
        order = omega * ((m + 1) // 2)
        basis[m], basis[m + 1] = np.cos(order * t), -np.sin(order * t)
        rate[m], rate[m + 1] = order * basis[m + 1], -order * basis[m]
    here, change, growth = np.empty(terms), np.empty(terms), np.empty(terms)
    velocity[:] = 0.0
    gradient[:] = 0.0
    laplacian[:] = 0.0
    acceleration[:] = 0.0
    for k in range(points.shape[0]):
        i = nearest_in_radii(points[k], line, radius, balls)
        if i < 0:
            continue
        j, share, slope, r, widening, across, square = foot(
            points[k], i, line, tangents, radius, branch
        )
        if square >= 1.0:
            continue
        for c in range(terms):
            here[c] = change[c] = growth[c] = 0.0
        for m in range(modes):
            for c in range(terms):
                first = basis[m] * profiles[i, m, c]
                between = profiles[j, m, c] - profiles[i, m, c]
                difference = basis[m] * between
                change[c] += difference
                here[c] += first + share * difference
                growth[c] += rate[m] * (profiles[i, m, c] + share * between)
        z = 2.0 * square - 1.0
        axial = clenshaw(here, z)
        axial_slope = clenshaw(change, z)[0] * slope
        write(
            tangents[i], tangents[j], share, slope, r, widening, across, square,
            axial, axial_slope, clenshaw(growth, z)[0] if modes > 1 else 0.0,
            velocity[k], gradient[k], laplacian[k], acceleration[k],
        )  # fmt: skip


@njit(cache=True, fastmath=True)
def write(  # type: ignore[no-untyped-def]
    axis, axis_next, share, slope, r, widening, across, square,
    axial, axial_slope, axial_growth, velocity, gradient, laplacian, acceleration,
):  # fmt: skip
    """Turn a profile into vectors, by the chain rule.

    v = u (t + p r'/r), with p the vector from the axis: where the section narrows, streamlines
    keep their share of the radius, so that the fluid follows the wall and volume is conserved.
    `axial` holds u, du/dy and d2u/dy2, y = `square`; `axial_slope` is du/ds at the same y and
    `axial_growth` du/dt. The acceleration is dv/dt + v . grad v.
    """
    speed, u_y, u_yy = axial
    length, turning = 0.0, 0.0
    for a in range(3):
        turn = axis_next[a] - axis[a]
        t = axis[a] + share * turn
        length += t * t
        turning += t * turn
    length = np.sqrt(length)
    spread = widening / r
    for a in range(3):
        turn = axis_next[a] - axis[a]
        t = (axis[a] + share * turn) / length
        t_slope = slope * (turn - t * turning / length) / length
        direction = t + spread * across[a]
        velocity[a] = speed * direction
        acceleration[a] = axial_growth * direction
        laplacian[a] = 4.0 * (u_y + square * u_yy) / (r * r) * t
        for b in range(3):
            square_b = 2.0 * across[b] / (r * r) - 2.0 * square * spread * axis[b]
            speed_b = u_y * square_b + axial_slope * axis[b]
            normal = (1.0 if a == b else 0.0) - axis[a] * axis[b]
            direction_b = t_slope * axis[b] + spread * (normal - spread * across[a] * axis[b])
            gradient[a, b] = speed_b * direction + speed * direction_b
    for a in range(3):
        for b in range(3):
            acceleration[a] += gradient[a, b] * velocity[b]
