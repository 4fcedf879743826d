"""The three maps of a background, and the image channels that a model draws them as.

The first two are thicknesses of soft tissue and cortical bone along the rays of each pixel. The
third holds contrast medium and metal, as the thickness of contrast medium of 300 mg of iodine per
mL that attenuates as much at 50 keV: 1 mm of steel is some 4 mm. At 80 kVp thin metals are then
within 15 % of their own attenuation (most within 2 %), and -log T at any energy is the sum over
maps of mu t.

An image channel is 2 (t / largest)^power - 1. Roots give thin bone and thin wires, which
attenuate most per length, the precision that they need.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.synth.xray.materials import attenuation

MATERIALS = ("soft-tissue", "bone", "iodine-contrast")  # what each is a thickness of
LARGEST = (0.36, 0.10, 0.04)  # m that image channels reach
POWERS = (1.0, 0.5, 0.5)
REFERENCE_ENERGY = 50.0  # keV, about the mean of 80 kVp behind 2.5 mm Al and 0.2 mm Cu


def encode(maps: NDArray) -> NDArray[np.float32]:
    """Return image channels (..., 3, h, w), -1..1, of maps (..., 3, h, w) in m."""
    share = np.clip(np.asarray(maps, np.float32) / _column(LARGEST), 0.0, 1.0)
    return 2.0 * share ** _column(POWERS) - np.float32(1.0)


def decode(channels: NDArray) -> NDArray[np.float32]:
    """Return maps (..., 3, h, w) in m of image channels (..., 3, h, w); clipped to -1..1."""
    share = np.clip((np.asarray(channels, np.float32) + 1.0) / 2.0, 0.0, 1.0)
    return _column(LARGEST) * share ** (1.0 / _column(POWERS))


def contrast_equivalent(material: str) -> float:
    """Return the thickness of contrast medium over that of a material that attenuates alike."""
    return float(
        attenuation(material, REFERENCE_ENERGY) / attenuation(MATERIALS[2], REFERENCE_ENERGY)
    )


def depth(maps: NDArray, energy: ArrayLike = REFERENCE_ENERGY) -> NDArray[np.float32]:
    """Return -log T (..., h, w) of maps (..., 3, h, w) in m at an energy in keV."""
    mu = _attenuations(float(np.asarray(energy)))
    return np.einsum("c,...chw->...hw", mu, np.asarray(maps, np.float32))


@lru_cache(maxsize=64)
def _attenuations(energy: float) -> NDArray[np.float32]:
    return np.array([float(attenuation(name, energy)) for name in MATERIALS], np.float32)


def _column(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None, None]
