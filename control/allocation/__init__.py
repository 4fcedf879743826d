"""Allocation: currents that make wanted fields, gradients, forces and torques at devices."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.control.allocation.conditions import (
    FIELD_UNIT,
    FORCE_UNIT,
    GRADIENT_UNIT,
    TORQUE_UNIT,
    decompose,
)
from mmdtwin.control.allocation.limits import Reach, standing_reach
from mmdtwin.control.allocation.problem import Problem
from mmdtwin.control.allocation.result import Achieved, Allocation
from mmdtwin.control.allocation.target import (
    Target,
    force_rows,
    independent_conditions,
    vector,
)
from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array
from mmdtwin.safety import Limits

if TYPE_CHECKING:
    from mmdtwin.control.pose_allocation import PoseAllocation
    from mmdtwin.magnet_limits import MagnetLimits

__all__ = [
    "FIELD_UNIT",
    "FORCE_UNIT",
    "GRADIENT_UNIT",
    "TORQUE_UNIT",
    "Achieved",
    "Allocation",
    "Target",
    "allocate",
    "allocate_many",
    "force_rows",
    "vector",
]

Method = Literal["fast", "bounded"]
Objective = Literal["power", "change"]
POSSIBLE = 1e-6  # relative: less of a joint request that coils cannot make is rounding


def allocate(
    field_model: FieldModel,
    point: ArrayLike,
    field: ArrayLike | None = None,
    force: ArrayLike | None = None,
    moment: ArrayLike | None = None,
    limits: Limits | MagnetLimits | None = None,
    *,
    gradient: ArrayLike | None = None,
    torque: ArrayLike | None = None,
    method: Method = "fast",
    minimise: Objective = "power",
    previous: ArrayLike | None = None,
    dt: float | None = None,
) -> Allocation | PoseAllocation:
    """Find the inputs that make a field, force, gradient or torque at a point.

    `fast` is damped least squares with the least loss (Tikhonov), in closed form. A result that
    breaks limits is scaled as a whole, never coil by coil, so that the field keeps its direction.

    `bounded` is exact: the largest part in [0, 1] of the request that currents within the limits
    can make, in its direction, by quadratic programs. It uses the freedom that coils leave, so
    that it reaches further than scaling. Among the solutions it takes the one of least power, or
    with `minimise="change"` the one nearest to `previous`.

    What coils cannot make at all (a rank below the number of conditions) is missed by least
    squares and shows in the residual. Where slew and voltage around `previous` exclude every part
    of the request, both methods return the nearest by damped least squares within the limits.

    Parameters
    ----------
    field_model : FieldModel
        Of coils. For the pose of a magnet see `mmdtwin.control.pose_allocation`, which is called
        with what it takes: point, field, force, moment, limits and, to start from, `previous`.
    point, field, force, moment, gradient, torque
        As in `Target`.
    limits : Limits, optional
        Current, what the amplifier can hold (R i <= V) and power. Without them nothing is
        limited and all coils have the same resistance.
    method : "fast" or "bounded"
    minimise : "power" or "change"
        Ohmic loss, or the loss of the change from `previous`; the latter is for `bounded`.
    previous : (n_inputs,) array, optional
        Currents in force, A.
    dt : float, optional
        s from `previous` to these currents: slew, and the voltage L (i - previous) / dt + R i,
        are limited then as well.

    Returns
    -------
    Allocation

    Raises
    ------
    UserError
        If an argument has a wrong shape, is not finite, is missing, contradicts another or has no
        effect, or if `previous` is too far outside the limits to come back within them in `dt`.
    OutOfWorkspaceError
        If the point lies outside the model's workspace.
    """
    target = Target(point, field, force, moment, gradient, torque)
    if field_model.saturation is None:
        for name, given in {
            "gradient": gradient is not None,
            "torque": torque is not None,
            "method": method != "fast",
            "minimise": minimise != "power",
            "dt": dt is not None,
        }.items():
            if given:
                raise UserError(f"{name} is for coils; the pose of a magnet does not take it")
        return _allocate_pose(field_model, target, limits, previous)
    return allocate_many(
        field_model,
        (target,),
        _of_coils(limits),
        method=method,
        minimise=minimise,
        previous=previous,
        dt=dt,
    )


def allocate_many(
    field_model: FieldModel,
    targets: Sequence[Target],
    limits: Limits | None = None,
    *,
    method: Method = "fast",
    minimise: Objective = "power",
    previous: ArrayLike | None = None,
    dt: float | None = None,
) -> Allocation:
    """Find the currents that give several devices what each of them is to feel.

    As `allocate`, for all devices at once: as many independent conditions as the coils have a
    rank. What they cannot make together is refused; for a single device it is missed by least
    squares.

    Parameters
    ----------
    targets : sequence of Target
        In the field model's frame.

    Raises
    ------
    UserError
        As `allocate`; and if the targets of several devices are not jointly reachable.
    """
    if not targets:
        raise UserError("allocate_many: give at least one target")
    saturation = field_model.saturation
    if saturation is None:
        raise UserError("allocate_many: a magnet's pose serves one device; this takes coils")
    earlier = _checked(len(saturation.knee), limits, method, minimise, previous, dt)
    if dt is None:
        reach = standing_reach(limits, saturation)
    else:
        reach = Reach(limits, saturation, earlier, dt)
    if len(targets) == 1:
        units = field_model.units(targets[0].point[None])
        conditions = targets[0].conditions(units[0][0], units[1][0], reach.resistance)
    else:
        units = field_model.units(np.array([target.point for target in targets]))
        parts = [
            target.conditions(field, gradient, reach.resistance)
            for target, field, gradient in zip(targets, *units, strict=True)
        ]
        conditions = decompose(np.concatenate(parts))
    problem = Problem(conditions, reach)
    if len(targets) > 1:
        _require_reachable(problem, targets)
    if method == "fast":
        solution = problem.fast()
    else:
        solution = problem.bounded(earlier if minimise == "change" else None)
    return Allocation(problem, solution, targets, units)


def _checked(
    n: int,
    limits: Limits | None,
    method: str,
    minimise: str,
    previous: ArrayLike | None,
    dt: float | None,
) -> Array | None:
    """Return `previous` as floats; UserError where options are wrong or would do nothing."""
    if method not in ("fast", "bounded"):
        raise UserError(f"method is {method!r}; allowed are 'fast' and 'bounded'")
    if minimise not in ("power", "change"):
        raise UserError(f"minimise is {minimise!r}; allowed are 'power' and 'change'")
    if minimise == "change" and (method != "bounded" or previous is None):
        raise UserError("minimise='change' needs method='bounded' and previous")
    if limits is not None and len(limits.max_current) != n:
        raise UserError(f"limits are for {len(limits.max_current)} coils; the field model has {n}")
    if dt is not None:
        if not (isfinite(dt) and dt > 0.0):
            raise UserError(f"dt is {dt}; allowed is a positive number of s")
        if previous is None or limits is None:
            raise UserError("dt needs previous and limits, of slew and voltage")
    if previous is None:
        return None
    if dt is None and minimise == "power":
        raise UserError("previous needs dt, or minimise='change'")
    currents = np.asarray(previous, dtype=np.float64)
    if currents.shape != (n,):
        raise UserError(f"previous has shape {currents.shape}; allowed is ({n},), in A")
    if not np.isfinite(currents).all():
        raise UserError("previous holds a value that is not a finite number of A")
    return currents


def _require_reachable(problem: Problem, targets: Sequence[Target]) -> None:
    if problem.unreachable > POSSIBLE * float(np.linalg.norm(problem.target)):
        raise UserError(
            f"targets: {len(targets)} devices ask for {independent_conditions(targets)} "
            f"independent conditions; the coils have rank {problem.rank} at these points and "
            "cannot meet them together"
        )


def _of_coils(limits: Limits | MagnetLimits | None) -> Limits | None:
    if limits is None or isinstance(limits, Limits):
        return limits
    raise UserError(f"limits: {type(limits).__name__} given for a field model of coils")


def _allocate_pose(
    field_model: FieldModel,
    target: Target,
    limits: Limits | MagnetLimits | None,
    start: ArrayLike | None,
) -> PoseAllocation:
    from mmdtwin.control.pose_allocation import allocate_pose

    if isinstance(limits, Limits):
        raise UserError("limits: Limits of coils given for a field model of a magnet")
    return allocate_pose(
        field_model,
        target.point,
        field=target.field,
        force=target.force,
        moment=target.moment,
        limits=limits,
        start=start,
    )
