"""A magnetic well: currents that hold a device in place along its vessel, without an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import lsq_linear

from mmdtwin.control.allocation import FIELD_UNIT, FORCE_UNIT, force_rows, vector
from mmdtwin.control.allocation.limits import Reach
from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, aligning_rotation, unit
from mmdtwin.safety import Limits

DIFFERENCE = 1e-3  # m to either side; d2B/ds2 of a source at 70 mm errs by 1e-3 of itself
# What an error of one unit weighs, in axes along the well, sideways and on the hill. A force along
# the well moves the device; one against the walls hardly does. The field's size may give most.
FIELD_WEIGHTS = np.array([2.0, 4.0, 4.0])
FORCE_WEIGHTS = np.array([20.0, 6.0, 4.0])
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


class WellMaker:
    """Makes wells for a device at one place: currents that align it and pull it to a point.

    Earnshaw's theorem forbids a well in all three directions: the stiffnesses add up to zero. So
    one direction, `hill`, must be held by something else, such as weight on a floor.

    Parameters
    ----------
    field_model : FieldModel
        Of coils, which may saturate (coil systems and their calibrations).
    point : (3,) array
        In the model's frame, m.
    direction : (3,) array
        Along the vessel and the device's moment; need not have length 1.
    moment : float
        Of the device, A m2.
    hill : (3,) array
        Direction, either way, in which something else holds the device.

    Raises
    ------
    UserError
        If an argument has a wrong shape or is not finite, the direction is zero, or the field is
        that of a magnet.
    OutOfWorkspaceError
        If the point lies outside the model's workspace.
    """

    def __init__(
        self,
        field_model: FieldModel,
        point: ArrayLike,
        direction: ArrayLike,
        moment: float,
        hill: ArrayLike,
    ) -> None:
        p, along = vector("point", point), unit(vector("direction", direction))
        if not along.any():
            raise UserError("direction must not be zero")
        _require_finite(moment=moment)
        if field_model.saturation is None:
            raise UserError("a well needs coils; this field model is of a magnet")
        self._saturation = field_model.saturation
        n = field_model.n_inputs
        self._axes = axes = aligning_rotation(along, vector("hill", hill)).T
        field, gradient = field_model.units(p[None])
        self._field = field[0].T
        self._force, *turned = (
            force_rows(gradient[0], m)
            for m in moment * np.array([1.0, TURNED, TURNED])[:, None] * axes
        )
        self._stiffness = _stiffness_rows(field_model, p, moment * along, axes)
        blocks = (
            (FIELD_WEIGHTS / FIELD_UNIT, axes @ self._field),
            (FORCE_WEIGHTS / FORCE_UNIT, axes @ self._force),
            (STIFFNESS_WEIGHTS / STIFFNESS_UNIT, self._stiffness),
            *((np.full(3, TURNED_WEIGHT / FORCE_UNIT), rows) for rows in turned),
            (np.full(n, CURRENT_WEIGHT), np.eye(n)),
        )
        self._weights = np.concatenate([weights for weights, _ in blocks])
        self._matrix = np.concatenate([weights[:, None] * rows for weights, rows in blocks])

    def make(self, field: float, force: ArrayLike, stiffness: float, limits: Limits) -> Well:
        """Find the currents for a field along the direction and a force that falls along it.

        With eight coils not all can be met; currents within the coils' limits come nearest in the
        sense of weighted least squares. The force along the vessel is met first, the size of the
        field gives most.

        Parameters
        ----------
        field : float
            T, along the direction.
        force : (3,) array
            At the point, N.
        stiffness : float
            By which the force along the direction falls per metre, N/m.
        limits : Limits
            Of currents; where the power limit is broken the whole vector is scaled.

        Raises
        ------
        UserError
            If an argument has a wrong shape or is not finite.
        """
        _require_finite(field=field, stiffness=stiffness)
        wanted = np.zeros(len(self._weights))
        wanted[0] = field
        wanted[3:6] = self._axes @ vector("force", force)
        wanted[6], wanted[5 + len(COMPONENTS)] = stiffness, SIDEWAYS * stiffness
        reach = Reach(limits, self._saturation)
        found = lsq_linear(self._matrix, self._weights * wanted, reach.box, method="bvls").x
        effective = found * reach.largest_scale(found)
        return Well(
            inputs=reach.inputs(effective),
            field=self._field @ effective,
            force=self._force @ effective,
            stiffness=float(self._stiffness[0] @ effective),
        )


def _require_finite(**values: float) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            raise UserError(f"{name} is not a finite number")


def _stiffness_rows(model: FieldModel, point: Array, moment: Array, axes: Array) -> Array:
    """Return what one ampere makes of -d(force)/d(place), `COMPONENTS` of it, N/m per A."""
    # At the edge the difference is taken a little further in, where the model is valid.
    reach = model.workspace_radius - DIFFERENCE
    distance = float(np.linalg.norm(point))
    middle = point * (max(reach, 0.0) / distance) if distance > reach else point
    places = np.concatenate([middle + DIFFERENCE * axes, middle - DIFFERENCE * axes])
    _, gradient = model.units(places)
    force = np.einsum("j,kcji,ai->kac", moment, gradient, axes)
    slope = (force[3:] - force[:3]) / (2 * DIFFERENCE)  # [place axis, force axis, input]
    return np.stack([slope[i, j] for i, j in COMPONENTS])
