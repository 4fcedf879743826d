"""A user's own devices: images with masks, or maps of thickness, as films.

A folder holds for each device ``KIND-NAME.png`` (grey, linear in intensity, the device darker than
what is around it) with ``KIND-NAME-mask.png``, or ``KIND-NAME.npy``, a thickness (h, w) in m. What
an image shows is turned into attenuation against its own local background: -log(I / I_b), with I_b
filled in under the mask from around it. Only how it is spread matters, since size and contrast are
drawn.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.randomisation import DEVICES
from mmdtwin.errors import UserError
from mmdtwin.sim.shapes import Film
from mmdtwin.synth.compositor.devices import LIQUID, SOLID, Device, about_origin, scaled_to

MASK = "-mask"
AROUND = 6  # px about a mask from which its background is filled in
THICKNESS = 0.1  # of the longest extent, that a cut-out has where it is darkest: assumed
FAINTEST = 0.02  # of the darkest; less is noise


def draw_cutout(rng: np.random.Generator, folder: str, size: float) -> Device:
    """Return one of a folder's devices, scaled to a longest extent of `size`, m; raises as `load`.

    Its thickness is scaled with it.
    """
    pool = load(folder)
    return about_origin(scaled_to(pool[int(rng.integers(len(pool)))], size))


@lru_cache(maxsize=4)
def load(folder: str) -> list[Device]:
    """Return the devices of a folder, their longest extent 1 m.

    Raises
    ------
    UserError
        If there are none, a name has no known kind, a mask is missing, of another size, empty or
        whole, an image shows nothing under its mask, or a file is broken.
    """
    path = Path(folder)
    files = [f for f in sorted(path.glob("*.png")) if not f.stem.endswith(MASK)]
    files += sorted(path.glob("*.npy"))
    if not files:
        raise UserError(f"cut-outs {folder}: no KIND-NAME.png or KIND-NAME.npy there")
    return [_device(file) for file in files]


def _device(file: Path) -> Device:
    kind = file.stem.partition("-")[0]
    if kind not in DEVICES:
        raise UserError(
            f"cut-out {file}: its name must begin with a kind and a dash: {', '.join(DEVICES)}"
        )
    thickness = _from_map(file) if file.suffix == ".npy" else _from_image(file)
    rows, columns = np.nonzero(thickness > 0.0)
    cut = thickness[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    padded = np.pad(cut, 1)
    family = LIQUID if kind == "droplet" else SOLID
    film = Film(padded, 1.0 / max(cut.shape), np.eye(4), family)
    v, u = np.nonzero(padded > 0.0)
    places = np.stack([u, v], axis=1) - (np.array(padded.shape[::-1]) - 1) / 2
    middle = np.average(places, axis=0, weights=padded[v, u])
    _, _, axes = np.linalg.svd(places - middle, full_matrices=False)
    along = (places - middle) @ axes[0]
    ends = middle + np.array([along.min(), along.max()])[:, None] * axes[0]
    line = np.column_stack([ends * film.pixel_size, np.zeros(2)])
    return scaled_to(Device(kind, (film,), line, family, "cut-out"), 1.0)


def _from_map(file: Path) -> NDArray[np.float32]:
    try:
        thickness = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cut-out {file}: cannot be read ({error})") from None
    if thickness.ndim != 2 or not np.isfinite(thickness).all() or np.min(thickness) < 0.0:
        raise UserError(f"cut-out {file}: must be a thickness (h, w) in m, finite, not negative")
    if not thickness.any():
        raise UserError(f"cut-out {file}: is empty: no pixel has any thickness")
    return _normalised(thickness)


def _from_image(file: Path) -> NDArray[np.float32]:
    mask_file = file.with_name(file.stem + MASK + ".png")
    if not mask_file.is_file():
        raise UserError(f"cut-out {file}: has no mask; expected {mask_file.name} beside it")
    image, mask_image = (_grey(f) for f in (file, mask_file))
    if image.shape != mask_image.shape:
        raise UserError(
            f"cut-out {file}: is {image.shape[1]} x {image.shape[0]} px, its mask "
            f"{mask_image.shape[1]} x {mask_image.shape[0]} px"
        )
    mask = mask_image > mask_image.max() / 2 if mask_image.max() > 0 else mask_image > 0
    if not mask.any():
        raise UserError(f"cut-out {mask_file}: is empty: no pixel belongs to the device")
    if mask.all():
        raise UserError(f"cut-out {mask_file}: is whole: no background is left to compare with")
    behind = _behind(image, mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.log(np.maximum(behind, 1e-6) / np.maximum(image, 1e-6))
    depth = np.where(mask, depth, 0.0)
    if not depth.max() > 0.0:
        raise UserError(f"cut-out {file}: nothing under the mask is darker than around it")
    return _normalised(np.where(depth > FAINTEST * depth.max(), depth, 0.0))


def _normalised(thickness: NDArray) -> NDArray[np.float32]:
    """Return a thickness of `THICKNESS` where it is largest, its longest side being 1."""
    return (THICKNESS * thickness / thickness.max()).astype(np.float32)


def _behind(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return an image whose masked part is filled in from around it: a smooth membrane."""
    from skimage.restoration import inpaint_biharmonic

    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if grown.all():
        grown = mask
    rows, columns = np.nonzero(grown)
    window = (
        slice(max(rows.min() - AROUND, 0), rows.max() + AROUND + 1),
        slice(max(columns.min() - AROUND, 0), columns.max() + AROUND + 1),
    )
    outside = (~grown).astype(np.float32)
    weight = cv2.GaussianBlur(outside, (0, 0), 1.0)
    calm = cv2.GaussianBlur(image * outside, (0, 0), 1.0) / np.maximum(weight, 1e-6)
    filled = image.copy()
    filled[window] = inpaint_biharmonic(calm[window], grown[window])
    return filled


def _grey(file: Path) -> NDArray[np.float32]:
    found = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise UserError(f"cut-out {file}: cannot be read as an image")
    if found.ndim == 3:
        found = cv2.cvtColor(found[..., :3], cv2.COLOR_BGR2GRAY)
    return np.asarray(found, np.float32)
