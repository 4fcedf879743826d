"""The numerics of allocation: damped least squares, exact solutions within bounds, the nearest.

Currents are scaled by the root of their coil's resistance, x = sqrt(R) e with effective currents
e, so that |x|^2 is the ohmic loss of coils that do not saturate. What is wanted is A x = t.
"""

from __future__ import annotations

import numpy as np

from mmdtwin.control.allocation.kernels import (
    shortest,
    shortest_within,
)
from mmdtwin.control.allocation.limits import Reach, root
from mmdtwin.control.allocation.ray import SCALE_ROUNDING, Ray, minimum
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

DAMPING = 1e-4  # of the largest singular value: a direction ten times it is met to 1 %


# Currents (n,) A, and the scale, limited and bias of `Allocation`.
Solution = tuple[Array, float, bool, float]


class Problem:
    """Conditions A x = t wanted, within what limits allow.

    Parameters
    ----------
    rows : (r, n + 1) array
        From `decompose`: A, whose rows are orthogonal, and in the last column t.
    reach : Reach
        What limits allow.
    """

    def __init__(self, rows: Array, reach: Reach) -> None:
        self._rows, self.reach = rows, reach

    @property
    def target(self) -> Array:
        return self._rows[:, -1]

    @property
    def _singular(self) -> Array:
        """Singular values (r,), not sorted; zero where they are no more than rounding."""
        return np.linalg.norm(self._rows[:, :-1], axis=1)

    @property
    def rank(self) -> int:
        """Number of independent conditions that the coils can meet."""
        return int(np.count_nonzero(self._singular))

    @property
    def condition(self) -> float:
        """Largest over smallest singular value; infinite where the rank is less than it can be."""
        values = np.sort(self._singular)[-(self._rows.shape[1] - 1) :]
        return float(values[-1] / values[0]) if values[0] > 0.0 else np.inf

    @property
    def unreachable(self) -> float:
        """Length of the part of the target that no currents make."""
        return float(np.linalg.norm(self.target[self._singular == 0.0]))

    def miss(self, effective: Array) -> float:
        """Return by how much effective currents (n,) A miss the target."""
        x = np.sqrt(self.reach.resistance) * effective
        return float(np.linalg.norm(self._rows[:, :-1] @ x - self.target))

    def fast(self) -> Solution:
        """Damped least squares with the least loss, scaled as a whole to the limits."""
        reach = self.reach
        if reach.saturation.linear:
            inputs, scale, bias = shortest_within(
                self._rows, reach.resistance, DAMPING, reach.low, reach.high, reach.max_power
            )
        else:
            effective, bias = shortest(self._rows, reach.resistance, DAMPING)
            scale = reach.largest_scale(effective)
            inputs = effective if scale != scale else reach.inputs(scale * effective)
        if scale != scale:
            return self.nearest()
        return inputs, scale, scale < 1.0, bias

    def bounded(self, near: Array | None = None) -> Solution:
        """Make the largest part in [0, 1] of the target that the limits allow, exactly.

        Among the currents that do, those of least loss, or those nearest to the currents `near`
        (n,) A.
        """
        reach = self.reach
        if near is None and reach.saturation.linear:
            # The least power grows as the square of the part: where power stops it, or nothing
            # does, exchanging currents between coils would not help.
            inputs, scale, _ = shortest_within(
                self._rows, reach.resistance, 0.0, reach.low, reach.high, reach.max_power
            )
            if scale == 1.0 or reach.power_ratio(inputs) > 1.0 - SCALE_ROUNDING:
                return inputs, scale, scale < 1.0, 0.0
        ray = Ray(self._rows, reach, near)
        x = ray.furthest()
        if x is None:
            return self.nearest()
        part = ray.part(x)
        return ray.inputs(x), part, part < 1.0, 0.0

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
        largest = float(self._singular.max()) or 1.0
        matrix, target = self._rows[:, :-1] / largest, self.target / largest
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
        made = self._rows[:, :-1] @ (root_r * effective)
        part = float(self.target @ made) / size if size > 0.0 else 1.0
        bias = shortest(self._rows, reach.resistance, DAMPING)[1]
        return reach.inputs(effective), part, True, bias
