"""Where the beam reaches the detector: the collimator's opening and an intensifier's round input.

An edge of lead at a distance d from a focal spot of size f casts a penumbra f (sid - d)/d wide on
the detector. As in `detector.focal_filter`, a normal profile with the second moment of that uniform
width stands for it, since no focal spot is uniform; a pixel's own width adds its moment.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mmdtwin.config.imager import CollimatorConfig, ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array

UNIFORM = 1.0 / math.sqrt(12.0)  # standard deviation of a uniform profile over its width
DIAGONAL = math.sqrt(0.5)  # cosine and sine of the octagon's slanted sides


def aperture(config: ImagerConfig, projection: Projection) -> NDArray[np.float32]:
    """Return the share of the primary beam that reaches each pixel through the openings.

    Parameters
    ----------
    config : ImagerConfig
        Collimator, focal spot, intensifier.
    projection : Projection
        Grid of the image; its distortion, which comes later, is left out.

    Returns
    -------
    (h, w) float32 array
        1 in the opening, the leakage behind lead, 0 outside of an intensifier's input screen.

    Raises
    ------
    UserError
        If the collimator lies at the detector or behind it.
    """
    opened = input_screen(config, projection)
    if config.collimator is None:
        return opened
    lead = config.collimator
    if lead.distance >= config.sid:
        raise UserError(
            f"collimator.distance: {lead.distance} m must be less than sid ({config.sid} m)"
        )
    penumbra = config.focal_spot * (config.sid - lead.distance) / lead.distance
    through = _opening(lead, projection, math.hypot(penumbra, projection.pitch) * UNIFORM)
    return opened * (lead.leakage + (1.0 - lead.leakage) * through).astype(np.float32)


def input_screen(config: ImagerConfig, projection: Projection) -> NDArray[np.float32]:
    """Return 1 where the detector sees, primary and scatter alike: a disc on an intensifier.

    Returns
    -------
    (h, w) float32 array
        The share of each pixel, without distortion, that lies on the detector's input.
    """
    if config.detector.intensifier is None:
        return np.ones(projection.shape, np.float32)
    x, y = _places(projection)
    radius = min(projection.shape) / 2 * projection.pitch
    return _below(np.hypot(x, y), radius, projection.pitch * UNIFORM).astype(np.float32)


def _opening(lead: CollimatorConfig, projection: Projection, sigma: float) -> Array:
    x, y = _places(projection)
    x, y = x - lead.centre[0], y - lead.centre[1]
    half_width, half_height = lead.opening[0] / 2, lead.opening[1] / 2
    if lead.shape == "round":
        return _below(np.hypot(x, y), half_width, sigma)
    square = _slit(x, half_width, sigma) * _slit(y, half_height, sigma)
    if lead.shape == "rectangular":
        return square
    slanted = (x + y) * DIAGONAL, (x - y) * DIAGONAL
    return square * _slit(slanted[0], half_width, sigma) * _slit(slanted[1], half_width, sigma)


def _places(projection: Projection) -> tuple[Array, Array]:
    """Places of the pixels on the detector, m from the central ray: (1, w) and (h, 1)."""
    height, width = projection.shape
    x = (np.arange(width, dtype=float) - projection.principal[0]) * projection.pitch
    y = (np.arange(height, dtype=float) - projection.principal[1]) * projection.pitch
    return x[None, :], y[:, None]


def _slit(place: Array, half: float, sigma: float) -> Array:
    return _below(place, half, sigma) - _below(place, -half, sigma)


def _below(place: Array, edge: float, sigma: float) -> Array:
    """Share of a normal profile of width `sigma` about `place` that lies below `edge`."""
    return np.asarray(ndtr((edge - place) / sigma))
