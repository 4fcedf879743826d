"""What a coil system can do at a point: how alike its directions are, and how hard it pulls."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.control.allocation import force_rows, vector
from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, sphere_points, unit
from mmdtwin.safety import Limits
from mmdtwin.saturation import Saturation

DIRECTIONS = 300  # in which the hull of achievable forces is touched
LOG_PRICES = -7.0, 4.0  # powers of ten: the price of loss that counts as none, and the dearest
PRICE_STEP = 1e-6  # of the power of ten
EQUALITY, OPTIMAL, INFEASIBLE = 5, 1, -1  # what daqp calls them


def isotropy(model: FieldModel, points: ArrayLike) -> Array:
    """Return how alike the directions of the field are: weakest over strongest, (n,).

    The smallest over the largest singular value of the unit fields (3, n_coils) at points (n, 3)
    m: 1 where every direction takes equal currents, 0 where one cannot be made.
    """
    field, _ = model.units(points)
    values = np.linalg.svd(np.swapaxes(field, 1, 2), compute_uv=False)
    weakest = values[:, 2] if values.shape[1] == 3 else 0.0
    return np.asarray(weakest / values[:, 0])


def achievable_forces(
    model: FieldModel,
    point: ArrayLike,
    moment: ArrayLike,
    limits: Limits,
    field: ArrayLike | None = None,
) -> Array:
    """Return forces on the border of what the coils can do, (k, 3) N.

    Each is the one that reaches farthest in one of k directions spread evenly over the sphere;
    their convex hull lies inside the set of achievable forces and touches its border: a zonotope
    where only current and voltage limits bind, rounder where the power does.

    Where coils saturate and the power binds, "farthest" is approximate: the search prices the loss
    of the effective currents, while the limit is on that of the true ones. Limits are kept even
    so, and every force returned can be had.

    Parameters
    ----------
    model : FieldModel
        Of coils.
    point : (3,) array
        In the model's frame, m.
    moment : (3,) array
        Of the device, A m2; F_i = sum_j m_j dB_j/dx_i.
    limits : Limits
        Of current, of the voltage that holds it (R i <= V), and of power.
    field : (3,) array, optional
        T, held meanwhile; by default it may become what it likes.

    Raises
    ------
    UserError
        If the field cannot be held within the limits, or the model is not one of coils.
    """
    law = model.saturation
    if law is None:
        raise UserError("achievable_forces: needs coils; a magnet has no box of currents")
    unit_field, gradient = model.units(vector("point", point)[None])
    rows = force_rows(gradient[0], vector("moment", moment))
    held = np.empty((0, model.n_inputs)) if field is None else unit_field[0].T
    wanted = np.empty(0) if field is None else vector("field", field)
    currents = [
        _farthest(direction @ rows, held, wanted, law, limits)
        for direction in sphere_points(DIRECTIONS)
    ]
    return np.array(currents) @ rows.T


def strongest_pull(
    model: FieldModel, point: ArrayLike, moment: ArrayLike, direction: ArrayLike, limits: Limits
) -> float:
    """Return the largest force in a direction that the coils can do on a moment, N.

    Parameters
    ----------
    model, point, moment, limits
        As in `achievable_forces`; the field may become what it likes.
    direction : (3,) array
        Of the force.
    """
    law = model.saturation
    if law is None:
        raise UserError("strongest_pull: needs coils; a magnet has no box of currents")
    _, gradient = model.units(vector("point", point)[None])
    gain = unit(vector("direction", direction)) @ force_rows(gradient[0], vector("moment", moment))
    currents = _farthest(gain, np.empty((0, model.n_inputs)), np.empty(0), law, limits)
    return float(gain @ currents)


def _farthest(gain: Array, held: Array, wanted: Array, law: Saturation, limits: Limits) -> Array:
    """Return the effective currents (n,) that maximise gain @ e with held @ e = wanted.

    The power limit enters as a price on the loss: the lowest at which the loss keeps it.
    """
    from scipy.optimize import brentq

    most = law.effective(limits.holdable_current)
    # In shares of what each coil can do, and of what all can: the program is then well scaled.
    relative = gain * most / (float(np.abs(gain) @ most) or 1.0)
    loss = limits.resistance * most**2
    loss /= min(float(np.sum(loss)), limits.max_power)

    def best(log_price: float) -> Array:
        return most * _priced(relative, held * most, wanted, 10**log_price * loss)

    def excess(log_price: float) -> float:
        currents = law.inverse(best(log_price))
        return float(np.sum(limits.resistance * currents**2)) / limits.max_power - 1.0

    free, dear = LOG_PRICES
    if excess(free) <= 0:
        return best(free)
    if excess(dear) > 0:
        raise UserError("the field cannot be held there within the power limit")
    return best(brentq(excess, free, dear, xtol=PRICE_STEP) + PRICE_STEP)


def _priced(gain: Array, held: Array, wanted: Array, price: Array) -> Array:
    """Return the shares x (n,) in [-1, 1] that maximise gain @ x - price @ x^2.

    Subject to held @ x = wanted; `price` (n,) is what a coil's loss costs at x = 1.
    """
    import daqp

    sizes = np.maximum(np.linalg.norm(held, axis=1), np.finfo(float).tiny)
    equal = wanted / sizes
    ones = np.ones(len(gain))
    sense = np.concatenate([0 * ones, np.full(len(equal), EQUALITY)])
    x, _, flag, _ = daqp.solve(
        np.diag(2 * price),
        -gain,
        np.ascontiguousarray(held / sizes[:, None]),
        np.concatenate([ones, equal]),
        np.concatenate([-ones, equal]),
        sense.astype(np.int32),
    )
    if flag == INFEASIBLE:
        raise UserError("the field cannot be held there within the current and voltage limits")
    if flag != OPTIMAL:
        raise ArithmeticError(f"achievable forces: daqp ended with flag {flag}")
    return np.asarray(x)
