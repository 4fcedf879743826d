"""Allocation: the currents of least loss that make a wanted field and force at a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array
from mmdtwin.safety import Limits, scale_to_limits

FIELD_UNIT = 1e-3  # T, and
FORCE_UNIT = 1e-6  # N: errors of this size weigh alike where not all can be met
DAMPING = 1e-4  # of the largest singular value: a direction ten times it is met to 1 %


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
    scale : float
        Factor (<= 1) on the whole vector that limits asked for; field and force come out smaller
        by it and keep their directions.
    residual : float
        Length of the miss in field and force, in units of 1 mT and 1 uN.
    limited : bool
        True if limits reduced anything.
    """

    inputs: Array
    field: Array
    force: Array | None
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
) -> Allocation:
    """Find the inputs of least ohmic loss that make a field and a force at a point.

    Damped least squares with the least loss. If the result breaks a limit, the whole vector is
    scaled by max(current ratio, sqrt(power ratio)), never coil by coil, so the field keeps its
    shape.

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
    p = vector("point", point)
    if field is None and force is None:
        raise UserError("allocate: give a field, a force or both")
    if force is not None and moment is None:
        raise UserError("allocate: a force needs the device's moment, (3,) A m2")
    unit_field, unit_force = unit_rows(
        field_model, p, np.zeros(3) if moment is None else vector("moment", moment)
    )
    rows, wanted = [], []
    if field is not None:
        rows.append(unit_field / FIELD_UNIT)
        wanted.append(vector("field", field) / FIELD_UNIT)
    if force is not None:
        rows.append(unit_force / FORCE_UNIT)
        wanted.append(vector("force", force) / FORCE_UNIT)
    matrix, target = np.concatenate(rows), np.concatenate(wanted)

    # In these coordinates the ohmic loss is the squared length.
    root = np.ones(field_model.n_inputs) if limits is None else np.sqrt(limits.resistance)
    inputs = _damped_solution(matrix / root, target) / root
    scale = 1.0 if limits is None else scale_to_limits(inputs, limits)
    inputs = inputs * scale
    return Allocation(
        inputs=inputs,
        field=unit_field @ inputs,
        force=None if moment is None else unit_force @ inputs,
        scale=scale,
        residual=float(np.linalg.norm(matrix @ inputs - target)),
        limited=scale < 1.0,
    )


def unit_rows(model: FieldModel, point: Array, moment: Array) -> tuple[Array, Array]:
    """Return what one ampere makes at the point: field (3, n), T/A, and force (3, n), N/A."""
    field, gradient = model.jacobian(point[None], np.zeros(model.n_inputs))
    return field[0].T, np.einsum("j,cji->ic", moment, gradient[0])


def vector(name: str, value: ArrayLike) -> Array:
    """Return a (3,) argument as floats; UserError if it is none or not finite."""
    v = np.asarray(value, dtype=np.float64)
    if v.shape != (3,):
        raise UserError(f"{name} has shape {v.shape}; allowed is (3,)")
    if not np.isfinite(v).all():
        raise UserError(f"{name} holds a value that is not a finite number")
    return v


def _damped_solution(matrix: Array, target: Array) -> Array:
    """Return the shortest damped least-squares solution (n,)."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    damping = max(DAMPING * float(s[0]), np.finfo(float).tiny ** 0.5)
    return np.asarray(vt.T @ (s / (s * s + damping * damping) * (u.T @ target)))
