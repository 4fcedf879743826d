"""What lies behind the vessel: maps of the thickness of materials along the rays."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, Image

# m, geometry of the shipped radiographs: 0.41 mm between rays at the isocentre, finer than the
# volume's voxels of 0.7 mm.
BANK_SID, BANK_SOD, BANK_PITCH = 1.1, 0.75, 0.6e-3
BANK_SIZE = 256  # rays along each side
FEW_CUT = 0.01  # share of rays cut off by the sides of the CT that is worth no warning
CT_GRID = 10e-3  # m; isocentres in the CT are drawn on this grid, so that cached maps are reused
# m, corners of the box in the CT from which isocentres are drawn: inside the thorax, far enough
# from the CT's ends for the default field of view and 15 deg of cranial or caudal tilt.
CT_BOX = ((-0.08, -0.25, 0.0), (0.08, -0.18, 0.0))


@dataclass(frozen=True)
class Pose:
    """Gantry angles in rad and the CT point (3,) in m at the isocentre."""

    primary: float = 0.0
    secondary: float = 0.0
    isocentre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = "flat"


@dataclass(frozen=True, eq=False)
class Background:
    """Thickness maps and the pose they were taken at.

    Parameters
    ----------
    maps : dict of str to (h, w) float32 array
        Thickness in m of each material (names of `attenuation`) along the ray of each pixel.
    pose : Pose
        Gantry angles that the imager takes, and where in the CT it looks.
    note : str
        What is wrong with it; empty if nothing is.
    """

    maps: dict[str, Image]
    pose: Pose
    note: str = ""


class TruncatedBackground(UserWarning):
    """The body goes on beyond the sides of the CT, where rays cross them."""


def make_background(config: ImagerConfig, rng: np.random.Generator) -> Background:
    """Make the background that a configuration asks for.

    Parameters
    ----------
    config : ImagerConfig
        "bank" draws one of the shipped radiographs and takes its gantry angles, "ct" draws an
        isocentre in the CT and keeps the configured angles, "flat" is uniform tissue, "file"
        is a DICOM image, "diffusion" draws one of a bank of generated ones.
    rng : Generator
        Drawn from once.

    Raises
    ------
    UserError
        If the geometry does not fit the bank or the CT, or the file cannot be used.
    """
    kind = config.background.kind
    if kind == "flat":
        return flat_background(config)
    if kind == "file":
        from mmdtwin.synth.xray.background_file import file_background  # pydicom only if needed

        return file_background(config)
    if kind == "diffusion":
        from mmdtwin.synth.xray.background_generated import generated_background

        return generated_background(config, rng)
    if kind == "bank":
        return bank_background(config, int(rng.integers(len(bank_poses()))))
    corners = np.array(CT_BOX)
    cell = rng.integers(np.rint((corners[1] - corners[0]) / CT_GRID).astype(int) + 1)
    return ct_background(config, corners[0] + cell * CT_GRID)


def flat_background(config: ImagerConfig) -> Background:
    """Uniform soft tissue of the configured thickness."""
    shape = Projection.from_config(config).shape
    tissue = np.full(shape, config.background.thickness, np.float32)
    return Background({"soft-tissue": tissue}, Pose(config.primary, config.secondary))


def ct_background(config: ImagerConfig, isocentre: Array) -> Background:
    """Radiograph maps of the CT with its point `isocentre` (3,) m at the isocentre.

    They are kept in the user's cache, by a hash of the geometry and of the volume.

    Raises
    ------
    UserError
        If rays leave the CT through its upper or lower end.
    """
    from mmdtwin.synth.xray.drr import material_maps, truncation  # the CT only where needed
    from mmdtwin.synth.xray.volume import load_volume, volume_key

    x, y, z = (round(float(c), 6) for c in isocentre)
    where = (x, y, z)
    what = config.background
    seed = what.texture_seed if what.texture else None
    projection = Projection.from_config(config).ideal
    geometry = (projection.matrix.round(9).tolist(), projection.shape, where)
    key = digest([3, *geometry, volume_key(what.resolution, seed)])
    path = cache_dir("xray") / f"maps-{key}.npz"
    stored = _read_maps(path)
    if stored is None:
        volume = load_volume(what.resolution, seed)
        stored = dict(material_maps(volume, projection, np.array(where)))
        stored["cut"] = np.array(truncation(volume, projection, np.array(where)), np.float32)
        with replacing(path) as part:
            np.savez(
                part,
                allow_pickle=False,
                **{name.replace("-", "_"): m for name, m in stored.items()},
            )
    cut = float(stored.pop("cut"))
    pose = Pose(config.primary, config.secondary, where, f"ct-{what.resolution}")
    return Background(stored, pose, _truncation_note(cut))


def _truncation_note(share: float) -> str:
    """Say what share of the rays the CT does not hold; warn if that is not a few at the rim."""
    if share == 0.0:
        return ""
    note = (
        f"truncated: {share:.0%} of the rays cross the sides of the CT inside the body, "
        "so that tissue is missing"
    )
    if share > FEW_CUT:
        warnings.warn(f"background 'ct': {note}", TruncatedBackground, stacklevel=3)
    return note


def _read_maps(path: Path) -> dict[str, Image] | None:
    if not path.is_file():
        return None
    with np.load(path) as data:
        return {name.replace("_", "-"): data[name] for name in data.files}


def bank_poses() -> list[Pose]:
    """Return the poses of the shipped radiographs."""
    with np.load(_bank_file()) as data:
        angles, isocentres = data["angles"].tolist(), data["isocentres"].tolist()
        names = data["names"].tolist()
    return [
        Pose(angle[0], angle[1], (where[0], where[1], where[2]), name)
        for angle, where, name in zip(angles, isocentres, names, strict=True)
    ]


def bank_background(config: ImagerConfig, index: int) -> Background:
    """Maps of one of the shipped radiographs, on the pixels of a detector.

    Raises
    ------
    UserError
        If the imager has its own gantry angles, another source distance, or sees more than the
        bank holds.
    """
    pose = bank_poses()[index]
    projection = Projection.from_config(config, pose.primary, pose.secondary)
    _check_bank_fits(config, projection)
    with np.load(_bank_file()) as data:
        stored, quantum = decode(data["high"][index], data["low"][index]), float(data["quantum"])
    scale = projection.pitch / projection.sid / (BANK_PITCH / BANK_SID)
    thickness = stored.astype(np.float32) * np.float32(quantum)
    soft, bone = (np.maximum(resampled(m, scale, projection.shape), 0.0) for m in thickness)
    return Background({"soft-tissue": soft, "bone": bone}, pose)


def resampled(
    image: Image, scale: float, shape: tuple[int, int], interpolation: int = cv2.INTER_CUBIC
) -> Image:
    """Return an image on other pixels about the same middle.

    Parameters
    ----------
    image : (h, w) float32 array
        What lies beyond its rim is as the rim.
    scale : float
        Pixels of the image along one of the result.
    shape : (int, int)
        Of the result.
    interpolation : int
        Of OpenCV.
    """
    height, width = shape
    v0, u0 = (
        (old - 1) / 2 - scale * (new - 1) / 2 for old, new in zip(image.shape, shape, strict=True)
    )
    to_image = np.array([[scale, 0.0, u0], [0.0, scale, v0]])
    flags = interpolation | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(
        image, to_image, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found, np.float32)


def encode(maps: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Split (..., h, w) maps into high and low bytes of their second differences (they pack)."""
    steps = maps.astype(np.uint16)
    for axis in (-1, -2):
        steps = np.diff(steps, axis=axis, prepend=np.zeros_like(steps.take([0], axis)))
    # Small negative steps would fill the high byte with 255 and 0 in turn: fold the sign.
    folded = ((steps.astype(np.int16) << 1) ^ (steps.astype(np.int16) >> 15)).astype(np.uint16)
    return (folded >> 8).astype(np.uint8), (folded & 255).astype(np.uint8)


