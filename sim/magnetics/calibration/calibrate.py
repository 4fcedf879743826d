"""Calibration of a coil system from readings of a field sensor, with its figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.saturation import LAWS
from mmdtwin.seeding import stream
from mmdtwin.sim.magnetics.calibration.core_laws import with_laws
from mmdtwin.sim.magnetics.calibration.robust import (
    Problem,
    Solution,
    State,
    huber,
    minimum,
    noise_of,
    solve,
    tukey,
    with_scales,
)
from mmdtwin.sim.magnetics.calibration.samples import MARGIN, Mask, Samples, check
from mmdtwin.sim.magnetics.calibration.terms import DRAWN_PRIOR, Drawn, Free, drawn_field
from mmdtwin.sim.magnetics.windings import nearest_winding

FREE_DEGREE = 4  # of the harmonics that are added to a drawing: what iron nearby does varies slowly
DEGREES = range(1, 9)  # tried without a drawing
START_DEGREE = 3
WEIGHINGS = (huber, huber, tukey, tukey, tukey, tukey)  # far from the minimum, then near it
OUTLIER = 5.0  # noise levels; one in 65 000 readings of good ones is as far off
SHARE = 0.8  # of a core's field that saturates, where no drawing tells: a gain of 5
SHARE_BOUNDS = (0.05, 0.95)  # of the guess
UNIT_FACTOR = 100.0  # measured over drawn field, beyond which units must be wrong
SENSOR_UNKNOWNS = 6  # rotation and offset


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit and what it was made from.

    Parameters
    ----------
    samples : Samples
    family : Drawn or Free
        What the unit fields may be.
    problem : Problem
        With terms about the solution.
    solution : Solution
    held_out : (n, 3) array
        Residuals of each sample in a fit to the other folds, T, in the sensor's axes. Degree, laws
        of the cores, strength of the priors and noise are those that all samples gave.
    nominal : (n, 3) array or None
        Residuals of the coils as drawn.
    """

    samples: Samples
    family: Drawn | Free
    problem: Problem
    solution: Solution
    held_out: Array
    nominal: Array | None

    @property
    def state(self) -> State:
        """What was fitted."""
        return self.solution.state

    @property
    def outliers(self) -> Mask:
        """Which samples no fit explains, (n,) bool."""
        lengths = np.linalg.norm(self.problem.residuals(self.state), axis=1)
        return np.asarray(lengths > OUTLIER * self.problem.noise, bool)


def calibrate(
    samples: Samples, config: CoilsConfig | None = None, rigid: bool = False, folds: int = 5
) -> Fitted:
    """Fit coils to samples, robustly.

    Parameters
    ----------
    samples : Samples
        At least some ten per coil.
    config : CoilsConfig, optional
        The coils as drawn. Without, their fields are harmonics of the degree that predicts best.
    rigid : bool
        Coils lie as drawn: gains and saturation alone are fitted, and the sensor's position offset.
    folds : int
        Of the cross-validation.

    Raises
    ------
    UserError
        If the samples cannot tell what is asked for.
    """
    if config is None and rigid:
        raise UserError("--model parametric: needs a coil system; name one with --coils")
    check(samples, _fewest_unknowns(samples, config, rigid))
    if config is None:
        cores, guess = _unknown_cores(samples)
        family: Drawn | Free = _best_degree(samples, cores, guess, folds)
        nominal: Array | None = None
    else:
        cores, guess = _drawn_cores(samples, config)
        family = Drawn(config, 0 if rigid else FREE_DEGREE, rigid)
        nominal = _nominal(samples, config)
    problem, solution = _fit(samples, family, cores, guess)
    held_out = _held_out(problem, solution.state, _folds(samples, folds))
    return Fitted(samples, family, problem, solution, held_out, nominal)


def _fit(
    samples: Samples, family: Drawn | Free, cores: Mask, guess: Array
) -> tuple[Problem, Solution]:
    """Alternate between the minimum, the strength of the priors, the laws and new derivatives."""
    problem, state = _start(samples, family, cores, guess)
    for weigh in WEIGHINGS:
        solution = solve(problem, state, weigh)
        problem, state = with_scales(_with_noise(problem, solution), solution), solution.state
        if weigh is tukey:
            state = with_laws(problem, state, cores, weigh)
        terms = family.terms(samples.positions, state.parameters, state.offset)
        problem = replace(problem, terms=terms)
    return problem, solve(problem, state, tukey)


def _start(
    samples: Samples, family: Drawn | Free, cores: Mask, guess: Array
) -> tuple[Problem, State]:
    parameters = np.zeros((samples.n_coils, family.n_modes))
    state = State(
        parameters=parameters,
        log_knee=guess[0],
        logit_share=guess[1],
        laws=LAWS[:1] * samples.n_coils,
        saturating=cores,
        rotation=np.eye(3),
        bias=np.zeros(3),
        offset=np.zeros(3),
    )
    terms = family.terms(samples.positions, parameters, state.offset)
    scales = np.ones(int(terms.kinds.max()) + 1)
    problem = Problem(terms, samples.currents, samples.fields, guess, scales, noise=1.0)
    return replace(problem, noise=noise_of(problem.residuals(state))), state


