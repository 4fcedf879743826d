"""Allocation: the currents that make a wanted field, force and magnetic stiffness at a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, unit
from mmdtwin.safety import Limits, scale_to_limits

FIELD_UNIT = 1e-3  # T, and
FORCE_UNIT = 1e-6  # N: errors of this size weigh alike where not all can be met
DAMPING = 1e-4  # of the largest singular value: a direction ten times it is met to 1 %
STIFFNESS_DAMPING = 0.02  # of the whole stiffness row: below it the free directions cannot help
DIFFERENCE = 1e-3  # m to either side; d2B/ds2 of a source at 70 mm errs by 1e-3 of itself


@dataclass(frozen=True, eq=False)
class Stiffness:
    """A magnetic well along one line: the force along it falls by `value` per metre.

    With F the force on the device's moment, d(F . direction)/ds = -value at the point. The other
    two directions must be held by something else: Earnshaw's theorem forbids a well in all three.

    Parameters
    ----------
    direction : (3,) array
        Along the vessel, in the field model's frame; need not have length 1.
    value : float
        N/m, positive for a well.
    """

    direction: Array
    value: float


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
    unit_field, unit_force, unit_stiffness = _rows(field_model, p, m, stiffness)

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
    if unit_stiffness is not None and stiffness is not None and not limited:
        missing = stiffness.value - float(unit_stiffness @ inputs)
        extra = _least_change(unit_stiffness / root, free, missing) / root
        share = 1.0 if limits is None else _room(inputs, extra, limits)
        inputs = inputs + share * extra
        limited = share < 1.0
    return Allocation(
        inputs=inputs,
        field=unit_field @ inputs,
        force=None if unit_force is None else unit_force @ inputs,
        stiffness=None if unit_stiffness is None else float(unit_stiffness @ inputs),
        scale=scale,
        residual=float(np.linalg.norm(matrix @ inputs - target)),
        limited=limited,
    )


def _rows(
    model: FieldModel, point: Array, moment: Array | None, stiffness: Stiffness | None
) -> tuple[Array, Array | None, Array | None]:
    """Return what one ampere makes: field (3, n), force (3, n) and stiffness (n,)."""
    zero = np.zeros(model.n_inputs)
    if stiffness is None:
        field, gradient = model.jacobian(point[None], zero)
        force = None if moment is None else np.einsum("j,cji->ic", moment, gradient[0])
        return field[0].T, force, None
    assert moment is not None  # allocate has refused a stiffness without one
    if not np.isfinite(stiffness.value):
        raise UserError("allocate: stiffness.value is not a finite number of N/m")
    direction = unit(_vector("stiffness.direction", stiffness.direction))
    if not direction.any():
        raise UserError("allocate: stiffness.direction must not be zero")
    # At the edge the difference is taken a little further in, where the model is valid.
    reach = model.workspace_radius - DIFFERENCE
    distance = float(np.linalg.norm(point))
    middle = point * (max(reach, 0.0) / distance) if distance > reach else point
    step = DIFFERENCE * direction
    field, gradient = model.jacobian(np.stack([point, middle + step, middle - step]), zero)
    force = np.einsum("j,kcji->kic", moment, gradient)
    along = direction @ force
    return field[0].T, force[0], (along[2] - along[1]) / (2 * DIFFERENCE)


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


def _least_change(row: Array, free: Array, missing: float) -> Array:
    """Return the shortest change (n,) within the free directions that adds `missing` to a row."""
    seen = row @ free
    floor = (STIFFNESS_DAMPING**2) * float(row @ row)
    power = float(seen @ seen) + floor
    return free @ seen * (missing / power) if power > 0.0 else np.zeros_like(row)


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
