"""Which law each core follows: linear, tanh or erf, as the readings show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from mmdtwin.geometry import Array
from mmdtwin.saturation import LAWS
from mmdtwin.sim.magnetics.calibration.robust import LOG_KNEE, LOGIT_SHARE, Problem, State, Weighing
from mmdtwin.sim.magnetics.calibration.samples import Mask


def with_laws(problem: Problem, state: State, cores: Mask, weigh: Weighing) -> State:
    """Return the state with the law of each coil that explains the readings best.

    Coil by coil with the rest of the state as it is: gain, knee and share are refitted for each
    law. Saturation has two numbers more than a linear core and must earn them: Schwarz' criterion
    charges ln(readings) for each.

    Parameters
    ----------
    problem, state, weigh
        As for `robust.solve`.
    cores : (c,) bool array
        Coils that have a core; the others stay linear.
    """
    residuals = problem.residuals(state)
    weights = weigh(np.sum(residuals**2, axis=1) / problem.noise**2)[1]
    root = np.sqrt(weights)[:, None] / problem.noise
    e = state.effective(problem.currents)[0]
    unit_fields = problem.terms.fields(state.parameters, state.offset) @ state.rotation.T
    for coil in np.flatnonzero(cores):
        shape = root * unit_fields[:, coil]
        wanted = root * residuals + e[:, coil, None] * shape
        state = _best(problem, state, int(coil), shape, wanted)
    return state


def _best(problem: Problem, state: State, coil: int, shape: Array, wanted: Array) -> State:
    """Return the state with the best law of one coil, whose field is `shape` per ampere."""
    linear = state.saturating.copy()
    linear[coil] = False
    best = replace(state, saturating=linear)
    lowest = float(np.sum(_misfit(problem, best, coil, shape, wanted) ** 2))
    price = 2 * np.log(wanted.size)
    for law in LAWS:
        laws = (*state.laws[:coil], law, *state.laws[coil + 1 :])
        saturating = state.saturating.copy()
        saturating[coil] = True
        trial = replace(state, laws=laws, saturating=saturating)

        def misfit(x: Array, trial: State = trial) -> Array:
            there = _with_core(trial, coil, x)
            prior = (x - problem.guess[:, coil]) / [LOG_KNEE, LOGIT_SHARE]
            return np.concatenate([_misfit(problem, there, coil, shape, wanted).ravel(), prior])

        start = np.array([state.log_knee[coil], state.logit_share[coil]])
        found = least_squares(misfit, start, method="lm")
        if 2 * found.cost + price < lowest:
            best, lowest = _with_core(trial, coil, found.x), 2 * found.cost + price
    return best


def _with_core(state: State, coil: int, x: Array) -> State:
    log_knee, logit_share = state.log_knee.copy(), state.logit_share.copy()
    log_knee[coil], logit_share[coil] = x
    return replace(state, log_knee=log_knee, logit_share=logit_share)


def _misfit(problem: Problem, state: State, coil: int, shape: Array, wanted: Array) -> Array:
    """Return what is left of `wanted` (n, 3) with the best gain for this law."""
    made = state.effective(problem.currents)[0][:, coil, None] * shape
    size = float(np.sum(made**2))
    gain = float(np.sum(made * wanted)) / size if size > 0 else 0.0
    return wanted - gain * made
