"""Configuration of deformable gels."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.devices.base import BaseDeviceConfig, Density, Length, Magnetisation, Modulus


class GelConfig(BaseDeviceConfig):
    """A bulky soft body, SI units; x runs along its length and magnetisation, z is its thickness.

    Its sizes are full lengths: an ellipsoid's axes, a block's edges.
    """

    kind: Literal["gel"]
    shape: Literal["ellipsoid", "block"]
    length: Length
    width: Length
    thickness: Length
    youngs_modulus: Modulus  # Pa
    # Linear tetrahedra grow too stiff as the material comes to keep its volume.
    poisson_ratio: Annotated[float, Field(ge=0.0, le=0.45)]
    density: Density  # kg/m3
    magnetisation: Magnetisation  # A/m
    damping_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1  # of the lowest mode, in vacuum
    layers: Annotated[int, Field(ge=1, le=4)] = 2  # of elements, from the middle to the surface
    step: PositiveFloat  # s: its own time step; refused above what the stiffest mode can take

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.length >= self.width >= self.thickness:
            raise ValueError("allowed is length >= width >= thickness")
        return self
