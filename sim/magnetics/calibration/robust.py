"""Robust fit of coils and sensor to readings: Gauss-Newton with priors, outliers weighed down.

A reading is modelled as

    B = R [ sum over coils c of e_c(i_c) u_c(x) ] + b + noise

with R the sensor's rotation, b its offset, e_c the law of the core, and u_c linear in parameters
(`terms`). What is minimised is sum over samples rho(|r| / noise) + sum of (parameter /
prior)^2, by iteratively reweighted least squares with Levenberg-Marquardt steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from mmdtwin.geometry import Array
from mmdtwin.saturation import Law, Saturation
from mmdtwin.sim.magnetics.calibration.samples import Mask
from mmdtwin.sim.magnetics.calibration.terms import UnitTerms

# Standard deviations before the data speak, assumed: the knee within a factor e of its guess, the
# core's share within the logistic curve's one unit, the sensor's mounting.
LOG_KNEE, LOGIT_SHARE, TURN, BIAS, OFFSET = 1.0, 1.0, 0.1, 0.02, 5e-3  # -, -, rad, T, m
CHI3_MEDIAN = 1.5382  # median length of a vector of three unit normals
HUBER, TUKEY = 2.5, 7.0  # noise levels at which a reading counts less, and not at all
STEPS, CONVERGED = 25, 1e-4  # at most; fall of the objective per step, in units of one residual
SCALE_BOUNDS = (0.02, 50.0)  # of the priors' strength

Weighing = Callable[[Array], tuple[Array, Array]]  # squared distances -> costs, weights


def huber(squares: Array) -> tuple[Array, Array]:
    """Quadratic, then linear: one minimum, for the way there."""
    d = np.sqrt(np.maximum(squares, 1e-300))
    far = d > HUBER
    return np.where(far, 2 * HUBER * d - HUBER**2, squares), np.where(far, HUBER / d, 1.0)


def tukey(squares: Array) -> tuple[Array, Array]:
    """Biweight: readings far off do not count at all, for the end."""
    inside = np.maximum(1 - squares / TUKEY**2, 0.0)
    return TUKEY**2 / 3 * (1 - inside**3), inside**2


@dataclass(frozen=True, eq=False)
class State:
    """Everything that is fitted.

    Parameters
    ----------
    parameters : (c, k) array
        Of the unit fields.
    log_knee, logit_share : (c,) arrays
        Of the cores' laws, ln A and -.
    laws : tuple of str
        Per coil.
    saturating : (c,) bool array
        Coils without are linear.
    rotation : (3, 3) array
        Takes the coils' axes to the sensor's.
    bias : (3,) array
        Sensor offset, T.
    offset : (3,) array
        Position offset of the sensor, m.
    """

    parameters: Array
    log_knee: Array
    logit_share: Array
    laws: tuple[Law, ...]
    saturating: Mask
    rotation: Array
    bias: Array
    offset: Array

    @property
    def saturation(self) -> Saturation:
        """The cores' law."""
        knee = np.where(self.saturating, np.exp(self.log_knee), np.inf)
        return Saturation.of(knee, np.where(self.saturating, self._share, 0.0), self.laws)

    @property
    def rotation_vector(self) -> Array:
        """The sensor's rotation, (3,) rad."""
        return np.asarray(Rotation.from_matrix(self.rotation).as_rotvec())

    @property
    def _share(self) -> Array:
        return 1 / (1 + np.exp(-self.logit_share))

    def effective(self, currents: Array) -> tuple[Array, Array, Array]:
        """Return e (n, c) and its derivatives to log_knee and logit_share."""
        core = Saturation.of(np.exp(self.log_knee), np.ones(len(self.laws)), self.laws)
        share, value, slope = self._share, core.effective(currents), core.slope(currents)
        on = self.saturating
        return (
            np.where(on, (1 - share) * currents + share * value, currents),
            np.where(on, share * (value - currents * slope), 0.0),
            np.where(on, share * (1 - share) * (value - currents), 0.0),
        )

    def changed(self, step: Array) -> State:
        """Return the state after a step in the order of `Problem.jacobian`."""
        c, k = self.parameters.shape
        p, knee, share, turn, bias, offset = np.split(step, np.cumsum([c * k, c, c, 3, 3]))
        return replace(
            self,
            parameters=self.parameters + p.reshape(c, k),
            log_knee=self.log_knee + knee,
            logit_share=self.logit_share + share,
            rotation=Rotation.from_rotvec(turn).as_matrix() @ self.rotation,
            bias=self.bias + bias,
            offset=self.offset + offset,
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """Readings and the priors of a fit.

    Parameters
    ----------
    terms : UnitTerms
        At the samples.
    currents, measured : (n, c) and (n, 3) arrays
        A and T.
    guess : (2, c) array
        Centres of the priors of log_knee and logit_share.
    scales : (kinds,) array
        Strength of the parameters' priors, by kind.
    noise : float
        Standard deviation of one component, T.
    """

    terms: UnitTerms
    currents: Array
    measured: Array
    guess: Array
    scales: Array
    noise: float

    def rows(self, chosen: Mask) -> Problem:
        """Return the problem with some of the samples."""
        return replace(
            self,
            terms=self.terms.rows(chosen),
            currents=self.currents[chosen],
            measured=self.measured[chosen],
        )

    def predicted(self, state: State) -> Array:
        """Return what the sensor should read, (n, 3) T."""
        unit_fields = self.terms.fields(state.parameters, state.offset)
        made = np.einsum("nc,ncj->nj", state.effective(self.currents)[0], unit_fields)
        return made @ state.rotation.T + state.bias

    def jacobian(self, state: State) -> Array:
        """Return d predicted / d (parameters, log_knee, logit_share, turn, bias, offset)."""
        e, by_knee, by_share = state.effective(self.currents)
        n, c, k, _ = self.terms.modes.shape
        unit_fields = self.terms.fields(state.parameters, state.offset) @ state.rotation.T
        made = np.einsum("nc,ncj->nj", e, unit_fields)
        modes = (e[:, :, None, None] * self.terms.modes).reshape(n, c * k, 3) @ state.rotation.T
        slopes = self.terms.slopes
        moved = (
            np.zeros((n, 3, 3))
            if slopes is None
            else np.einsum("nc,ncij->nji", e, slopes) @ state.rotation.T
        )
        columns = [
            modes,
            by_knee[..., None] * unit_fields,
            by_share[..., None] * unit_fields,
            np.cross(np.eye(3)[None], made[:, None]),
            np.broadcast_to(np.eye(3), (n, 3, 3)),
            moved,
        ]
        return np.concatenate(columns, axis=1).swapaxes(1, 2).reshape(3 * n, -1)

    def deviations(self, state: State) -> tuple[Array, Array]:
        """Return how far each unknown is from its prior's centre, and the standard deviations."""
        values = [
            state.parameters.ravel(),
            state.log_knee - self.guess[0],
            state.logit_share - self.guess[1],
            state.rotation_vector,
            state.bias,
            state.offset,
        ]
        c = len(state.log_knee)
        prior = (self.terms.prior * self.scales[self.terms.kinds]).ravel()
        sizes = [LOG_KNEE, LOGIT_SHARE, TURN, BIAS, OFFSET]
        rest = np.repeat(sizes, [c, c, 3, 3, 3])
        return np.concatenate(values), np.concatenate([prior, rest])

    def residuals(self, state: State) -> Array:
        """Return measured less predicted, (n, 3) T."""
        return self.measured - self.predicted(state)

    def objective(self, state: State, weigh: Weighing) -> float:
        """Return what is minimised."""
        squares = np.sum(self.residuals(state) ** 2, axis=1) / self.noise**2
        values, deviations = self.deviations(state)
        return float(weigh(squares)[0].sum() + np.sum((values / deviations) ** 2))


@dataclass(frozen=True, eq=False)
class Solution:
    """A minimum.

    Parameters
    ----------
    state : State
    determined : (u,) array
        How far the data rather than the prior decide each unknown, 0 to 1.
    errors : (u,) array
        Standard error of each unknown.
    """

    state: State
    determined: Array
    errors: Array


def solve(problem: Problem, state: State, weigh: Weighing) -> Solution:
    """Return the minimum from a state on, with errors."""
    return _solution(problem, minimum(problem, state, weigh), weigh)


def minimum(problem: Problem, state: State, weigh: Weighing) -> State:
    """Minimise from a state on."""
    damping, cost = 1e-3, problem.objective(state, weigh)
    for _ in range(STEPS):
        normal, pull, deviations = _normal_equations(problem, state, weigh)
        while True:
            damped = normal + damping * np.diag(np.diag(normal))
            step = deviations * cho_solve(cho_factor(damped), pull)
            tried = state.changed(step)
            tried_cost = problem.objective(tried, weigh)
            if np.isfinite(tried_cost) and tried_cost <= cost:
                break
            damping *= 10
            if damping > 1e8:
                return state
        fall, state, cost, damping = cost - tried_cost, tried, tried_cost, damping / 10
        if fall < CONVERGED * max(1.0, len(problem.measured) ** 0.5):
            break
    return state


def _normal_equations(
    problem: Problem, state: State, weigh: Weighing
) -> tuple[Array, Array, Array]:
    """Return the normal matrix and right-hand side in units of the priors, and those units."""
    residual = problem.residuals(state)
    weights = weigh(np.sum(residual**2, axis=1) / problem.noise**2)[1]
    values, deviations = problem.deviations(state)
    root = np.repeat(np.sqrt(weights), 3) / problem.noise
    scaled = problem.jacobian(state) * root[:, None] * deviations
    normal = scaled.T @ scaled
    normal[np.diag_indices_from(normal)] += 1.0
    return normal, scaled.T @ (root * residual.ravel()) - values / deviations, deviations


def _solution(problem: Problem, state: State, weigh: Weighing) -> Solution:
    normal, _, deviations = _normal_equations(problem, state, weigh)
    spread = np.diag(cho_solve(cho_factor(normal), np.eye(len(normal))))
    return Solution(state, 1 - spread, deviations * np.sqrt(spread))


def with_scales(problem: Problem, solution: Solution) -> Problem:
    """Return the problem with priors as strong as makes the data most likely.

    MacKay 1992, Neural Computation 4, 415 (eq. 4.9): the variance of parameters of one kind is
    their sum of squares over the number of them that the data determine.
    """
    values = (solution.state.parameters / problem.terms.prior) ** 2
    determined = solution.determined[: values.size].reshape(values.shape)
    scales = problem.scales.copy()
    for kind in range(len(scales)):
        of_kind = problem.terms.kinds == kind
        number = max(float(determined[:, of_kind].sum()), 1e-6)
        scales[kind] = np.sqrt(values[:, of_kind].sum() / number)
    return replace(problem, scales=np.clip(scales, *SCALE_BOUNDS))


def noise_of(residuals: Array, unknowns: float = 0.0) -> float:
    """Return the noise of one component from the median length of residuals (n, 3).

    `unknowns` is the number that was fitted to them.
    """
    numbers = residuals.size
    left = max(numbers - unknowns, 0.1 * numbers)
    median = float(np.median(np.linalg.norm(residuals, axis=1)))
    return max(median, 1e-12) / CHI3_MEDIAN * float(np.sqrt(numbers / left))
