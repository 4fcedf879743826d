"""Rigid transforms as 4x4 arrays: `T_a_b` takes coordinates in frame b to frame a."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]
Image = NDArray[np.float32]  # (h, w), or several


def transform(rotation: ArrayLike | None = None, translation: ArrayLike | None = None) -> Array:
    """Return the (4, 4) rigid transform with a (3, 3) rotation and a (3,) translation in m."""
    result = np.eye(4)
    if rotation is not None:
        result[:3, :3] = rotation
    if translation is not None:
        result[:3, 3] = translation
    return result


def invert(T: Array) -> Array:
    """Return the inverse of a rigid transform."""
    rotation = T[:3, :3].T
    return transform(rotation, -rotation @ T[:3, 3])


def apply(T: Array, points: ArrayLike) -> Array:
    """Transform points of shape (..., 3), in m."""
    return np.asarray(points, float) @ T[:3, :3].T + T[:3, 3]


def rotate(T: Array, vectors: ArrayLike) -> Array:
    """Rotate vectors of shape (..., 3) without translating them."""
    return np.asarray(vectors, float) @ T[:3, :3].T


def random_offset(rng: np.random.Generator, length: float, angle: float) -> Array:
    """Draw a small rigid offset: rms translation `length` in m, rms rotation `angle` in rad.

    Each of the three axes is normal with a standard deviation of 1/sqrt(3) of the rms.
    """
    rotation = Rotation.from_rotvec(rng.normal(0.0, angle / np.sqrt(3.0), 3)).as_matrix()
    return transform(rotation, rng.normal(0.0, length / np.sqrt(3.0), 3))


def unit(vector: ArrayLike) -> Array:
    """Return the vector (..., 3) scaled to length 1; a zero vector stays zero."""
    v = np.asarray(vector, float)
    norm = np.linalg.norm(v, axis=-1, keepdims=True)
    return v / np.where(norm > 0.0, norm, 1.0)


def aligning_rotation(direction: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """Return a (3, 3) rotation whose x axis is `direction` and whose z axis is nearest `up`."""
    x, upwards = unit(direction), np.asarray(up, float)
    y = np.cross(upwards, x)
    if np.linalg.norm(y) < 1e-6:
        y = np.cross((1.0, 0.0, 0.0), x)
        if np.cross(x, y) @ upwards < 0:
            y = -y
    y = unit(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def arclength(points: Array) -> Array:
    """Distance of each point of a polyline (n, 3) from its first along the line, (n,)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def sphere_points(n: int) -> Array:
    """Return n nearly uniform points on the unit sphere (Fibonacci lattice), (n, 3)."""
    k = np.arange(n) + 0.5
    z = 1.0 - 2.0 * k / n
    phi = k * np.pi * (3.0 - np.sqrt(5.0))
    rho = np.sqrt(1.0 - z * z)
    return np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1)
