"""Coil amplifiers of the twin: commands, current loop, voltage limit, noise, I2t, heating."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mmdtwin.actuation import Actuation, CoilCurrents, Waveform
from mmdtwin.config import CoilsConfig, TwinRigConfig
from mmdtwin.geometry import Array
from mmdtwin.hardware.twin.commands import Commands
from mmdtwin.hardware.twin.thermal import Windings

WATCH = 10e-3  # s between looks at temperature, I2t and voltage; all are slower; assumed
LASTING = 0.1  # s at the voltage limit, less s away from it, before it is a fault; assumed


@dataclass(frozen=True, eq=False)
class Step:
    """What a step of dt s needs at the present resistances; arrays are (n,).

    With its voltage held, a current moves as i(t) = e - (e - i) exp(-t / lag) towards e = v / R.
    """

    dt: float
    resistance: Array  # ohm
    lag: Array  # L / R, s
    moved: Array  # 1 - exp(-dt / lag), the share of the way from i to e
    limit: Array  # A, e at the voltage limit
    gain: Array  # e - i over set-point - i
    noise: Array  # A rms that join e


class Latch:
    """A sum for each coil that sets a flag when full and clears it when empty: no flicker.

    Parameters
    ----------
    capacity : (n,) array
        Where the sum stops; it never falls below zero.
    """

    def __init__(self, capacity: Array) -> None:
        self._capacity = capacity
        self._level = np.zeros_like(capacity)
        self.on = np.zeros(len(capacity), bool)
        self.any = False

    def add(self, amount: Array) -> None:
        """Add to the sums (n,)."""
        self._level = np.minimum(np.maximum(self._level + amount, 0.0), self._capacity)
        self.on = (self._level >= self._capacity) | (self.on & (self._level > 0.0))
        self.any = bool(self.on.any())


class CoilDrive:
    """Turns accepted commands into the currents that flow.

    A command acts `actuation_delay` after it is sent and for `valid_for`; then the set-point is
    zero. The set-point goes through a converter of `set_point_bits` over plus and minus the coil's
    maximum current. Each amplifier then drives

        L di/dt + R(T) i = v,  |v| <= max_voltage,

    and chooses, as a current loop with integral action does, the v that brings i towards the
    set-point with `coil_time_constant`: v = R i + L (set-point - i) / time constant, held for a
    step so that i is exact at its end. At the limit |v| = max_voltage, i slews at (v - R i) / L.

    Noise is white on the loop's input. The loop passes its own band, a pole at 1 / (2 pi time
    constant), which makes `current_noise` A rms in i whatever the step. Without a command the
    output stage is off: no noise.

    I2t, as servo amplifiers have it (Copley Controls, CME 2 User Guide, appendix D): i^2 - c^2 is
    summed, never below zero, with c = `continuous_share` of the maximum current; the budget is what
    `peak_time` at the maximum current spends. Once it is spent, all set-points are scaled alike to
    bring that coil to c, so that the field keeps its direction, until the sum is zero again.

    Parameters
    ----------
    rig, coils
        Configuration.
    noise : Generator
        Where the current noise is drawn.

    Attributes
    ----------
    currents : (n,) array
        A that flow. They are also what telemetry reads: a current sensor's own noise counts as
        part of `current_noise`.
    voltages : (n,) array
        V of the amplifiers in the last step.
    """

    def __init__(self, rig: TwinRigConfig, coils: CoilsConfig, noise: np.random.Generator) -> None:
        limits = coils.limits
        self._rig = rig
        self._random = noise
        self._windings = Windings(
            limits.resistance,
            coils.reference_temperature,
            rig.ambient_temperature,
            coils.heat_capacity,
            coils.thermal_resistance,
        )
        self._inductance = limits.inductance
        self._max_current = limits.max_current
        self._max_voltage = limits.max_voltage
        # Codes of both signs and zero, the outermost at the maximum current.
        self._bit = limits.max_current / (2 ** (rig.set_point_bits - 1) - 1)
        self._continuous = rig.continuous_share * limits.max_current
        budget = (limits.max_current**2 - self._continuous**2) * rig.peak_time
        self._overloaded = Latch(budget)
        self._saturated = Latch(np.full_like(budget, LASTING))
        self.currents = np.zeros_like(budget)
        self.voltages = np.zeros_like(budget)
        self._step: Step | None = None
        # Since the last look:
        self._unwatched = 0.0  # s
        self._fed = np.zeros_like(budget)  # integral of v i / R, A^2 s
        self._squares = np.zeros_like(budget)  # i^2 at its time, A^2
        self._commands: Commands[CoilCurrents | Waveform] = Commands(rig.actuation_delay)

    @property
    def temperatures(self) -> Array:
        """Temperatures of the windings (n,) K."""
        return self._windings.temperatures

    @property
    def pose(self) -> None:
        """There is no magnet."""
        return

    @property
    def faults(self) -> tuple[str, ...]:
        """What limits the amplifiers, a line for each coil (counted from 0) and cause."""
        overloaded = (
            f"coil {k}: I2t budget spent, limited to {self._continuous[k]:g} A"
            for k in np.flatnonzero(self._overloaded.on)
        )
        saturated = (
            f"coil {k}: amplifier at its limit of {self._max_voltage[k]:g} V"
            for k in np.flatnonzero(self._saturated.on)
        )
        return (*overloaded, *saturated)

    def send(self, command: Actuation, now: float) -> None:
        """Take a command at time `now`, s. The converter has no codes beyond the maximum."""
        assert isinstance(command, CoilCurrents | Waveform)
        within = np.clip(command.values, -self._max_current, self._max_current)
        self._commands.send(replace(command, values=within), now)

    def zero(self) -> None:
        """Drop every command: the currents decay to zero."""
        self._commands.drop()

    def acting_for(self, t: float) -> float:
        """Seconds since the first command took effect; negative if none has."""
        return self._commands.acting_for(t)

    def set_point(self, t: float) -> Array:
        """Currents (n,) A asked for at time t, s."""
        in_force = self._commands.at(t)
        if in_force is None:
            return np.zeros_like(self.currents)
        begin, command = in_force
        if isinstance(command, Waveform):
            return _interpolate(t - begin, command.t, command.values)
        return command.values

    def advance(self, t: float, dt: float) -> Array:
        """Advance from t by dt s and return the currents (n,) A."""
        step = self._step
        if step is None or step.dt != dt:
            step = self._step = self._prepare(dt)
        i = self.currents
        target = self._fold_back(self._bit * np.rint(self.set_point(t) / self._bit))
        end = i + step.gain * (target - i)
        if self._commands.at(t) is not None:
            end += step.noise * self._random.standard_normal(len(end))
        end = np.minimum(np.maximum(end, -step.limit), step.limit)
        change = step.moved * (end - i)
        charge = dt * end - step.lag * change  # integral of i: R i = v - L di/dt
        self.currents = i + change
        self.voltages = step.resistance * end
        self._fed += end * charge
        self._unwatched += dt
        if self._unwatched >= WATCH:
            self._watch(step)
        return self.currents

    def _prepare(self, dt: float) -> Step:
        resistance = self._windings.resistance
        lag = self._inductance / resistance
        moved = -np.expm1(-dt / lag)
        kept = math.exp(-dt / self._rig.coil_time_constant)  # of i's distance to the set-point
        return Step(
            dt=dt,
            resistance=resistance,
            lag=lag,
            moved=moved,
            limit=self._max_voltage / resistance,
            gain=(1 - kept) / moved,
            noise=self._rig.current_noise * math.sqrt(1 - kept**2) / moved,
        )

    def _watch(self, step: Step) -> None:
        """Heat the windings by what has flowed, and look after the amplifiers."""
        passed, squares = self._unwatched, self.currents**2
        # What the amplifiers fed in, less what the inductances keep, made heat; all divided by R.
        flowed = self._fed - 0.5 * step.lag * (squares - self._squares)  # integral of i^2, A^2 s
        self._windings.heat(flowed / passed, passed)
        self._overloaded.add(flowed - self._continuous**2 * passed)
        at_limit = np.abs(self.voltages) >= self._max_voltage * (1 - 1e-9)
        self._saturated.add(np.where(at_limit, passed, -passed))
        self._fed, self._squares, self._unwatched = np.zeros_like(squares), squares, 0.0
        self._step = None  # resistances have changed

    def _fold_back(self, target: Array) -> Array:
        if not self._overloaded.any:
            return target
        on = self._overloaded.on
        excess = float(np.max(np.abs(target[on]) / self._continuous[on]))
        return target / max(excess, 1.0)


def _interpolate(t: float, times: Array, values: Array) -> Array:
    """Row of `values` (m, n) at time t between `times` (m,); the ends hold beyond them."""
    k = int(np.searchsorted(times, t))
    if k in (0, len(times)):
        return values[min(k, len(times) - 1)]
    weight = (t - times[k - 1]) / (times[k] - times[k - 1])
    return (1 - weight) * values[k - 1] + weight * values[k]
