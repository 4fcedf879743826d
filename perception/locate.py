"""From a place in an image to a place in the world: in a known vessel, or by several views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.perception.gaussians import checked_position, mixture
from mmdtwin.triangulation import triangulate
from mmdtwin.vessel import Location, VesselMap

STEP = 1e-6  # m, of the difference quotients of a projection; about 0.01 px
NEGLIGIBLE = 1e-4  # of the most probable point: less is nowhere; assumed
CLEAR = 0.95  # probability above which a candidate is not ambiguous; assumed
ROUNDS = 10  # of Gauss-Newton; two or three are enough


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the separate places in the vessel that an image position fits.

    Parameters
    ----------
    probability : float
        Of the device being there rather than at another candidate.
    index : int
        Centreline point that fits best.
    branch : str
        Branch of that point, empty where branches have no names.
    position : (3,) array
        Mean, m.
    covariance : (3, 3) array
        m^2.
    """

    probability: float
    index: int
    branch: str
    position: Array
    covariance: Array


@dataclass(frozen=True, eq=False)
class Place:
    """Where a device is in the world, and how well that is known.

    Parameters
    ----------
    position : (3,) array
        Mean, m; between the candidates where there are several.
    covariance : (3, 3) array
        m^2, with the distance between candidates.
    mismatch : float
        Least squared Mahalanobis distance between what is seen and where it can be seen: about 1
        to 3, and large where the vessel or a projection is not what it is believed to be.
    candidates : tuple of Candidate
        In the vessel, most probable first; empty for a place found by views alone.
    """

    position: Array
    covariance: Array
    mismatch: float
    candidates: tuple[Candidate, ...] = ()

    @property
    def ambiguous(self) -> bool:
        """True if the device can be in more than one place, such as where vessels cross."""
        return len(self.candidates) > 1 and self.candidates[0].probability < CLEAR


