"""Resistive-force theory: drag per length of slender bodies at low Reynolds number."""

from __future__ import annotations

import numpy as np

from mmdtwin.config.devices.rod import LEAST_SLENDERNESS
from mmdtwin.errors import UserError


def resistive_coefficients(length: float, radius: float, viscosity: float) -> tuple[float, float]:
    """Return force per length and speed of a straight cylinder along and across it, Pa s.

    Slender-body theory of a cylinder with free ends, to first order in 1/ln(L/a) with the ends'
    correction: F = 2 pi mu L U / (ln(L/a) - 0.807) along, 4 pi mu L U / (ln(L/a) + 0.193) across
    (Batchelor, J. Fluid Mech. 44 (1970) 419; Cox, ibid. 791). For Re < 1 on the diameter.

    Parameters
    ----------
    length, radius : float
        m.
    viscosity : float
        Pa s.

    Raises
    ------
    UserError
        If the cylinder is not slender.
    """
    if length < 2 * radius * LEAST_SLENDERNESS:
        raise UserError(
            f"resistive-force theory: length {length:g} m of a radius of {radius:g} m; allowed is "
            f"a length of at least {LEAST_SLENDERNESS:g} diameters"
        )
    slenderness = np.log(length / radius)
    along = 2 * np.pi * viscosity / (slenderness - 0.807)
    across = 4 * np.pi * viscosity / (slenderness + 0.193)
    return float(along), float(across)


def crossflow_drag(
    length: float, radius: float, viscosity: float, density: float, speed: float
) -> float:
    """Return the force of a fluid at a speed, m/s, across a cylinder, N, whatever its Re.

    The larger of resistive-force theory's and, above Re = 1, `inertial_drag`.
    """
    _, across = resistive_coefficients(length, radius, viscosity)
    creeping = across * length * speed
    if 2 * radius * speed * density <= viscosity:
        return creeping
    return max(creeping, inertial_drag(length, radius, viscosity, density, speed))


def inertial_drag(
    length: float, radius: float, viscosity: float, density: float, speed: float
) -> float:
    """Return the force of a fluid at a speed, m/s, across a part of a long cylinder, N.

    1/2 rho U^2 2 a L C_D with C_D = 1 + 10 Re^(-2/3), Re on the diameter, 1 to 2e5 (F. M. White,
    Viscous Fluid Flow, 2nd ed. 1991, eq. 3-225).
    """
    if speed == 0.0:
        return 0.0
    reynolds = 2 * radius * speed * density / viscosity
    coefficient = 1.0 + 10.0 * reynolds ** (-2 / 3)
    return density * speed**2 * radius * length * coefficient
