"""Configuration of vessel phantoms."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, model_validator

from mmdtwin.config.base import Config
from mmdtwin.config.flow import FlowConfig

Vector = tuple[float, float, float]

SAME_POINT = 1e-6  # m within which way points count as one node


CT_ENDS = (
    "descending-aorta",
    "left-subclavian",
    "right-subclavian",
    "left-carotid",
    "right-carotid",
)


class BranchConfig(Config):
    """A branch of a procedural phantom: a smooth curve through way points, m.

    Branches meet where they name the same node; the way points there must agree.
    """

    start: str
    end: str
    points: Annotated[tuple[Vector, ...], Field(min_length=2)]
    radius: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]  # m, spread evenly, linear


class ProceduralConfig(Config):
    """A tree of tubes."""

    kind: Literal["procedural"]
    source: str
    branches: Annotated[dict[str, BranchConfig], Field(min_length=1)]
    voxel: Annotated[float, Field(ge=0.05e-3, le=0.5e-3)] = 0.2e-3  # m, of the distance field
    blend: Annotated[float, Field(ge=0.0, le=0.8e-3)] = 0.4e-3  # m, rounding where branches join

    @property
    def ends(self) -> tuple[str, ...]:
        """Nodes that belong to one branch only."""
        nodes = [n for b in self.branches.values() for n in (b.start, b.end)]
        return tuple(n for n in dict.fromkeys(nodes) if nodes.count(n) == 1)

    @model_validator(mode="after")
    def _check(self) -> ProceduralConfig:
        where: dict[str, Vector] = {}
        for name, branch in self.branches.items():
            for node, point in ((branch.start, branch.points[0]), (branch.end, branch.points[-1])):
                if math.dist(where.setdefault(node, point), point) > SAME_POINT:
                    raise ValueError(
                        f"branches.{name}: node '{node}' is at {point} here and at "
                        f"{where[node]} in another branch; give it one position"
                    )
            if len(set(branch.points)) < len(branch.points):
                raise ValueError(f"branches.{name}.points: a way point occurs twice")
        if not _is_tree([(b.start, b.end) for b in self.branches.values()]):
            raise ValueError("branches must form one tree: connected and without loops")
        return self


class CtConfig(Config):
    """The arteries of the shipped CT, scaled as a laboratory would print them."""

    kind: Literal["ct"]
    source: str
    scale: Annotated[float, Field(ge=0.35, le=0.5)] = 0.4
    voxel: Annotated[float, Field(ge=0.4e-3, le=1.0e-3)] = 0.7e-3  # m, before scaling
    smoothing: Annotated[float, Field(ge=0.0, le=3e-3)] = 0.7e-3  # m, Gaussian sigma, as above
    minimum_radius: Annotated[float, Field(ge=0.0, le=5e-3)]  # m, after scaling: thinner is opened
    root_length: PositiveFloat  # m of ascending aorta kept, after scaling; closed there
    crop_radius: PositiveFloat  # m, after placing: what lies farther from the origin is cut off
    rotation: Vector = (0.0, 0.0, 0.0)  # rotation vector about the CT's origin, rad
    centre: Vector  # m, after scaling and rotating: this point is put at the origin

    @property
    def ends(self) -> tuple[str, ...]:
        """Open ends; the aortic root is closed."""
        return CT_ENDS


def _whole_if_listed(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value)
    return value


# Branches by name; of each the stretch, m along its centreline from its start, or all of it. A
# list of names is allowed.
Stretch = tuple[NonNegativeFloat, PositiveFloat]
Branches = Annotated[
    dict[str, Stretch | None], BeforeValidator(_whole_if_listed), Field(min_length=1)
]


class PhantomConfig(Config):
    """A vessel, its fluid and its wall."""

    vessel: Annotated[ProceduralConfig | CtConfig, Field(discriminator="kind")]
    flow: FlowConfig
    # Where tasks start and end unless they say otherwise; by default the branch at the flow's inlet
    # and those at the other open ends.
    access: Branches | None = None
    destinations: Branches | None = None
    friction: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2  # Coulomb, device on wet wall, assumed

    @model_validator(mode="after")
    def _check(self) -> PhantomConfig:
        if self.flow.inlet not in self.vessel.ends:
            raise ValueError(
                f"flow.inlet: unknown end '{self.flow.inlet}'; allowed: "
                f"{', '.join(sorted(self.vessel.ends))}"
            )
        return self


def _is_tree(edges: list[tuple[str, str]]) -> bool:
    reached = {edges[0][0]}
    for _ in edges:
        reached |= {n for edge in edges if reached & set(edge) for n in edge}
    nodes = {n for edge in edges for n in edge}
    return reached == nodes and len(nodes) == len(edges) + 1
