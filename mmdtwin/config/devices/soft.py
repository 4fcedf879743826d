"""What the configurations of soft magnetic sheets and rods share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    ValidationInfo,
    field_validator,
)

from mmdtwin.config.base import Config
from mmdtwin.config.devices.base import BaseDeviceConfig, Density, Length, Magnetisation, Modulus

LENGTH_TOLERANCE = 1e-3  # of the body's length, by which its segments may miss it


class UniformProfile(Config):
    """Magnetised along the body throughout."""

    kind: Literal["uniform"]


class HarmonicProfile(Config):
    """Magnetisation that turns in the plane of length and normal, Hu et al. 2018."""

    kind: Literal["harmonic"]
    periods: PositiveFloat = 1.0  # over the length
    phase: float = 0.0  # rad, from the length at the start


class TipProfile(Config):
    """Magnetised along the body, but only at its end."""

    kind: Literal["tip"]
    fraction: Annotated[float, Field(gt=0.0, le=1.0)]  # of the length


class SegmentConfig(Config):
    """A stretch of one magnetisation."""

    length: Length
    # Along length, width and normal, as a share of the body's `magnetisation`.
    direction: tuple[float, float, float]

    @field_validator("direction")
    @classmethod
    def _check(cls, direction: tuple[float, float, float]) -> tuple[float, float, float]:
        size = float(np.linalg.norm(direction))
        if size > 1.0 + 1e-6:
            raise ValueError(f"allowed is a vector of length 0 to 1, not {size:.3g}")
        return direction


class PiecewiseProfile(Config):
    """Segments one after another, from the body's start to its end."""

    kind: Literal["piecewise"]
    segments: Annotated[tuple[SegmentConfig, ...], Field(min_length=1)]

    @property
    def length(self) -> float:
        """Sum of the segments' lengths, m."""
        return sum(segment.length for segment in self.segments)


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Profile = Annotated[
    Annotated[
        UniformProfile | HarmonicProfile | TipProfile | PiecewiseProfile,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_named),
]


class SoftConfig(BaseDeviceConfig):
    """A slender elastic body with fixed magnetisation, SI units; x runs along its length."""

    length: Length
    youngs_modulus: Modulus  # Pa
    density: Density  # kg/m3
    magnetisation: Magnetisation  # A/m
    profile: Profile  # a name, or a kind with its parameters
    damping_ratio: Annotated[float, Field(ge=0.0)] = 0.1  # material damping of the first mode
    self_contact: bool = False  # whether distant parts of the body stop each other
    material: str = "ndfeb-silicone"

    @field_validator("profile")
    @classmethod
    def _check_segments(cls, profile: Profile, info: ValidationInfo) -> Profile:
        length = info.data.get("length")
        if length is None or not isinstance(profile, PiecewiseProfile):
            return profile
        if abs(profile.length - length) > LENGTH_TOLERANCE * length:
            raise ValueError(
                f"segments: their lengths sum to {profile.length * 1e3:.4g} mm; allowed is the "
                f"body's length, {length * 1e3:.4g} mm"
            )
        return profile
