"""The largest part of a target that limits allow, made exactly: quadratic programs along a ray.

x = sqrt(R) e with effective currents e, so that |x|^2 is the loss of coils that do not saturate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import daqp
import numpy as np

from mmdtwin.control.allocation.kernels import ray
from mmdtwin.control.allocation.limits import Reach, root
from mmdtwin.geometry import Array

QP_TOLERANCE = 1e-10  # sqrt(W), by which a bound may be missed before currents are cut to it
# What y[0] counts for beside the loss, in units of the largest |x| in the box. The part found is
# less than the largest by 1 / (2 PUSH) of that at most: so much is left where it would cost all.
PUSH = 1e4
MAX_NEWTON = 40  # steps towards the least loss of saturating coils; five are usual
CONVERGED = 1e-12  # of the loss, that a step would save at most
ENOUGH = 0.1  # of what the slope promises has to be saved, or the step is halved (Armijo)
CURRENT_STEP = 1e-4  # A, of the difference quotient for the curvature of the loss
SCALE_ROUNDING = 1e-12  # by which a scale of one may be missed
INFEASIBLE = -1  # daqp's exit flag


class Ray:
    """The x that make a part of the target: y[0] along the shortest, and y[1:] that make nothing.

    Parameters
    ----------
    rows : (r, n + 1) array
        From `decompose`.
    reach : Reach
        What limits allow.
    near : (n,) array or None
        Currents, A, to stay near to; None for the least loss.
    """

    def __init__(self, rows: Array, reach: Reach, near: Array | None) -> None:
        self._reach, self._root = reach, np.sqrt(reach.resistance)
        self._basis, self._lower, self._upper, self._most = ray(rows, reach.resistance, *reach.box)
        self._direction, self._free = self._basis[:, 0], self._basis[:, 1:]
        self._low, self._high = self._lower[1:], self._upper[1:]
        self._length = float(self._upper[0])
        self._none = np.zeros(len(self._basis))
        self._pull = self._none if near is None else self._loss_slopes(near)[0]

    def part(self, x: Array) -> float:
        """Return the part of the target that x makes; 1 where the rest is rounding."""
        reached = self._along(x)
        if reached >= (1.0 - SCALE_ROUNDING) * self._length - QP_TOLERANCE:
            return 1.0
        return reached / self._length

    def inputs(self, x: Array) -> Array:
        """Return the currents (n,) A of an x."""
        return self._reach.inputs(x / self._root)

    def furthest(self) -> Array | None:
        """Return the x within the limits that makes the largest part; None if there is none."""
        x = self._program(PUSH * self._most)
        if x is None:
            return None
        reached = self._along(x)
        # With a pull, or coils that saturate, there may be a better x of the same part.
        plain = self._pull is self._none and self._reach.saturation.linear
        parts = [] if plain else [reached]
        if reached + self._most / (2 * PUSH) >= self._length and not (plain and self.part(x) == 1):
            parts.insert(0, self._length)  # all of it may be possible after all
        for y0 in parts:
            found = self._at(y0, self._pull)
            if found is not None:
                x = found
                break
        return x if self._excess(x) <= 0.0 else self._with_less_power(x)

    def _with_less_power(self, hot: Array) -> Array | None:
        """Return an x of the same part but less near, else of a lesser part, that power allows."""
        reached = self._along(hot)
        coolest = self._at(reached, self._none)
        if coolest is not None and self._excess(coolest) <= 0.0:
            return self._where_power_binds(
                lambda pull: self._at(reached, pull * self._pull), coolest, hot, (0.0, 1.0)
            )
        # The least loss is a convex function of the part made: from its lowest point it rises.
        coolest = self._program(0.0)
        if coolest is None or self._excess(coolest) > 0.0:
            return None
        least = self._along(coolest)
        return self._where_power_binds(
            lambda y0: self._at(y0, self._none), coolest, hot, (least, reached)
        )

    def _where_power_binds(
        self,
        solve: Callable[[float], Array | None],
        coolest: Array,
        hot: Array,
        span: tuple[float, float],
    ) -> Array:
        """Return solve(argument) at the power limit; `span` leads from the coolest to the hot x."""

        def found(argument: float) -> Array:
            x = solve(argument)
            return hot if x is None else x  # by rounding, at the end of what the box allows

        x = found(root(lambda argument: self._excess(found(argument)), *span))
        # Where that jumped, between two x within the box: all in between are as well.
        part = root(lambda part: self._excess(coolest + part * (x - coolest)), 0.0, 1.0)
        return coolest + part * (x - coolest)

    def _along(self, x: Array) -> float:
        return float(self._direction.dot(x))

    def _loss(self, x: Array) -> float:
        if self._reach.saturation.linear:
            return float(x.dot(x))
        return self._reach.power(x / self._root)

    def _excess(self, x: Array) -> float:
        return math.sqrt(self._loss(x) / self._reach.max_power) - 1.0

    def _program(self, push: float) -> Array | None:
        """Minimise |x|^2 / 2 - push y[0] over y, with y[0] from 0 to all of the target."""
        linear = np.zeros(self._basis.shape[1])
        linear[0] = -push
        try:
            y = minimum(_identity(len(linear)), linear, self._basis, self._lower, self._upper)
        except ArithmeticError:
            if push < 1.0:
                raise
            return self._program(push / 100)  # whose rounding is smaller
        return None if y is None else self._basis.dot(y)

    def _at(self, y0: float, pull: Array) -> Array | None:
        """Minimise loss / 2 - pull.x over y[1:]; None where the box excludes that part.

        Newton's method, each step a quadratic program; without saturation the first is exact.
        """
        x = y0 * self._direction
        if not self._free.size:
            room = QP_TOLERANCE
            return x if ((self._low - room <= x) & (x <= self._high + room)).all() else None
        found = self._step(x, -pull, np.ones(len(x)))
        if found is None or self._reach.saturation.linear:
            return found
        x, value = found, self._value(found, pull)
        for _ in range(MAX_NEWTON):
            slope, curvature = self._loss_slopes(self.inputs(x))
            goal = self._step(x, slope - pull, curvature)
            if goal is None:
                break
            step, change = goal - x, float((slope - pull) @ (goal - x))
            if change > -CONVERGED * (1.0 + abs(value)):
                break
            part = 1.0
            while self._value(x + part * step, pull) > value + ENOUGH * part * change:
                part /= 2
            x = x + part * step
            value = self._value(x, pull)
        return x

    def _step(self, x: Array, slope: Array, curvature: Array) -> Array | None:
        """Minimise slope.d + curvature.d^2 / 2 over free steps d from x, in the box."""
        free = self._free
        hessian = (free.T * curvature) @ free
        d = minimum(hessian, slope @ free, free.copy(), self._low - x, self._high - x)
        return None if d is None else x + free @ d

    def _value(self, x: Array, pull: Array) -> float:
        return self._loss(x) / 2 - float(pull @ x)

    def _loss_slopes(self, currents: Array) -> tuple[Array, Array]:
        """Return first and second derivatives of loss / 2 by x, at true currents (n,) A."""
        slope = self._reach.saturation.slope

        def rise(i: Array) -> Array:
            return i / slope(i)

        difference = rise(currents + CURRENT_STEP) - rise(currents - CURRENT_STEP)
        return self._root * rise(currents), difference / (2 * CURRENT_STEP) / slope(currents)


@lru_cache
def _identity(n: int) -> Array:
    return np.eye(n)


def minimum(hessian: Array, linear: Array, rows: Array, low: Array, high: Array) -> Array | None:
    """Minimise y.H y / 2 + f.y with bounds on the first components and on rows @ y.

    None where the bounds exclude each other; ArithmeticError where the solver finds no end.
    """
    y, _, flag, _ = daqp.solve(
        hessian, linear, rows, high, low, np.zeros(len(low), np.int32), primal_tol=QP_TOLERANCE
    )
    if flag == INFEASIBLE:
        return None
    if flag < 1:
        raise ArithmeticError(f"allocation: daqp ended with flag {flag}")
    return np.asarray(y)
