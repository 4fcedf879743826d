"""Configuration of rigs."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from mmdtwin.config.arm import ArmConfig, PlacementConfig
from mmdtwin.config.base import Config
from mmdtwin.config.magnet import MagnetConfig
from mmdtwin.geometry import unit
from mmdtwin.keep_out import KeepOutBox, KeepOutHalfSpace, KeepOutSphere, Volume
from mmdtwin.magnet_limits import MagnetLimits

Vector = tuple[float, float, float]


class RegistrationErrorConfig(Config):
    """How far the twin's truth is from what it tells: rms translation m, rms rotation rad."""

    translation: NonNegativeFloat = 0.5e-3
    rotation: NonNegativeFloat = 0.01745


class BaseTwinConfig(Config):
    """What twins have in common, whatever makes the field."""

    source: str
    compute_time: NonNegativeFloat | Literal["measured"] = 0.02  # s from delivery to command
    actuation_delay: NonNegativeFloat = 0.01  # s from command to amplifier or arm
    release_delay: NonNegativeFloat = 0.1  # s from the first command's effect to letting go
    physics_step: Annotated[float, Field(gt=0, le=5e-3)] = 3e-3  # s, longest; devices may take less
    max_frame_age: PositiveFloat = 0.5  # s; older frames are stale
    registration_error: RegistrationErrorConfig = RegistrationErrorConfig()


class TwinRigConfig(BaseTwinConfig):
    """The twin with coils: an amplifier a coil."""

    kind: Literal["twin"]
    set_point_bits: Annotated[int, Field(ge=4, le=32)] = 16  # over plus and minus max_current
    coil_time_constant: PositiveFloat = 0.02  # s, closed current loop
    current_noise: NonNegativeFloat = 0.002  # A rms, in the loop's band
    continuous_share: Annotated[float, Field(gt=0, lt=1)] = 0.5  # of max_current, for any time
    peak_time: PositiveFloat = 5.0  # s at max_current until I2t folds back to that share
    ambient_temperature: Annotated[float, Field(ge=250, le=350)] = 293.15  # K, of the coils
    calibration: str | None = None  # file that the rig's description goes by, not the drawing

    @property
    def lag(self) -> float:
        """Time constant of what is driven, s."""
        return self.coil_time_constant


class SphereConfig(Config):
    """A ball that the magnet keeps out of; m in the world."""

    kind: Literal["sphere"]
    centre: Vector
    radius: PositiveFloat

    def volume(self, name: str) -> Volume:
        """The volume under its name."""
        return KeepOutSphere(name, np.array(self.centre), self.radius)


class BoxConfig(Config):
    """A box that the magnet keeps out of; m in the world."""

    kind: Literal["box"]
    place: PlacementConfig
    half_extents: tuple[PositiveFloat, PositiveFloat, PositiveFloat]

    def volume(self, name: str) -> Volume:
        """The volume under its name."""
        return KeepOutBox(name, self.place.T, np.array(self.half_extents))


class HalfSpaceConfig(Config):
    """All behind a plane; `normal` points to the free side; m in the world."""

    kind: Literal["half-space"]
    point: Vector
    normal: Vector

    def volume(self, name: str) -> Volume:
        """The volume under its name."""
        return KeepOutHalfSpace(name, np.array(self.point), np.array(self.normal))


VolumeConfig = Annotated[SphereConfig | BoxConfig | HalfSpaceConfig, Field(discriminator="kind")]


class MagnetTwinRigConfig(BaseTwinConfig):
    """The twin with a magnet in the hand of an arm."""

    kind: Literal["twin-magnet"]
    arm_time_constant: PositiveFloat = 0.05  # s, with which the arm follows its set-point
    max_speed: PositiveFloat  # m/s of the magnet
    max_turn_rate: PositiveFloat  # rad/s of the magnet, about a spindle's axis:
    max_spin_rate: PositiveFloat  # rad/s
    clearance: PositiveFloat  # m between the magnet's bounding sphere and what it keeps out of
    keep_out: dict[str, VolumeConfig]
    retreat: PlacementConfig  # of the magnet in the world, when no command is in force

    @property
    def lag(self) -> float:
        """Time constant of what is driven, s."""
        return self.arm_time_constant

    def limits(self, magnet: MagnetConfig, arm: ArmConfig) -> MagnetLimits:
        """The limits as the safety gate and the allocation need them.

        Raises
        ------
        UserError
            If the retreat pose breaks one of them.
        """
        return MagnetLimits(
            max_speed=self.max_speed,
            max_turn_rate=self.max_turn_rate,
            max_spin_rate=self.max_spin_rate,
            magnet_radius=magnet.shape.bounding_radius,
            clearance=self.clearance,
            T_world_retreat=self.retreat.T,
            keep_out=tuple(v.volume(name) for name, v in self.keep_out.items()),
            arm=arm.arm,
            spin_axis=None if magnet.spin_axis is None else unit(magnet.spin_axis),
        )


RigConfig = Annotated[TwinRigConfig | MagnetTwinRigConfig, Field(discriminator="kind")]
