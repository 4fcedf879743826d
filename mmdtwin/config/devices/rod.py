"""Configuration of soft rods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmdtwin.config.devices.base import Length
from mmdtwin.config.devices.soft import SoftConfig

LEAST_SLENDERNESS = 5.0  # length over diameter, for resistive-force drag


class RodConfig(SoftConfig):
    """A magnetic soft rod of circular section; x runs along its length."""

    kind: Literal["rod"]
    radius: Length
    poissons_ratio: Annotated[float, Field(ge=0.0, le=0.5)] = 0.5  # of rubber; sets the twist's GJ
    joints: Annotated[int, Field(ge=3, le=30)] = 10  # ball joints; PyBullet has room for 30

    @model_validator(mode="after")
    def _check_slenderness(self) -> RodConfig:
        most = self.length / (2.0 * LEAST_SLENDERNESS)
        if self.radius > most:
            raise ValueError(
                f"radius: allowed is up to {most:g} m, a diameter of 1/{LEAST_SLENDERNESS:g} of "
                f"the length: resistive-force drag is for slender bodies (got {self.radius:g})"
            )
        return self
