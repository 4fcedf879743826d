"""Allocation: the currents that make a wanted field, force and magnetic stiffness at a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, aligning_rotation, unit
from mmdtwin.safety import Limits, scale_to_limits

FIELD_UNIT = 1e-3  # T, and
FORCE_UNIT = 1e-6  # N: errors of this size weigh alike where not all can be met
DAMPING = 1e-4  # of the largest singular value: a direction ten times it is met to 1 %
STIFFNESS_DAMPING = 0.1  # of the whole stiffness: below it the free directions cannot help
# Weights of -dF/dx in axes along the well, sideways and on the hill (0, 1, 2), and the wanted
# values as fractions of the well's. The hill itself follows from the sum being zero.
COMPONENTS = ((0, 0), (0, 1), (0, 2), (1, 2), (1, 1))
WEIGHTS = np.array([1.0, 0.6, 0.1, 0.1, 1.0])
WANTED = np.array([1.0, 0.0, 0.0, 0.0, 0.5])
DIFFERENCE = 1e-3  # m to either side; d2B/ds2 of a source at 70 mm errs by 1e-3 of itself


@dataclass(frozen=True, eq=False)
class Stiffness:
    """A magnetic well along one line: the force along it falls by `value` per metre.

    With F the force on the device's moment, d(F . direction)/ds = -value at the point.
    Earnshaw's theorem forbids a well in all three directions: the stiffnesses add up to zero. So
    one direction, `hill`, must be held by something else, such as weight on a floor; sideways,
    half of `value` is asked for, and no coupling between sideways and along. With fewer free
    inputs than wishes, these are met in the sense of weighted least squares.

    Parameters
    ----------
    direction : (3,) array
        Along the vessel, in the field model's frame; need not have length 1.
    value : float
        N/m, positive for a well.
    hill : (3,) array
        Direction, either way, in which the device is held by something else. Where it is along
        `direction` any direction across is taken.
    """

    direction: Array
    value: float
    hill: Array


@dataclass(frozen=True, eq=False)
class Allocation:
    """Result of `allocate`; what is achieved is what the field model predicts.

    Parameters
    ----------
    inputs : (n_inputs,) array
        Currents, A.
    field : (3,) array
        Field at the point, T.
    force : (3,) array or None
        Force on the moment, N; None without a moment.
    stiffness : float or None
        Achieved well, N/m; None when none was asked for.
    scale : float
        Factor (<= 1) on the whole vector that limits asked for; field and force come out smaller
        by it and keep their directions.
    residual : float
        Length of the miss in field and force, in units of 1 mT and 1 uN.
    limited : bool
        True if limits reduced anything, the stiffness included.
    """

    inputs: Array
    field: Array
    force: Array | None
    stiffness: float | None
    scale: float
    residual: float
    limited: bool


def allocate(
    field_model: FieldModel,
    point: ArrayLike,
    field: ArrayLike | None = None,
    force: ArrayLike | None = None,
    moment: ArrayLike | None = None,
    limits: Limits | None = None,
    stiffness: Stiffness | None = None,
) -> Allocation:
    """Find the inputs of least ohmic loss that make a field and a force at a point.

    Field and force come first: they are solved by damped least squares with the least loss. The
    stiffness then gets what is left: inputs that change neither field nor force, as far as the
    limits allow. If field and force alone break a limit, the whole vector is scaled by
    max(current ratio, sqrt(power ratio)), never coil by coil, so the field keeps its shape.

    Parameters
    ----------
    field_model : FieldModel
        Linear in its inputs (coil systems and their calibrations).
    point : (3,) array
        In the model's frame, m.
    field : (3,) array, optional
        T.
    force : (3,) array, optional
        N; needs `moment`.
    moment : (3,) array, optional
        Moment of the device, A m2; F_i = sum_j m_j dB_j/dx_i.
    limits : Limits, optional
        Without them nothing is scaled and all inputs have the same resistance.
    stiffness : Stiffness, optional
        Needs `moment`.

    Returns
    -------
    Allocation

    Raises
    ------
    UserError
        If an argument has a wrong shape, is not finite, or is missing.
    OutOfWorkspaceError
        If the point lies outside the model's workspace.
    """
    p = _vector("point", point)
    m = None if moment is None else _vector("moment", moment)
    if field is None and force is None and stiffness is None:
        raise UserError("allocate: give at least one of field, force and stiffness")
    if m is None and (force is not None or stiffness is not None):
        raise UserError("allocate: a force or a stiffness needs the device's moment, (3,) A m2")
    unit_field, unit_force = _rows(field_model, p, m)
    rows, wanted = [np.empty((0, field_model.n_inputs))], [np.empty(0)]
    if field is not None:
        rows.append(unit_field / FIELD_UNIT)
        wanted.append(_vector("field", field) / FIELD_UNIT)
    if force is not None and unit_force is not None:
        rows.append(unit_force / FORCE_UNIT)
        wanted.append(_vector("force", force) / FORCE_UNIT)
    matrix, target = np.concatenate(rows), np.concatenate(wanted)

    # In these coordinates the ohmic loss is the squared length.
    root = np.ones(field_model.n_inputs) if limits is None else np.sqrt(limits.resistance)
    base, free = _damped_solution(matrix / root, target)
    inputs = base / root
    scale = 1.0 if limits is None else scale_to_limits(inputs, limits)
    limited = scale < 1.0
    inputs = inputs * scale
    unit_stiffness = None
    if stiffness is not None and m is not None:
        unit_stiffness = _stiffness_rows(field_model, p, m, stiffness)
        if not limited:
            extra = _soften(unit_stiffness, stiffness.value, inputs, free / root[:, None])
            share = 1.0 if limits is None else _room(inputs, extra, limits)
            inputs = inputs + share * extra
            limited = share < 1.0
    return Allocation(
        inputs=inputs,
        field=unit_field @ inputs,
        force=None if unit_force is None else unit_force @ inputs,
        stiffness=None if unit_stiffness is None else float(unit_stiffness[0] @ inputs),
        scale=scale,
        residual=float(np.linalg.norm(matrix @ inputs - target)),
        limited=limited,
    )


def _rows(model: FieldModel, point: Array, moment: Array | None) -> tuple[Array, Array | None]:
    """Return what one ampere makes at the point: field (3, n) and force (3, n)."""
    field, gradient = model.jacobian(point[None], np.zeros(model.n_inputs))
    force = None if moment is None else np.einsum("j,cji->ic", moment, gradient[0])
    return field[0].T, force


def _stiffness_rows(model: FieldModel, point: Array, moment: Array, stiffness: Stiffness) -> Array:
    """Return what one ampere makes of -d(force)/d(place), `COMPONENTS` of it, N/m per A."""
    if not np.isfinite(stiffness.value):
        raise UserError("allocate: stiffness.value is not a finite number of N/m")
    direction = unit(_vector("stiffness.direction", stiffness.direction))
    if not direction.any():
        raise UserError("allocate: stiffness.direction must not be zero")
    # At the edge the difference is taken a little further in, where the model is valid.
    reach = model.workspace_radius - DIFFERENCE
    distance = float(np.linalg.norm(point))
    middle = point * (max(reach, 0.0) / distance) if distance > reach else point
    axes = aligning_rotation(direction, _vector("stiffness.hill", stiffness.hill)).T
    places = np.concatenate([middle + DIFFERENCE * axes, middle - DIFFERENCE * axes])
    _, gradient = model.jacobian(places, np.zeros(model.n_inputs))
    force = np.einsum("j,kcji,ai->kac", moment, gradient, axes)
    slope = (force[3:] - force[:3]) / (2 * DIFFERENCE)  # [place axis, force axis, input]
    return np.stack([slope[i, j] for i, j in COMPONENTS])


def _damped_solution(matrix: Array, target: Array) -> tuple[Array, Array]:
    """Return the shortest damped solution (n,) and the directions (n, k) that it leaves free."""
    if not len(matrix):
        n = matrix.shape[1]
        return np.zeros(n), np.eye(n)
    u, s, vt = np.linalg.svd(matrix)
    damping = max(DAMPING * float(s[0]), np.finfo(float).tiny ** 0.5)
    gain = s / (s * s + damping * damping)
    solution = vt[: len(s)].T @ (gain * (u.T @ target)[: len(s)])
    return solution, vt[int(np.sum(s > damping)) :].T


def _soften(rows: Array, value: float, inputs: Array, free: Array) -> Array:
    """Return the change (n,) within the free directions (n, k) that comes nearest to the well.

    `rows` are those of `_stiffness_rows`.
    """
    missing = WEIGHTS * (value * WANTED - rows @ inputs)
    reached = (WEIGHTS[:, None] * rows) @ free
    floor = STIFFNESS_DAMPING * float(np.linalg.norm(rows)) * float(np.linalg.norm(free, 2))
    damped = reached.T @ reached + floor**2 * np.eye(free.shape[1])
    return np.asarray(free @ np.linalg.solve(damped, reached.T @ missing)) if floor else inputs * 0


def _room(inputs: Array, extra: Array, limits: Limits) -> float:
    """Return the largest share (0..1) of `extra` that can be added to `inputs` within limits."""
    bound = np.broadcast_to(limits.max_current, inputs.shape)
    ahead = np.where(extra >= 0.0, bound - inputs, bound + inputs)
    moving = np.abs(extra) > 0.0
    share = float(np.min(ahead[moving] / np.abs(extra[moving]), initial=1.0))
    # The loss along the way, a + 2 b t + c t^2, reaches the limit at the positive root.
    a, b, c = (
        float(np.sum(limits.resistance * x))
        for x in (inputs * inputs, inputs * extra, extra * extra)
    )
    if c > 0.0 and a + 2 * b + c > limits.max_power:
        root = (-b + np.sqrt(b * b + c * max(limits.max_power - a, 0.0))) / c
        share = min(share, float(root))
    return max(share, 0.0)


def _vector(name: str, value: ArrayLike) -> Array:
    v = np.asarray(value, dtype=np.float64)
    if v.shape != (3,):
        raise UserError(f"allocate: {name} has shape {v.shape}; allowed is (3,)")
    if not np.isfinite(v).all():
        raise UserError(f"allocate: {name} holds a value that is not a finite number")
    return v
