"""Ellipsoids in a viscous fluid: drag at low Reynolds number and added mass, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import elliprd, elliprf

from mmdtwin.geometry import Array


def ellipsoid_friction(semi_axes: ArrayLike, viscosity: float) -> tuple[Array, Array]:
    """Return force per speed (3,) N s/m and torque per rate (3,) N m s along and about each axis.

    Stokes flow, unbounded: F = 16 pi mu U / (chi + a^2 alpha_a), T = 16/3 pi mu (b^2 + c^2) W /
    (b^2 alpha_b + c^2 alpha_c), with chi = int dl / D, alpha_a = int dl / ((a^2 + l) D), D^2 =
    (a^2 + l)(b^2 + l)(c^2 + l), over l from 0 (Oberbeck 1876, Jeffery 1922; Happel and Brenner,
    Low Reynolds Number Hydrodynamics, 5-11).

    Parameters
    ----------
    semi_axes : (3,) array-like
        m.
    viscosity : float
        Pa s.
    """
    square = np.asarray(semi_axes, float) ** 2
    chi, weighted = 2 * elliprf(*square), square * _alpha(square)
    others = np.array([[1, 2], [2, 0], [0, 1]])
    force = 16 * np.pi * viscosity / (chi + weighted)
    torque = 16 / 3 * np.pi * viscosity * square[others].sum(axis=1) / weighted[others].sum(axis=1)
    return force, torque


def ellipsoid_added_mass(semi_axes: ArrayLike, density: float) -> Array:
    """Return the added mass (3,) kg for acceleration along each axis in a fluid of density kg/m3.

    k = alpha / (2 - alpha) of the displaced mass, alpha = a b c int dl / ((a^2 + l) D) as above
    (Lamb, Hydrodynamics, art. 114; half of it for a sphere).
    """
    axes = np.asarray(semi_axes, float)
    alpha = axes.prod() * _alpha(axes**2)
    displaced = density * 4 / 3 * np.pi * axes.prod()
    return np.asarray(alpha / (2 - alpha) * displaced)


def ellipsoid_demagnetisation(semi_axes: ArrayLike) -> Array:
    """Return the demagnetising factors (3,) along each axis; they add up to 1.

    N = a b c / 2 int dl / ((a^2 + l) D), as above (Osborn, Phys. Rev. 67 (1945) 351).
    """
    axes = np.asarray(semi_axes, float)
    return np.asarray(axes.prod() * _alpha(axes**2) / 2)


def _alpha(square: Array) -> Array:
    """Return the integral of dl / ((a_i^2 + l) D) for each axis, 1/m3."""
    a, b, c = square
    return 2 / 3 * np.array([elliprd(b, c, a), elliprd(c, a, b), elliprd(a, b, c)])
