"""Configuration of soft sheets."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from mmdtwin.config.devices.base import Length
from mmdtwin.config.devices.soft import SoftConfig

LEAST_THICKNESS = 50e-6  # m; thinner, folds slip through the wall between contact spheres
LEAST_FLATNESS = 3.0  # width over thickness; below, the body is a rod, not a sheet


class SheetConfig(SoftConfig):
    """A magnetic soft sheet; x runs along its length, y across its width, z is its normal."""

    kind: Literal["sheet"]
    width: Length
    thickness: Length
    links: Annotated[int, Field(ge=4, le=80)] = 10

    @field_validator("width")
    @classmethod
    def _check_width(cls, width: float, info: ValidationInfo) -> float:
        length = info.data.get("length", width)
        if width > length:
            raise ValueError(f"allowed is up to the length, {length:g} m")
        return width

    @field_validator("thickness")
    @classmethod
    def _check_thickness(cls, thickness: float, info: ValidationInfo) -> float:
        if thickness < LEAST_THICKNESS:
            raise ValueError(
                f"allowed is at least {LEAST_THICKNESS:g} m: contact with walls does not hold below"
            )
        most = info.data.get("width", np.inf) / LEAST_FLATNESS
        if thickness > most:
            raise ValueError(f"allowed is up to 1/{LEAST_FLATNESS:g} of the width, {most:g} m")
        return thickness
