"""Configuration of what is drawn at random for synthetic images, each range with its reason."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmdtwin.config.base import Config

Share = Annotated[float, Field(ge=0.0, le=1.0)]
DEVICES = ("sheet", "rod", "droplet", "helix", "stent", "bead")
DISTRACTORS = ("guidewire", "catheter", "clip", "screw", "marker", "ruler")
BACKGROUNDS = ("bank", "diffusion", "ct", "flat", "file")
CURVES = ("linear", "log", "gamma")


class RangeConfig(Config):
    """Values between two limits, evenly, or evenly in the logarithm."""

    low: float
    high: float
    log: bool = False
    why: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low: {self.low:g} is more than high, {self.high:g}")
        if self.log and self.low <= 0.0:
            raise ValueError(f"low: {self.low:g} must be above 0 to be drawn evenly in the log")
        return self


class ChoiceConfig(Config):
    """One of several, by weights that need not add up to 1."""

    weights: dict[str, NonNegativeFloat]
    why: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("weights: at least one must be above 0")
        return self


class CellsConfig(Config):
    """The grid whose cells are filled alike, so that hard images are not rare."""

    contrast: tuple[PositiveFloat, ...]  # edges, Michelson
    size: tuple[PositiveFloat, ...]  # edges, m
    occluded: tuple[Share, ...]  # edges, share of the device's shadow
    # Edges, Gy per frame; views take these in turn. Without, doses are drawn from `dose`.
    dose: tuple[PositiveFloat, ...] | None = None
    why: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, edges in (
            ("contrast", self.contrast), ("size", self.size), ("occluded", self.occluded),
            ("dose", self.dose),
        ):  # fmt: skip
            if edges is None:
                continue
            if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)):
                raise ValueError(f"{name}: needs two or more edges that rise, not {list(edges)}")
        if self.contrast[-1] >= 1.0:
            raise ValueError("contrast: Michelson's is below 1")
        return self


class VesselContrastConfig(Config):
    """Vessels filled with contrast medium, which devices lie behind or before."""

    share: Share  # of backgrounds that show one
    iodine: RangeConfig  # mg/mL
    diameter: RangeConfig  # m
    why: str


class CollimatorRangeConfig(Config):
    """Blades that cut the image's sides off."""

    share: Share  # of backgrounds with blades in the image
    opening: RangeConfig  # of the image's side
    why: str


class LagRangeConfig(Config):
    """A part of the signal that comes out late: what sequences drag along."""

    share: RangeConfig  # of the signal
    time: RangeConfig  # s, within which it falls to 1/e
    why: str


class FilesConfig(Config):
    """Own DICOM images (XA, RF, CR, DX) as backgrounds."""

    folder: str
    thinnest: NonNegativeFloat = 0.0  # m of tissue where they are brightest
    defaults: dict[str, float | str] = Field(default_factory=dict)  # for tags that they lack


class MotionConfig(Config):
    """How devices and anatomy of sequences move."""

    speed: RangeConfig  # m/s, of devices
    patient: ChoiceConfig  # names of patients
    why: str


class RandomisationConfig(Config):
    """What varies from image to image."""

    source: str
    split: str | None = None  # that all images are of; by default some views are for validation
    imager: str = "carm-fluoro"  # what is not drawn comes from this preset
    size: Annotated[int, Field(ge=64, le=2048)] = 512  # px, sides of images
    # Images that share background, beam and instruments; the rest is drawn anew in each.
    images_per_background: Annotated[int, Field(ge=1, le=64)] = 4
    cells: CellsConfig
    devices: ChoiceConfig  # number in an image
    device: ChoiceConfig  # kinds
    origin: ChoiceConfig  # where a device's shape comes from
    cutouts: str | None = None  # folder of images and masks of own devices, for "cut-out"
    background: ChoiceConfig
    # Of "diffusion": a folder, or the name of one that ships (background-bank, benchmark-bank).
    bank: str | None = None
    files: FilesConfig | None = None  # for "file"
    thickness: RangeConfig  # m of tissue, of flat backgrounds
    spectrum: ChoiceConfig
    dose: RangeConfig  # Gy per frame at the detector
    pitch: RangeConfig  # m between the detector's pixels
    focal_spot: RangeConfig  # m
    blur: RangeConfig  # m in the scintillator
    electronic_noise: RangeConfig  # absorbed quanta, rms
    gain_error: RangeConfig
    dead_pixels: RangeConfig
    lag: LagRangeConfig
    curve: ChoiceConfig  # of the display
    gamma: RangeConfig  # of the display, for "gamma"
    edge_enhancement: RangeConfig
    instruments: ChoiceConfig  # number in a background
    instrument: ChoiceConfig  # kinds
    vessel_contrast: VesselContrastConfig
    collimator: CollimatorRangeConfig
    motion: MotionConfig

    @model_validator(mode="after")
    def _check(self) -> Self:
        _known("device", self.device, DEVICES)
        _known("origin", self.origin, ("algorithmic", "simulated", "cut-out"))
        _known("background", self.background, BACKGROUNDS)
        _known("curve", self.curve, CURVES)
        _known("instrument", self.instrument, DISTRACTORS)
        if self.origin.weights.get("cut-out") and self.cutouts is None:
            raise ValueError("cutouts: name the folder that origin 'cut-out' draws from")
        if self.background.weights.get("file") and self.files is None:
            raise ValueError("files: name the folder that background 'file' draws from")
        for name in ("devices", "instruments"):
            for text in getattr(self, name).weights:
                if not text.isdecimal() or int(text) > 8:
                    raise ValueError(f"{name}: '{text}' is no number of 0 to 8")
        return self


Origin = Literal["algorithmic", "simulated", "cut-out"]


def _known(name: str, choice: ChoiceConfig, allowed: tuple[str, ...]) -> None:
    unknown = [key for key in choice.weights if key not in allowed]
    if unknown:
        raise ValueError(f"{name}: unknown '{unknown[0]}'; allowed: {', '.join(allowed)}")
