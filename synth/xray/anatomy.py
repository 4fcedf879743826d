"""What lies behind the bodies, and what is asked of a way to sum the spectrum behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, Image
from mmdtwin.synth.xray.beam import Layer, Signals
from mmdtwin.synth.xray.shadows import Shadow

Pixels = NDArray[np.int64]  # their rows or columns
Shift = tuple[float, float]  # px along u and v

AT_REST: Shift = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What lies behind the vessel, and the vessel, at rest.

    Parameters
    ----------
    mu : (m, bins) array
        Of each material, 1/m.
    thickness : (m, h, w) float32 array
        Along the ray of each pixel, m.
    """

    mu: Array
    thickness: Image

    @property
    def layers(self) -> list[Layer]:
        """Pairs of mu and thickness."""
        return list(zip(self.mu, self.thickness, strict=True))

    def at(self, rows: Pixels, columns: Pixels, shift: Shift) -> list[Layer]:
        """Return the layers at pixels once it is shifted, to the nearest pixel."""
        v, u = self.unshifted(rows, columns, shift)
        return list(zip(self.mu, self.thickness[:, v, u], strict=True))

    def unshifted(self, rows: Pixels, columns: Pixels, shift: Shift) -> tuple[Pixels, Pixels]:
        """Return rows and columns of what a shift brings to pixels, the nearest at the rim."""
        height, width = self.thickness.shape[1:]
        v = np.clip(rows - round(shift[1]), 0, height - 1)
        u = np.clip(columns - round(shift[0]), 0, width - 1)
        return v, u


class Path(Protocol):
    """How the spectrum is summed: `FastPath` or `FullPath`, which explains the methods."""

    kinds: int
    at_rest: Signals

    def behind(self, shift: Shift) -> Image: ...
    def passing(self, shadow: Shadow, before: Sequence[Shadow], shift: Shift) -> Image: ...


def checked_maps(maps: Mapping[str, Image], shape: tuple[int, int]) -> dict[str, Image]:
    """Return the maps of a background that fits.

    Raises
    ------
    UserError
        If a map has another shape, or a thickness that is not finite.
    """
    if not maps:
        raise UserError("background: has no map of any material")
    for name, thickness in maps.items():
        if thickness.shape != shape:
            raise UserError(
                f"background: the map of {name} is {thickness.shape} px, the image {shape} px"
            )
        if not np.isfinite(thickness).all():
            raise UserError(f"background: a thickness of {name} is not a finite number")
    return dict(maps)


def shifted(image: Image, shift: Shift) -> Image:
    """Return an image (h, w) moved by px along u and v; what comes in is mirrored."""
    matrix = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    height, width = image.shape
    moved = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.float32)
