"""Configuration of rigid beads and capsules."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.config.devices.base import BaseDeviceConfig, Density, Length, Magnetisation

LEAST_SLENDERNESS = 1.05  # length over diameter; nearer to a sphere a capsule is a bead
MOST_SLENDERNESS = 10.0

Roughness = Annotated[float, Field(ge=1e-9, le=50e-6)]


class MagnetisationConfig(Config):
    """What makes a rigid body magnetic: a permanent moment or a susceptibility."""

    magnetisation: Magnetisation | None = None  # A/m, mean over the volume
    susceptibility: PositiveFloat | None = None  # of the body as a whole, in its internal field
    saturation: Magnetisation | None = None  # A/m, mean over the volume, of an induced moment

    @model_validator(mode="after")
    def _check(self) -> MagnetisationConfig:
        if (self.magnetisation is None) == (self.susceptibility is None):
            raise ValueError("give either magnetisation or susceptibility")
        if self.saturation is not None and self.susceptibility is None:
            raise ValueError("saturation: belongs to a susceptibility")
        return self


class BeadConfig(BaseDeviceConfig):
    """A ball, SI units; its moment is along x."""

    kind: Literal["bead"]
    diameter: Length
    density: Density  # kg/m3
    magnet: MagnetisationConfig
    roughness: Roughness = 0.5e-6  # m, assumed: the fluid film at the wall gets no thinner

    @property
    def length(self) -> float:
        """Size along x, m."""
        return self.diameter

    @property
    def volume(self) -> float:
        """Volume, m3."""
        return float(np.pi / 6 * self.diameter**3)


class CapsuleConfig(BaseDeviceConfig):
    """A cylinder with hemispheres at its ends, SI units; x is along it."""

    kind: Literal["capsule"]
    length: Length  # with the hemispheres
    diameter: Length
    density: Density  # kg/m3
    magnet: MagnetisationConfig  # a permanent moment is along x
    roughness: Roughness = 0.5e-6  # m, as of a bead

    @model_validator(mode="after")
    def _check(self) -> CapsuleConfig:
        slenderness = self.length / self.diameter
        if not LEAST_SLENDERNESS <= slenderness <= MOST_SLENDERNESS:
            raise ValueError(
                f"length: allowed is {LEAST_SLENDERNESS:g} to {MOST_SLENDERNESS:g} diameters "
                f"(it is {slenderness:.3g})"
            )
        return self

    @property
    def volume(self) -> float:
        """Volume, m3."""
        return float(np.pi * self.diameter**2 * (self.length / 4 - self.diameter / 12))
