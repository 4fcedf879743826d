"""What a calibration file holds: one model per section."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmdtwin.config.base import Config
from mmdtwin.field import CoilModel
from mmdtwin.saturation import Law, Saturation
from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel, Region, Sources
from mmdtwin.sim.magnetics.harmonic_model import HarmonicModel
from mmdtwin.sim.magnetics.harmonics import n_harmonics

FORMAT: Literal["mmdtwin-calibration"] = "mmdtwin-calibration"
VERSION: Literal[1] = 1
Vector = tuple[float, float, float]
Share = Annotated[float, Field(ge=0, le=1)]


class SaturationRecord(Config):
    """Laws of the cores; a knee of null is a linear coil."""

    knee: tuple[PositiveFloat | None, ...]  # A
    share: tuple[Share, ...]
    law: tuple[Law, ...]

    @classmethod
    def of(cls, saturation: Saturation) -> Self:
        """Record a law."""
        finite = np.isfinite(saturation.knee)
        return cls(
            knee=tuple(
                float(k) if ok else None for k, ok in zip(saturation.knee, finite, strict=True)
            ),
            share=tuple(saturation.share.tolist()),
            law=saturation.law,
        )

    @property
    def saturation(self) -> Saturation:
        """The law."""
        return Saturation.of([k or np.inf for k in self.knee], self.share, self.law)


class HarmonicRecord(Config):
    """Coils as solid harmonics about the origin; see `HarmonicModel`."""

    kind: Literal["harmonics"]
    degree: PositiveInt  # of the potentials
    scale: PositiveFloat  # m
    workspace_radius: PositiveFloat  # m: the region that the samples cover
    saturation: SaturationRecord
    potential: tuple[tuple[float, ...], ...]  # T m/A, a row per coil, in the order of `harmonics`

    @model_validator(mode="after")
    def _check(self) -> Self:
        n = len(self.potential)
        if n == 0 or any(len(row) != n_harmonics(self.degree) for row in self.potential):
            raise ValueError(f"potential: a row of {n_harmonics(self.degree)} numbers per coil")
        laws = self.saturation
        if {len(laws.knee), len(laws.share), len(laws.law)} != {n}:
            raise ValueError(f"saturation: knee, share and law of each of {n} coils")
        return self

    @property
    def model(self) -> CoilModel:
        """The field model."""
        law = self.saturation.saturation
        return HarmonicModel(np.array(self.potential), self.scale, self.workspace_radius, law)


class SourceRecord(Config):
    """An axial multipole; see `multipoles`."""

    position: Vector  # m
    axis: Vector
    growing: tuple[float, ...]  # A_n, T m^(1 - n)/A
    decaying: tuple[float, ...]  # B_n, T m^(n + 2)/A

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.growing) != len(self.decaying):
            raise ValueError("growing and decaying: as many numbers; fill up with 0")
        if abs(np.linalg.norm(self.axis) - 1) > 1e-6:
            raise ValueError("axis: a unit vector")
        return self


class MultipoleRecord(Config):
    """Coils as sums of axial multipoles, and the region where they hold."""

    kind: Literal["multipoles"]
    low: Vector  # m, corners of the box
    high: Vector
    radius: PositiveFloat | None  # m, of the ball about the box's centre; null for the whole box
    coils: Annotated[
        tuple[Annotated[tuple[SourceRecord, ...], Field(min_length=1)], ...], Field(min_length=1)
    ]

    @classmethod
    def of(cls, model: MultipoleModel) -> Self:
        """Record a model."""
        region = model.region
        return cls(
            kind="multipoles",
            low=region.low.tolist(),
            high=region.high.tolist(),
            radius=region.radius if np.isfinite(region.radius) else None,
            coils=tuple(
                tuple(
                    SourceRecord(
                        position=coil.position[k].tolist(),
                        axis=coil.axis[k].tolist(),
                        growing=coil.growing[k].tolist(),
                        decaying=coil.decaying[k].tolist(),
                    )
                    for k in range(len(coil.position))
                )
                for coil in model.coils
            ),
        )

    @property
    def model(self) -> CoilModel:
        """The field model."""
        region = Region(np.array(self.low), np.array(self.high), self.radius or np.inf)
        return MultipoleModel([Sources.joined([_source(s) for s in c]) for c in self.coils], region)


class SensorRecord(Config):
    """The sensor that measured, as fitted: reading = rotation x field + offset."""

    rotation: Vector  # rotation vector that takes the coils' axes to the sensor's, rad
    offset: Vector  # T
    position_offset: Vector | None  # m; null where it cannot be told


class DataRecord(Config):
    """What a calibration was made from."""

    file: str
    sha256: str
    rows: int | None = None
    coils: str | None = None  # the drawing it started from


class CalibrationRecord(Config):
    """A calibration file."""

    format: Literal["mmdtwin-calibration"]
    version: Literal[1]
    id: str
    date: str  # ISO 8601, UTC
    data: DataRecord
    sensor: SensorRecord | None = None
    figures: dict[str, Any] = Field(default_factory=dict)
    model: Annotated[HarmonicRecord | MultipoleRecord, Field(discriminator="kind")]


def _source(source: SourceRecord) -> Sources:
    return Sources(
        *(np.array([x]) for x in (source.position, source.axis, source.growing, source.decaying))
    )
