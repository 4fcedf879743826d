"""Images that users have: PNG, TIFF, JPEG, DICOM and videos, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError

STILLS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
DICOM, VIDEOS = (".dcm", ".dicom", ""), (".avi", ".mp4", ".mkv", ".mov")
RADIOGRAPHS = ("CR", "DX", "MG", "PX")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that was read.

    Parameters
    ----------
    name : str
        Its file; of later frames of a file with `#` and their number.
    image : (h, w) array
        Grey levels, as stored.
    inverted : bool or None
        Whether what attenuates is bright in it; None where the file does not say.
    """

    name: str
    image: NDArray[Any]
    inverted: bool | None


def find_images(place: Path) -> list[Path]:
    """Return the files of images at a place: itself, or those of a folder, in order.

    Raises
    ------
    UserError
        If there are none.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"--images {place}: is not there")
    known = (*STILLS, *DICOM, *VIDEOS)
    found = sorted(p for p in place.iterdir()
                   if p.is_file() and p.suffix.lower() in known and p.name[0] != ".")  # fmt: skip
    if not found and (place / "images").is_dir():
        return find_images(place / "images")  # of `synth dataset`
    if not found:
        raise UserError(f"--images {place}: holds no images ({', '.join(filter(None, known))})")
    return found


def read_pictures(path: Path) -> Iterator[Picture]:
    """Yield the frames of a file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    suffix = path.suffix.lower()
    frames = _still if suffix in STILLS else _video if suffix in VIDEOS else _dicom
    for number, (image, inverted) in enumerate(frames(path)):
        yield Picture(path.name if number == 0 else f"{path.name}#{number}", image, inverted)


def turned_over(image: NDArray) -> NDArray:
    """Return an image (h, w) with dark and bright exchanged."""
    return np.asarray(image.max() - image + image.min())


def _still(path: Path) -> Iterator[tuple[NDArray, bool | None]]:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise UserError(f"{path}: cannot be read as an image")
    yield _grey(np.asarray(found), path), None


def _video(path: Path) -> Iterator[tuple[NDArray, bool | None]]:
    import av

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="gray"), None
    except (OSError, av.FFmpegError, IndexError) as error:
        raise UserError(f"{path}: cannot be read as a video ({error})") from error


def _dicom(path: Path) -> Iterator[tuple[NDArray, bool | None]]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        dataset = dcmread(path)
        pixels = np.asarray(dataset.pixel_array)
    except (OSError, InvalidDicomError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as DICOM ({error})") from error
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    # Radiographs show bone white, fluoroscopy shows it dark; in MONOCHROME1 white is the least.
    white = str(dataset.get("Modality", "XA")) in RADIOGRAPHS
    for image in pixels if pixels.ndim == 3 and kind.startswith("MONO") else pixels[None]:
        yield _grey(image, path), white == (kind != "MONOCHROME1")


def _grey(image: NDArray, path: Path) -> NDArray:
    if image.ndim == 2:
        return image
    if image.ndim == 3 and image.shape[2] in (3, 4):
        return np.asarray(cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY))
    raise UserError(f"{path}: image of shape {image.shape}: expected grey or RGB")
