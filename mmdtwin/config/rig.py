"""Configuration of rigs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from mmdtwin.config.base import Config


class RegistrationErrorConfig(Config):
    """How far the twin's truth is from what it tells: rms translation m, rms rotation rad."""

    translation: NonNegativeFloat = 0.5e-3
    rotation: NonNegativeFloat = 0.01745


class TwinRigConfig(Config):
    """The twin as a rig."""

    kind: Literal["twin"]
    source: str
    compute_time: NonNegativeFloat | Literal["measured"] = 0.02  # s from delivery to command
    actuation_delay: NonNegativeFloat = 0.01  # s from command to amplifier
    coil_time_constant: NonNegativeFloat = 0.02  # s, closed current loop
    release_delay: NonNegativeFloat = 0.1  # s from the first command's effect to letting go
    physics_step: Annotated[float, Field(gt=0, le=2e-3)] = 1e-3  # s
    max_frame_age: PositiveFloat = 0.5  # s; older frames are stale
    coil_heat_capacity: PositiveFloat  # J/K of each coil
    coil_cooling: PositiveFloat  # W/K of each coil to the room
    registration_error: RegistrationErrorConfig = RegistrationErrorConfig()


RigConfig = TwinRigConfig
