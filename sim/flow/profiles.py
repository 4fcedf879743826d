"""Velocity profiles over a round section, as Chebyshev series in the square of the radius.

A profile u(y), y = (r/R)^2, is smooth in y whatever drives it, and a short series in
T_j(2 y - 1) holds it with its derivatives. All profiles here have a mean of 1 over the section.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy.special import jve

from mmdtwin.geometry import Array

Complex = NDArray[np.complex128]

POISEUILLE = np.array([1.0, -1.0])  # 2 (1 - y)
SERIES_ERROR = 1e-7  # of a profile's largest coefficient: what a series may leave out
LENGTHS = (8, 12, 16, 24, 32, 48, 64)  # of a series, tried in turn


def squares(n: int) -> Array:
    """Return the n values of y in [0, 1] that determine a series of n terms, wall included."""
    return (1.0 + np.cos(np.pi * np.arange(n) / (n - 1))) / 2.0


def series(values: ArrayLike) -> NDArray:
    """Return the coefficients (..., n) of profiles given at `squares(n)` (..., n)."""
    u = np.asarray(values)
    n = u.shape[-1]
    return u @ np.linalg.inv(chebyshev.chebvander(2.0 * squares(n) - 1.0, n - 1)).T


def womersley(alpha: ArrayLike, y: ArrayLike) -> Complex:
    """Return the profile (..., n) of flow that oscillates as exp(i w t), over its section's mean.

    Parameters
    ----------
    alpha : (...) array
        Womersley numbers R sqrt(w rho / mu) > 0.
    y : (n,) array
        Squares of the relative radius, 0-1.

    Notes
    -----
    J. R. Womersley, J. Physiol. 127 (1955) 553:
    (1 - J0(L x) / J0(L)) / (1 - 2 J1(L) / (L J0(L))), L = i^(3/2) alpha.
    """
    a = np.asarray(alpha, float)[..., None]
    x = np.sqrt(np.asarray(y, float))
    argument = 1j**1.5 * a
    # Exponentially scaled Bessel functions: the plain ones overflow from alpha = 1000.
    edge = jve(0, argument)
    grown = np.exp(np.abs(argument.imag) * (x - 1.0))
    inner = 1.0 - jve(0, argument * x) * grown / edge
    return inner / (1.0 - flux_ratio(a))


def flux_ratio(alpha: ArrayLike) -> Complex:
    """Return Womersley's F10 = 2 J1(L) / (L J0(L)), L = i^(3/2) alpha, of the same shape."""
    argument = 1j**1.5 * np.asarray(alpha, float)
    return 2.0 * jve(1, argument) / (argument * jve(0, argument))


def womersley_series(alpha: ArrayLike) -> Complex:
    """Return Womersley profiles (..., J) as series, J large enough for all of them."""
    a = np.asarray(alpha, float)
    for n in LENGTHS:
        found = series(womersley(a, squares(n)))
        size = np.abs(found)
        if size[..., -2:].max() <= SERIES_ERROR * size.max():
            break
    return np.asarray(found, complex)
