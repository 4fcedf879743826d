"""What limits leave to an allocation: an interval of current for each coil, and a total power."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import brentq

from mmdtwin.control.allocation.kernels import largest_scale, scales_in_box
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.safety import Limits
from mmdtwin.saturation import Saturation

AT_LIMIT = 1e-9  # of a limit's size: nearer than that it binds
# Power is kept below its limit by as much as roots and sums may be wrong.
POWER_MARGIN = 1e-12


class Reach:
    """The currents that limits allow, and what they stand for in coils that saturate.

    Parameters
    ----------
    limits : Limits or None
        None: any current, and coils of equal resistance.
    saturation : Saturation
        Between true and effective currents.
    previous : (n,) array, optional
        Currents in force, A, and
    dt : float, optional
        s since then: with both, slew and voltage are limited.

    Attributes
    ----------
    low, high : (n,) array
        Lowest and highest true currents, A.
    resistance : (n,) array
        ohm.
    max_power : float
        W.

    Raises
    ------
    UserError
        If the intervals of a coil's limits do not meet.
    """

    def __init__(
        self,
        limits: Limits | None,
        saturation: Saturation,
        previous: Array | None = None,
        dt: float | None = None,
    ) -> None:
        self.saturation = saturation
        self._limits, self._previous, self._dt = limits, previous, dt
        if limits is None:
            n = len(saturation.knee)
            self.resistance, self.max_power = np.ones(n), np.inf
            self.high = np.full(n, np.inf)
            self.low = -self.high
            return
        self.resistance = limits.resistance
        self.max_power = limits.max_power * (1 - POWER_MARGIN)
        self.high = limits.holdable_current
        self.low = -self.high
        if previous is not None and dt is not None:
            intervals = _intervals(limits, previous, dt)
            self.low = np.max([low for _, low, _ in intervals], axis=0)
            self.high = np.min([high for _, _, high in intervals], axis=0)
            self._require_some(previous, dt)

    @cached_property
    def box(self) -> tuple[Array, Array]:
        """Lowest and highest effective currents (n,) A."""
        if self.saturation.linear or self._limits is None:
            return self.low, self.high
        return self.saturation.effective(self.low), self.saturation.effective(self.high)

    def inputs(self, effective: Array) -> Array:
        """Return the true currents (n,) A of effective ones within the box.

        Raises
        ------
        UserError
            If a coil saturates below its effective current; within limits none does.
        """
        true = np.minimum(np.maximum(self.saturation.inverse(effective), self.low), self.high)
        if self._limits is None and not np.isfinite(true).all():
            coil = int(np.argmin(np.isfinite(true)))
            raise UserError(f"coil {coil} saturates before it makes what is asked; give limits")
        return true

    def power(self, effective: Array) -> float:
        """Return the ohmic loss of effective currents, W."""
        currents = effective if self.saturation.linear else self.inputs(effective)
        return float(self.resistance.dot(currents * currents))  # half the time of @ on such arrays

    def power_ratio(self, effective: Array) -> float:
        """Return the root of power over its limit, which is linear in currents."""
        return math.sqrt(self.power(effective) / self.max_power)

    def largest_scale(self, effective: Array) -> float:
        """Return the largest factor in [0, 1] that brings the whole vector within the limits.

        NaN if there is none, as where `previous` is far away.
        """
        low, high = self.box
        if self.saturation.linear:
            return float(largest_scale(effective, low, high, self.resistance, self.max_power))
        least, most = scales_in_box(effective, low, high)
        if least > most:
            return np.nan
        ratio = self.power_ratio(most * effective)
        if ratio > 1.0:
            # The loss of saturating coils rises faster than its square: the root lies above.
            most = root(lambda s: self.power_ratio(s * effective) - 1.0, most / ratio, most)
        return most if least <= most else np.nan

    def binding(self, inputs: Array) -> tuple[str, ...]:
        """Return the names of the limits that currents (n,) A within them lie at."""
        if self._limits is None:
            return ()
        near = AT_LIMIT * (np.abs(self.low) + np.abs(self.high))
        names: list[str] = []
        low, high = inputs <= self.low + near, inputs >= self.high - near
        if low.any() or high.any():
            for name, lowest, highest in _intervals(self._limits, self._previous, self._dt):
                at = (low & (lowest >= self.low - near)) | (high & (highest <= self.high + near))
                names += [f"{name} of coil {coil}" for coil in np.flatnonzero(at)]
        if float(self._limits.resistance @ (inputs * inputs)) >= (1 - AT_LIMIT) * self.max_power:
            names.append("power")
        return tuple(dict.fromkeys(names))

    def _require_some(self, previous: Array, dt: float) -> None:
        if (self.low > self.high).any():
            coil = int(np.argmax(self.low - self.high))
            raise UserError(
                f"limits: coil {coil} cannot come from previous, {previous[coil]:g} A, within its "
                f"current, voltage and slew limits in {dt:g} s"
            )


@lru_cache(maxsize=8)
def standing_reach(limits: Limits | None, saturation: Saturation) -> Reach:
    """Return what limits allow whatever the currents in force; made once for many allocations."""
    return Reach(limits, saturation)


def _intervals(
    limits: Limits, previous: Array | None, dt: float | None
) -> list[tuple[str, Array, Array]]:
    """Return name, lowest and highest current (n,) A of each limit.

    The amplifier drives L (i - previous) / dt + R i; what it can hold is R i.
    """
    current, hold = limits.max_current, limits.max_voltage / limits.resistance
    result = [("current", -current, current), ("voltage", -hold, hold)]
    if previous is None or dt is None:
        return result
    slew, kept = limits.max_slew * dt, limits.inductance * previous / dt
    impedance = limits.resistance + limits.inductance / dt
    reach = limits.max_voltage
    return [
        *result,
        ("voltage", (kept - reach) / impedance, (kept + reach) / impedance),
        ("slew", previous - slew, previous + slew),
    ]


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where an increasing function is zero, to rounding; the nearer end if it is nowhere."""
    if function(low) >= 0.0:
        return low
    if function(high) <= 0.0:
        return high
    return float(brentq(function, low, high, xtol=1e-15 * high, rtol=1e-14))
