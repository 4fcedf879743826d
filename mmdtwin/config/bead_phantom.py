"""Configuration of phantoms of metal beads, which imagers are calibrated with."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.geometry import Array

FEWEST = 12  # beads: enough to find a pose among false ones
FLAT = 1e-3  # m: thinner phantoms tell distance and focal length not apart


class BeadPhantomConfig(Config):
    """Beads in a frame of their own, which is the world's while the phantom is imaged.

    They should be irregular, or of two sizes, so that no turn of up to some 15 deg and shift of
    some 30 mm carries the most of them onto others.
    """

    source: str
    material: str = "steel"  # name of an X-ray material
    # x, y, z of the middle and the diameter, each in m
    beads: tuple[tuple[float, float, float, PositiveFloat], ...]

    @property
    def positions(self) -> Array:
        """Middles of the beads, (n, 3) m."""
        return np.array(self.beads)[:, :3]

    @property
    def diameters(self) -> Array:
        """(n,) m."""
        return np.array(self.beads)[:, 3]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.beads) < FEWEST:
            raise ValueError(f"beads: {len(self.beads)} given; allowed are {FEWEST} and more")
        centred = self.positions - self.positions.mean(axis=0)
        if np.linalg.svd(centred, compute_uv=False)[2] < FLAT * len(self.beads) ** 0.5:
            raise ValueError("beads: all lie in a plane; calibration needs depth")
        return self
