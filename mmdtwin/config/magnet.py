"""Configuration of permanent magnets."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.geometry import Array, unit

Vector = tuple[float, float, float]
PERPENDICULAR = 1e-6  # cosine between spin axis and polarisation that counts as a right angle


class CuboidShape(Config):
    """A block with its sides along the axes of the magnet's frame."""

    kind: Literal["cuboid"]
    size: tuple[PositiveFloat, PositiveFloat, PositiveFloat]  # m, full lengths

    @property
    def volume(self) -> float:
        """m3."""
        return float(np.prod(self.size))

    @property
    def bounding_radius(self) -> float:
        """Distance from the centre to a corner, m."""
        return float(np.linalg.norm(self.size)) / 2


class CylinderShape(Config):
    """A cylinder whose axis is z of the magnet's frame."""

    kind: Literal["cylinder"]
    diameter: PositiveFloat  # m
    height: PositiveFloat  # m

    @property
    def volume(self) -> float:
        """m3."""
        return float(np.pi / 4 * self.diameter**2 * self.height)

    @property
    def bounding_radius(self) -> float:
        """Distance from the centre to an edge, m."""
        return float(np.hypot(self.diameter, self.height)) / 2


class SphereShape(Config):
    """A ball."""

    kind: Literal["sphere"]
    diameter: PositiveFloat  # m

    @property
    def volume(self) -> float:
        """m3."""
        return float(np.pi / 6 * self.diameter**3)

    @property
    def bounding_radius(self) -> float:
        """m."""
        return self.diameter / 2


class MagnetConfig(Config):
    """A uniformly polarised magnet, centred in its own frame."""

    source: str  # where the numbers come from, or "assumed"
    shape: Annotated[CuboidShape | CylinderShape | SphereShape, Field(discriminator="kind")]
    remanence: Annotated[float, Field(gt=0, le=2.0)]  # T; no magnet has more than 1.6
    direction: Vector  # of the polarisation in the magnet's frame, any length
    spin_axis: Vector | None = None  # of the spindle, in the magnet's frame, any length
    workspace_radius: Annotated[float, Field(gt=0, le=1.0)]  # m, where devices may be

    @model_validator(mode="after")
    def _check(self) -> MagnetConfig:
        if not np.linalg.norm(self.direction) > 0:
            raise ValueError("direction must not be zero")
        if self.spin_axis is None:
            return self
        if not np.linalg.norm(self.spin_axis) > 0:
            raise ValueError("spin_axis must not be zero; leave it out for a magnet on no spindle")
        if abs(float(unit(self.spin_axis) @ unit(self.direction))) > PERPENDICULAR:
            raise ValueError("spin_axis must be perpendicular to direction")
        return self

    @property
    def polarisation(self) -> Array:
        """(3,) T, in the magnet's frame."""
        return self.remanence * unit(self.direction)
