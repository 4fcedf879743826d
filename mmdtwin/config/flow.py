"""Configuration of the fluid in a vessel and its flow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmdtwin.config.base import Config

MAX_HARMONICS = 16


class OutletConfig(Config):
    """What lies beyond an open end: a pressure, behind the resistance of the vessels there."""

    pressure: float = 0.0  # Pa
    resistance: NonNegativeFloat = 0.0  # Pa s/m3


class PulseConfig(Config):
    """Periodic course of what is given at the inlet, relative to its mean; one of three forms."""

    rate: PositiveFloat  # Hz; a patient with a heartbeat brings its own
    # Amplitude and phase (rad) of 1 + sum a_k cos(2 pi k rate t + p_k), k = 1, 2, ...
    harmonics: (
        Annotated[tuple[tuple[float, float], ...], Field(min_length=1, max_length=MAX_HARMONICS)]
        | None
    ) = None
    # Values at even steps over one beat, from the R wave; only their ratios count.
    table: Annotated[tuple[float, ...], Field(min_length=3)] | None = None
    waveform: Literal["sine", "arterial", "triphasic"] | None = None  # see docs/flow.md

    @model_validator(mode="after")
    def _check(self) -> PulseConfig:
        given = [k for k in ("harmonics", "table", "waveform") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of harmonics, table and waveform")
        if self.table is not None and sum(self.table) <= 0.0:
            raise ValueError("table: its mean must be positive; turn the inlet's sign instead")
        return self


class CarreauConfig(Config):
    """Shear-thinning blood: mu = mu_inf + (mu_0 - mu_inf) (1 + (lambda g)^2)^((n - 1) / 2).

    Defaults: human blood, Y. I. Cho and K. R. Kensey, Biorheology 28 (1991) 241.
    """

    zero_viscosity: PositiveFloat = 0.056  # Pa s, mu_0
    infinite_viscosity: PositiveFloat = 0.00345  # Pa s, mu_inf
    time_constant: PositiveFloat = 3.313  # s, lambda
    exponent: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3568  # n

    @model_validator(mode="after")
    def _check(self) -> CarreauConfig:
        if self.zero_viscosity < self.infinite_viscosity:
            raise ValueError("zero_viscosity must not be below infinite_viscosity: blood thins")
        return self


class FlowConfig(Config):
    """The fluid in the lumen and what drives it."""

    inlet: str  # an end's name
    # One of these at the inlet; none of them: fluid at rest. Negative flows out.
    mean_speed: float | None = None  # m/s, mean over the inlet's section
    flow_rate: float | None = None  # m3/s
    pressure: float | None = None  # Pa, against the outlets
    # By end; without it the outlets share the flow by Murray's law.
    outlets: dict[str, OutletConfig] | None = None
    pulse: PulseConfig | None = None
    viscosity: PositiveFloat  # Pa s; with carreau only the Reynolds number and drag go by it
    carreau: CarreauConfig | None = None
    density: PositiveFloat  # kg/m3

    @model_validator(mode="after")
    def _check(self) -> FlowConfig:
        given = [k for k in ("mean_speed", "flow_rate", "pressure") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of mean_speed, flow_rate, pressure (got {given})")
        if self.pulse is not None and self.carreau is not None:
            raise ValueError(
                "pulse and carreau exclude each other: Womersley's profile is Newtonian"
            )
        return self
