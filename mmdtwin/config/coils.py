"""Configuration of electromagnetic coil systems."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.base import Config

Vector = tuple[float, float, float]


class CoilConfig(Config):
    """One cylindrical winding. Lengths in m, world axes of the coil frame."""

    position: Vector  # centre of the winding
    axis: Vector  # direction of its field at the centre for a positive current
    turns: Annotated[int, Field(gt=0)]
    inner_radius: PositiveFloat
    outer_radius: PositiveFloat
    length: PositiveFloat
    core_gain: Annotated[float, Field(ge=1.0)] = 1.0
    resistance: PositiveFloat  # ohm
    inductance: PositiveFloat  # H

    @model_validator(mode="after")
    def _check(self) -> CoilConfig:
        if self.outer_radius <= self.inner_radius:
            raise ValueError("outer_radius must be larger than inner_radius")
        if sum(a * a for a in self.axis) == 0.0:
            raise ValueError("axis must not be zero")
        return self


class CoilsConfig(Config):
    """A coil system and its limits."""

    source: str  # where the numbers come from, or "assumed"
    coils: Annotated[tuple[CoilConfig, ...], Field(min_length=1)]
    loops_radial: Annotated[int, Field(ge=1)] = 3  # current loops that stand for a winding
    loops_axial: Annotated[int, Field(ge=1)] = 5
    workspace_radius: PositiveFloat  # m, about the origin
    harmonic_degree: Annotated[int, Field(ge=1, le=24)] = 12
    max_current: PositiveFloat  # A, per coil
    max_power: PositiveFloat  # W, all coils together
    max_slew: PositiveFloat  # A/s, per coil
    max_temperature: PositiveFloat = 353.15  # K