def _with_noise(problem: Problem, solution: Solution) -> Problem:
    unknowns = float(solution.determined.sum())
    return replace(problem, noise=noise_of(problem.residuals(solution.state), unknowns))


def _held_out(problem: Problem, state: State, folds: list[Mask]) -> Array:
    """Return residuals (n, 3) of each fold in a fit to the others, T.

    The state is fitted anew, from the one of all rows on and with its terms. What few numbers
    decide for all coils stays as all rows decided it: laws, strength of the priors, noise.
    """
    result = np.empty_like(problem.measured)
    for fold in folds:
        fitted = minimum(problem.rows(~fold), state, tukey)
        result[fold] = problem.rows(fold).residuals(fitted)
    return result


def _folds(samples: Samples, n_folds: int) -> list[Mask]:
    """Return which samples each fold holds, (n,) bool.

    Readings at one place stay together where there are places enough: else a fold would be
    predicted from its own places.
    """
    _, place = np.unique(np.round(samples.positions, 9), axis=0, return_inverse=True)
    group = place.ravel() if place.max() + 1 >= 2 * n_folds else np.arange(len(samples))
    order = stream(0, "folds").permutation(int(group.max()) + 1)
    return [order[group] % n_folds == k for k in range(n_folds)]


def _best_degree(samples: Samples, cores: Mask, guess: Array, n_folds: int) -> Free:
    """Return the harmonics of the degree that predicts held-out samples best."""
    sizes = np.sqrt(np.mean(np.sum(samples.currents**2, axis=1)))
    size = float(np.sqrt(np.mean(np.sum(samples.fields**2, axis=1))) / sizes)
    numbers = 3 * len(samples)
    families = [Free(samples.furthest, degree, size, samples.n_coils) for degree in DEGREES]
    allowed = [f for f in families if MARGIN * f.n_modes * samples.n_coils <= numbers]
    first = min(allowed, key=lambda f: abs(f.degree - START_DEGREE))
    problem, solution = _fit(samples, first, cores, guess)
    folds = _folds(samples, n_folds)

    def misfit(family: Free) -> float:
        parameters = np.zeros((samples.n_coils, family.n_modes))
        shared = min(family.n_modes, first.n_modes)  # lower degrees come first
        parameters[:, :shared] = solution.state.parameters[:, :shared]
        terms = family.terms(samples.positions, parameters, np.zeros(3))
        there = replace(problem, terms=terms, scales=np.ones(int(terms.kinds.max()) + 1))
        state = replace(solution.state, parameters=parameters)
        found = minimum(there, state, huber)
        squares = np.sum(_held_out(there, found, folds) ** 2, axis=1) / problem.noise**2
        return float(np.mean(huber(squares)[0]))

    return min(allowed, key=misfit)


def _unknown_cores(samples: Samples) -> tuple[Mask, Array]:
    largest = np.abs(samples.currents).max(axis=0)
    share = np.full(samples.n_coils, _logit(SHARE))
    return np.ones(samples.n_coils, bool), np.stack([np.log(largest), share])


def _drawn_cores(samples: Samples, config: CoilsConfig) -> tuple[Mask, Array]:
    gains = np.array([coil.core_gain for coil in config.coils])
    knee = config.saturation.knee
    largest = np.abs(samples.currents).max(axis=0)
    share = _logit(np.clip(1 - 1 / gains, *SHARE_BOUNDS))
    return gains > 1, np.stack([np.log(np.where(np.isinf(knee), largest, knee)), share])


def _logit(share: Array | float) -> Array:
    return np.asarray(np.log(share) - np.log1p(-np.asarray(share)))


def _nominal(samples: Samples, config: CoilsConfig) -> Array:
    """Return the residuals of the coils as drawn, (n, 3) T."""
    nearest, furthest = nearest_winding(config), samples.furthest
    if furthest >= nearest:
        row = int(np.linalg.norm(samples.positions, axis=1).argmax()) + 1
        raise UserError(
            f"{samples.path}: row {row}: {furthest * 1e3:.1f} mm from the"
            f" centre of the coils; allowed is nearer than the nearest winding,"
            f" {nearest * 1e3:.1f} mm"
        )
    made = drawn_field(config, samples.positions, samples.currents)
    ratio = float(np.median(np.linalg.norm(samples.fields, axis=1)))
    ratio /= max(float(np.median(np.linalg.norm(made, axis=1))), 1e-15)
    if not 1 / UNIT_FACTOR < ratio < UNIT_FACTOR:
        raise UserError(
            f"{samples.path}: fields are {ratio:.2g} times those of the coils as drawn;"
            " expected T, A and m (mT? mA? another coil system?)"
        )
    return samples.fields - made


def _fewest_unknowns(samples: Samples, config: CoilsConfig | None, rigid: bool) -> int:
    """Return the unknowns of the smallest model: the free harmonics beyond it have priors."""
    if config is None:
        unit_fields, offset = Free(1.0, 2, 1.0, 1).n_modes, 0  # uniform field and gradient
    else:
        unit_fields, offset = (1, 3) if rigid else (len(DRAWN_PRIOR), 0)
    return samples.n_coils * (unit_fields + 2) + SENSOR_UNKNOWNS + offset
