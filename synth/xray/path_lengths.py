"""How long the rays of each pixel are inside a body, exact for every ray."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Body, Film, Mesh, Solids, Wire
from mmdtwin.synth.xray.convex_lengths import BOX, CORNERS, ELLIPSOID, Convex, union_lengths
from mmdtwin.synth.xray.film_lengths import film_lengths
from mmdtwin.synth.xray.mesh_lengths import mesh_lengths
from mmdtwin.synth.xray.wire_lengths import WIDEST_MITRE, cylinders

Roi = tuple[int, int, int, int]  # first row, end row, first column, end column
SUPERSAMPLING = 3  # rays per pixel along each side
NEAREST = 1e-6  # m from the source's plane; what reaches nearer may be seen anywhere
FAR_OFF = 1e8  # px


def covered_roi(body: Body, projection: Projection, margin: int = 0) -> Roi | None:
    """Return the rows and columns that a body's shadow can touch, or None if it misses.

    Parameters
    ----------
    body : Solids, Wire, Mesh or Film
        In the world.
    projection : Projection
        Geometry.
    margin : int
        px by which a blur widens the shadow.
    """
    rectangles = _seen(_hulls(body), projection)
    height, width = projection.shape
    first = np.maximum(rectangles[:, :2] - margin, 0)
    end = np.minimum(rectangles[:, 2:] + margin, (height, width))
    seen = np.all(end > first, axis=1)
    if not seen.any():
        return None
    (r0, c0), (r1, c1) = first[seen].min(axis=0).tolist(), end[seen].max(axis=0).tolist()
    return r0, r1, c0, c1


def path_lengths(
    body: Body, projection: Projection, roi: Roi, supersampling: int = SUPERSAMPLING
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how long the rays of each pixel are inside a body, and how many meet it.

    Rays begin at the source and end at the detector: what lies beyond is not seen.

    Parameters
    ----------
    body : Solids, Wire, Mesh or Film
        In the world. Where solids overlap, or a wire overlaps itself, lengths count once.
    projection : Projection
        Geometry.
    roi : (int, int, int, int)
        First row, end row, first column, end column.
    supersampling : int
        Rays per pixel along each side; each is intersected exactly.

    Returns
    -------
    path : (h, w) float32 array
        Mean length in m over all rays of a pixel; `h` and `w` are those of `roi`.
    share : (h, w) float32 array
        Share of a pixel's rays that meet the body: `path / share` is the thickness where there is
        any, which attenuation, being no linear function of it, needs.

    Raises
    ------
    UserError
        If a mesh faces inwards in part, or `supersampling` is less than 1.
    """
    if supersampling < 1:
        raise UserError(f"supersampling: {supersampling}; allowed is 1 and more rays per side")
    if isinstance(body, Mesh):
        # Every triangle counts, be it behind the source or the detector: what is in front and what
        # is behind must add up.
        rectangles = _rectangles(body.vertices[body.faces], projection)
        lengths = mesh_lengths(body, projection, rectangles, roi, supersampling)
        return lengths[0], lengths[1]
    if isinstance(body, Wire):
        return _in_wire(body, projection, roi, supersampling)
    if isinstance(body, Film):
        return film_lengths(body, projection, roi, supersampling)
    lengths = _in_union(_convex(body), projection, roi, supersampling)
    return lengths[0], lengths[1]


def _in_wire(
    wire: Wire, projection: Projection, roi: Roi, supersampling: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lengths = _in_union(cylinders(wire, wire.radius, projection), projection, roi, supersampling)
    if wire.inner == 0.0:
        return lengths[0], lengths[1]
    hollow = _in_union(cylinders(wire, wire.inner, projection), projection, roi, supersampling)
    return np.maximum(lengths[0] - hollow[0], 0.0), lengths[1]


def _in_union(shapes: Convex, projection: Projection, roi: Roi, n: int) -> NDArray[np.float32]:
    return union_lengths(shapes, projection, _seen(shapes.corners, projection), roi, n)


def _hulls(body: Body) -> Array:
    """Points (n, k, 3) m whose hulls hold the body's parts."""
    if isinstance(body, Mesh):
        return body.vertices[None]
    if isinstance(body, Film):
        return body.corners[None]
    if isinstance(body, Wire):
        around = CORNERS * body.radius * WIDEST_MITRE
        return (body.points[:, None, :] + around).reshape(1, -1, 3)
    return _convex(body).corners


def _convex(solids: Solids) -> Convex:
    """Those of the solids that are not flat."""
    half = np.asarray(solids.half_extents, float).reshape(-1, 3)
    kind = BOX if solids.shape == "box" else ELLIPSOID
    shapes = Convex(kind, solids.centre, solids.rotation, half, np.empty((len(half), 0, 4)))
    if len(half) == 0 or half.min() > 0.0:
        return shapes
    full = half.min(axis=1) > 0.0
    return Convex(kind, solids.centre[full], solids.rotation[full], half[full], shapes.cuts[full])


def _seen(points: Array, projection: Projection) -> NDArray[np.int64]:
    """As `_rectangles`, but empty for what lies behind the source or the detector."""
    result = _rectangles(points, projection)
    depth = projection.depth(points)
    result[(depth.max(axis=1) <= 0.0) | (depth.min(axis=1) >= projection.sid)] = 0
    return result


def _rectangles(points: Array, projection: Projection) -> NDArray[np.int64]:
    """First row, first column, end row, end column (n, 4) of the lines that meet hulls (n, k, 3).

    Lines run through the source both ways.
    """
    if len(points) == 0:
        return np.zeros((0, 4), np.int64)
    depth = projection.depth(points)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        vu = np.clip(projection.project(points)[..., ::-1], -FAR_OFF, FAR_OFF)
        result = np.concatenate(
            [np.floor(vu.min(axis=1) + 0.5), np.floor(vu.max(axis=1) + 0.5) + 1], axis=1
        )
    about_source = (depth.min(axis=1) < NEAREST) & (depth.max(axis=1) > -NEAREST)
    result[about_source] = (0, 0, *projection.shape)
    return result.astype(np.int64)
