"""Coil amplifiers of the twin: delay, closed current loop, expiry of commands, heating."""

from __future__ import annotations

from collections import deque

import numpy as np

from mmdtwin.actuation import Actuation, CoilCurrents, Waveform
from mmdtwin.config import CoilsConfig, TwinRigConfig
from mmdtwin.geometry import Array

ROOM_TEMPERATURE = 293.15  # K


class CoilDrive:
    """Turns accepted commands into the currents that flow.

    Each current follows its set-point with one time constant (a current-controlled amplifier
    hides the coil's own L/R). A command acts `actuation_delay` after it is sent and for
    `valid_for`; then the set-point is zero. Each coil is one thermal mass with linear cooling.
    """

    def __init__(self, rig: TwinRigConfig, coils: CoilsConfig) -> None:
        self._rig = rig
        self._resistance = np.array([c.resistance for c in coils.coils])
        self.currents = np.zeros(len(coils.coils))
        self.temperatures = np.full(len(coils.coils), ROOM_TEMPERATURE)
        self._waiting: deque[tuple[float, Actuation]] = deque()
        self._active: tuple[float, Actuation] | None = None
        self._first: float | None = None

    def send(self, command: Actuation, now: float) -> None:
        """Take a command at time `now`, s."""
        self._waiting.append((now + self._rig.actuation_delay, command))

    def zero(self) -> None:
        """Drop every command: the currents decay to zero."""
        self._waiting.clear()
        self._active = None

    def acting_for(self, t: float) -> float:
        """Seconds since the first command took effect; negative if none has."""
        return -1.0 if self._first is None else t - self._first

    def set_point(self, t: float) -> Array:
        """Currents (n,) A asked for at time t, s."""
        while self._waiting and self._waiting[0][0] <= t:
            self._active = self._waiting.popleft()
            self._first = self._active[0] if self._first is None else self._first
        if self._active is None:
            return np.zeros_like(self.currents)
        begin, command = self._active
        if t - begin > command.valid_for:
            return np.zeros_like(self.currents)
        if isinstance(command, Waveform):
            columns = np.asarray(command.values).T
            return np.array([np.interp(t - begin, command.t, c) for c in columns])
        assert isinstance(command, CoilCurrents)
        return command.values

    def advance(self, t: float, dt: float) -> Array:
        """Advance from t by dt s and return the currents (n,) A."""
        target = self.set_point(t)
        self.currents = target + (self.currents - target) * np.exp(
            -dt / self._rig.coil_time_constant
        )
        loss = self._resistance * self.currents**2
        cooling = self._rig.coil_cooling * (self.temperatures - ROOM_TEMPERATURE)
        self.temperatures = self.temperatures + dt * (loss - cooling) / self._rig.coil_heat_capacity
        return self.currents
