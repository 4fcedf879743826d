"""Read radiographs and fluoroscopy runs from DICOM files, with their geometry and grey scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, uid
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError

from mmdtwin.errors import UserError
from mmdtwin.frame import Frame
from mmdtwin.synth.xray.dicom_geometry import read_projection
from mmdtwin.synth.xray.dicom_grey import UNKNOWN, GreyScale, grey_scale, grey_values
from mmdtwin.synth.xray.dicom_write import AREA_DOSE, MILLI, write_xa

__all__ = ["DEFAULTS", "XaSeries", "read_xa", "write_xa"]

READABLE = {
    uid.XRayAngiographicImageStorage: "XA",
    uid.XRayRadiofluoroscopicImageStorage: "RF",
    uid.ComputedRadiographyImageStorage: "CR",
    uid.DigitalXRayImageStorageForPresentation: "DX",
    uid.DigitalXRayImageStorageForProcessing: "DX",
}
# What may stand for a tag that a file lacks, in DICOM's units, and what that would mean. Nothing
# of it is taken unless it is asked for.
DEFAULTS: dict[str, Any] = {
    "DistanceSourceToDetector": 1100.0,
    "DistanceSourceToPatient": 750.0,
    "ImagerPixelSpacing": 0.3,
    "PositionerPrimaryAngle": 0.0,
    "PositionerSecondaryAngle": 0.0,
    "FrameTime": 1000.0 / 15,
    "PixelIntensityRelationship": "LIN",
    "LogDecades": 4.0,
}
MEANING = {
    "DistanceSourceToDetector": "mm, a common C-arm",
    "DistanceSourceToPatient": "mm, its isocentre",
    "ImagerPixelSpacing": "mm, a panel of 0.15 mm binned by 2",
    "PositionerPrimaryAngle": "deg, neither left nor right",
    "PositionerSecondaryAngle": "deg, neither cranial nor caudal",
    "FrameTime": "ms, 15 images/s",
    "PixelIntensityRelationship": "grey proportional to intensity",
    "LogDecades": "of intensity over the range of grey, as in computed radiography",
}


@dataclass(frozen=True, eq=False)
class XaSeries:
    """A run, or a single radiograph.

    Parameters
    ----------
    path : Path
        Where it was read from.
    frames : list of Frame
        In order. Images hold the stored grey, inverted where that falls with intensity, so that
        more is always more X-rays. `t_exposure` counts from the first, s; the dose is an equal
        share of the file's, and 0 where that tells none.
    frame_rate : float or None
        Mean rate, Hz; None for a single image.
    modality : str
        XA, RF, CR or DX.
    grey : GreyScale
        What the grey values mean; `intensity` uses it.
    kvp : float or None
        Peak voltage of the tube, kV.
    reference_kerma, dap : float
        Totals of the file, Gy and Gy m2; 0 where it tells none.
    assumed : dict
        The defaults that stand for what the file lacks.
    """

    path: Path
    frames: list[Frame]
    frame_rate: float | None
    modality: str
    grey: GreyScale
    kvp: float | None = None
    reference_kerma: float = 0.0
    dap: float = 0.0
    assumed: dict[str, Any] = field(default_factory=dict)

    def intensity(self, image: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return what is proportional to the intensity of the X-rays, (h, w), of an image (h, w).

        Raises
        ------
        UserError
            If the file does not say how its grey values are to be made linear.
        """
        if self.grey.table is None:
            raise UserError(f"{self.path}: {self.grey.why}")
        return self.grey.table[image]


def read_xa(path: str | Path, defaults: Mapping[str, Any] | None = None) -> XaSeries:
    """Read an XA, RF, CR or DX file, of one frame or many.

    Parameters
    ----------
    path : str or Path
        A DICOM file, uncompressed or in a compression that pydicom can decode with what is
        installed.
    defaults : mapping, optional
        What stands for tags that the file lacks: their keywords to values in DICOM's units (mm,
        deg, ms). `DEFAULTS` holds every one that may be given, with a usual value, and may be
        passed whole. "PixelIntensityRelationship" also stands for one that cannot be made linear
        (DISP), and "LogDecades" for the missing look-up table of LOG.

    Raises
    ------
    UserError
        If the file is missing, damaged, of another kind, or lacks a tag of the geometry; the
        message names each, and what a default would mean.
    """
    path, given = Path(path), {k: _default(k, v) for k, v in (defaults or {}).items()}
    with _as_user_error(path):
        dataset = _load(path)
        return _series(path, dataset, given)


def _series(path: Path, dataset: Dataset, given: dict[str, Any]) -> XaSeries:
    assumed = _fill(path, dataset, given)
    stored = _pixels(path, dataset)
    grey = grey_scale(dataset, READABLE[dataset.SOPClassUID], assumed)
    images = grey_values(dataset, stored, grey.inverted)
    times = _times(path, dataset, len(images))
    projection = read_projection(path, dataset, images[0].shape)
    kerma = _positive(dataset, "EntranceDoseInmGy") * MILLI
    dap = _positive(dataset, "ImageAndFluoroscopyAreaDoseProduct") * AREA_DOSE
    source = "lateral" if "BIPLANE B" in (dataset.get("ImageType") or ()) else "main"
    n = len(images)
    frames = [
        Frame(
            image=image,
            seq=seq,
            t_exposure=t,
            t_received=t,
            projection=projection,
            source=source,
            reference_kerma=kerma / n,
            dap=dap / n,
        )
        for seq, (image, t) in enumerate(zip(images, times, strict=True))
    ]
    return XaSeries(
        path=path,
        frames=frames,
        frame_rate=(n - 1) / times[-1] if n > 1 else None,
        modality=READABLE[dataset.SOPClassUID],
        grey=grey,
        kvp=_positive(dataset, "KVP") or None,
        reference_kerma=kerma,
        dap=dap,
        assumed=assumed,
    )


