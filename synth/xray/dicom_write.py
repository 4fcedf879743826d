"""Write a fluoroscopy run as a DICOM XA multi-frame file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

from mmdtwin.config.imager import CollimatorConfig, DetectorConfig, DisplayConfig, ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.files import digest, replacing, writable_file
from mmdtwin.frame import Frame, Projection
from mmdtwin.synth.xray.dicom_geometry import decimal, write_geometry
from mmdtwin.synth.xray.display import Display
from mmdtwin.synth.xray.exposure import field_area
from mmdtwin.synth.xray.spectrum import REFERENCE_DISTANCE, load_spectrum, parse_spectrum

MILLI = 1e-3  # mm -> m, ms -> s, mGy -> Gy, mA -> A
MICRO = 1e-6  # us -> s, uA -> A, uAs -> A s
AREA_DOSE = 1e-5  # dGy cm2 -> Gy m2
DATE, TIME = "19700101", "000000"  # a twin has no calendar; fixed, so that files are reproducible
SYNTHETIC = "SYNTHETIC"
FULL_SCALE = 2**16 - 1  # of the table that makes grey linear
SHOWN = (1.0, 99.0)  # percentiles of grey between which a viewer is told to show
JITTER = 1e-6  # s; frame intervals that differ by less are one
FILTERS = {"Al": "ALUMINUM", "Cu": "COPPER"}
POLYGON = np.arange(8) * np.pi / 4 + np.pi / 8  # rad, vertices of an octagon with level sides


def write_xa(
    path: str | Path,
    frames: Sequence[Frame],
    config: ImagerConfig,
    study: str = "",
    biplane: bool = False,
) -> None:
    """Write frames of one source as an X-Ray Angiographic Image (explicit VR little endian).

    The file says what the frames and the imager know: geometry as calibrated, times, tube voltage,
    current and pulse, dose, collimator, field of view, and how grey relates to intensity. Patient
    and study are marked as synthetic, and the date is fixed: the same frames give the same file.
    Dose is written as the run's total: `read_xa` shares it out evenly. The distortion of an image
    intensifier is not written, for it has no tag.

    Parameters
    ----------
    path : str or Path
        File to write; it is there whole, or not at all.
    frames : sequence of Frame
        In order of time, of one source and one geometry. Held images are no exposures.
    config : ImagerConfig
        Of the imager that made them.
    study : str
        Files that are given the same text belong to the same study; by default each is its own.
    biplane : bool
        Whether the frames are of one plane of a biplane: B is the source "lateral", which is
        always one, and A the other.

    Raises
    ------
    UserError
        If the frames do not belong together, or the file cannot be written.
    """
    path = writable_file(Path(path), "write_xa")
    stack = _checked(frames, config)
    dataset = Dataset()
    _write_identity(dataset, _content(frames, stack, config), study)
    _write_plane(dataset, frames[0].source, biplane)
    _write_pixels(dataset, stack, config)
    _write_times(dataset, frames, config)
    write_geometry(dataset, frames[0].projection)
    _write_beam(dataset, frames, config)
    if config.collimator is not None:
        _write_collimator(dataset, config.collimator, frames[0].projection)
    with replacing(path) as part:
        dataset.save_as(part, enforce_file_format=True)


def _checked(frames: Sequence[Frame], config: ImagerConfig) -> np.ndarray[Any, Any]:
    """Pixels (n, h, w) of frames that belong together."""
    if not frames:
        raise UserError("write_xa: no frames; give at least one")
    first = frames[0]
    for frame in frames:
        if not frame.live:
            raise UserError(f"write_xa: frame {frame.seq} is a held image, not an exposure")
        same = frame.source == first.source and np.array_equal(
            frame.projection.matrix, first.projection.matrix
        )
        if not same or frame.image.shape != first.projection.shape:
            raise UserError(
                f"write_xa: frame {frame.seq} is of another source, geometry or size than "
                f"frame {first.seq}; write a file for each"
            )
    times = np.array([frame.t_exposure for frame in frames])
    if not (np.isfinite(times).all() and (np.diff(times) > 0.0).all()):
        raise UserError("write_xa: the frames' t_exposure do not rise")
    stack = np.stack([frame.image for frame in frames])
    if stack.dtype != np.uint16 or int(stack.max()) >= 2**config.detector.bits:
        raise UserError(
            f"write_xa: images of {stack.dtype} up to {stack.max()}; allowed are uint16 below "
            f"2^{config.detector.bits}, as imager.detector.bits says"
        )
    return stack


def _content(frames: Sequence[Frame], stack: np.ndarray[Any, Any], config: ImagerConfig) -> str:
    """Hash of what tells one file from another."""
    facts = [config.model_dump(mode="json"), frames[0].source, [f.t_exposure for f in frames]]
    return digest([*facts, hashlib.sha256(stack.tobytes()).hexdigest()])


def _write_identity(dataset: Dataset, content: str, study: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.XRayAngiographicImageStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = _uid("image", content)
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.StudyInstanceUID = _uid("study", study or content)
    dataset.SeriesInstanceUID = _uid("series", content)
    dataset.Modality = "XA"
    dataset.PatientName, dataset.PatientID = "SYNTHETIC^MMDTWIN", SYNTHETIC
    dataset.PatientBirthDate, dataset.PatientSex = "", ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic: there is no patient"
    dataset.QualityControlSubject = "YES"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = TIME
    dataset.StudyID, dataset.AccessionNumber = SYNTHETIC, ""
    dataset.StudyDescription = "Synthetic X-ray images of a digital twin"
    dataset.ReferringPhysicianName = ""
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.Manufacturer, dataset.ManufacturerModelName = "mmdtwin", "digital twin (synthetic)"
    dataset.ImageComments = "Synthetic: no patient was exposed"
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"


def _write_plane(dataset: Dataset, source: str, biplane: bool) -> None:
    second = source == "lateral"
    plane = f"BIPLANE {'B' if second else 'A'}" if biplane or second else "SINGLE PLANE"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", plane]
    dataset.SeriesNumber = 2 if second else 1
    dataset.SeriesDescription = f"Synthetic fluoroscopy, source {source}"


def _write_pixels(dataset: Dataset, stack: np.ndarray[Any, Any], config: ImagerConfig) -> None:
    bits = config.detector.bits
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stack.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    relationship = dataset.PixelIntensityRelationship = relationship_of(config.display)
    if relationship == "LOG":
        table = linear_table(config)
        item = Dataset()
        item.LUTDescriptor = [len(table) % 2**16, 0, 16]
        item.LUTExplanation = "To what is proportional to X-ray intensity"
        item.ModalityLUTType = "US"
        item.LUTData = table.astype("<u2").tobytes()
        dataset.ModalityLUTSequence = [item]
    low, high = (float(grey) for grey in np.percentile(stack, SHOWN))
    dataset.WindowCenter = decimal((low + high) / 2)
    dataset.WindowWidth = decimal(max(high - low, 1.0))
    dataset.PixelData = stack.astype("<u2").tobytes()


def relationship_of(display: DisplayConfig) -> str:
    """Return how grey relates to intensity: LIN, LOG, or DISP if it is processed otherwise."""
    processed = display.edge_enhancement > 0.0 or display.recursion > 0.0
    known = {"linear": "LIN", "log": "LOG"}
    return "DISP" if processed else known.get(display.curve, "DISP")


def linear_table(config: ImagerConfig) -> np.ndarray[Any, Any]:
    """Return the intensity of each grey that is shown, (2**bits,) uint16 over the whole range.

    Where the curve shows several raw greys as one, it is their mean.
    """
    full = 2**config.detector.bits - 1
    shown = Display(config.display, full).curve[: full + 1]
    greys, counts = np.unique(shown, return_counts=True)
    means = np.bincount(shown, weights=np.arange(full + 1))[greys] / counts
    raw = np.interp(np.arange(full + 1), greys, means)
    return np.rint(raw * (FULL_SCALE / full)).astype(np.uint16)


def _write_times(dataset: Dataset, frames: Sequence[Frame], config: ImagerConfig) -> None:
    steps = np.diff([frame.t_exposure for frame in frames])
    if len(steps) and float(np.ptp(steps)) > JITTER:
        dataset.FrameTimeVector = [decimal(s / MILLI) for s in (0.0, *steps)]
        dataset.FrameIncrementPointer = 0x00181065
    else:
        step = float(steps.mean()) if len(steps) else 1.0 / config.frame_rate
        dataset.FrameTime = decimal(step / MILLI)
        dataset.FrameIncrementPointer = 0x00181063
    dataset.RecommendedDisplayFrameRate = max(1, round(config.frame_rate))


def _write_beam(dataset: Dataset, frames: Sequence[Frame], config: ImagerConfig) -> None:
    peak, filters = parse_spectrum(config.spectrum)
    dap = sum(frame.dap for frame in frames)
    dataset.KVP = decimal(peak)
    if filters:
        dataset.FilterMaterial = [FILTERS.get(name, _code(name)) for name, _ in filters]
        dataset.FilterThicknessMinimum = [decimal(thickness / MILLI) for _, thickness in filters]
        dataset.FilterThicknessMaximum = dataset.FilterThicknessMinimum
    dataset.RadiationSetting, dataset.RadiationMode = "SC", "PULSED"
    dataset.AveragePulseWidth = decimal(config.pulse_width / MILLI)
    # Asked for, but empty where the frames do not tell their dose.
    dataset.XRayTubeCurrent = dataset.ExposureTime = dataset.Exposure = None
    dataset.FocalSpots = [decimal(config.focal_spot / MILLI)]
    dataset.Grid = "NONE" if config.grid is None else "IN"
    _write_field(dataset, config.detector, frames[0].projection)
    if dap > 0.0:
        _write_dose(dataset, frames, config, dap)


def _write_dose(
    dataset: Dataset, frames: Sequence[Frame], config: ImagerConfig, dap: float
) -> None:
    """Write the run's dose and, for each frame, what that tells of the tube's charge."""
    spectrum, projection = load_spectrum(config.spectrum), frames[0].projection
    area_kerma = spectrum.output * (REFERENCE_DISTANCE / projection.sid) ** 2
    charge = dap / len(frames) / (area_kerma * field_area(config, projection))
    dataset.ExposureTime = round(config.pulse_width / MILLI)
    dataset.ExposureTimeInuS = decimal(config.pulse_width / MICRO)
    dataset.Exposure = round(charge / MILLI)
    dataset.ExposureInuAs = round(charge / MICRO)
    current = charge / config.pulse_width if config.pulse_width else 0.0
    dataset.XRayTubeCurrent = round(current / MILLI)
    dataset.XRayTubeCurrentInuA = decimal(current / MICRO)
    dataset.ImageAndFluoroscopyAreaDoseProduct = decimal(dap / AREA_DOSE)
    kerma = sum(frame.reference_kerma for frame in frames)
    dataset.EntranceDoseInmGy = decimal(kerma / MILLI)


def _write_field(dataset: Dataset, detector: DetectorConfig, projection: Projection) -> None:
    height, width = (round(n * projection.pitch / MILLI) for n in projection.shape)
    if detector.intensifier is None:
        dataset.FieldOfViewShape, dataset.FieldOfViewDimensions = "RECTANGLE", [height, width]
    else:
        dataset.FieldOfViewShape, dataset.FieldOfViewDimensions = "ROUND", [min(height, width)]
        dataset.IntensifierSize = decimal(min(height, width))


def _write_collimator(dataset: Dataset, config: CollimatorConfig, projection: Projection) -> None:
    """Write edges in pixels: the first row and column are 1."""
    height, width = projection.shape
    u = (width + 1) / 2 + config.centre[0] / projection.pitch
    v = (height + 1) / 2 + config.centre[1] / projection.pitch
    half_u, half_v = (side / projection.pitch / 2 for side in config.opening)
    if config.shape == "rectangular":
        dataset.CollimatorShape = "RECTANGULAR"
        dataset.CollimatorLeftVerticalEdge = round(u - half_u)
        dataset.CollimatorRightVerticalEdge = round(u + half_u)
        dataset.CollimatorUpperHorizontalEdge = round(v - half_v)
        dataset.CollimatorLowerHorizontalEdge = round(v + half_v)
    elif config.shape == "round":
        dataset.CollimatorShape = "CIRCULAR"
        dataset.CenterOfCircularCollimator = [round(v), round(u)]
        dataset.RadiusOfCircularCollimator = round(half_u)
    else:
        dataset.CollimatorShape = "POLYGONAL"
        radius = half_u / np.cos(np.pi / 8)
        corners = np.stack([v + radius * np.sin(POLYGON), u + radius * np.cos(POLYGON)], axis=1)
        dataset.VerticesOfThePolygonalCollimator = [round(float(x)) for x in corners.ravel()]


def _code(name: str) -> str:
    """A name in the letters that DICOM allows in a code."""
    return re.sub("[^A-Z0-9]", "_", name.upper())[:16]


def _uid(*parts: str) -> uid.UID:
    return uid.generate_uid(entropy_srcs=["mmdtwin", *parts])