def in_vessel(
    position: ArrayLike,
    covariance: ArrayLike,
    projection: Projection,
    points: ArrayLike,
    radius: ArrayLike,
    branches: Sequence[str] | None = None,
    along: ArrayLike | None = None,
    along_sigma: float = math.inf,
    registration: float = 0.0,
) -> Place:
    """Find where in a vessel a device is that is seen at a place in the image.

    Every centreline point stands for the lumen about it: a disc, and its share of the line. As a
    normal distribution of the same variance each is one component of a mixture, and the image
    position, of which the projection is linear within one lumen, updates each as a Kalman filter
    does and weighs it by its likelihood.

    Parameters
    ----------
    position : (2,) array
        In the image, px.
    covariance : (2, 2) array
        px^2; the position's part of a track's.
    projection : Projection
        Of the image.
    points : (n, 3) array
        Centreline in the world, m, a line or several one after another; spaced no more than a
        radius.
    radius : (n,) array
        Of the room for the device's centre about each point, m: the lumen's less the device's.
    branches : sequence of n str, optional
        Branch of each point, as `VesselMap.branch_names`. One line by default.
    along : (n,) array, optional
        Distance of each point along the vessel from where the device is expected, m, as
        `distance_along` gives for a tree.
    along_sigma : float, optional
        Standard deviation, m, of that expectation. By default every place in the vessel is
        equally likely beforehand.
    registration : float, default 0.0
        Deviation per axis, m, of the vessel from where it is believed to be.

    Raises
    ------
    UserError
        If shapes do not fit, numbers are not finite, the covariance is not positive definite, a
        radius or sigma is not positive, or a point lies behind the source.
    """
    z, c = checked_position("in_vessel: seen", position, covariance)
    xyz, room = np.asarray(points, float), np.asarray(radius, float)
    names = [""] * len(xyz) if branches is None else list(branches)
    expected = np.zeros(len(xyz)) if along is None else np.asarray(along, float)
    _check_vessel(xyz, room, names, expected, along_sigma, registration)
    if projection.depth(xyz).min() <= 0.0:
        raise UserError("in_vessel: a centreline point lies behind the source")

    tangent, length = _pieces(xyz, names)
    outer = tangent[:, :, None] * tangent[:, None, :]
    # A uniform disc of radius r has a variance of r^2 / 4 per axis, a piece of length l one of
    # l^2 / 12.
    prior = (room**2 / 4.0)[:, None, None] * (np.eye(3) - outer)
    prior += (length**2 / 12.0)[:, None, None] * outer + registration**2 * np.eye(3)
    jacobian = _jacobian(projection, xyz)
    spread = jacobian @ prior @ jacobian.swapaxes(1, 2) + c
    offset = z - projection.project(xyz)
    distance = np.einsum("ij,ij->i", offset, np.linalg.solve(spread, offset[..., None])[..., 0])
    score = np.log(length) - 0.5 * (distance + np.linalg.slogdet(spread)[1])
    if math.isfinite(along_sigma):
        score -= 0.5 * (expected / along_sigma) ** 2
    weight = np.exp(score - score.max())

    near = np.flatnonzero(weight > NEGLIGIBLE)
    weight = weight[near] / weight[near].sum()
    gain = np.linalg.solve(spread[near], jacobian[near] @ prior[near]).swapaxes(1, 2)
    mean = xyz[near] + np.einsum("ijk,ik->ij", gain, offset[near])
    # Joseph's form keeps the covariance symmetric and positive.
    keep = np.eye(3) - gain @ jacobian[near]
    inside = keep @ prior[near] @ keep.swapaxes(1, 2) + gain @ c @ gain.swapaxes(1, 2)

    # Balls about the points that touch are one place.
    touching = cdist(xyz[near], xyz[near]) <= room[near, None] + room[near]
    count, label = connected_components(touching, directed=False)
    candidates = []
    for k in range(count):
        here = label == k
        best = int(near[here][np.argmax(weight[here])])
        share = float(weight[here].sum())
        place = mixture(weight[here] / share, mean[here], inside[here])
        candidates.append(Candidate(share, best, names[best], *place))
    candidates.sort(key=lambda candidate: -candidate.probability)
    return Place(*mixture(weight, mean, inside), float(distance[near].min()), tuple(candidates))


def distance_along(vessel: VesselMap, location: Location) -> Array:
    """Distance (n,) m along the tree of each of `vessel.points` from a location.

    Points that cannot be reached are infinitely far.

    Raises
    ------
    UserError
        If the vessel has no such branch.
    """
    if location.branch not in vessel.branches:
        raise UserError(
            f"distance_along: no branch '{location.branch}'; there are {', '.join(vessel.branches)}"
        )
    start = vessel.branches[location.branch]
    reach = dict.fromkeys((n for b in vessel.branches.values() for n in (b.start, b.end)), math.inf)
    reach[start.end] = start.length - location.arclength
    reach[start.start] = min(location.arclength, reach[start.start])
    for _ in vessel.branches:  # no way passes through more branches than there are
        for branch in vessel.branches.values():
            reach[branch.end] = min(reach[branch.end], reach[branch.start] + branch.length)
            reach[branch.start] = min(reach[branch.start], reach[branch.end] + branch.length)
    distances = []
    for name, branch in vessel.branches.items():
        s = branch.arclength
        distance = np.minimum(reach[branch.start] + s, reach[branch.end] + branch.length - s)
        if name == location.branch:
            distance = np.minimum(distance, np.abs(s - location.arclength))
        distances.append(distance)
    return np.concatenate(distances)