def _load(path: Path) -> Dataset:
    try:
        dataset = dcmread(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except InvalidDicomError as error:
        raise UserError(f"{path}: not a DICOM file") from error
    kind = dataset.get("SOPClassUID")
    if kind not in READABLE:
        name = kind.name if kind else "of no kind that it names"
        raise UserError(f"{path}: is {name}; allowed are images of XA, RF, CR and DX")
    if "PixelData" not in dataset:
        raise UserError(f"{path}: damaged or truncated (it has no PixelData (7FE0,0010))")
    return dataset


def _fill(path: Path, dataset: Dataset, given: dict[str, Any]) -> dict[str, Any]:
    """Put defaults where the file has nothing; return those taken."""
    missing = [key for key in _needed(dataset) if _empty(dataset, key)]
    lacking = [key for key in missing if key not in given]
    if lacking:
        tags = ", ".join(f"{key} {_tag(key)}" for key in lacking)
        means = ", ".join(f"{key}={DEFAULTS[key]:.4g} ({MEANING[key]})" for key in lacking)
        raise UserError(f"{path}: has no {tags}; to go on with a default, accept {means}")
    for key in missing:
        setattr(dataset, key, given[key])
    taken = {key: given[key] for key in missing}
    # Of the grey scale: `grey_scale` decides whether it needs them.
    return {**taken, **{k: given[k] for k in UNKNOWN if k in given}}


def _needed(dataset: Dataset) -> Iterator[str]:
    """Tags without which neither place nor time is known."""
    yield "DistanceSourceToDetector"
    if _empty(dataset, "EstimatedRadiographicMagnificationFactor"):
        yield "DistanceSourceToPatient"
    yield from ("ImagerPixelSpacing", "PositionerPrimaryAngle", "PositionerSecondaryAngle")
    timed = not all(_empty(dataset, key) for key in ("FrameTime", "FrameTimeVector", "CineRate"))
    if int(dataset.get("NumberOfFrames") or 1) > 1 and not timed:
        yield "FrameTime"


def _default(keyword: str, value: Any) -> Any:
    """Check a default; it may be text, as a command line gives it."""
    if keyword not in DEFAULTS:
        raise UserError(f"defaults: unknown {keyword}; allowed are {', '.join(DEFAULTS)}")
    if keyword == "PixelIntensityRelationship":
        if value not in ("LIN", "LOG"):
            raise UserError(f"defaults: {keyword} is {value}; allowed are LIN and LOG")
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (number <= 0.0 and not keyword.startswith("Positioner")):
        raise UserError(f"defaults: {keyword} is {value}; allowed is a number ({MEANING[keyword]})")
    return [number, number] if keyword == "ImagerPixelSpacing" else number


def _pixels(path: Path, dataset: Dataset) -> NDArray[Any]:
    """Stored values (n, h, w)."""
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise UserError(f"{path}: is in colour; allowed are images of one sample per pixel")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        pixels = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # no decoder, or one that gave up
        if not syntax.is_compressed:
            raise
        raise UserError(
            f"{path}: its pixels ({syntax.name}) are damaged, or nothing that is installed can "
            "decode them; install a decoder for pydicom, such as python-gdcm, or store the file "
            "uncompressed"
        ) from error
    return pixels[None] if pixels.ndim == 2 else pixels


def _times(path: Path, dataset: Dataset, n: int) -> list[float]:
    """Times of exposure from the first on, s."""
    if n == 1:
        return [0.0]
    if not _empty(dataset, "FrameTime"):
        steps = np.full(n - 1, float(dataset.FrameTime))
    elif not _empty(dataset, "FrameTimeVector"):
        steps = np.array([float(step) for step in dataset.FrameTimeVector][1:])
    else:
        steps = np.full(n - 1, 1000.0 / float(dataset.CineRate))
    if len(steps) != n - 1 or not (np.isfinite(steps).all() and (steps > 0.0).all()):
        raise UserError(f"{path}: FrameTime (0018,1063) or its vector is not {n} times that rise")
    return [0.0, *(np.cumsum(steps) * MILLI).tolist()]


def _positive(dataset: Dataset, keyword: str) -> float:
    """A number that is not needed; 0 where there is none, or none that makes sense."""
    value = float(dataset.get(keyword) or 0.0)
    return value if math.isfinite(value) and value > 0.0 else 0.0


def _empty(dataset: Dataset, keyword: str) -> bool:
    return dataset.get(keyword) in (None, "", [])


def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@contextmanager
def _as_user_error(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises, and its warnings, into one line.

    pydicom decodes a value when it is first asked for, and a damaged file can make any of its
    parsers fail, each in its own way.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError as error:
        raise UserError(_line(str(error))) from error
    except Exception as error:
        reason = _line(str(error))[:120] or type(error).__name__
        raise UserError(f"{path}: damaged or truncated ({reason})") from error


def _line(text: str) -> str:
    """Text without the line ends and the like that a damaged file may have put into it."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
