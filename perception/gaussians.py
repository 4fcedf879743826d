"""Normal distributions of places: checked where they come in, and mixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

SYMMETRIC = 1e-6  # of the trace, by which two entries may differ that should be the same


def mixture(weights: Array, means: Array, covariances: Array) -> tuple[Array, Array]:
    """Return mean (n,) and covariance (n, n) of a mixture.

    Parameters
    ----------
    weights : (k,) array
        Sum to 1.
    means, covariances : (k, n), (k, n, n) array
        Of its parts.
    """
    mean = weights @ means
    apart = means - mean
    within = np.einsum("i,ijk->jk", weights, covariances)
    return mean, within + np.einsum("i,ij,ik->jk", weights, apart, apart)


def checked_position(what: str, position: ArrayLike, covariance: ArrayLike) -> tuple[Array, Array]:
    """Return an image position (2,), px, and its covariance (2, 2), px^2, as arrays.

    Raises
    ------
    UserError
        If a number is not finite, or the covariance not symmetric and positive definite.
    """
    z, c = np.asarray(position, float), np.asarray(covariance, float)
    good = z.shape == (2,) and c.shape == (2, 2) and np.isfinite(z).all() and np.isfinite(c).all()
    # Of a symmetric (2, 2), an entry and the determinant tell.
    if not (
        good
        and c[0, 0] > 0.0
        and abs(c[0, 1] - c[1, 0]) <= SYMMETRIC * (c[0, 0] + c[1, 1])
        and c[0, 0] * c[1, 1] > c[0, 1] ** 2
    ):
        raise UserError(
            f"{what} at {z.tolist()} px with covariance {c.tolist()} px^2; allowed: a finite "
            "(u, v) and a positive definite (2, 2)"
        )
    return z, c
