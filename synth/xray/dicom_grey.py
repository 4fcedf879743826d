"""What the grey values of a DICOM radiograph mean: their relationship to X-ray intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mmdtwin.errors import UserError

UNKNOWN = ("PixelIntensityRelationship", "LogDecades")  # defaults of the grey scale
RADIOGRAPHS = ("CR", "DX")


@dataclass(frozen=True, eq=False)
class GreyScale:
    """Grey values of a file.

    Parameters
    ----------
    relationship : str
        LIN, LOG or DISP, as DICOM has it (PixelIntensityRelationship); "" if it is not told.
    bits : int
        Stored bits per pixel.
    inverted : bool
        Whether the stored values fall with intensity, so that they are turned round when read.
    table : (2**bits,) float32 array or None
        Intensity of each grey value, up to a factor; None if it is not known.
    why : str
        Why it is not known.
    """

    relationship: str
    bits: int
    inverted: bool
    table: NDArray[np.float32] | None
    why: str = ""


def grey_scale(dataset: Dataset, modality: str, defaults: dict[str, Any]) -> GreyScale:
    """Find out what the grey values of a file mean.

    Stored values fall with intensity where PixelIntensityRelationshipSign is -1. Without that tag,
    runs (XA, RF) are taken as shown the way the beam comes, bright where it is strong: they fall in
    MONOCHROME1. Radiographs (CR, DX) are shown the other way round, bone white: they fall in
    MONOCHROME2.

    LIN is linear after RescaleSlope and RescaleIntercept, or the Modality LUT. LOG becomes linear
    by the Modality LUT, which DICOM asks for with it (PS3.3, C.8.7.1.1.2), or by
    ``defaults["LogDecades"]``. DISP was processed for display: it cannot be made linear, unless
    ``defaults["PixelIntensityRelationship"]`` says what to take it for.

    Raises
    ------
    UserError
        If a tag or a default is out of its range.
    """
    bits = int(dataset.BitsStored)
    if not 1 <= bits <= 16:
        raise UserError(f"BitsStored (0028,0101): {bits}; allowed are 1 to 16")
    told = str(dataset.get("PixelIntensityRelationship") or "").upper()
    relationship = "".join(c for c in told if c.isprintable())
    if relationship not in ("LIN", "LOG"):
        relationship = str(defaults.get("PixelIntensityRelationship", relationship)).upper()
    inverted = _falls(dataset, modality)
    table, why = _table(dataset, relationship, bits, inverted, defaults)
    return GreyScale(relationship, bits, inverted, table, why)


def grey_values(dataset: Dataset, stored: NDArray[Any], inverted: bool) -> list[NDArray[np.uint16]]:
    """Return images (h, w) of grey that rises with intensity, from stored values (n, h, w)."""
    bits = int(dataset.BitsStored)
    top = 2**bits - 1
    shift = _shift(dataset)
    # Bits above those stored were once used for overlays.
    values = ((stored.astype(np.int32) + shift) & top).astype(np.uint16)
    return list(np.uint16(top) - values if inverted else values)


def _shift(dataset: Dataset) -> int:
    """What is added to stored values so that they begin at 0: they may be signed."""
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    return 2 ** (int(dataset.BitsStored) - 1) if signed else 0


def _falls(dataset: Dataset, modality: str) -> bool:
    sign = dataset.get("PixelIntensityRelationshipSign")
    if sign is not None:
        return int(sign) < 0
    negative = str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    return negative != (modality in RADIOGRAPHS)


def _table(
    dataset: Dataset, relationship: str, bits: int, inverted: bool, defaults: dict[str, Any]
) -> tuple[NDArray[np.float32] | None, str]:
    grey = np.arange(2**bits, dtype=float)
    stored = (grey[::-1] if inverted else grey) - _shift(dataset)
    if relationship == "LIN":
        values = _modality(dataset, stored)
        if values[-1] < values[0]:  # intensity is counted from the end where there is none
            values = values.max() - values
        return np.maximum(values, 0.0).astype(np.float32), ""
    if relationship == "LOG" and "ModalityLUTSequence" in dataset:
        return np.maximum(_modality(dataset, stored), 0.0).astype(np.float32), ""
    if relationship == "LOG" and "LogDecades" in defaults:
        decades = float(defaults["LogDecades"])
        if not 0.0 < decades < 10.0:
            raise UserError(f"LogDecades: {decades:g}; allowed are 0 to 10")
        return (10.0 ** (decades * (grey / grey[-1] - 1.0))).astype(np.float32), ""
    if relationship == "LOG":
        return None, (
            "grey values are LOG, without the ModalityLUTSequence (0028,3000) that makes them "
            "linear; to go on with a default, accept LogDecades=4 (of intensity over the range of "
            "grey, as in computed radiography)"
        )
    what = f"are {relationship[:16]}" if relationship else "have no PixelIntensityRelationship"
    return None, (
        f"grey values {what} (0028,1040): they cannot be made linear; to go on with a default, "
        "accept PixelIntensityRelationship=LIN (grey proportional to intensity)"
    )


def _modality(dataset: Dataset, stored: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply the Modality LUT, or slope and intercept, to stored values."""
    sequence = dataset.get("ModalityLUTSequence")
    if not sequence:
        slope = float(dataset.get("RescaleSlope") or 1.0)
        return slope * stored + float(dataset.get("RescaleIntercept") or 0.0)
    item = sequence[0]
    count, first, _ = (int(v) for v in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):  # OW, else US
        data = np.frombuffer(data, "<u2" if len(data) > (count or 2**16) + 1 else "u1")
    lut = np.asarray(data, float).ravel()
    if len(lut) != (count or 2**16):  # 2^16 entries are written as 0
        raise UserError(f"LUTData (0028,3006): {len(lut)} entries where {count} are announced")
    return lut[np.clip(stored.astype(int) - first, 0, len(lut) - 1)]
