"""Configuration of vessel phantoms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.base import Config

Vector = tuple[float, float, float]


class BranchConfig(Config):
    """A branch of a procedural phantom: a smooth curve through way points, m."""

    start: str
    end: str
    points: Annotated[tuple[Vector, ...], Field(min_length=2)]
    radius: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]  # linear between way points


class ProceduralConfig(Config):
    """A tree of tubes."""

    kind: Literal["procedural"]
    source: str
    branches: dict[str, BranchConfig]
    voxel: PositiveFloat = 0.2e-3  # m, of the distance field that the wall is taken from
    blend: Annotated[float, Field(ge=0.0)] = 0.4e-3  # m, rounding where branches join


class CtConfig(Config):
    """The arteries of the shipped CT, scaled as a laboratory would print them."""

    kind: Literal["ct"]
    source: str
    scale: Annotated[float, Field(ge=0.2, le=1.0)] = 0.4
    voxel: PositiveFloat = 0.7e-3  # m, before scaling
    smoothing: Annotated[float, Field(ge=0.0)] = 0.7e-3  # m, Gaussian sigma before scaling
    centre: Vector = (
        0.0,
        0.0,
        0.0,
    )  # m, after scaling: shift of the vessel so that the task is at the origin
    rotation: Vector = (0.0, 0.0, 0.0)  # rad, rotation vector applied before the shift


class FlowConfig(Config):
    """Steady flow of the fluid in the lumen."""

    inlet: str  # an end's name
    mean_speed: float = 0.0  # m/s at the inlet; negative flows out
    viscosity: PositiveFloat  # Pa s
    density: PositiveFloat  # kg/m3


class PhantomConfig(Config):
    """A vessel, its fluid and its wall."""

    vessel: Annotated[ProceduralConfig | CtConfig, Field(discriminator="kind")]
    flow: FlowConfig
    friction: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2  # Coulomb, device on wet wall, assumed

    @model_validator(mode="after")
    def _check(self) -> PhantomConfig:
        if isinstance(self.vessel, ProceduralConfig):
            nodes = {n for b in self.vessel.branches.values() for n in (b.start, b.end)}
            if self.flow.inlet not in nodes:
                raise ValueError(f"flow.inlet must be one of {', '.join(sorted(nodes))}")
        return self
