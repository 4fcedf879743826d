"""Fit discs of soft edge on sloping backgrounds, many at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from mmdtwin.geometry import Array

ROUNDS = 25  # of Levenberg and Marquardt
CLOSE = 3e-4  # px, step that ends it
LONGEST = 2.0  # px, of a step
DAMPING = 1e-2  # at the start, relative
SMALLEST_EDGE = 0.2  # px
SINGULAR = 1e-9  # relative, added to the diagonal of normal equations
# What is fitted: u, v of the middle, radius and edge in px; depth, level and slopes along u and v
# over the level at the start.
U, V, RADIUS, EDGE, DEPTH, LEVEL = range(6)
COUNT = 8


def fit_discs(
    values: Array, x: Array, y: Array, used: NDArray[np.bool_], start: Array
) -> tuple[Array, Array, Array]:
    """Fit one disc to each of n windows of m pixels.

    Parameters
    ----------
    values : (n, m) array
        Brightness.
    x, y : (n, m) array
        Places of the pixels, px.
    used : (n, m) bool array
        Which of them count.
    start : (n, 8) array
        u, v, radius, edge, depth, level, and slopes along u and v.

    Returns
    -------
    fitted : (n, 8) array
        As `start`.
    rms : (n,) array
        What is left of the pixels that count.
    sigma : (n,) array
        Standard error of the middle along u and v, px, if what is left is white noise.
    """
    p, weight = start.copy(), used.astype(float)
    damping = np.full(len(p), DAMPING)
    moving = np.arange(len(p))
    for _ in range(ROUNDS):
        w = weight[moving]
        misfit, slopes = _model(p[moving], x[moving], y[moving])
        misfit = (misfit - values[moving]) * w
        slopes *= w[:, :, None]
        turned = slopes.transpose(0, 2, 1)
        step = -_solve(turned @ slopes, (turned @ misfit[:, :, None])[..., 0], damping[moving])
        step[:, :EDGE] = np.clip(step[:, :EDGE], -LONGEST, LONGEST)
        step[:, EDGE] = np.maximum(step[:, EDGE], 0.5 * (SMALLEST_EDGE - p[moving, EDGE]))
        after, _ = _model(p[moving] + step, x[moving], y[moving], with_slopes=False)
        after = (after - values[moving]) * w
        better = np.sum(after**2, axis=1) <= np.sum(misfit**2, axis=1)
        p[moving[better]] += step[better]
        damping[moving] *= np.where(better, 0.2, 8.0)
        moving = moving[np.abs(step[:, :EDGE]).max(axis=1) > CLOSE]
        if len(moving) == 0:
            break
    misfit, slopes = _model(p, x, y)
    cost = np.sum(((misfit - values) * weight) ** 2, axis=1)
    J = slopes * weight[:, :, None]
    count = np.maximum(weight.sum(axis=1), COUNT + 1)
    rms = np.sqrt(cost / (count - COUNT))
    errors = _inverse(J.transpose(0, 2, 1) @ J)[:, :2, :2]
    sigma = rms * np.sqrt(np.maximum(np.trace(errors, axis1=1, axis2=2) / 2, 0.0))
    return p, rms, sigma


def _model(p: Array, x: Array, y: Array, with_slopes: bool = True) -> tuple[Array, Array]:
    """Brightness (n, m) of discs, and its derivatives (n, m, 8) with respect to `p` (n, 8)."""
    u, v, radius, edge, depth, level, along_u, along_v = (c[:, None] for c in p.T)
    dx, dy = x - u, y - v
    rho = np.maximum(np.hypot(dx, dy), 1e-9)
    z = (rho - radius) / edge
    disc = 0.5 * erfc(z)
    image = level + along_u * dx + along_v * dy - depth * disc
    if not with_slopes:
        return image, np.empty(0)
    steep = depth * np.exp(-(z**2)) / (np.sqrt(np.pi) * edge)  # of the edge, inwards
    slopes = np.stack(
        [-along_u - steep * dx / rho, -along_v - steep * dy / rho, -steep, -steep * z, -disc,
         np.ones_like(x), dx, dy], axis=2,
    )  # fmt: skip
    return image, slopes


def _solve(normal: Array, gradient: Array, damping: Array) -> Array:
    diagonal = np.einsum("nii->ni", normal)
    floor = SINGULAR * diagonal.max(axis=1, keepdims=True) + 1e-30
    damped = normal + (damping[:, None] * diagonal + floor)[:, :, None] * np.eye(COUNT)
    return np.asarray(np.linalg.solve(damped, gradient[:, :, None])[..., 0])


def _inverse(normal: Array) -> Array:
    floor = SINGULAR * np.einsum("nii->ni", normal).max(axis=1) + 1e-30
    return np.asarray(np.linalg.inv(normal + floor[:, None, None] * np.eye(COUNT)))
