"""Configuration of instruments that an X-ray shows beside the device.

They are images only: no device collides with them, and no flow goes round them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.config.branch import Coordinate, Vector
from mmdtwin.config.devices.base import bounded

Width = Annotated[PositiveFloat, bounded(5e-6, 20e-3, "m", (1e-3, "mm"), (1e-6, "um"))]
Reach = Annotated[PositiveFloat, bounded(10e-6, 1.0, "m", (1e-3, "mm"))]
Point = tuple[Coordinate, Coordinate, Coordinate]
PARALLEL = 1e-3  # rad between directions that count as one


class InVesselConfig(Config):
    """What lies in a vessel and moves with it."""

    source: str
    branch: str | None = None  # where its tip or middle is; by default the one at the flow's inlet
    # m from the end of the branch that is nearer to the inlet to its tip or middle; half the branch
    # by default.
    depth: Annotated[NonNegativeFloat, bounded(0.0, 1.0, "m", (1e-3, "mm"))] | None = None


class LongInstrumentConfig(InVesselConfig):
    """What reaches from the flow's inlet to its tip."""

    # Share of the room between the middle of the lumen and the wall by which it lies off the
    # middle, and on which side: rad about the route. Assumed.
    offset: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    angle: float = 0.0


class MarkerBandConfig(Config):
    """A band round a catheter near its tip."""

    material: str = "platinum-iridium"
    length: Reach = 1.0e-3  # m, assumed
    thickness: Width = 50e-6  # m, assumed
    from_tip: NonNegativeFloat = 0.5e-3  # m, assumed


class CatheterConfig(LongInstrumentConfig):
    """A tube filled with what is in the vessel."""

    kind: Literal["catheter"]
    diameter: Width  # m
    inner_diameter: Width  # m
    material: str
    marker: MarkerBandConfig | None = MarkerBandConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.inner_diameter >= self.diameter:
            raise ValueError(f"inner_diameter: must be less than the diameter, {self.diameter:g} m")
        return self


class CoilTipConfig(Config):
    """Touching turns of wire round the thinned core of a guidewire's tip."""

    material: str = "platinum"
    length: Reach = 30e-3  # m, assumed
    wire_diameter: Width = 60e-6  # m, assumed
    core_diameter: Width = 80e-6  # m of the core within, assumed


class GuidewireConfig(LongInstrumentConfig):
    """A solid wire, with a coil at its tip."""

    kind: Literal["guidewire"]
    diameter: Width  # m
    material: str
    tip: CoilTipConfig | None = CoilTipConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tip and 2 * self.tip.wire_diameter + self.tip.core_diameter > self.diameter:
            raise ValueError(
                f"tip: coil and core are wider than the guidewire, {self.diameter:g} m; the core "
                "and twice the coil's wire must fit"
            )
        return self


class StentConfig(InVesselConfig):
    """Wires wound both ways round a cylinder at the wall: a mesh of diamonds."""

    kind: Literal["stent"]
    diameter: Width  # m, outer, fully expanded; a narrower lumen holds it
    length: Reach  # m
    wire_diameter: Width  # m
    wires: Annotated[int, Field(ge=2, le=48)]  # each way
    pitch: Reach  # m along the vessel per turn
    material: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 2 * self.wire_diameter >= self.diameter:
            raise ValueError(f"wire_diameter: must be less than half of {self.diameter:g} m")
        return self


class ClipConfig(Config):
    """A surgical clip in the tissue beside a vessel: a U of wire. It moves with the vessel."""

    kind: Literal["clip"]
    source: str
    position: Point  # m, of its middle in the vessel's frame
    direction: Vector = (1.0, 0.0, 0.0)  # from its bend to its tips
    across: Vector = (0.0, 1.0, 0.0)  # from one leg to the other
    length: Reach  # m
    width: Width  # m between the middles of its legs
    wire_diameter: Width  # m
    material: str = "titanium"

    @model_validator(mode="after")
    def _check(self) -> Self:
        (a, b, c), (d, e, f) = self.direction, self.across
        if math.hypot(b * f - c * e, c * d - a * f, a * e - b * d) < PARALLEL * (
            math.hypot(a, b, c) * math.hypot(d, e, f)
        ) or not (any(self.direction) and any(self.across)):
            raise ValueError("direction, across: must be neither zero nor parallel")
        return self


class EcgLeadConfig(Config):
    """An electrode's snap on the skin and its lead. It stays on the table."""

    kind: Literal["ecg-lead"]
    source: str
    lead: Annotated[tuple[Point, ...], Field(min_length=2)]  # m in the world, from the snap
    snap_diameter: Width  # m
    snap_thickness: Width  # m along z
    snap_material: str = "stainless-steel"
    wire_diameter: Width  # m
    wire_material: str = "copper"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(p == q for p, q in pairwise(self.lead)):
            raise ValueError("lead: a point occurs twice in a row")
        return self


class RulerConfig(Config):
    """A row of beads on the table."""

    kind: Literal["ruler"]
    source: str
    start: Point  # m, first bead, in the world
    direction: Vector = (1.0, 0.0, 0.0)
    spacing: Reach  # m
    count: Annotated[int, Field(ge=1, le=200)]
    diameter: Width  # m
    material: str = "steel"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(self.direction):
            raise ValueError("direction: must not be zero")
        return self


InstrumentConfig = Annotated[
    CatheterConfig | GuidewireConfig | StentConfig | ClipConfig | EcgLeadConfig | RulerConfig,
    Field(discriminator="kind"),
]
