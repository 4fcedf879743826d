"""Commands on their way to an actuator of the twin."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from mmdtwin.actuation import Actuation

CommandT = TypeVar("CommandT", bound=Actuation)


class Commands(Generic[CommandT]):
    """A queue in which each command waits for a delay, then replaces the one before it.

    Parameters
    ----------
    delay : float
        s from sending to effect.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._waiting: deque[tuple[float, CommandT]] = deque()
        self._newest: tuple[float, CommandT] | None = None
        self._first: float | None = None
        self._in_force = False

    def send(self, command: CommandT, now: float) -> None:
        """Take a command at time `now`, s."""
        self._waiting.append((now + self._delay, command))

    def drop(self) -> None:
        """Forget every command."""
        self._waiting.clear()
        self._newest = None

    def acting_for(self, t: float) -> float:
        """Seconds since the first command took effect; negative if none has."""
        return -1.0 if self._first is None else t - self._first

    @property
    def expired(self) -> bool:
        """True if a command was in force, and at the last look none was."""
        return self._first is not None and not self._in_force

    def at(self, t: float) -> tuple[float, CommandT] | None:
        """Return when the command in force at t took effect, s, and it; None if it has expired."""
        while self._waiting and self._waiting[0][0] <= t:
            self._newest = self._waiting.popleft()
            self._first = self._newest[0] if self._first is None else self._first
        newest = self._newest
        self._in_force = newest is not None and t - newest[0] <= newest[1].valid_for
        return newest if self._in_force else None
