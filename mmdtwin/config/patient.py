"""Configuration of a living patient: breathing and heartbeat move the vessel."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmdtwin.config.base import Config

Direction = tuple[float, float, float]
Variation = Annotated[float, Field(ge=0.0, le=0.5)]  # standard deviation over mean


class RhythmConfig(Config):
    """A motion that comes back to rest in every cycle: amplitude sin(pi phase^q)^(2 exponent).

    The excursion peaks at the phase `peak` = 0.5^(1/q); q = 1 is Lujan's model of breathing.
    """

    rate: PositiveFloat  # Hz
    amplitude: NonNegativeFloat  # m, from rest to the peak
    direction: Direction  # of the excursion, in the vessel's frame; only its direction counts
    exponent: Annotated[float, Field(ge=1.0, le=6.0)] = 2.0
    peak: Annotated[float, Field(ge=0.2, le=0.8)] = 0.5
    # Lognormal, from cycle to cycle, independent of each other.
    period_variation: Variation = 0.0
    amplitude_variation: Variation = 0.0

    @property
    def skew(self) -> float:
        """The power q of the phase."""
        return math.log(0.5) / math.log(self.peak)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if math.hypot(*self.direction) == 0.0:
            raise ValueError("direction: must not be zero")
        if 2.0 * self.exponent * self.skew < 2.0:
            raise ValueError(
                "exponent: too small for so early a peak, the acceleration would be infinite at "
                f"the start of a cycle; at least {1.0 / self.skew:.2f}"
            )
        return self


class BreathingConfig(RhythmConfig):
    """Phase 0 is the end of exhalation, where the vessel rests."""


class HeartbeatConfig(RhythmConfig):
    """Phase 0 is the R wave; it also drives the pulse of the flow."""

    peak: Annotated[float, Field(ge=0.2, le=0.8)] = 0.35  # assumed: end of systole


class PatientConfig(Config):
    """What lives; without breathing and heartbeat it is still, as a bench phantom or ex vivo."""

    source: str
    breathing: BreathingConfig | None = None
    heartbeat: HeartbeatConfig | None = None
