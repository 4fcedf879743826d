"""Shapes that bodies are made of, as an imager needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmdtwin.geometry import Array, apply


@dataclass(frozen=True, eq=False)
class Solids:
    """Boxes or ellipsoids of one material.

    Parameters
    ----------
    centre : (n, 3) array
        Centres, m.
    rotation : (n, 3, 3) array
        Their axes as columns.
    half_extents : (n, 3) array
        Half edge lengths, or semi-axes, along their axes, m.
    material : str
        Name of an X-ray material.
    shape : "box" or "ellipsoid"
    """

    centre: Array
    rotation: Array
    half_extents: Array
    material: str
    shape: Literal["box", "ellipsoid"] = "box"

    @classmethod
    def balls(cls, centre: Array, radius: Array, material: str) -> Solids:
        """Return balls with centres (n, 3) m and radii (n,) m."""
        n = len(centre)
        return cls(
            centre=centre,
            rotation=np.tile(np.eye(3), (n, 1, 1)),
            half_extents=np.tile(np.asarray(radius, float)[:, None], (1, 3)),
            material=material,
            shape="ellipsoid",
        )

    def placed(self, T: Array) -> Solids:
        """Return them moved by a transform (4, 4)."""
        return Solids(
            centre=apply(T, self.centre),
            rotation=T[:3, :3] @ self.rotation,
            half_extents=self.half_extents,
            material=self.material,
            shape=self.shape,
        )
