"""Configuration of soft rods."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from mmdtwin.config.devices.base import Length
from mmdtwin.config.devices.soft import SoftConfig

LEAST_SLENDERNESS = 5.0  # length over diameter, for resistive-force drag


class RodConfig(SoftConfig):
    """A magnetic soft rod of circular section; x runs along its length."""

    kind: Literal["rod"]
    radius: Length
    poisson_ratio: Annotated[float, Field(ge=0.0, le=0.5)] = 0.5  # of rubber; sets the twist's GJ
    joints: Annotated[int, Field(ge=3, le=30)] = 10  # ball joints; PyBullet has room for 30

    @field_validator("radius")
    @classmethod
    def _check_slenderness(cls, radius: float, info: ValidationInfo) -> float:
        most = info.data.get("length", np.inf) / (2.0 * LEAST_SLENDERNESS)
        if radius > most:
            raise ValueError(
                f"allowed is up to {most:g} m, a diameter of 1/{LEAST_SLENDERNESS:g} of the "
                f"length: resistive-force drag is for slender bodies"
            )
        return radius