def decode(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Undo `encode`."""
    folded = high.astype(np.uint16) << 8 | low
    steps: NDArray[np.uint16] = ((folded >> 1) ^ (0 - (folded & 1))).astype(np.uint16)
    for axis in (-2, -1):
        steps = np.cumsum(steps, axis=axis, dtype=np.uint16)
    return steps


def _check_bank_fits(config: ImagerConfig, projection: Projection) -> None:
    if config.primary or config.secondary:
        raise UserError(
            "imager: background.kind 'bank' brings its own gantry angles; leave primary and "
            "secondary at 0 or set background.kind to 'ct'"
        )
    if any(config.table):
        raise UserError(
            "imager: background.kind 'bank' does not move with the table; leave table at 0 or set "
            "background.kind to 'ct'"
        )
    if abs(config.sod - BANK_SOD) > 1e-3:
        raise UserError(
            f"imager: sod {config.sod} m: the bank was made at {BANK_SOD} m; use that "
            "or set background.kind to 'ct'"
        )
    span = max(projection.shape) * projection.pitch / projection.sid
    limit = BANK_SIZE * BANK_PITCH / BANK_SID
    if span > limit * 1.001:
        raise UserError(
            f"imager: the detector spans {span:.4f} of its distance, the bank {limit:.4f}; use a "
            "smaller detector or set background.kind to 'ct'"
        )


def _bank_file() -> Path:
    return Path(str(resources.files("mmdtwin.synth") / "data" / "radiographs.npz"))
