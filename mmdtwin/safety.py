"""The safety gate: a pure function between every controller and every actuator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mmdtwin.actuation import Actuation, CoilCurrents, Waveform
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

MAX_VALID_FOR = 1.0  # s; a command may not stay in force longer without being renewed
MAX_INTERVAL = 0.1  # s that a step may be spread over, assumed: after a pause nothing jumps
ROUNDING = 1e-12  # of a limit: a command made to lie at it passes as it is


@dataclass(frozen=True, eq=False)
class Limits:
    """What the actuators may do. Every limit is a positive finite number.

    Parameters
    ----------
    max_current : (n,) array
        A per coil.
    max_voltage : (n,) array
        V of each coil's amplifier, which has to drive L di/dt + R i.
    max_power : float
        Ohmic loss of all coils together, W.
    max_slew : (n,) array
        A/s per coil.
    resistance : (n,) array
        ohm per coil.
    inductance : (n,) array
        H per coil.
    max_temperature : float
        K, of any coil; above it the gate sends zero.

    Raises
    ------
    UserError
        If a limit is missing, zero, negative or not finite.
    """

    max_current: Array
    max_voltage: Array
    max_power: float
    max_slew: Array
    resistance: Array
    inductance: Array
    max_temperature: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            v = np.asarray(value, float)
            if value is None or not (np.isfinite(v).all() and (v > 0).all()):
                raise UserError(f"limits.{name}: must be a positive finite number (got {value})")

    @cached_property
    def holdable_current(self) -> Array:
        """The largest current (n,) A that each coil may and its amplifier can hold."""
        return np.minimum(self.max_current, self.max_voltage / self.resistance)


@dataclass(frozen=True, eq=False)
class GateState:
    """What the gate remembers between commands."""

    values: Array  # set-point in force, (n,) A; the last row of a waveform
    time: float  # when it was accepted, s
    seq: int = -1  # of the newest accepted command
    armed: bool = False
    temperature: float = 0.0  # K, hottest coil as last measured
    expires: float = np.inf  # s; from then on the driver is at zero
    waveform: Waveform | None = None  # in force, if it is one

    def set_point(self, now: float) -> Array:
        """Currents (n,) A that are asked of the driver at a time."""
        if now > self.expires:
            return np.zeros_like(self.values)
        if self.waveform is None:
            return self.values
        t, rows = now - self.time, self.waveform.values
        return np.array([np.interp(t, self.waveform.t, column) for column in rows.T])


def scale_to_limits(currents: Array, limits: Limits) -> float:
    """Return the factor (<= 1) that brings the whole vector within what coils can hold.

    The direction of the vector, and so the shape of the field of coils that do not saturate, is
    kept: scaling by max(current ratio, R i voltage ratio, sqrt(power ratio)), never coil by coil.
    """
    with np.errstate(over="ignore"):
        over_current = max(float(np.max(np.abs(currents) / limits.holdable_current)), 1.0)
    # Squared within the current limits: no request is too large for that.
    power = float(np.sum(limits.resistance * (currents / over_current) ** 2))
    return 1.0 / (over_current * max(float(np.sqrt(power / limits.max_power)), 1.0))


def gate(
    command: Actuation, state: GateState, limits: Limits, now: float
) -> tuple[Actuation | None, GateState, tuple[str, ...]]:
    """Decide what of a command reaches the actuators.

    Returns
    -------
    command : Actuation or None
        The command to send; None when nothing may be sent and the last one stays in force until
        it expires.
    state : GateState
        To pass in with the next command.
    reasons : tuple of str
        Why the command differs from the one asked for; empty when it does not.
    """
    if not isinstance(command, CoilCurrents | Waveform):
        return None, state, (f"{type(command).__name__} is not gated for coils",)
    if not state.armed:
        return None, state, ("not armed",)
    if command.seq <= state.seq:
        return None, state, (f"seq {command.seq} is not newer than {state.seq}",)
    fault = _fault(command, state, limits)
    if fault:
        safe = CoilCurrents(np.zeros_like(state.values), seq=command.seq)
        return safe, _after(state, safe, now), (fault,)
    reasons: list[str] = []
    valid_for = command.valid_for
    if valid_for > MAX_VALID_FOR:
        valid_for = MAX_VALID_FOR
        reasons.append(f"valid_for cut to {MAX_VALID_FOR} s")
    last, elapsed = state.set_point(now), min(now - state.time, MAX_INTERVAL)
    accepted: CoilCurrents | Waveform
    if isinstance(command, CoilCurrents):
        values = _limit(command.values, last, elapsed, limits, reasons)
        accepted = CoilCurrents(values, seq=command.seq, valid_for=valid_for)
    else:
        rows, before = [], -elapsed
        for t, row in zip(command.t, command.values, strict=True):
            rows.append(_limit(row, last, float(t) - before, limits, reasons))
            last, before = rows[-1], float(t)
        accepted = Waveform(command.t, np.array(rows), seq=command.seq, valid_for=valid_for)
    return accepted, _after(state, accepted, now), tuple(dict.fromkeys(reasons))


def _after(state: GateState, accepted: CoilCurrents | Waveform, now: float) -> GateState:
    waveform = accepted if isinstance(accepted, Waveform) else None
    return replace(
        state,
        values=accepted.values if waveform is None else waveform.values[-1],
        waveform=waveform,
        time=now,
        seq=accepted.seq,
        expires=now + accepted.valid_for,
    )


def _fault(command: CoilCurrents | Waveform, state: GateState, limits: Limits) -> str:
    values = np.atleast_2d(command.values)
    n = len(limits.max_current)
    if values.ndim != 2 or values.shape[1] != n or not len(values):
        return f"expected {n} currents, got shape {command.values.shape}: zero sent"
    if not np.isfinite(values).all():
        return "a current is not a finite number: zero sent"
    if not (np.isfinite(command.valid_for) and command.valid_for > 0):
        return "valid_for is not a positive number: zero sent"
    if isinstance(command, Waveform):
        t = np.asarray(command.t, float)
        if t.shape != (len(values),) or not (np.isfinite(t).all() and t[0] >= 0):
            return "a waveform needs one finite time >= 0 per row: zero sent"
        if (np.diff(t) <= 0).any():
            return "the times of a waveform must increase: zero sent"
    if state.temperature > limits.max_temperature:
        return f"a coil is at {state.temperature:.0f} K: zero sent"
    return ""


def _limit(values: Array, last: Array, elapsed: float, limits: Limits, reasons: list[str]) -> Array:
    scale = scale_to_limits(values, limits)
    if scale < 1.0 - ROUNDING:
        reasons.append(f"scaled by {scale:.3f} to the current, voltage and power limits")
        values = values * scale
    step = values - last
    elapsed = max(elapsed, 0.0)
    part = 1.0
    for name, allowed in (
        ("slew", _slew_part(step, elapsed, limits)),
        ("voltage", _voltage_part(step, last, elapsed, limits)),
    ):
        if allowed < 1.0 - ROUNDING:
            reasons.append(f"slowed to the {name} limit")
            part = min(part, allowed)
    return values if part == 1.0 else last + part * step


def _slew_part(step: Array, elapsed: float, limits: Limits) -> float:
    """Return the part of a step (n,) A that max_slew allows in `elapsed` s."""
    moving = step != 0.0
    with np.errstate(divide="ignore", over="ignore"):  # with no time to move in: infinite
        excess = np.abs(step[moving]) / (limits.max_slew * elapsed)[moving]
    return 1.0 / float(np.max(excess, initial=1.0))


def _voltage_part(step: Array, last: Array, elapsed: float, limits: Limits) -> float:
    """Return the part a of a step for which |L a step / elapsed + R (last + a step)| <= V.

    What is in force stays allowed: where it takes more than V already, V is what it takes.
    """
    moving = step != 0.0
    held = (limits.resistance * last)[moving]
    # With room for rounding: a coil held at its limit may move by that without stopping the others.
    available = (1 + ROUNDING) * np.maximum(limits.max_voltage[moving], np.abs(held))
    with np.errstate(divide="ignore", over="ignore"):
        rise = (limits.inductance / elapsed + limits.resistance)[moving] * step[moving]
        return float(np.min((available - np.sign(rise) * held) / np.abs(rise), initial=1.0))
