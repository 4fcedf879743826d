"""A magnetic well: currents that hold a device in place along its vessel, without an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import lsq_linear

from mmdtwin.control.allocation import unit_rows, vector
from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, aligning_rotation, unit
from mmdtwin.safety import Limits, scale_to_limits

DIFFERENCE = 1e-3  # m to either side; d2B/ds2 of a source at 70 mm errs by 1e-3 of itself
# What an error of one unit weighs, in axes along the well, sideways and on the hill. A force along
# the well moves the device; one against the walls hardly does. The field's size may give most.
FIELD_UNIT, FIELD_WEIGHTS = 1e-3, np.array([2.0, 4.0, 4.0])  # T
FORCE_UNIT, FORCE_WEIGHTS = 1e-6, np.array([20.0, 6.0, 4.0])  # N
# Stiffness: -dF/dx of force axis and place axis, (0, 0) the well itself.
STIFFNESS_UNIT = 1e-3  # N/m
COMPONENTS = ((0, 0), (0, 1), (0, 2), (1, 2), (1, 1))
STIFFNESS_WEIGHTS = np.array([10.0, 5.0, 8.0, 3.0, 3.0])
SIDEWAYS = 0.5  # of the well's stiffness is asked for sideways; the hill follows from the two
# A device never lies quite along the field: walls, bends and delays turn it. What pulls on it then
# is counted as an error of the force.
TURNED = 0.2  # rad, sideways and towards the hill
TURNED_WEIGHT = 0.7
CURRENT_WEIGHT = 0.02  # of one ampere


@dataclass(frozen=True, eq=False)
class Well:
    """Currents that make a well, and what the field model predicts of it.

    Parameters
    ----------
    inputs : (n_inputs,) array
        Currents, A.
    field : (3,) array
        Field at the point, T.
    force : (3,) array
        Force on the moment, N.
    stiffness : float
        -d(F . direction)/ds along the direction, N/m; positive for a well.
    """

    inputs: Array
    field: Array
    force: Array
    stiffness: float


def make_well(
    field_model: FieldModel,
    point: ArrayLike,
    direction: ArrayLike,
    moment: float,
    *,
    field: float,
    force: ArrayLike,
    stiffness: float,
    hill: ArrayLike,
    limits: Limits,
) -> Well:
    """Find currents that align a device with a direction and pull it to a point along it.

    Wanted are a field along the direction, a force, and a force along the direction that falls by
    `stiffness` per metre. Earnshaw's theorem forbids a well in all three directions: the
    stiffnesses add up to zero. So one direction, `hill`, must be held by something else, such as
    weight on a floor. With eight coils not all can be met; currents within the coils' limits come
    nearest in the sense of weighted least squares. The force along the vessel is met first, the
    size of the field gives most.

    Parameters
    ----------
    field_model : FieldModel
        Linear in its inputs (coil systems and their calibrations).
    point : (3,) array
        In the model's frame, m.
    direction : (3,) array
        Along the vessel and the device's moment; need not have length 1.
    moment : float
        Of the device, A m2.
    field : float
        T, along the direction.
    force : (3,) array
        At the point, N.
    stiffness : float
        N/m.
    hill : (3,) array
        Direction, either way, in which something else holds the device.
    limits : Limits
        Of currents; where the power limit is broken the whole vector is scaled.

    Raises
    ------
    UserError
        If an argument has a wrong shape or is not finite, or the direction is zero.
    OutOfWorkspaceError
        If the point lies outside the model's workspace.
    """
    p, wanted_force = vector("point", point), vector("force", force)
    along = unit(vector("direction", direction))
    if not along.any():
        raise UserError("direction must not be zero")
    for name, value in {"moment": moment, "field": field, "stiffness": stiffness}.items():
        if not np.isfinite(value):
            raise UserError(f"{name} is not a finite number")
    n = field_model.n_inputs
    axes = aligning_rotation(along, vector("hill", hill)).T
    unit_field, unit_force = unit_rows(field_model, p, moment * along)
    unit_stiffness = _stiffness_rows(field_model, p, moment * along, axes)
    blocks = (
        (FIELD_WEIGHTS / FIELD_UNIT, axes @ unit_field, np.array([field, 0.0, 0.0])),
        (FORCE_WEIGHTS / FORCE_UNIT, axes @ unit_force, axes @ wanted_force),
        (
            STIFFNESS_WEIGHTS / STIFFNESS_UNIT,
            unit_stiffness,
            stiffness * np.array([1.0, 0.0, 0.0, 0.0, SIDEWAYS]),
        ),
        *(
            (np.full(3, TURNED_WEIGHT / FORCE_UNIT), rows, np.zeros(3))
            for rows in _turned_rows(field_model, p, TURNED * moment * axes[1:])
        ),
        (np.full(n, CURRENT_WEIGHT), np.eye(n), np.zeros(n)),
    )
    matrix = np.concatenate([weight[:, None] * rows for weight, rows, _ in blocks])
    target = np.concatenate([weight * wanted for weight, _, wanted in blocks])
    bound = np.broadcast_to(limits.max_current, n)
    inputs = lsq_linear(matrix, target, (-bound, bound), method="bvls").x
    inputs = inputs * scale_to_limits(inputs, limits)
    return Well(
        inputs=inputs,
        field=unit_field @ inputs,
        force=unit_force @ inputs,
        stiffness=float(unit_stiffness[0] @ inputs),
    )


def _turned_rows(model: FieldModel, point: Array, moments: Array) -> list[Array]:
    """Return what one ampere makes of force on each moment (k, 3), k times (3, n) N/A."""
    return [unit_rows(model, point, moment)[1] for moment in moments]


def _stiffness_rows(model: FieldModel, point: Array, moment: Array, axes: Array) -> Array:
    """Return what one ampere makes of -d(force)/d(place), `COMPONENTS` of it, N/m per A."""
    # At the edge the difference is taken a little further in, where the model is valid.
    reach = model.workspace_radius - DIFFERENCE
    distance = float(np.linalg.norm(point))
    middle = point * (max(reach, 0.0) / distance) if distance > reach else point
    places = np.concatenate([middle + DIFFERENCE * axes, middle - DIFFERENCE * axes])
    _, gradient = model.jacobian(places, np.zeros(model.n_inputs))
    force = np.einsum("j,kcji,ai->kac", moment, gradient, axes)
    slope = (force[3:] - force[:3]) / (2 * DIFFERENCE)  # [place axis, force axis, input]
    return np.stack([slope[i, j] for i, j in COMPONENTS])
