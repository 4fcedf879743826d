"""Pairs to train on, as the pipeline's images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmdtwin.synth.background.classes import mask_picture, unpack
from mmdtwin.synth.background.maps import MATERIALS, REFERENCE_ENERGY, decode
from mmdtwin.synth.xray.materials import attenuation

LEVELS = 2048  # of the table of slopes


@dataclass(frozen=True, eq=False)
class PairSet:
    """Encoded maps, masks and captions.

    Parameters
    ----------
    encoded : (n, 3, h, w) float16 array
        Maps as `maps.encode` gives them, -1..1.
    bits : (n, h, w) uint8 array
        Masks as `classes.pack` packs them.
    captions : list of str
        Of each pair.
    digest : str
        Changes with the pairs.
    """

    encoded: NDArray[np.float16]
    bits: NDArray[np.uint8]
    captions: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.captions)

    def images(self, indices: NDArray) -> NDArray[np.float32]:
        """Return encoded maps (m, 3, h, w)."""
        return np.asarray(self.encoded[indices], np.float32)

    def masks(self, indices: NDArray) -> NDArray[np.bool_]:
        """Return masks (m, 5, h, w)."""
        return unpack(self.bits[indices])

    def pictures(self, indices: NDArray) -> NDArray[np.float32]:
        """Return the masks' pictures (m, 3, h, w), -1..1."""
        found = mask_picture(self.masks(indices))
        return np.ascontiguousarray(found.transpose(0, 3, 1, 2), np.float32)


def depths(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each channel's part of -log T (n, 3, h, w) at 50 keV, of encoded maps."""
    return np.asarray(decode(encoded) * attenuations()[:, None, None], np.float32)


def depth_slope(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return d(-log T)/d(encoded) at the values of encoded maps (n, 3, h, w)."""
    grid = np.linspace(-1.0, 1.0, LEVELS, dtype=np.float32)
    ramp = np.broadcast_to(grid, (3, 1, LEVELS))
    thickness = decode(ramp).reshape(3, LEVELS)
    slope = np.gradient(thickness, grid, axis=1) * attenuations()[:, None]
    place = np.clip(np.rint((encoded + 1.0) * 0.5 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.intp)
    return np.stack([slope[i][place[:, i]] for i in range(3)], axis=1).astype(np.float32)


@cache
def attenuations() -> NDArray[np.float64]:
    """Return the attenuation (3,) 1/m of each channel's material at 50 keV."""
    return np.array([float(attenuation(name, REFERENCE_ENERGY)) for name in MATERIALS])
