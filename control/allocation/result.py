"""What an allocation found: currents, and what the field model predicts they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmdtwin.control.allocation.problem import Problem, Solution
from mmdtwin.control.allocation.target import Target
from mmdtwin.geometry import Array
from mmdtwin.wrench import dipole_wrench

Units = tuple[Array, Array]  # fields (k, n, 3) T/A and gradients (k, n, 3, 3) T/(m A)


@dataclass(frozen=True, eq=False)
class Achieved:
    """What the field model predicts at one device.

    Parameters
    ----------
    field : (3,) array
        T.
    gradient : (3, 3) array
        dB_i/dx_j, T/m.
    force, torque : (3,) array or None
        On the moment, N and N m; None without a moment.
    direction_error : float or None
        Angle between the field and the one asked for, rad; None if none was.
    """

    field: Array
    gradient: Array
    force: Array | None
    torque: Array | None
    direction_error: float | None


class Allocation:
    """Result of `allocate`. What was achieved, as the field model predicts it, is found when read.

    Attributes
    ----------
    inputs : (n_inputs,) array
        Currents, A.
    targets : tuple of Target
        What was asked for, and
    achieved : tuple of Achieved
        what comes of it, at each device; `field`, `gradient`, `force`, `torque` and
        `direction_error` are those of the first.
    scale : float
        Factor (<= 1) on the whole request that limits asked for: all of it comes out smaller by
        it, in its direction. Where they excluded the direction (see `allocate`), what was achieved
        along the request, which can be any number.
    limited : bool
        True if limits took anything of the request.
    binding : tuple of str
        Limits that the currents lie at, e.g. ("current of coil 3", "power"); coils count from 0.
    residual : float
        Length of the miss in units of 1 mT, 1 uN, 0.02 T/m and 1e-7 N m.
    bias : float
        Part of what can be made that damping alone leaves out, relative, before limits. 0 where
        the solution is exact.
    condition : float
        Largest over smallest singular value of the matrix from currents to the request, in the
        units above and in currents of equal loss; infinite where coils cannot make all of it.
    """

    def __init__(
        self, problem: Problem, solution: Solution, targets: Sequence[Target], units: Units
    ) -> None:
        self._problem, self.targets, self._units = problem, tuple(targets), units
        self.inputs, self.scale, self.limited, self.bias = solution

    @property
    def condition(self) -> float:
        return self._problem.condition

    @cached_property
    def binding(self) -> tuple[str, ...]:
        return self._problem.reach.binding(self.inputs)

    @cached_property
    def residual(self) -> float:
        return self._problem.miss(self._effective)

    @cached_property
    def achieved(self) -> tuple[Achieved, ...]:
        field = np.einsum("c,kci->ki", self._effective, self._units[0])
        gradient = np.einsum("c,kcij->kij", self._effective, self._units[1])
        return tuple(map(_achieved, self.targets, field, gradient))

    @property
    def field(self) -> Array:
        return self.achieved[0].field

    @property
    def gradient(self) -> Array:
        return self.achieved[0].gradient

    @property
    def force(self) -> Array | None:
        return self.achieved[0].force

    @property
    def torque(self) -> Array | None:
        return self.achieved[0].torque

    @property
    def direction_error(self) -> float | None:
        return self.achieved[0].direction_error

    @property
    def _effective(self) -> Array:
        return self._problem.reach.saturation.effective(self.inputs)


def _achieved(target: Target, field: Array, gradient: Array) -> Achieved:
    force = torque = error = None
    if target.moment is not None:
        force, torque = dipole_wrench(target.moment, field, gradient)
    if target.field is not None and target.field.any():
        across = np.linalg.norm(np.cross(target.field, field))
        error = float(np.arctan2(across, target.field @ field))
    return Achieved(field, gradient, force, torque, error)
