"""Force and torque of a field on a magnetic dipole."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.geometry import Array


def dipole_wrench(moment: ArrayLike, field: ArrayLike, gradient: ArrayLike) -> tuple[Array, Array]:
    """Return force and torque on a dipole of fixed moment, about its own position.

    The energy is E = -m.B: F_j = -dE/dx_j = m_i dB_i/dx_j, and tau = m x B (Jackson, Classical
    Electrodynamics, section 5.7). All in one frame.

    Parameters
    ----------
    moment : (..., 3) array
        A m2.
    field : (..., 3) array
        Flux density at the dipole, T.
    gradient : (..., 3, 3) array
        gradient[..., i, j] = dB_i/dx_j, T/m.

    Returns
    -------
    force : (..., 3) array
        N.
    torque : (..., 3) array
        N m.
    """
    m = np.asarray(moment, float)
    force = np.einsum("...i,...ij->...j", m, np.asarray(gradient, float))
    return force, np.cross(m, np.asarray(field, float))