def from_views(
    projections: Sequence[Projection],
    positions: Sequence[ArrayLike],
    covariances: Sequence[ArrayLike],
) -> Place:
    """Find where a device is that is seen in two views or more at once.

    The most likely point for normal errors in the images, by Gauss-Newton from the point that is
    nearest to the rays; its covariance is the inverse of the information of all views (Hartley and
    Zisserman, Multiple View Geometry, 2004, sections 12.3 and 5.2).

    Parameters
    ----------
    projections : sequence of n Projection
        From at least two sources.
    positions : sequence of n (2,) arrays
        Where the device is seen in each, px.
    covariances : sequence of n (2, 2) arrays
        px^2.

    Returns
    -------
    Place
        Its `mismatch` is chi-square with 2n - 3 degrees of freedom.

    Raises
    ------
    UserError
        If there are fewer than two views or not as many of each, a number is not finite, a
        covariance is not positive definite, or the rays are parallel.
    """
    if len(covariances) != len(positions):
        raise UserError(
            f"from_views: {len(positions)} positions and {len(covariances)} covariances; allowed "
            "are as many of one as of the other"
        )
    seen = [
        checked_position("from_views: seen", z, c)
        for z, c in zip(positions, covariances, strict=True)
    ]
    point, _ = triangulate(projections, [z for z, _ in seen])
    inverse = np.linalg.inv([c for _, c in seen])
    for _ in range(ROUNDS):
        jacobian = np.stack([_jacobian(p, point) for p in projections])
        offset = np.stack(
            [z - p.project(point) for p, (z, _) in zip(projections, seen, strict=True)]
        )
        information = np.einsum("iab,iac,icd->bd", jacobian, inverse, jacobian)
        step = np.linalg.solve(information, np.einsum("iab,iac,ic->b", jacobian, inverse, offset))
        point = point + step
        if np.linalg.norm(step) < STEP * 1e-3:
            break
    offset = np.stack([z - p.project(point) for p, (z, _) in zip(projections, seen, strict=True)])
    mismatch = float(np.einsum("ia,iab,ib->", offset, inverse, offset))
    return Place(point, np.linalg.inv(information), mismatch)


def _check_vessel(
    points: Array,
    radius: Array,
    names: list[str],
    along: Array,
    along_sigma: float,
    registration: float,
) -> None:
    n = len(points)
    if points.shape != (n, 3) or n < 2 or not len(radius) == len(names) == len(along) == n:
        raise UserError(
            f"in_vessel: points {points.shape}, {len(radius)} radii, {len(names)} branches and "
            f"{len(along)} distances along; allowed: (n, 3) and n of each, n >= 2"
        )
    if not (np.isfinite(points).all() and np.isfinite(radius).all() and radius.min() > 0.0):
        raise UserError("in_vessel: points and radii must be finite, and radii positive")
    if np.isnan(along).any() or not np.isfinite(along).any() or not along_sigma > 0.0:
        raise UserError(
            f"in_vessel: along with sigma {along_sigma} m; allowed: numbers, one of them finite, "
            "and sigma > 0"
        )
    if not (math.isfinite(registration) and registration >= 0.0):
        raise UserError(f"in_vessel: registration {registration} m; allowed: finite and >= 0")


def _pieces(points: Array, names: list[str]) -> tuple[Array, Array]:
    """Unit tangent (n, 3) and length (n,) m of the piece of line that each point stands for."""
    joined = np.array([a == b for a, b in pairwise(names)])
    step = np.where(joined[:, None], np.diff(points, axis=0), 0.0)
    chord = np.zeros_like(points)
    chord[:-1] += step / 2.0
    chord[1:] += step / 2.0
    length = np.linalg.norm(chord, axis=1)
    if length.min() <= 0.0:
        raise UserError("in_vessel: a branch needs two points or more, none of them repeated")
    return chord / length[:, None], length


def _jacobian(projection: Projection, points: Array) -> Array:
    """Derivative (..., 2, 3), px/m, of image points by world points (..., 3)."""
    steps = STEP * np.eye(3)
    ahead = projection.project(points[..., None, :] + steps)
    back = projection.project(points[..., None, :] - steps)
    return np.swapaxes(ahead - back, -1, -2) / (2.0 * STEP)
