"""From a contrast that is asked for to the material that has it.

Object contrast is Michelson's, (b - d) / (b + d), of the noise-free linear signal with scatter and
before any blur, on the ray along which the device is thickest: d with the device, b without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.synth.compositor.devices import FRACTIONS
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.catalogue import FILLED
from mmdtwin.synth.xray.optics import Lit

DIGITS = 6  # of fractions in the names of materials


@dataclass(frozen=True, eq=False)
class Reach:
    """Contrasts that a family of materials has at one place in one thickness.

    Parameters
    ----------
    beam : Beam
    lit : Lit
        What the device is seen by there.
    thickness : float
        Of the device along the ray, m.
    family : str
        Filled material.
    displaces : str
        Material in whose place the device is.
    """

    beam: Beam
    lit: Lit
    thickness: float
    family: str
    displaces: str

    def contrast(self, fraction: float) -> float:
        """Return the object contrast with so much filler; negative of a device that is brighter."""
        return object_contrast(self.lit, self._mu(fraction), self.thickness)

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest contrast."""
        low, high = FRACTIONS[self.family]
        return self.contrast(low), self.contrast(high)

    def material(self, contrast: float) -> str:
        """Return the material whose object contrast is `contrast`.

        Raises
        ------
        UserError
            If none of the family has it; it says which contrasts can be reached.
        """
        low, high = FRACTIONS[self.family]
        least, most = self.limits
        if not least <= contrast <= most:
            raise UserError(
                f"contrast {contrast:.3g}: {self.thickness * 1e3:.2f} mm of {self.family} reach "
                f"{least:.3g} to {most:.3g} here"
            )
        found = brentq(lambda f: self.contrast(f) - contrast, low, high, xtol=1e-9)
        return f"{self.family}:{found:.{DIGITS}g}"

    def _mu(self, fraction: float) -> Array:
        """Volumes of a mixture add up, so that mu is linear in the fraction."""
        filler, matrix, _ = FILLED[self.family]
        own = fraction * self.beam.mu(filler) + (1.0 - fraction) * self.beam.mu(matrix)
        return np.asarray(own - self.beam.mu(self.displaces))


def object_contrast(lit: Lit, mu: Array, thickness: float) -> float:
    """Return Michelson's contrast of a thickness, m, of what attenuates by mu (bins,) 1/m more."""
    passed = float(lit.spectrum @ np.exp(-mu * thickness) / lit.spectrum.sum())
    lost = lit.primary * (1.0 - passed)
    return lost / (2.0 * (lit.primary + lit.scatter) - lost)
