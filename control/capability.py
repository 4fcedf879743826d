"""What a coil system can do at a point: how alike its directions are, and how hard it pulls."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.control.allocation import force_rows, vector
from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, sphere_points
from mmdtwin.safety import Limits
from mmdtwin.saturation import Saturation

DIRECTIONS = 300  # in which the hull of achievable forces is touched
LOG_PRICES = -9.0, 3.0  # powers of ten: the price of loss that counts as none, and the dearest
PRICE_STEP = 1e-6  # of the power of ten
EQUALITY = 5  # what daqp calls an equality


def isotropy(model: FieldModel, points: ArrayLike) -> Array:
    """Return how alike the directions of the field are: weakest over strongest, (n,).

    The smallest over the largest singular value of the unit fields (3, n_coils) at points (n, 3)
    m: 1 where every direction takes equal currents, 0 where one cannot be made.
    """
    field, _ = model.jacobian(points, np.zeros(model.n_inputs))
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
    where only current limits bind, rounder where the power does.

    Parameters
    ----------
    model : FieldModel
        Of coils.
    point : (3,) array
        In the model's frame, m.
    moment : (3,) array
        Of the device, A m2; F_i = sum_j m_j dB_j/dx_i.
    limits : Limits
        Of current and power.
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
    unit_field, gradient = model.jacobian(vector("point", point)[None], np.zeros(model.n_inputs))
    rows = force_rows(gradient[0], vector("moment", moment))
    held = np.empty((0, model.n_inputs)) if field is None else unit_field[0].T
    wanted = np.empty(0) if field is None else vector("field", field)
    currents = [
        _farthest(direction @ rows, held, wanted, law, limits)
        for direction in sphere_points(DIRECTIONS)
    ]
    return np.array(currents) @ rows.T


def _farthest(gain: Array, held: Array, wanted: Array, law: Saturation, limits: Limits) -> Array:
    """Return the effective currents (n,) that maximise gain @ e with held @ e = wanted.

    The power limit enters as a price on the loss: the lowest at which the loss keeps it.
    """
    from scipy.optimize import brentq

    most = law.effective(limits.max_current)
    relative = gain / (float(np.abs(gain) @ most) or 1.0)

    def best(log_price: float) -> Array:
        return _priced(relative, held, wanted, most, 10**log_price, limits)

    def excess(log_price: float) -> float:
        currents = law.inverse(best(log_price))
        return float(np.sum(limits.resistance * currents**2)) / limits.max_power - 1.0

    free, dear = LOG_PRICES
    if excess(free) <= 0:
        return best(free)
    if excess(dear) > 0:
        raise UserError("the field cannot be held there within the power limit")
    return best(brentq(excess, free, dear, xtol=PRICE_STEP) + PRICE_STEP)


def _priced(
    gain: Array, held: Array, wanted: Array, most: Array, price: float, limits: Limits
) -> Array:
    """Return the effective currents that maximise gain @ e - price * loss / most loss."""
    import daqp

    loss = 2 * price * limits.resistance / limits.max_power
    sizes = np.maximum(np.linalg.norm(held * most, axis=1), np.finfo(float).tiny)
    equal = wanted / sizes
    sense = np.concatenate([np.zeros(len(most)), np.full(len(equal), EQUALITY)])
    x, _, flag, _ = daqp.solve(
        np.diag(loss),
        -gain,
        np.ascontiguousarray(held / sizes[:, None]),
        np.concatenate([most, equal]),
        np.concatenate([-most, equal]),
        sense.astype(np.int32),
    )
    if flag != 1:
        raise UserError("the field cannot be held there within the current limits")
    return np.asarray(x)
