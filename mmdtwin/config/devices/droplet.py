"""Configuration of ferrofluid droplets."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, PositiveFloat

from mmdtwin.config.devices.base import BaseDeviceConfig, Density, Length

LEAST_TENSION, MOST_TENSION = 1e-6, 0.5  # N/m; demixed ferrofluids to liquid metal
LEAST_ANGLE = 2.4  # rad; a droplet that wets more spreads, which this model does not
MOST_SATURATION = 100e3  # A/m; ferrofluids of 20 % magnetite by volume have 90 kA/m


def _tension(value: float) -> float:
    if LEAST_TENSION <= value <= MOST_TENSION:
        return value
    hint = f"; is it in mN/m? then write {value:g}e-3" if 1.0 <= value <= 500.0 else ""
    raise ValueError(f"allowed is {LEAST_TENSION:g} to {MOST_TENSION:g} N/m{hint}")


def _saturation(value: float) -> float:
    if 0.0 < value <= MOST_SATURATION:
        return value
    raise ValueError(f"allowed is up to {MOST_SATURATION:g} A/m, of the fluid as a whole")


def _angle(value: float) -> float:
    if LEAST_ANGLE <= value <= np.pi + 1e-4:
        return min(value, float(np.pi))
    hint = f"; is it in degrees? then write {np.radians(value):.4g}" if 4 < value <= 180 else ""
    raise ValueError(f"allowed is {LEAST_ANGLE:g} to pi rad{hint}")


class DropletConfig(BaseDeviceConfig):
    """A droplet of ferrofluid in another liquid that it does not mix with, SI units."""

    kind: Literal["droplet"]
    radius: Length  # of the ball that it is at rest
    density: Density  # kg/m3
    viscosity: PositiveFloat  # Pa s
    interfacial_tension: Annotated[float, AfterValidator(_tension)]  # N/m, against the fluid
    susceptibility: Annotated[float, Field(gt=0.0, le=100.0)]  # initial, in its internal field
    saturation: Annotated[float, AfterValidator(_saturation)]  # A/m
    # On the wall, measured in the droplet, rad; pi: a film of the fluid stays in between.
    contact_angle: Annotated[float, AfterValidator(_angle)] = float(np.pi)
    particles: Annotated[int, Field(ge=30, le=400)] = 64
    material: str = "ferrofluid"

    @property
    def volume(self) -> float:
        """Volume, m3."""
        return float(4.0 / 3.0 * np.pi * self.radius**3)
