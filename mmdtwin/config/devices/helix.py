"""Configuration of helical swimmers and screws."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.config.devices.base import BaseDeviceConfig, Density, Length

LEAST_REACH = 10.0  # contour of a turn over the filament's radius, for slender-body theory
MOST_REACH = 1500.0  # the same of all turns: 910 segments, whose matrix takes 60 MB
MOST_SLENDERNESS = 10.0  # length over width: the wall meets at most 16 spheres along it


class HeadConfig(Config):
    """A ball at the front end of a helix."""

    diameter: Length
    density: Density  # kg/m3


class ThreadConfig(Config):
    """How a screw holds on to the wall of a lumen that is narrower than itself."""

    lead: Length  # m that it advances in a turn
    expanded_diameter: Length  # of the free device
    stiffness: PositiveFloat  # N/m: sum of the normal forces over the radius it is compressed by
    traction: PositiveFloat  # largest force across the thread over the normal force


class HelixConfig(BaseDeviceConfig):
    """A rigid helix, SI units; x is its axis, its moment is along y."""

    kind: Literal["helix"]
    filament_diameter: Length
    helix_diameter: Length  # of the filament's centreline
    pitch: Length
    turns: Annotated[float, Field(ge=0.5, le=30.0)]
    handedness: Literal["right", "left"] = "right"  # right: it turns about the way that it swims
    density: Density  # kg/m3, of the filament
    moment: NonNegativeFloat  # A m2, across the axis
    head: HeadConfig | None = None
    thread: ThreadConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> HelixConfig:
        if self.filament_diameter >= self.helix_diameter:
            raise ValueError("filament_diameter: must be below helix_diameter")
        if self.filament_diameter >= self.pitch:
            raise ValueError("filament_diameter: must be below the pitch, or turns overlap")
        reach = 2 * self.turn_length / self.filament_diameter
        if reach < LEAST_REACH:
            raise ValueError(
                f"filament_diameter: too thick for slender-body theory; a turn of filament must be "
                f"at least {LEAST_REACH:g} of its radii long (it is {reach:.1f})"
            )
        reach = 2 * self.filament_length / self.filament_diameter
        if reach > MOST_REACH:
            raise ValueError(
                f"turns: too many for so thin a filament; in all it may be at most "
                f"{MOST_REACH:g} of its radii long (it is {reach:.0f})"
            )
        if self.length > MOST_SLENDERNESS * self.width:
            raise ValueError(
                f"turns: the helix may be at most {MOST_SLENDERNESS:g} of its widths long "
                f"(it is {self.length / self.width:.1f})"
            )
        if self.head and self.head.diameter > self.width:
            raise ValueError(f"head.diameter: must not be above the helix's {self.width:g} m")
        if self.thread and self.thread.expanded_diameter <= self.width:
            raise ValueError(
                f"thread.expanded_diameter: must be above the compressed {self.width:g} m"
            )
        return self

    @property
    def turn_length(self) -> float:
        """Length of filament in a turn, m."""
        return float(np.hypot(np.pi * self.helix_diameter, self.pitch))

    @property
    def filament_length(self) -> float:
        """Length of filament in all turns, m."""
        return self.turns * self.turn_length

    @property
    def length(self) -> float:
        """Size along x, with the head, m."""
        head = self.head.diameter if self.head else 0.0
        return self.pitch * self.turns + self.filament_diameter + head

    @property
    def sense(self) -> float:
        """1 for a right-handed helix, -1 for a left-handed one."""
        return 1.0 if self.handedness == "right" else -1.0

    @property
    def width(self) -> float:
        """Outer diameter, m."""
        return self.helix_diameter + self.filament_diameter
