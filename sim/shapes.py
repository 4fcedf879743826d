"""Shapes that bodies are made of, as an imager needs them."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, apply


@dataclass(frozen=True, eq=False)
class Solids:
    """Boxes or ellipsoids of one material; where they overlap, it is there once.

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
    displaces : str
        Name of the X-ray material that is not where they are.

    Raises
    ------
    UserError
        If a number is not finite or a size negative.
    """

    centre: Array
    rotation: Array
    half_extents: Array
    material: str
    shape: Literal["box", "ellipsoid"] = "box"
    displaces: str = "blood"

    def __post_init__(self) -> None:
        _check_finite(self.material, self.centre, self.rotation, self.half_extents)
        if np.min(self.half_extents, initial=0.0) < 0.0:
            raise UserError(f"body of {self.material}: half_extents must not be negative")

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

    @classmethod
    def chain(cls, centre: Array, rotation: Array, half_extents: Array, material: str) -> Solids:
        """Return boxes in a row along their first axes, without notches where the row is bent.

        Each is drawn out to the tip of the mitre with its neighbour. Together they then fill what
        boxes cut by the planes halfway between them would, and keep the straight row's volume. It
        bends across the third axes.
        """
        axis = rotation[:, :, 0]
        cosine = np.clip(np.einsum("ni,ni->n", axis[:-1], axis[1:]), 0.0, 1.0)
        tip = half_extents[0, 2] * np.sqrt((1.0 - cosine) / (1.0 + cosine))  # tan of half an angle
        back, front = np.append(0.0, tip), np.append(tip, 0.0)
        half = half_extents.copy()
        half[:, 0] += (back + front) / 2
        return cls(centre + axis * ((front - back) / 2)[:, None], rotation, half, material)

    def placed(self, T: Array) -> Solids:
        """Return them moved by a transform (4, 4)."""
        return Solids(
            centre=apply(T, self.centre),
            rotation=T[:3, :3] @ self.rotation,
            half_extents=self.half_extents,
            material=self.material,
            shape=self.shape,
            displaces=self.displaces,
        )


@dataclass(frozen=True, eq=False)
class Wire:
    """A round wire or tube along a polyline, mitred at its joints and cut square at its ends.

    Parameters
    ----------
    points : (n, 3) array
        m, n >= 2; they should lie farther apart than the radius times the angle between pieces.
    radius : float
        Outer radius, m.
    material : str
        Name of an X-ray material.
    inner : float
        Inner radius, m; 0 of a wire.
    displaces : str
        Name of the X-ray material that is not where it is.

    Raises
    ------
    UserError
        If it has no length, a number is not finite, or the radii are not 0 <= inner < radius.
    """

    points: Array
    radius: float
    material: str
    inner: float = 0.0
    displaces: str = "blood"

    def __post_init__(self) -> None:
        points = np.asarray(self.points, float)
        _check_finite(self.material, points, self.radius, self.inner)
        if points.ndim != 2 or points.shape[1] != 3 or not np.ptp(points, axis=0).any():
            raise UserError(f"wire of {self.material}: needs two or more different points (n, 3)")
        if not 0.0 <= self.inner < self.radius:
            raise UserError(
                f"wire of {self.material}: inner radius {self.inner} m must be 0 or more and less "
                f"than the radius, {self.radius} m"
            )

    def placed(self, T: Array) -> Wire:
        """Return it moved by a transform (4, 4)."""
        return replace(self, points=apply(T, self.points))


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface of triangles that does not cut itself, filled with one material.

    A cavity is a closed surface within it that faces the other way, into the cavity.

    Parameters
    ----------
    vertices : (n, 3) array
        m.
    faces : (m, 3) int array
        Vertices of each triangle, counter-clockwise seen from outside.
    material : str
        Name of an X-ray material.
    displaces : str
        Name of the X-ray material that is not where it is.

    Raises
    ------
    UserError
        If a number is not finite, or the surface leaks or is inside out.
    """

    vertices: Array
    faces: NDArray
    material: str
    displaces: str = "blood"

    def __post_init__(self) -> None:
        import trimesh  # here, since worlds without meshes need not wait for it

        _check_finite(self.material, self.vertices)
        faces, n = np.asarray(self.faces), len(self.vertices)
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.size == 0:
            raise UserError(f"mesh of {self.material}: needs triangles (m, 3)")
        if faces.min() < 0 or faces.max() >= n:
            raise UserError(f"mesh of {self.material}: faces name vertices beyond the {n} given")
        mesh = trimesh.Trimesh(self.vertices, faces, process=False)
        if not mesh.is_watertight:
            raise UserError(
                f"mesh of {self.material}: leaks; every edge must join two triangles with shared "
                "vertices (merge them, fill holes)"
            )
        if not mesh.is_winding_consistent or mesh.volume <= 0.0:
            raise UserError(
                f"mesh of {self.material}: inside out, or its triangles do not agree which side is "
                "outside; they must be counter-clockwise seen from there"
            )

    def placed(self, T: Array) -> Mesh:
        """Return it moved by a transform (4, 4)."""
        moved = copy(self)  # it stays closed: not checked again
        object.__setattr__(moved, "vertices", apply(T, self.vertices))
        return moved


@dataclass(frozen=True, eq=False)
class Film:
    """A flat body whose thickness is an image, thin beside its distance from the source.

    Parameters
    ----------
    thickness : (h, w) float32 array
        Along its normal, m; between pixels it is interpolated, beyond them there is none.
    pixel_size : float
        m.
    T : (4, 4) array
        To the world from its frame: origin in the image's middle, x along rows, y down the
        columns, z its normal.
    material : str
        Name of an X-ray material.
    displaces : str
        Name of the X-ray material that is not where it is.

    Raises
    ------
    UserError
        If a number is not finite, a thickness negative, or nothing thick anywhere.
    """

    thickness: NDArray[np.float32]
    pixel_size: float
    T: Array
    material: str
    displaces: str = "blood"

    def __post_init__(self) -> None:
        _check_finite(self.material, self.thickness, self.pixel_size, self.T)
        if np.ndim(self.thickness) != 2 or not np.any(self.thickness):
            raise UserError(f"film of {self.material}: needs a thickness (h, w), some above 0")
        if np.min(self.thickness) < 0.0 or self.pixel_size <= 0.0:
            raise UserError(f"film of {self.material}: thickness or pixel size is negative")

    @property
    def corners(self) -> Array:
        """The image's corners (4, 3) in the world, m."""
        height, width = self.thickness.shape
        half = np.array([width, height]) * self.pixel_size / 2
        flat = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [*half, 0.0]
        return apply(self.T, flat)

    def placed(self, T: Array) -> Film:
        """Return it moved by a transform (4, 4)."""
        return replace(self, T=T @ self.T)


Body = Solids | Wire | Mesh | Film


def _check_finite(material: str, *values: ArrayLike) -> None:
    # A sum is finite only if all of it is: faster than a mask, and made for every frame.
    if not all(math.isfinite(np.sum(value)) for value in values):
        raise UserError(f"body of {material}: a position or size is not a finite number")
