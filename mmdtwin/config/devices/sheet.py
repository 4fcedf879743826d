"""Configuration of soft sheets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from mmdtwin.config.devices.base import BaseDeviceConfig, Length


class SheetConfig(BaseDeviceConfig):
    """A magnetic soft sheet, SI units; x runs along its length, z is its normal."""

    kind: Literal["sheet"]
    length: Length
    width: Length
    thickness: Length
    youngs_modulus: PositiveFloat  # Pa
    density: PositiveFloat  # kg/m3
    magnetisation: PositiveFloat  # A/m
    profile: Literal["uniform", "harmonic"]  # along the axis, or one wavelength turning in x-z
    damping_ratio: Annotated[float, Field(ge=0.0)] = 0.1  # material damping of the first mode
    links: Annotated[int, Field(ge=4, le=40)] = 10
    added_inertia: Annotated[float, Field(ge=0.0)]  # kg m2 per m: rotary inertia for stable contact
    material: str = "ndfeb-silicone"
