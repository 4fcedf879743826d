"""Configuration of one branch of a drawn vessel tree, and of what disease does to it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mmdtwin.config.base import Config
from mmdtwin.config.devices.base import bounded

Vector = tuple[float, float, float]
# Ranges of vessels on a bench; what lies outside is most likely another unit.
Coordinate = Annotated[float, bounded(-0.3, 0.3, "m", (1e-3, "mm"))]
Radius = Annotated[PositiveFloat, bounded(20e-6, 20e-3, "m", (1e-3, "mm"))]


class Stenosis(Config):
    """A smooth narrowing of cosine shape (Young and Tsai, J Biomech 6 (1973) 395)."""

    position: NonNegativeFloat  # m along the centreline from the start, of the throat
    length: PositiveFloat  # m, from healthy to healthy
    degree: Annotated[float, Field(gt=0.0, lt=1.0)]  # share of the diameter that is lost


class Aneurysm(Config):
    """A smooth spindle-shaped widening of cosine shape."""

    position: NonNegativeFloat  # m along the centreline from the start, of the widest place
    length: PositiveFloat  # m, from healthy to healthy
    dilation: Annotated[float, Field(gt=1.0, le=5.0)]  # widest diameter over the healthy one


class Tortuosity(Config):
    """Waves of the centreline in one plane, which leave its ends and its directions there."""

    index: Annotated[float, Field(gt=1.0, le=2.0)]  # length over the length without waves
    waves: PositiveInt = 2  # full waves along the branch
    angle: float = 0.0  # rad, of the plane about the centreline; at 0 it holds the z axis


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class BranchConfig(Config):
    """A branch of a procedural phantom: a smooth curve through way points, m.

    Branches meet where they name the same node; the way points there must agree. One lesion, or a
    list of them, may be given.
    """

    start: str
    end: str
    points: Annotated[tuple[tuple[Coordinate, Coordinate, Coordinate], ...], Field(min_length=2)]
    radius: Annotated[tuple[Radius, ...], Field(min_length=1)]  # m, spread evenly, linear
    stenosis: Annotated[tuple[Stenosis, ...], BeforeValidator(_listed)] = ()
    aneurysm: Annotated[tuple[Aneurysm, ...], BeforeValidator(_listed)] = ()
    tortuosity: Tortuosity | None = None
