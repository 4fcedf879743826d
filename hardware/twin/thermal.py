"""Heat of copper windings: one thermal mass a coil, integrated exactly."""

from __future__ import annotations

import numpy as np

from mmdtwin.geometry import Array

# K at which the resistance of copper would vanish if it stayed linear: 0.393 %/K at 20 degC,
# IEC 60028. Resistance is proportional to the distance from it.
COPPER_ZERO = 293.15 - 1 / 0.00393
TINY = np.finfo(float).tiny


class Windings:
    """Resistances and temperatures of coils that heat by their currents.

    C dT/dt = I^2 R(T) - (T - T_ambient) / R_th, with R(T) proportional to T - `COPPER_ZERO`. The
    right-hand side is linear in T, so that a step of any length at constant I^2 is exact. Above
    I^2 = 1 / (R_th dR/dT) there is no steady temperature: it grows exponentially, as it should.

    Parameters
    ----------
    resistance : (n,) array
        ohm, at `reference` K.
    reference, ambient : float
        K. The windings start at `ambient`.
    heat_capacity : (n,) array
        J/K.
    thermal_resistance : (n,) array
        K/W to ambient.
    """

    def __init__(
        self,
        resistance: Array,
        reference: float,
        ambient: float,
        heat_capacity: Array,
        thermal_resistance: Array,
    ) -> None:
        self._slope = resistance / (reference - COPPER_ZERO)  # ohm/K
        self._ambient = ambient
        self._heat_capacity = heat_capacity
        self._conductance = 1 / thermal_resistance
        self.temperatures = np.full(len(resistance), ambient)  # K

    @property
    def resistance(self) -> Array:
        """Present resistances (n,) ohm."""
        return self._slope * (self.temperatures - COPPER_ZERO)

    def heat(self, mean_square: Array, dt: float) -> None:
        """Carry currents of mean square (n,) A^2 for dt s."""
        loss = mean_square * self._slope * (self.temperatures - COPPER_ZERO)
        cooling = self._conductance * (self.temperatures - self._ambient)
        growth = (mean_square * self._slope - self._conductance) * (dt / self._heat_capacity)
        growth = np.where(growth, growth, TINY)  # expm1(z) / z is 1 at the balance point
        rise = (loss - cooling) * (dt / self._heat_capacity)
        self.temperatures = self.temperatures + rise * np.expm1(growth) / growth
