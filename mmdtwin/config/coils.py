"""Configuration of electromagnetic coil systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.geometry import Array
from mmdtwin.safety import Limits
from mmdtwin.saturation import Law, Saturation

Vector = tuple[float, float, float]


class SaturationConfig(Config):
    """How a core levels off; see `mmdtwin.saturation.Saturation`."""

    law: Law
    knee: PositiveFloat  # A at which the core's field would reach its limit were it linear


class BaseCoilConfig(Config):
    """What coils of every shape have. One coil is what one current flows through.

    Lengths in m, in the coils' frame. `axis` is the direction of the field at the winding's centre
    for a positive current; it need not have length 1.
    """

    position: Vector  # centre
    axis: Vector
    turns: Annotated[int, Field(gt=0)]  # of each winding
    core_gain: Annotated[float, Field(ge=1.0)] = 1.0  # field with the core over field without
    saturation: SaturationConfig | None = None
    resistance: PositiveFloat  # ohm at the system's reference temperature
    inductance: PositiveFloat  # H
    heat_capacity: PositiveFloat  # J/K of winding and core
    thermal_resistance: PositiveFloat  # K/W from the winding to ambient
    max_current: PositiveFloat | None = None  # A; by default the system's

    @model_validator(mode="after")
    def _check_common(self) -> BaseCoilConfig:
        if not np.linalg.norm(self.axis) > 0:
            raise ValueError("axis must not be zero")
        side = getattr(self, "side", None)
        if side is not None and not np.linalg.norm(np.cross(self.axis, side)) > 1e-9:
            raise ValueError("side must not be zero or along the axis")
        if self.saturation is not None and self.core_gain == 1.0:
            raise ValueError("saturation: a coil without a core (core_gain 1) does not saturate")
        return self


class CylinderConfig(BaseCoilConfig):
    """A round winding of rectangular cross-section."""

    kind: Literal["cylinder"]
    inner_radius: PositiveFloat
    outer_radius: PositiveFloat
    length: PositiveFloat

    @model_validator(mode="after")
    def _check(self) -> CylinderConfig:
        if self.outer_radius <= self.inner_radius:
            raise ValueError("outer_radius must be larger than inner_radius")
        return self


class RectangleConfig(BaseCoilConfig):
    """A winding around a rectangular former, with sharp corners."""

    kind: Literal["rectangle"]
    side: Vector  # direction of `width`, made perpendicular to the axis
    width: PositiveFloat  # of the former
    height: PositiveFloat  # of the former, across `side`
    thickness: PositiveFloat  # of the winding, outwards from the former
    length: PositiveFloat  # along the axis


class RacetrackConfig(BaseCoilConfig):
    """A winding of two straight runs and two half circles."""

    kind: Literal["racetrack"]
    side: Vector  # direction of the straight runs, made perpendicular to the axis
    straight: PositiveFloat  # length of a straight run
    inner_radius: PositiveFloat  # of the half circles
    outer_radius: PositiveFloat
    length: PositiveFloat  # along the axis

    @model_validator(mode="after")
    def _check(self) -> RacetrackConfig:
        if self.outer_radius <= self.inner_radius:
            raise ValueError("outer_radius must be larger than inner_radius")
        return self


class PairConfig(BaseCoilConfig):
    """Two equal round windings in series on one axis.

    Helmholtz: one mean radius apart, same sense. Maxwell: sqrt(3) radii apart, the one towards
    -axis reversed, so that a positive current makes a positive dB/dx along the axis.
    """

    kind: Literal["helmholtz", "maxwell"]
    radius: PositiveFloat  # mean radius of the windings
    thickness: PositiveFloat  # radial
    length: PositiveFloat  # of each winding, along the axis

    @model_validator(mode="after")
    def _check(self) -> PairConfig:
        if self.thickness >= 2 * self.radius:
            raise ValueError("thickness must be smaller than twice the radius")
        if self.length >= self.spacing:
            raise ValueError(f"length must be smaller than the spacing, {self.spacing:g} m")
        return self

    @property
    def spacing(self) -> float:
        """Distance of the windings' centres, m."""
        return self.radius * (1.0 if self.kind == "helmholtz" else float(np.sqrt(3.0)))


class SaddleConfig(BaseCoilConfig):
    """Two saddles in series on a cylinder, each of two arcs and two straight runs.

    `axis` is the field's direction, across the cylinder; `side` is the cylinder's axis.
    """

    kind: Literal["saddle"]
    side: Vector  # the cylinder's axis, made perpendicular to `axis`
    radius: PositiveFloat  # inner radius of the winding
    thickness: PositiveFloat  # radial
    length: PositiveFloat  # of the straight runs
    angle: Annotated[float, Field(gt=0, lt=np.pi)] = 2 * np.pi / 3  # rad that an arc spans


CoilConfig = Annotated[
    CylinderConfig | RectangleConfig | RacetrackConfig | PairConfig | SaddleConfig,
    Field(discriminator="kind"),
]


class CoilsConfig(Config):
    """A coil system and its limits."""

    source: str  # where the numbers come from, or "assumed"
    coils: Annotated[tuple[CoilConfig, ...], Field(min_length=1)]
    loops_radial: Annotated[int, Field(ge=1)] = 3  # filaments that stand for a winding
    loops_axial: Annotated[int, Field(ge=1)] = 5
    workspace_radius: PositiveFloat  # m, about the origin
    # Largest error of the fitted unit fields in the workspace, over the local field; gradients are
    # held to five times that. The degree of the harmonics follows from it unless given.
    tolerance: Annotated[float, Field(ge=1e-8, le=1e-2)] = 1e-4
    harmonic_degree: Annotated[int, Field(ge=2, le=24)] | None = None
    max_current: PositiveFloat  # A, per coil
    max_voltage: PositiveFloat  # V, of each coil's amplifier
    max_power: PositiveFloat  # W, all coils together
    max_slew: PositiveFloat  # A/s, per coil
    max_temperature: PositiveFloat = 353.15  # K
    reference_temperature: PositiveFloat = 293.15  # K, at which the resistances hold

    @property
    def limits(self) -> Limits:
        """The limits as the safety gate and the allocation need them."""
        n = len(self.coils)
        return Limits(
            max_current=self._each(lambda c: c.max_current or self.max_current),
            max_voltage=np.full(n, self.max_voltage),
            max_power=self.max_power,
            max_slew=np.full(n, self.max_slew),
            resistance=self._each(lambda c: c.resistance),
            inductance=self._each(lambda c: c.inductance),
            max_temperature=self.max_temperature,
        )

    @property
    def saturation(self) -> Saturation:
        """The law of the cores; a core's share of the field is (core_gain - 1) / core_gain."""
        return Saturation(
            knee=self._each(lambda c: c.saturation.knee if c.saturation else np.inf),
            share=self._each(lambda c: 1 - 1 / c.core_gain if c.saturation else 0.0),
            law=tuple(c.saturation.law if c.saturation else "tanh" for c in self.coils),
        )

    @property
    def heat_capacity(self) -> Array:
        """Of each coil, (n,) J/K."""
        return self._each(lambda c: c.heat_capacity)

    @property
    def thermal_resistance(self) -> Array:
        """Of each coil to ambient, (n,) K/W."""
        return self._each(lambda c: c.thermal_resistance)

    def _each(self, value: Callable[[BaseCoilConfig], float]) -> Array:
        return np.array([value(coil) for coil in self.coils], float)
