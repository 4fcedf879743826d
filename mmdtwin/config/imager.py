"""Configuration of fluoroscopes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from mmdtwin.config.base import Config


class BackgroundConfig(Config):
    """What lies behind the vessel."""

    kind: Literal["bank", "ct", "flat"]
    # bank: one of the shipped radiograph poses of the CT, drawn per episode.
    # ct: a fresh radiograph of the CT along this imager's geometry. flat: uniform tissue.
    thickness: PositiveFloat = 0.1  # m of soft tissue, for "flat"


class DetectorConfig(Config):
    """Flat-panel detector: geometry, response, noise."""

    rows: Annotated[int, Field(ge=64, le=2048)] = 512
    columns: Annotated[int, Field(ge=64, le=2048)] = 512
    pitch: PositiveFloat = 0.3e-3  # m
    csi_thickness: PositiveFloat = 600e-6  # m
    csi_packing: Annotated[float, Field(gt=0, le=1)] = 0.75
    # m over which light spreads in the scintillator: MTF 1/(1 + (2 pi blur f)^2); 0.15 mm gives
    # .53 at 1 and .23 at 2 line pairs per mm, as CsI panels of this thickness have (assumed)
    blur: NonNegativeFloat = 0.15e-3
    electronic_noise: NonNegativeFloat  # absorbed quanta, rms
    bits: Annotated[int, Field(ge=8, le=16)] = 12
    lag: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # fraction of a frame carried into the next


class ImagerConfig(Config):
    """A C-arm: geometry, beam, detector."""

    source: str
    sid: PositiveFloat = 1.1  # m
    sod: PositiveFloat = 0.75  # m
    primary: float = 0.0  # rad
    secondary: float = 0.0  # rad
    spectrum: str = "80kVp-2.5Al-0.2Cu"  # peak voltage and filters in mm, a shipped spectrum
    detector_dose: PositiveFloat  # Gy per frame, mean over the middle of the image (half its sides)
    scatter_to_primary: NonNegativeFloat  # after the grid, mean over the image
    focal_spot: NonNegativeFloat = 0.6e-3  # m
    frame_rate: Annotated[float, Field(gt=0, le=60)] = 15.0  # Hz
    pulse_width: NonNegativeFloat = 8e-3  # s
    latency: NonNegativeFloat = 0.1  # s from exposure to delivery
    background: BackgroundConfig
    detector: DetectorConfig
