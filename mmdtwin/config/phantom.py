"""Configuration of vessel phantoms."""

from __future__ import annotations

import math
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    computed_field,
    field_serializer,
    model_validator,
)

from mmdtwin.config.base import Config
from mmdtwin.config.branch import BranchConfig, Coordinate, Radius, Vector
from mmdtwin.config.flow import FlowConfig
from mmdtwin.files import digest

SAME_POINT = 1e-6  # m within which way points count as one node

CT_ENDS = (
    "descending-aorta",
    "left-subclavian",
    "right-subclavian",
    "left-carotid",
    "right-carotid",
)


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
        return _leaves([(b.start, b.end) for b in self.branches.values()])

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
        _check_tree({name: (b.start, b.end) for name, b in self.branches.items()})
        return self


Range = tuple[PositiveFloat, PositiveFloat]


class RandomTreeConfig(Config):
    """A tree drawn from a seed: each branch forks in two by Murray's law, `levels` times."""

    kind: Literal["random"]
    source: str
    seed: Annotated[int, Field(ge=0)] = 0
    levels: Annotated[int, Field(ge=1, le=4)] = 2  # forks from the inlet to an end
    root_radius: Radius  # m
    minimum_radius: Radius  # m, of the thinnest branch
    asymmetry: Range = (0.7, 1.0)  # thinner over thicker of a fork's branches, drawn in between
    length: Range = (6.0, 10.0)  # of a branch over its radius, drawn in between
    bend: Annotated[float, Field(ge=0.0, le=1.5)] = 0.6  # rad, most that a branch turns
    steepest: Annotated[float, Field(gt=0.0, le=math.pi / 2)] = 0.6  # rad of slope against gravity
    extent: Annotated[
        Coordinate, Field(gt=0.0)
    ]  # m, radius of a ball about the origin that holds everything
    voxel: Annotated[float, Field(ge=0.05e-3, le=0.5e-3)] = 0.22e-3  # m, of the distance field
    blend: Annotated[float, Field(ge=0.0, le=0.8e-3)] = 0.4e-3  # m, rounding where branches join

    @property
    def ends(self) -> tuple[str, ...]:
        """The inlet and the last branches: a is the thicker of a fork's branches, b the thinner."""
        return ("inlet", *("".join(path) for path in product("ab", repeat=self.levels)))

    @model_validator(mode="after")
    def _check(self) -> RandomTreeConfig:
        for key in ("asymmetry", "length"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: the range ({low}, {high}) is upside down")
        if self.asymmetry[1] > 1.0:
            raise ValueError("asymmetry: thinner over thicker is at most 1")
        widest = self.root_radius * 2.0 ** (-self.levels / 3)
        if widest < self.minimum_radius:
            raise ValueError(
                f"levels: after {self.levels} forks some branch has a radius of at most "
                f"{widest * 1e3:.2f} mm, below minimum_radius; lower levels or raise root_radius"
            )
        if self.extent < 4.0 * self.root_radius:
            raise ValueError("extent: too small for the trunk; give more than 4 root_radius")
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


class MeshConfig(Config):
    """A wall from a mesh file; `phantom from-mesh` and `phantom from-ct` write one.

    The files are named relative to the YAML file.
    """

    kind: Literal["mesh"]
    source: str
    wall: str  # closed mesh, normals outwards: .stl, .obj or .ply
    units: Literal["m", "cm", "mm", "um", "inch"]  # of the wall
    centreline: str  # CSV: branch, s, x, y, z, radius in m
    branches: Annotated[dict[str, tuple[str, str]], Field(min_length=1)]  # name: [start, end] nodes
    voxel: Annotated[float, Field(ge=0.05e-3, le=1.0e-3)] = 0.25e-3  # m, of the distance field

    @property
    def ends(self) -> tuple[str, ...]:
        """Nodes that belong to one branch only."""
        return _leaves(list(self.branches.values()))

    @computed_field
    def contents(self) -> str:
        """Hash of what the files hold, which says more than where they lie."""
        return digest([sha256(Path(p).read_bytes()).hexdigest() for p in self._files])

    @field_serializer("wall", "centreline")
    def _name_only(self, path: str) -> str:
        return Path(path).name

    @property
    def _files(self) -> tuple[str, str]:
        return self.wall, self.centreline

    @model_validator(mode="after")
    def _check(self) -> MeshConfig:
        for key, path in zip(("wall", "centreline"), self._files, strict=True):
            if not Path(path).is_file():
                raise ValueError(f"{key}: no such file {path}")
        _check_tree(self.branches)
        return self


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


VesselConfig = ProceduralConfig | RandomTreeConfig | CtConfig | MeshConfig


class PhantomConfig(Config):
    """A vessel, its fluid and its wall."""

    vessel: Annotated[VesselConfig, Field(discriminator="kind")]
    flow: FlowConfig
    # Where tasks start and end unless they say otherwise; by default the branch at the flow's inlet
    # and those at the other open ends.
    access: Branches | None = None
    destinations: Branches | None = None
    friction: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2  # Coulomb, device on wet wall, assumed
    # X-ray material in the vessel, which is what a device displaces. Blood is not drawn: in soft
    # tissue 4 mm of it change the signal by 0.1 to 0.2 %.
    contents: Annotated[str, Field(min_length=1)] = "blood"

    @model_validator(mode="after")
    def _check(self) -> PhantomConfig:
        if self.flow.inlet not in self.vessel.ends:
            raise ValueError(
                f"flow.inlet: unknown end '{self.flow.inlet}'; allowed: "
                f"{', '.join(sorted(self.vessel.ends))}"
            )
        if isinstance(self.vessel, ProceduralConfig | MeshConfig):
            for key in ("access", "destinations"):
                for name in getattr(self, key) or ():
                    if name not in self.vessel.branches:
                        raise ValueError(
                            f"{key}: unknown branch '{name}'; allowed: "
                            f"{', '.join(sorted(self.vessel.branches))}"
                        )
        return self


def _leaves(edges: list[tuple[str, str]]) -> tuple[str, ...]:
    nodes = [node for edge in edges for node in edge]
    return tuple(n for n in dict.fromkeys(nodes) if nodes.count(n) == 1)


def _check_tree(edges: dict[str, tuple[str, str]]) -> None:
    reached = {next(iter(edges.values()))[0]}
    apart = dict(edges)
    while joined := [name for name, edge in apart.items() if reached & set(edge)]:
        for name in joined:
            edge = set(apart.pop(name))
            if edge <= reached:
                raise ValueError(
                    f"branches must form one tree: connected and without loops; '{name}' closes one"
                )
            reached |= edge
    if apart:
        raise ValueError(
            "branches must form one tree: connected and without loops; apart from "
            f"'{next(iter(edges))}' are: {', '.join(apart)}"
        )
