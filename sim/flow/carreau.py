"""Steady flow of a Carreau fluid in a round tube."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from mmdtwin.config.flow import CarreauConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.flow.profiles import series, squares

TERMS = 32  # of a profile's series: the speed right to 1e-3 of its mean up to U/R = 200 1/s
NEWTON_STEPS = 30  # bound; the slope in logarithms lies between n and 1, so it converges
SLOWEST = 1e-9  # 1/s of mean speed over radius: Newtonian long before
WALL_STRESSES = np.logspace(-8.0, 4.0, 481)  # Pa, tabulated


def viscosity(fluid: CarreauConfig, shear_rate: ArrayLike) -> Array:
    """Return the apparent viscosity in Pa s at shear rates in 1/s, of the same shape."""
    thinning = (1.0 + (fluid.time_constant * np.asarray(shear_rate, float)) ** 2) ** (
        (fluid.exponent - 1.0) / 2.0
    )
    return np.asarray(
        fluid.infinite_viscosity + (fluid.zero_viscosity - fluid.infinite_viscosity) * thinning
    )


def shear_rate(fluid: CarreauConfig, stress: ArrayLike) -> Array:
    """Return the shear rate in 1/s at which the shear stress is the given one in Pa > 0."""
    target = np.log(np.asarray(stress, float))
    log_rate = target - np.log(fluid.zero_viscosity)
    step = 1e-4
    for _ in range(NEWTON_STEPS):
        here, there = (np.log(viscosity(fluid, np.exp(g))) + g for g in (log_rate, log_rate + step))
        change = (target - here) * step / (there - here)
        log_rate = log_rate + change
        if np.max(np.abs(change)) < 1e-13:
            break
    return np.asarray(np.exp(log_rate))


class TubeFlow:
    """Profiles and pressure gradients of a Carreau fluid in tubes.

    The shear stress falls linearly from the wall to the axis, tau = tau_w r/R, whatever the
    fluid (balance of forces); du/dr = -shear_rate(tau). The profile and the mean speed over the
    radius then follow from tau_w alone.
    """

    def __init__(self, fluid: CarreauConfig) -> None:
        self.fluid = fluid
        rates = self._integrated(WALL_STRESSES)[1]
        self._log_stress = CubicSpline(np.log(rates), np.log(WALL_STRESSES))

    def wall_stress(self, rate: ArrayLike) -> Array:
        """Return the wall shear stress in Pa where mean speed over radius is `rate` > 0, 1/s."""
        return np.asarray(np.exp(self._log_stress(np.log(np.asarray(rate, float)))))

    def profile(self, rate: ArrayLike) -> Array:
        """Return series (n, J) of profiles of mean 1 where U/R is `rate` (n,) 1/s."""
        stress = self.wall_stress(np.maximum(np.abs(np.asarray(rate, float)), SLOWEST))
        return self._integrated(stress)[0]

    def _integrated(self, wall_stress: Array) -> tuple[Array, Array]:
        """Return series (n, J) of u/U and U/R (n,) in 1/s at wall shear stresses (n,) Pa."""
        x = np.sqrt(np.maximum(squares(TERMS), 1e-12))  # the rate over x is even and finite at 0
        w = series(shear_rate(self.fluid, wall_stress[:, None] * x) / x)
        # du/dy = -R w / 2 with y = x^2; chebint integrates over z = 2 y - 1.
        u = -chebyshev.chebint(w, lbnd=1.0, axis=1) / 4.0
        flux = chebyshev.chebint(u, lbnd=-1.0, axis=1)
        mean = np.asarray(chebyshev.chebval(1.0, flux.T)) / 2.0
        return u / mean[:, None], mean
