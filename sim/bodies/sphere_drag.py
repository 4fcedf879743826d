"""Drag on a sphere in unbounded fluid at finite Reynolds number, over Stokes' drag.

Compiled; any consistent units.
"""

from __future__ import annotations

import numba as nb
import numpy as np

MAX_REYNOLDS = 800.0  # on the diameter: the range of Schiller and Naumann's law
MAX_SPIN_REYNOLDS = 1000.0  # rho a^2 omega / mu: the range of Dennis, Singh and Ingham's law


@nb.njit(cache=True, fastmath=True)
def inertial_excess(reynolds: float) -> float:
    """Return what inertia adds to Stokes' 6 pi mu a, over it.

    0.15 Re^0.687, L. Schiller and A. Naumann, Z. VDI 77 (1933) 318; Re on the diameter, to 800.
    Below Re = 0.49, where that is too much, 3/16 Re: C. W. Oseen, Ark. Mat. Astr. Fys. 6 (1910) 29.
    """
    return float(min(0.15 * reynolds**0.687, 3.0 / 16.0 * reynolds))


@nb.njit(cache=True, fastmath=True)
def spin_excess(reynolds: float) -> float:
    """Return what inertia adds to the torque 8 pi mu a^3 omega, over it.

    S. C. R. Dennis, S. N. Singh and D. B. Ingham, J. Fluid Mech. 101 (1980) 257: torque
    rho a^5 omega^2 (6.45 / sqrt(Re) + 32.1 / Re) / 2 with Re = rho a^2 omega / mu of 20 to 1000;
    taken from where it exceeds Stokes', at 7.9.
    """
    return float(max(0.0, (32.1 + 6.45 * np.sqrt(reynolds)) / (16.0 * np.pi) - 1.0))
