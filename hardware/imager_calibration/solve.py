"""Fit poses, focal length, principal point and distortion to the beads of a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.hardware.imager_calibration.correspondence import Pairs
from mmdtwin.hardware.imager_calibration.find_beads import Beads
from mmdtwin.hardware.imager_calibration.model import Lens, displacement, shown

Mask = NDArray[np.bool_]
SHARED = 5  # focal length, principal point (2), pincushion, S-distortion
POSE = 6
# Of the values that are fitted: relative, px, px, 1, 1, rad, m. They make a step of 1 small.
SHARED_SCALE = np.array([1e-3, 1.0, 1.0, 1e-2, 1e-2])
POSE_SCALE = np.array([1e-3] * 3 + [1e-3] * 3)
STEP = 1e-3  # of finite differences, in those scales
SIGMA_FLOOR = 0.02  # px: what a disc's fit leaves beside noise (background, focal spot), assumed
OUTLIER = 4.0  # robust standard deviations
ROUNDS = 8  # of fitting and rejecting
MEDIAN_LENGTH = 1.177  # of two normal residuals, standard deviations
LOOSE = 100.0  # times the tolerances: all but free
SURPRISE = 4.0  # standard deviations off, beyond which a nominal value is not believed
NOMINAL = ("sid", "principal u", "principal v")
FEWEST = 8  # beads that an image must keep


@dataclass(frozen=True)
class Tolerance:
    """How well the nominal values are known: the fit takes them as measurements.

    Where the images alone say clearly that one is farther off, it does not hold them back.

    Parameters
    ----------
    sid : float
        Standard deviation of the source to detector distance, m. Assumed: of its encoder.
    principal : float
        Standard deviation of where the central ray meets the detector, m. Assumed.
    """

    sid: float = 0.15e-3
    principal: float = 0.15e-3

    def __post_init__(self) -> None:
        for name in ("sid", "principal"):
            value = getattr(self, name)
            if not 0.0 < value < float("inf"):
                raise UserError(f"tolerance of {name}: {value} m must be positive and finite")


@dataclass(frozen=True, eq=False)
class View:
    """One image: nominal geometry, what was found, and which bead it is taken for."""

    name: str
    nominal: Projection
    finds: Beads
    pairs: Pairs

    @property
    def pixels(self) -> Array:
        """Where its beads are, (n, 2) px."""
        return self.finds.pixels[self.pairs.finds]

    @property
    def sigma(self) -> Array:
        """Standard errors of them, (n,) px."""
        return np.hypot(self.finds.sigma[self.pairs.finds], SIGMA_FLOOR)


@dataclass(frozen=True, eq=False)
class Solution:
    """What fits a session best.

    Parameters
    ----------
    lens : Lens
        Shared by all images.
    displacements : list of (4, 4) array
        Per image: takes the nominal imager to where it is, m.
    kept : list of (n,) bool array
        Per image: which pairs are no outliers.
    residuals : list of (n, 2) array
        Per image: seen less fitted, px.
    covariance : (5 + 6 m, 5 + 6 m) array
        Of (relative focal length, principal point in px, pincushion, S-distortion) and, for each
        image, of its isocentre's shift in m and its rotation vector in rad.
    released : tuple of str
        Those of `NOMINAL` that the images contradict, so that they were left free.
    """

    lens: Lens
    displacements: list[Array]
    kept: list[Mask]
    residuals: list[Array]
    covariance: Array
    released: tuple[str, ...]


def solve(positions: Array, views: Sequence[View], tolerance: Tolerance) -> Solution:
    """Fit a session by least squares and reject outliers in turn.

    Parameters
    ----------
    positions : (n, 3) array
        Middles of the phantom's beads in the world, m.
    views : sequence of View
        At least one; of one detector.
    tolerance : Tolerance
        Of the nominal focal length and principal point.

    Raises
    ------
    UserError
        If an image keeps too few beads.
    """
    problem = _Problem(positions, views, tolerance)
    kept = [np.ones(len(view.pixels), bool) for view in views]
    known, problem.prior = problem.prior, problem.prior * LOOSE
    x, kept = _fit(problem, problem.start(), kept)
    # The images alone against the nominal values: whether they are within both errors.
    free = np.sqrt(np.diag(problem.scaled_covariance(x, kept)))[:3]
    off = np.abs(x[:3]) > SURPRISE * np.hypot(free, known)
    problem.prior = np.where(off, problem.prior, known)
    x, kept = _fit(problem, x, kept)
    released = tuple(name for name, far in zip(NOMINAL, off.tolist(), strict=True) if far)
    return problem.solution(x, kept, released)


def _fit(problem: _Problem, x: Array, kept: list[Mask]) -> tuple[Array, list[Mask]]:
    """Fit and reject outliers in turn; return the values and which beads are kept."""
    for number in range(ROUNDS):
        loss = "linear" if number else "soft_l1"
        found = least_squares(
            problem.weighted, x, problem.slopes, x_scale="jac", loss=loss, args=(kept,)
        )
        x, before = found.x, kept
        kept = problem.inliers(x, kept)
        if number and all(np.array_equal(a, b) for a, b in zip(kept, before, strict=True)):
            break
    return x, kept


class _Problem:
    """Residuals of a session and their derivatives."""

    def __init__(self, positions: Array, views: Sequence[View], tolerance: Tolerance) -> None:
        self.positions, self.views = positions, views
        first = views[0].nominal
        self.lens = Lens.of(first)
        self.prior = np.array(
            [tolerance.sid / first.sid / SHARED_SCALE[0]]
            + [tolerance.principal / first.pitch / SHARED_SCALE[1]] * 2
        )

    def start(self) -> Array:
        bends = np.mean(
            [[v.pairs.lens.pincushion, v.pairs.lens.s_distortion] for v in self.views], axis=0
        )
        shared = np.concatenate([np.zeros(3), bends / SHARED_SCALE[3:]])
        return np.concatenate([shared, *(view.pairs.pose / POSE_SCALE for view in self.views)])

    def lens_of(self, x: Array) -> Lens:
        values = x[:SHARED] * SHARED_SCALE
        cu, cv = self.lens.principal
        lens = replace(
            self.lens,
            focal=self.lens.focal * (1.0 + values[0]),
            principal=(float(cu + values[1]), float(cv + values[2])),
        )
        return lens.with_bends(values[3:])

    def pose_of(self, x: Array, i: int) -> Array:
        return x[SHARED + POSE * i : SHARED + POSE * (i + 1)] * POSE_SCALE

    def residuals(self, x: Array) -> list[Array]:
        """Seen less fitted, px, per image."""
        lens = self.lens_of(x)
        return [
            view.pixels
            - shown(self.positions[view.pairs.beads], view.nominal, self.pose_of(x, i), lens)
            for i, view in enumerate(self.views)
        ]

    def inliers(self, x: Array, kept: list[Mask]) -> list[Mask]:
        """Return which beads lie within the spread of those kept so far."""
        lengths = [
            np.hypot(*(r / view.sigma[:, None]).T)
            for r, view in zip(self.residuals(x), self.views, strict=True)
        ]
        pooled = np.concatenate([length[k] for length, k in zip(lengths, kept, strict=True)])
        limit = OUTLIER * max(1.0, float(np.median(pooled)) / MEDIAN_LENGTH)
        masks = [length < limit for length in lengths]
        for view, mask in zip(self.views, masks, strict=True):
            if mask.sum() < FEWEST:
                raise UserError(
                    f"{view.name}: {mask.sum()} beads fit one pose; at least {FEWEST} must"
                )
        return masks

    def weighted(self, x: Array, kept: list[Mask]) -> Array:
        """Residuals of what is kept over their standard errors, then those of the nominal values.

        Without distortion its two values are held at 0.
        """
        return np.concatenate([*self._weighted(x, kept), self._known(x)])

    def _weighted(self, x: Array, kept: list[Mask]) -> list[Array]:
        parts = zip(self.residuals(x), self.views, kept, strict=True)
        return [(r / view.sigma[:, None])[keep].ravel() for r, view, keep in parts]

    def _known(self, x: Array) -> Array:
        known = x[:3] / self.prior
        return known if self.lens.bends else np.concatenate([known, x[3:SHARED]])

    def slopes(self, x: Array, kept: list[Mask]) -> Array:
        """Derivatives of `weighted`: no pose bears on another image, so all are moved at once."""
        base = self._weighted(x, kept)
        rows = np.concatenate([[0], np.cumsum([len(part) for part in base])])
        known = self._known(x)
        jacobian = np.zeros((rows[-1] + len(known), len(x)))
        for j in range(SHARED + POSE):
            step = np.zeros_like(x)
            step[j if j < SHARED else slice(j, None, POSE)] = STEP
            ahead, behind = self._weighted(x + step, kept), self._weighted(x - step, kept)
            for i, (a, b) in enumerate(zip(ahead, behind, strict=True)):
                column = j if j < SHARED else j + POSE * i
                jacobian[rows[i] : rows[i + 1], column] = (a - b) / (2 * STEP)
        jacobian[rows[-1] : rows[-1] + 3, :3] = np.diag(1.0 / self.prior)
        if not self.lens.bends:
            jacobian[rows[-1] + 3 :, 3:SHARED] = np.eye(2)
        return jacobian

    def scaled_covariance(self, x: Array, kept: list[Mask]) -> Array:
        """Covariance of x; errors count as the residuals show them, if larger than stated.

        What is known of the nominal values is not widened with them.
        """
        jacobian = self.slopes(x, kept)
        beads = np.concatenate(self._weighted(x, kept))
        spread = max(1.0, float(beads @ beads) / max(1, len(beads) - len(x)))
        jacobian[: len(beads)] /= np.sqrt(spread)
        return np.asarray(np.linalg.inv(jacobian.T @ jacobian))

    def solution(self, x: Array, kept: list[Mask], released: tuple[str, ...]) -> Solution:
        covariance = self.scaled_covariance(x, kept)
        change = np.zeros((len(x), len(x)))
        change[:SHARED, :SHARED] = np.diag(SHARED_SCALE)
        for i, view in enumerate(self.views):
            part = slice(SHARED + POSE * i, SHARED + POSE * (i + 1))
            change[part, part] = _pose_change(view.nominal, self.pose_of(x, i)) * POSE_SCALE
        return Solution(
            lens=self.lens_of(x),
            displacements=[
                displacement(view.nominal, self.pose_of(x, i)) for i, view in enumerate(self.views)
            ],
            kept=kept,
            residuals=self.residuals(x),
            covariance=change @ covariance @ change.T,
            released=released,
        )


def shift_and_turn(nominal: Projection, T: Array) -> Array:
    """Return how far a displacement shifts the isocentre, m, and its rotation vector, rad: (6,)."""
    centre = nominal.isocentre
    turn = Rotation.from_matrix(T[:3, :3]).as_rotvec()
    return np.concatenate([T[:3, :3] @ centre + T[:3, 3] - centre, turn])


def _pose_change(nominal: Projection, pose: Array) -> Array:
    """Derivatives (6, 6) of shift and turn of the imager with respect to a pose."""
    columns = []
    for j in range(POSE):
        step = np.zeros(POSE)
        step[j] = 1e-6
        ahead = shift_and_turn(nominal, displacement(nominal, pose + step))
        behind = shift_and_turn(nominal, displacement(nominal, pose - step))
        columns.append((ahead - behind) / 2e-6)
    return np.stack(columns, axis=1)
