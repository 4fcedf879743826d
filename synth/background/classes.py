"""Masks: which classes of matter the rays of each pixel meet, and the colours they are drawn in.

A mask is a stack of five layers that may overlap: a rib before the lung is "air", "soft-tissue"
and "bone" at once. In a PNG each layer adds its colour, and no two sums are alike:

=============  ===============  ==========================================
layer          adds             alone looks
=============  ===============  ==========================================
air            (0, 0, 85)       dark blue; lungs, within tissue, purple
soft-tissue    (85, 0, 0)       dark red; also what stands for it: water, plastic
bone           (0, 255, 0)      green; within tissue lime
metal          (0, 0, 170)      blue; instruments
channel        (170, 0, 0)      red; vessels and channels, within tissue bright red
=============  ===============  ==========================================

Black is nothing at all. The picture that a model is given is this PNG, scaled to -1..1.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import replacing

LAYERS = ("air", "soft-tissue", "bone", "metal", "channel")
AIR, SOFT, BONE, METAL, CHANNEL = range(len(LAYERS))
COLOURS = np.array(
    [[0, 0, 85], [85, 0, 0], [0, 255, 0], [0, 0, 170], [170, 0, 0]], np.uint8
)  # RGB that each layer adds
BITS = (1 << np.arange(len(LAYERS))).astype(np.uint8)
SMALLEST, LARGEST = 16, 4096  # px, sides of a mask

MaskStack = NDArray[np.bool_]  # (5, h, w)


def pack(stack: MaskStack) -> NDArray[np.uint8]:
    """Put layer i of a mask (..., 5, h, w) into bit i: (..., h, w)."""
    bits = np.packbits(stack, axis=-3, bitorder="little")
    return np.asarray(bits[..., 0, :, :], np.uint8)


def unpack(bits: NDArray[np.uint8]) -> MaskStack:
    """Undo `pack`: (..., h, w) to (..., 5, h, w)."""
    return (bits[..., None, :, :] & BITS[:, None, None]) != 0


def mask_colours(stack: MaskStack) -> NDArray[np.uint8]:
    """Return the RGB picture (..., h, w, 3) of a mask (..., 5, h, w)."""
    return _table()[pack(stack)]


def mask_picture(stack: MaskStack) -> NDArray[np.float32]:
    """Return the picture (..., h, w, 3), -1..1, that a model is given of a mask (..., 5, h, w)."""
    return (_table().astype(np.float32) / np.float32(127.5) - np.float32(1.0))[pack(stack)]


def from_colours(colours: NDArray[np.uint8], what: str = "mask") -> MaskStack:
    """Return the mask (5, h, w) of an RGB picture (h, w, 3).

    Raises
    ------
    UserError
        If a colour is none that layers add up to, or no pixel has a layer.
    """
    known, codes = _code(_table()), _code(colours)
    order = np.argsort(known)
    found = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    wrong = known[found] != codes
    if wrong.any():
        v, u = np.argwhere(wrong)[0]
        share = float(wrong.mean())
        raise UserError(
            f"{what}: colour {tuple(colours[v, u].tolist())} at row {v}, column {u} ({share:.1%} "
            "of the pixels are of unknown colours) is no sum of "
            + ", ".join(f"{n} {tuple(c.tolist())}" for n, c in zip(LAYERS, COLOURS, strict=True))
            + "; draw without antialiasing and save as PNG"
        )
    if not found.any():
        raise UserError(f"{what}: is empty: no pixel belongs to any of {', '.join(LAYERS)}")
    return unpack(found.astype(np.uint8))


def read_mask(path: str | Path) -> MaskStack:
    """Read a mask (5, h, w) from a PNG.

    Raises
    ------
    UserError
        If it is no RGB PNG, not square, too small or large, empty, or has unknown colours.
    """
    import cv2

    path = Path(path)
    if not path.is_file():
        raise UserError(f"mask {path}: no such file")
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            raise UserError(f"mask {path}: is no PNG; other formats blur its colours")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        raise UserError(f"mask {path}: cannot be read as an 8-bit PNG")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    height, width = image.shape[:2]
    if height != width or not SMALLEST <= height <= LARGEST:
        raise UserError(
            f"mask {path}: is {width} x {height} px; allowed: square, {SMALLEST} to {LARGEST} px"
        )
    return from_colours(np.ascontiguousarray(image[..., 2::-1]), f"mask {path}")


def write_mask(path: str | Path, stack: MaskStack) -> None:
    """Write a mask (5, h, w) as a PNG; the file is whole or absent."""
    import cv2

    with replacing(Path(path)) as part:
        cv2.imwrite(str(part), np.ascontiguousarray(mask_colours(stack)[..., ::-1]))


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    """RGB of each of the 32 subsets of layers, (32, 3)."""
    members = np.arange(1 << len(LAYERS))[:, None] & BITS != 0
    return (members[..., None] * COLOURS).sum(axis=1).astype(np.uint8)


def _code(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    r, g, b = (colours[..., i].astype(np.int64) for i in range(3))
    return r << 16 | g << 8 | b
