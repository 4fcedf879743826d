"""The numerics of allocation: damped least squares, exact solutions within bounds, the nearest.

Currents are scaled by the root of their coil's resistance, x = sqrt(R) e with effective currents
e, so that |x|^2 is the ohmic loss of coils that do not saturate. What is wanted is A x = t.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from mmdtwin.control.allocation.kernels import (
    complement,
    decompose,
    least_squares,
    scaled_least_squares,
)
from mmdtwin.control.allocation.limits import Reach, root
from mmdtwin.control.allocation.ray import SCALE_ROUNDING, Ray, minimum
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

DAMPING = 1e-4  # of the largest singular value: a direction ten times it is met to 1 %


class Solution(NamedTuple):
    """Effective currents (n,) A, and how they came about; see `Allocation`."""

    effective: Array
    scale: float
    limited: bool
    bias: float


class Problem:
    """Effective currents e with matrix @ e = target wanted, within what limits allow.

    Parameters
    ----------
    matrix : (r, n) array
        What an effective ampere of each coil makes of each condition, in the conditions' units.
    target : (r,) array
    reach : Reach
        What limits allow.
    """

    def __init__(self, matrix: Array, target: Array, reach: Reach) -> None:
        self.matrix, self.target, self.reach = matrix, target, reach

    @cached_property
    def _decomposed(self) -> tuple[Array, Array, Array]:
        rows, singular, wanted = decompose(self.matrix, self.target, self.reach.resistance)
        return rows, singular, wanted

    @property
    def rank(self) -> int:
        """Number of independent conditions that the coils can meet."""
        return int(np.count_nonzero(self._decomposed[1]))

    @property
    def condition(self) -> float:
        """Largest over smallest singular value; infinite where the rank is less than it can be."""
        values = np.sort(self._decomposed[1])[-min(self.matrix.shape) :]
        return float(values[-1] / values[0]) if values[0] > 0.0 else np.inf

    @property
    def unreachable(self) -> float:
        """Length of the part of the target that no currents make."""
        _, singular, wanted = self._decomposed
        return float(np.linalg.norm(wanted[singular == 0.0]))

    def fast(self) -> Solution:
        """Damped least squares with the least loss, scaled as a whole to the limits."""
        reach = self.reach
        if reach.saturation.linear:
            effective, scale, bias = scaled_least_squares(
                self.matrix, self.target, reach.resistance, DAMPING,
                reach.low, reach.high, reach.max_power,
            )  # fmt: skip
        else:
            effective, bias = self._least_squares(DAMPING)
            scale = reach.largest_scale(effective)
            effective = scale * effective
        if scale != scale:
            return self.nearest()
        return Solution(effective, scale, scale < 1.0, bias)

    def bounded(self, near: Array | None = None) -> Solution:
        """Make the largest part in [0, 1] of the target that the limits allow, exactly.

        Among the currents that do, those of least loss, or those nearest to the currents `near`
        (n,) A.
        """
        exact = self._least_squares(0.0)[0]
        if near is None and self.reach.saturation.linear:
            # The least power grows as the square of the part: where power stops it, or nothing
            # does, exchanging currents between coils would not help.
            scale = self.reach.largest_scale(exact)
            if scale == 1.0 or self.reach.power_ratio(scale * exact) > 1.0 - SCALE_ROUNDING:
                return Solution(scale * exact, scale, scale < 1.0, 0.0)
        root_r = np.sqrt(self.reach.resistance)
        rows, singular, _ = self._decomposed
        ray = Ray(exact * root_r, complement(rows, singular), self.reach, near)
        x = ray.furthest()
        if x is None:
            return self.nearest()
        part = ray.part(x)
        return Solution(x / root_r, part, part < 1.0, 0.0)

    def nearest(self) -> Solution:
        """Damped least squares within the limits, where they exclude every part of the target."""
        reach, root_r = self.reach, np.sqrt(self.reach.resistance)
        low, high = reach.box
        coolest = np.clip(0.0, low, high)
        if reach.power_ratio(coolest) > 1.0:
            raise UserError(
                f"limits: the least power within reach of previous is {reach.power(coolest):.4g} "
                f"W; allowed is {reach.max_power:.4g} W"
            )
        largest = float(self._decomposed[1].max()) or 1.0
        matrix, target = self.matrix / root_r / largest, self.target / largest
        hessian, linear = matrix.T @ matrix, -(matrix.T @ target)
        unit, no_rows = np.eye(len(low)), np.zeros((0, len(low)))

        def weighed(miss: float) -> Array:
            """The effective currents for a weight of the miss beside one less that of the loss."""
            loss = 1.0 - miss + miss * DAMPING**2
            x = minimum(
                miss * hessian + loss * unit, miss * linear, no_rows, low * root_r, high * root_r
            )
            return np.clip(x / root_r, low, high)

        def excess(miss: float) -> float:
            return reach.power_ratio(weighed(miss)) - 1.0

        effective = weighed(1.0 if excess(1.0) <= 0.0 else root(excess, 0.0, 1.0))
        size = float(self.target @ self.target)
        part = float(self.target @ (self.matrix @ effective)) / size if size > 0.0 else 1.0
        bias = self._least_squares(DAMPING)[1]
        return Solution(effective, part, True, bias)

    def _least_squares(self, damping: float) -> tuple[Array, float]:
        effective, miss = least_squares(self.matrix, self.target, self.reach.resistance, damping)
        return effective, miss
