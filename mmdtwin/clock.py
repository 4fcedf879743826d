"""Two clocks: simulated time that waits for physics, and wall time that waits for nobody."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Seconds since the clock was made. Every timeout takes a clock."""

    @abstractmethod
    def now(self) -> float:
        """Return the time in s."""

    @abstractmethod
    def wait_until(self, t: float) -> None:
        """Return once `now()` has reached `t`."""


class SimClock(Clock):
    """Lockstep: time moves only when physics moves it."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def wait_until(self, t: float) -> None:
        self._now = max(self._now, t)


class WallClock(Clock):
    """Monotonic wall time."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._start

    def wait_until(self, t: float) -> None:
        remaining = t - self.now()
        if remaining > 0:
            time.sleep(remaining)
