"""Configuration of soft sheets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmdtwin.config.devices.base import Length
from mmdtwin.config.devices.soft import SoftConfig

THINNEST_WIDTH = 3.0  # thicknesses; below, the body is a rod, not a sheet


class SheetConfig(SoftConfig):
    """A magnetic soft sheet; x runs along its length, y across its width, z is its normal."""

    kind: Literal["sheet"]
    width: Length
    thickness: Length
    links: Annotated[int, Field(ge=4, le=80)] = 10

    @model_validator(mode="after")
    def _check_shape(self) -> SheetConfig:
        if not THINNEST_WIDTH * self.thickness <= self.width <= self.length:
            raise ValueError(
                f"width: allowed is {THINNEST_WIDTH:g} thicknesses to the length, "
                f"{THINNEST_WIDTH * self.thickness:g} to {self.length:g} m (got {self.width:g})"
            )
        return self
