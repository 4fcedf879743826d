"""Configuration of deformable gels."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from mmdtwin.config.devices.base import BaseDeviceConfig, Density, Length, Magnetisation, Modulus

MOST_NODES = 1000  # the modes that bound the step are those of a dense matrix, 3 nodes square


class GelConfig(BaseDeviceConfig):
    """A bulky soft body, SI units; x runs along its length and magnetisation, z is its thickness.

    Its sizes are full lengths: an ellipsoid's axes, a block's edges.
    """

    kind: Literal["gel"]
    shape: Literal["ellipsoid", "block"]
    length: Length
    width: Length
    thickness: Length
    youngs_modulus: Modulus  # Pa
    # Linear tetrahedra grow too stiff as the material comes to keep its volume.
    poisson_ratio: Annotated[float, Field(ge=0.0, le=0.45)]
    density: Density  # kg/m3
    magnetisation: Magnetisation  # A/m
    damping_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1  # of the lowest mode, in vacuum
    layers: Annotated[int, Field(ge=1, le=4)] = 2  # of elements, from the middle to the surface
    step: PositiveFloat  # s: its own time step; refused above what the stiffest mode can take

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.length >= self.width >= self.thickness:
            raise ValueError("allowed is length >= width >= thickness")
        return self

    @model_validator(mode="after")
    def _small_enough(self) -> Self:
        if self.nodes > MOST_NODES:
            raise ValueError(
                f"layers: a mesh with {self.layers} has {self.nodes} nodes; allowed is up to "
                f"{MOST_NODES}: take fewer layers, or a block with sides more alike"
            )
        return self

    @property
    def cells(self) -> tuple[int, int, int]:
        """Cells of a block's mesh along its edges, about cubic: 2 `layers` over the thickness."""
        size = np.array([self.length, self.width, self.thickness])
        x, y, z = np.maximum(np.round(2 * self.layers * size / self.thickness), 1).astype(int)
        return int(x), int(y), int(z)

    @property
    def nodes(self) -> int:
        """Number of nodes of its mesh: a lattice, or one and shells of 10 k^2 + 2."""
        if self.shape == "block":
            return int(np.prod(np.add(self.cells, 1)))
        return 1 + sum(10 * k**2 + 2 for k in range(1, self.layers + 1))
