"""What generated backgrounds are compared with: projections, and generators that are too simple."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.synth.background.classes import LAYERS
from mmdtwin.synth.background.maps import MATERIALS, REFERENCE_ENERGY, decode
from mmdtwin.synth.background.pair_files import StoredPairs
from mmdtwin.synth.xray.materials import attenuation

BLUR = 3.0  # px, Gaussian sigma of the blurred control: about 3 mm
FRAME_NOISE = 0.13  # of the signal: a fluoroscopic frame of some 63 absorbed quanta a pixel


@dataclass(frozen=True, eq=False)
class Paint:
    """A generator that paints each subset of layers with its mean over a set of projections.

    Parameters
    ----------
    table : (32, 3) float32 array
        Thickness of each map for each subset, m.
    """

    table: NDArray[np.float32]

    @classmethod
    def of(cls, pairs: StoredPairs) -> Paint:
        """Take the means of pairs; a subset that does not occur gets the sum of its layers'."""
        maps = decode(pairs.encoded).transpose(1, 0, 2, 3).reshape(3, -1)
        bits = pairs.bits.ravel()
        counts = np.bincount(bits, minlength=1 << len(LAYERS))
        sums = np.stack([np.bincount(bits, m, minlength=1 << len(LAYERS)) for m in maps], axis=1)
        table = sums / np.maximum(counts, 1)[:, None]
        for subset in np.flatnonzero(counts == 0):
            single = [1 << i for i in range(len(LAYERS)) if subset >> i & 1 and counts[1 << i]]
            table[subset] = table[single].sum(axis=0)
        return cls(table.astype(np.float32))

    def __call__(self, bits: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return maps (n, 3, h, w), m, of packed masks (n, h, w)."""
        return np.ascontiguousarray(self.table[bits].transpose(0, 3, 1, 2))


def noisy(maps: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return maps (n, 3, h, w) whose -log T has the noise of a fluoroscopic frame."""
    mu = float(attenuation(MATERIALS[0], REFERENCE_ENERGY))
    found = maps.copy()
    found[:, 0] += rng.normal(0.0, FRAME_NOISE / mu, maps[:, 0].shape)
    return np.maximum(found, 0.0)


def blurred(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return blurred maps (n, 3, h, w)."""
    return np.stack([[cv2.GaussianBlur(m, (0, 0), BLUR) for m in each] for each in maps])
