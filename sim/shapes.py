"""Shapes that bodies are made of, as an imager needs them."""

from __future__ import annotations

from dataclasses import dataclass

from mmdtwin.geometry import Array


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one material in the world.

    Parameters
    ----------
    centre : (n, 3) array
        Centres, m.
    rotation : (n, 3, 3) array
        Box axes as columns, box frame to world.
    half_extents : (n, 3) array
        Half edge lengths along the box axes, m.
    material : str
        Name of an X-ray material.
    """

    centre: Array
    rotation: Array
    half_extents: Array
    material: str
