"""Pieces of a liquid: which particles belong together, and the shape of each piece.

A particle stands for a small ellipsoid, similar to that of its piece and with the particle's
volume. So a stretched or flattened piece stays as densely filled as a ball, whatever the number
of particles.

A piece splits where its two parts have become bodies of their own: their inertia ellipsoids, along
a principal axis of the whole, no longer overlap, and no particle of one touches one of the other.
Pieces merge when particles of both touch (union-find). The two thresholds differ by `HYSTERESIS`.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.droplet_ellipsoid import inertia_ellipsoid, volume

# Of a particle's size that lies beyond its centre: the outermost particles of a relaxed ball of
# 30-200 then reach to the ball's surface (0.73 +- 0.04).
REACH = 0.75
LONGEST_REACH = 2.0  # of a ball's, to a wall: a needle's end has no room for more
HYSTERESIS = 1.1  # distance at which particles let go, over that at which they touch
NECKED = 0.85  # of `Lobes.apart`: layers of particles that lie on a wall reach 0.81
MOST_SWELLING = 3.0
LEAST_FILLED = 0.4  # volume of a lobe's ellipsoid over its share of the whole's


class Pieces(NamedTuple):
    """Particles by piece, and the pieces' inertia ellipsoids, mm.

    Parameters
    ----------
    label : (n,) int array
        Piece of each particle, numbered in the order of their first particles.
    number : (p,) int array
        Particles of each piece.
    centre, square : (p, 3) array
        Centres and squared semi-axes.
    axes : (p, 3, 3) array
        Principal axes as columns.
    """

    label: NDArray[np.int64]
    number: NDArray[np.int64]
    centre: Array
    square: Array
    axes: Array


class Lobes(NamedTuple):
    """The two parts of each piece that are farthest apart.

    Parameters
    ----------
    apart : (p,) array
        Distance of their centres over the sum of their ellipsoids' semi-axes, in projection on a
        principal axis: 1 where they touch, 0.69 for the halves of one ellipsoid. 0 without lobes.
    second : (n,) bool array
        Particles in the second part, of pieces with a neck.
    swelling : (p,) array
        Volume of the piece's ellipsoid over that of its lobes', at least 1: how much larger the
        ellipsoid of a necked piece is than the liquid in it (1.22 for two touching balls).
    """

    apart: Array
    second: NDArray[np.bool_]
    swelling: Array


@nb.njit(cache=True)
def shape(points: Array, particle_radius: float) -> tuple[Array, Array, Array]:
    """Return centre, squared semi-axes and axes of one piece; one particle is a ball."""
    centre, square, axes = inertia_ellipsoid(points)
    if len(points) == 1:
        square[:] = particle_radius**2
    return centre, square, axes


@nb.njit(cache=True)
def describe(points: Array, label: NDArray, particle_radius: float) -> Pieces:
    """Return the pieces of particles at points (n, 3) mm with labels 0, 1, ... (n,)."""
    number = label.max() + 1
    count = np.zeros(number, np.int64)
    centre, square, axes = np.zeros((number, 3)), np.zeros((number, 3)), np.zeros((number, 3, 3))
    for p in range(number):
        members = np.flatnonzero(label == p)
        count[p] = len(members)
        centre[p], square[p], axes[p] = shape(points[members], particle_radius)
    return Pieces(label, count, centre, square, axes)


@nb.njit(cache=True)
def reach(direction: Array, square: Array, axes: Array, count: int) -> float:
    """How far a particle of a piece reaches beyond its centre along a unit vector (3,), mm."""
    total = 0.0
    for k in range(3):
        part = 0.0
        for a in range(3):
            part += axes[a, k] * direction[a]
        total += square[k] * part * part
    return float(REACH * np.sqrt(total) * count ** (-1.0 / 3.0))


@nb.njit(cache=True)
def wall_reach(normal: Array, square: Array, axes: Array, count: int) -> float:
    """How far a particle of a piece reaches towards a wall, mm."""
    ball = REACH * (square[0] * square[1] * square[2]) ** (1.0 / 6.0) * count ** (-1.0 / 3.0)
    return min(reach(normal, square, axes, count), LONGEST_REACH * ball)


@nb.njit(cache=True)
def touching(
    first: Array,
    second: Array,
    shapes: tuple[tuple[Array, Array, int], tuple[Array, Array, int]],
    factor: float,
) -> bool:
    """Whether a particle of one piece comes within `factor` times contact with one of another.

    `first` (n, 3), `second` (m, 3): particles; `shapes`: squared semi-axes, axes, count of each.
    """
    (square_a, axes_a, count_a), (square_b, axes_b, count_b) = shapes
    widest = np.sqrt(square_a.max()) * count_a ** (-1.0 / 3.0)
    widest = factor * REACH * (widest + np.sqrt(square_b.max()) * count_b ** (-1.0 / 3.0))
    for i in range(len(first)):
        for j in range(len(second)):
            apart = second[j] - first[i]
            distance = np.sqrt(np.dot(apart, apart))
            if distance > widest:
                continue
            u = apart / max(distance, 1e-12)
            contact = reach(u, square_a, axes_a, count_a) + reach(u, square_b, axes_b, count_b)
            if distance < factor * contact:
                return True
    return False


@nb.njit(cache=True)
def best_cut(points: Array, centre: Array, axes: Array, radius: float) -> tuple[float, NDArray]:
    """Find the two parts of a piece whose ellipsoids are farthest apart along a principal axis.

    Returns the distance of their centres over the sum of their semi-axes, in projection (1 where
    two ellipsoids touch, 0.69 for halves of one ball), and which particles (n,) are in the second.
    """
    n = len(points)
    best, second = 0.0, np.zeros(n, np.bool_)
    for k in range(3):
        along = np.zeros(n)
        for i in range(n):
            along[i] = (
                (points[i, 0] - centre[0]) * axes[0, k]
                + (points[i, 1] - centre[1]) * axes[1, k]
                + (points[i, 2] - centre[2]) * axes[2, k]
            )
        order = np.argsort(along)
        total, total2 = along.sum(), (along * along).sum()
        part, part2 = 0.0, 0.0
        for cut in range(1, n):
            part += along[order[cut - 1]]
            part2 += along[order[cut - 1]] ** 2
            low, high = part / cut, (total - part) / (n - cut)
            spread_low = max(part2 / cut - low * low, 0.0)
            spread_high = max((total2 - part2) / (n - cut) - high * high, 0.0)
            extent = np.sqrt(5.0 * spread_low + radius * radius)
            extent += np.sqrt(5.0 * spread_high + radius * radius)
            if (high - low) / extent > best:
                best = (high - low) / extent
                second[:] = False
                second[order[cut:]] = True
    return best, second


@nb.njit(cache=True)
def find_lobes(points: Array, pieces: Pieces, radius: float, on_wall: NDArray) -> Lobes:
    """Look for two lobes in each piece; `on_wall` (n,) says which particles a wall bears."""
    number = len(pieces.number)
    apart, swelling = np.zeros(number), np.ones(number)
    second = np.zeros(len(points), np.bool_)
    for p in range(number):
        if pieces.number[p] == 1:
            continue
        members = np.flatnonzero(pieces.label == p)
        own, borne = points[members], on_wall[members]
        distance, part = best_cut(own, pieces.centre[p], pieces.axes[p], radius)
        if distance < NECKED:
            continue
        whole = volume(pieces.square[p])
        if is_layer(own[part], borne[part], whole / len(own)):
            continue
        if is_layer(own[~part], borne[~part], whole / len(own)):
            continue
        parts = volume(shape(own[part], radius)[1]) + volume(shape(own[~part], radius)[1])
        apart[p] = distance
        second[members] = part
        swelling[p] = min(max(whole / parts, 1.0), MOST_SWELLING)
    return Lobes(apart, second, swelling)


@nb.njit(cache=True)
def is_layer(points: Array, on_wall: NDArray, share: float) -> bool:
    """Whether the particles of a part are no lobe but lie flat on a wall.

    `share` is the volume for one particle in the ellipsoid of the whole piece.
    """
    if 2 * on_wall.sum() <= len(points):
        return False
    return volume(shape(points, 0.0)[1]) < LEAST_FILLED * share * len(points)


@nb.njit(cache=True)
def split(points: Array, pieces: Pieces, lobes: Lobes) -> NDArray:
    """Return new labels (n,) after each piece that has come apart is cut in two."""
    label = pieces.label.copy()
    number = len(pieces.number)
    for p in range(len(pieces.number)):
        if lobes.apart[p] <= 1.0:
            continue
        own = pieces.label == p
        first, second = own & ~lobes.second, own & lobes.second
        whole = (pieces.square[p], pieces.axes[p], pieces.number[p])
        if not touching(points[first], points[second], (whole, whole), HYSTERESIS):
            label[second] = number
            number += 1
    return label


@nb.njit(cache=True)
def merge(points: Array, pieces: Pieces) -> NDArray:
    """Return new labels (n,) after pieces that touch have become one."""
    number = len(pieces.number)
    root = np.arange(number)
    for p in range(number):
        first = points[pieces.label == p]
        for q in range(p):
            shapes = (
                (pieces.square[p], pieces.axes[p], pieces.number[p]),
                (pieces.square[q], pieces.axes[q], pieces.number[q]),
            )
            gap = np.sqrt(np.sum((pieces.centre[p] - pieces.centre[q]) ** 2))
            if gap > 2.0 * (np.sqrt(pieces.square[p].max()) + np.sqrt(pieces.square[q].max())):
                continue
            if _find(root, p) == _find(root, q):
                continue
            if touching(first, points[pieces.label == q], shapes, 1.0):
                root[_find(root, p)] = _find(root, q)
    label = np.empty_like(pieces.label)
    for i in range(len(label)):
        label[i] = _find(root, pieces.label[i])
    return label


@nb.njit(cache=True)
def _find(root: NDArray, p: int) -> int:
    while root[p] != p:
        p = root[p]
    return int(p)


@nb.njit(cache=True)
def renumber(label: NDArray) -> NDArray:
    """Return labels (n,) 0, 1, ... in the order of the pieces' first particles."""
    names = np.full(label.max() + 1, -1, np.int64)
    out = np.empty_like(label)
    number = 0
    for i in range(len(label)):
        if names[label[i]] < 0:
            names[label[i]] = number
            number += 1
        out[i] = names[label[i]]
    return out
