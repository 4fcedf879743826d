"""Scattered radiation: how much there is, and where it falls."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, Image
from mmdtwin.synth.xray.low_pass import LowPass
from mmdtwin.synth.xray.materials import attenuation

# Scatter to primary in front of the grid behind so much water, m. Assumed: a large field, an air
# gap of some 0.2 m.
THICKNESS = (0.0, 0.03, 0.10, 0.20)
RATIO = (0.0, 0.3, 1.0, 3.0)
WIDTH = 40e-3  # m on the detector, sigma of the scatter of one thin beam, assumed
EFFECTIVE_ENERGY = 60.0  # keV of the photons behind a patient, assumed


def scatter_ratio(thickness: ArrayLike) -> Array:
    """Return scatter to primary in front of the grid behind water, in a large field.

    0.3, 1 and 3 behind 3, 10 and 20 cm (assumed), monotone cubics between them, 0 without a
    patient, a straight line with the last slope above 20 cm.

    Parameters
    ----------
    thickness : array_like
        Of water, m.

    Raises
    ------
    UserError
        If a thickness is negative or not finite.
    """
    depth = np.asarray(thickness, float)
    if not np.isfinite(depth).all() or (depth < 0.0).any():
        raise UserError("scatter: a thickness is negative or not finite; 0 m or more")
    curve, slope = _curve()
    beyond = np.maximum(depth - THICKNESS[-1], 0.0)
    return np.asarray(curve(np.minimum(depth, THICKNESS[-1])) + slope * beyond)


@lru_cache(maxsize=1)
def _curve() -> tuple[PchipInterpolator, float]:
    curve = PchipInterpolator(THICKNESS, RATIO)
    return curve, float(curve.derivative()(THICKNESS[-1]))


def water_equivalent(maps: Mapping[str, Image], energy: float = EFFECTIVE_ENERGY) -> Image:
    """Return the thickness of water that attenuates as much as layers of materials.

    Parameters
    ----------
    maps : mapping of str to (h, w) float32 array
        Thickness of each material, m.
    energy : float
        At which they are compared, keV.

    Raises
    ------
    UserError
        If a thickness is not finite.
    """
    water = float(attenuation("water", energy))
    total = sum(
        thickness * np.float32(float(attenuation(name, energy)) / water)
        for name, thickness in maps.items()
    )
    result = np.asarray(total, np.float32)
    if not np.isfinite(result.sum()):
        raise UserError("background: a thickness is not finite; all must be")
    return result


class ScatterField:
    """Scatter that falls on the detector for a given primary image.

    Each ray of the primary scatters in proportion to what is left of it and to the ratio that
    belongs to the patient's thickness on it; what it scatters spreads as a normal profile of 40 mm
    (assumed) on the detector. So scatter is smooth, relatively more behind thick parts, and less
    where a collimator cuts rays off; a wide patient scatters on beyond the image's edges. The
    beam's own profile, which hardly changes over that spread, is kept out of it: behind uniform
    tissue the ratio is the same everywhere. The grid lets its shares of both pass.

    Parameters
    ----------
    config : ImagerConfig
        `grid`, `scatter_to_primary`.
    thickness : (h, w) array
        Of water on the ray of each pixel, m, as of `water_equivalent`.
    pitch : float
        Of the image, m.
    primary : (h, w) float32 array
        With an open collimator: `scatter_to_primary`, if configured, is its mean ratio.
    profile : (h, w) float32 array
        Of the beam without a patient and with an open collimator, relative: heel and fall-off.

    Raises
    ------
    UserError
        If a thickness is negative or not finite, or the primary is not finite.
    """

    def __init__(
        self, config: ImagerConfig, thickness: Image, pitch: float, primary: Image, profile: Image
    ) -> None:
        sigma = WIDTH / pitch
        self._blur = LowPass(
            primary.shape, sigma, lambda f: np.exp(-2.0 * (np.pi * sigma * f) ** 2)
        )
        self._profile = profile
        ratio = scatter_ratio(self._blur.reduce(np.asarray(thickness, np.float32)))
        wanted = config.scatter_to_primary
        if wanted is not None and not ratio.any():  # nothing that scatters: as much everywhere
            ratio = np.ones_like(ratio)
        self._ratio = (ratio / self._blur.reduce(profile)).astype(np.float32)
        if wanted is not None:
            self._ratio *= np.float32(wanted * primary.mean() / self(primary).mean())
        if config.grid is not None:
            self._ratio *= np.float32(config.grid.scatter / config.grid.primary)

    @property
    def ratio(self) -> Image:
        """Scatter to primary behind the grid, on the reduced image."""
        return self._ratio

    @property
    def low_pass(self) -> LowPass:
        """How scatter spreads."""
        return self._blur

    def __call__(self, primary: Image) -> Image:
        """Return the scatter (h, w) that comes with a primary image, both behind the grid.

        Raises
        ------
        UserError
            If the primary is not finite.
        """
        return self._blur.spread(self._blur.reduce(primary) * self._ratio) * self._profile
