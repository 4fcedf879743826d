"""Tubes and wires along curves in an image: how thick they are at each pixel."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.geometry import Array

FAR = 1e9


def stroke(
    shape: tuple[int, int], points: Array, radius: Array | float, inner: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how thick a round tube along a curve is, across the image.

    Parameters
    ----------
    shape : (int, int)
        Of the image.
    points : (n, 2) array
        Curve, (u, v) in px.
    radius : (n,) array or float
        Outer radius, px.
    inner : float
        Inner radius over the outer one.

    Returns
    -------
    thickness : (h, w) float32 array
        Mean over each pixel's width of the chord across the tube, px.
    gap : (h, w) float32 array
        From the pixel's middle to the tube's edge, px; negative within.
    """
    points = np.asarray(points, float)
    radii = np.broadcast_to(np.asarray(radius, float), len(points)).copy()
    distance = np.full(shape, FAR, np.float32)
    width = np.zeros(shape, np.float32)
    _nearest(points, radii, distance, width)
    near = distance - width < 1.0
    thickness = np.zeros(shape, np.float32)
    d, r = distance[near].astype(float), width[near].astype(float)
    thickness[near] = _mean_chord(d, r) - (_mean_chord(d, inner * r) if inner else 0.0)
    return thickness, distance - width


def wander(
    rng: np.random.Generator, start: Array, angle: float, length: float, bend: float
) -> Array:
    """Return a smooth random curve.

    Parameters
    ----------
    rng : Generator
        Draws it.
    start : (2,) array
        px.
    angle : float
        Direction at the start, rad.
    length : float
        px; points lie 1 px apart.
    bend : float
        rms turn over 50 px, rad.

    Returns
    -------
    (n, 2) array
    """
    n = max(int(length), 2)
    knots = rng.normal(0.0, bend / 50.0, n // 25 + 3)
    turn = np.interp(np.arange(n) / 25.0, np.arange(len(knots)), knots)
    direction = angle + np.cumsum(turn)
    steps = np.stack([np.cos(direction), np.sin(direction)], axis=1)
    return np.asarray(start, float) + np.cumsum(steps, axis=0)


def _mean_chord(d: Array, r: Array) -> Array:
    """Mean over [d - 1/2, d + 1/2] of the chord 2 sqrt(r^2 - x^2) across a circle."""
    high, low = (np.clip(d + half, -r, r) for half in (0.5, -0.5))
    return _half_disc(high, r) - _half_disc(low, r)


def _half_disc(x: Array, r: Array) -> Array:
    safe = np.maximum(r, 1e-12)
    return x * np.sqrt(np.maximum(r**2 - x**2, 0.0)) + r**2 * np.arcsin(np.clip(x / safe, -1, 1))


@njit(cache=True, nogil=True)
def _nearest(points: NDArray, radii: NDArray, distance: NDArray, width: NDArray) -> None:
    """Find, for each pixel near a curve, the point whose tube's edge is nearest."""
    height, columns = distance.shape
    for k in range(len(points) - 1):
        ax, ay = points[k]
        bx, by = points[k + 1]
        reach = max(radii[k], radii[k + 1]) + 2.0
        u0, u1 = max(int(min(ax, bx) - reach), 0), min(int(max(ax, bx) + reach) + 2, columns)
        v0, v1 = max(int(min(ay, by) - reach), 0), min(int(max(ay, by) + reach) + 2, height)
        dx, dy = bx - ax, by - ay
        squared = max(dx * dx + dy * dy, 1e-12)
        for v in range(v0, v1):
            for u in range(u0, u1):
                t = min(max(((u - ax) * dx + (v - ay) * dy) / squared, 0.0), 1.0)
                d = np.sqrt((ax + t * dx - u) ** 2 + (ay + t * dy - v) ** 2)
                r = radii[k] + t * (radii[k + 1] - radii[k])
                if d - r < distance[v, u] - width[v, u]:
                    distance[v, u] = d
                    width[v, u] = r
