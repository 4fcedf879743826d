"""Configuration of robot arms that hold a magnet."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat, model_validator
from scipy.spatial.transform import Rotation

from mmdtwin.arm import Arm
from mmdtwin.config.base import Config
from mmdtwin.geometry import Array, transform

Vector = tuple[float, float, float]


class JointConfig(Config):
    """A revolute joint: modified Denavit-Hartenberg parameters (Craig) and its limits."""

    a: float  # m
    d: float  # m
    alpha: float  # rad
    lower: float  # rad
    upper: float  # rad
    max_speed: PositiveFloat  # rad/s

    @model_validator(mode="after")
    def _check(self) -> JointConfig:
        if self.upper <= self.lower:
            raise ValueError("upper must be larger than lower")
        return self


class PlacementConfig(Config):
    """A rigid transform: position in m and rotation vector in rad."""

    position: Vector
    rotation: Vector = (0.0, 0.0, 0.0)

    @property
    def T(self) -> Array:
        """(4, 4)."""
        return transform(Rotation.from_rotvec(self.rotation).as_matrix(), self.position)


class ArmConfig(Config):
    """An arm, where it stands and how it holds the magnet."""

    source: str  # where the numbers come from, or "assumed"
    joints: Annotated[tuple[JointConfig, ...], Field(min_length=6)]
    flange_length: float  # m from the last joint's frame to the flange, along its z
    base: PlacementConfig  # of the arm's foot in the world
    holder: PlacementConfig  # of the magnet's frame in the flange's

    @property
    def arm(self) -> Arm:
        """The arm's kinematics."""

        def each(name: str) -> Array:
            return np.array([getattr(joint, name) for joint in self.joints], float)

        return Arm(
            a=each("a"),
            d=each("d"),
            alpha=each("alpha"),
            lower=each("lower"),
            upper=each("upper"),
            max_speed=each("max_speed"),
            flange_length=self.flange_length,
            T_world_base=self.base.T,
            T_flange_magnet=self.holder.T,
        )
