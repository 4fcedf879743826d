"""How a coil's core answers its current: linear at first, levelling off at the knee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array

Law = Literal["tanh", "erf"]
LAWS: tuple[Law, ...] = ("tanh", "erf")
MAX_NEWTON = 60  # steps; from outside the knee convergence is monotone


@dataclass(frozen=True, eq=False)
class Saturation:
    """The effective current e(i) that a coil's field is proportional to.

        e(i) = (1 - share) i + share knee f(i / knee)

    with f = tanh, or f(x) = erf(sqrt(pi)/2 x), both of slope 1 at zero. The winding's own field
    never saturates; `share` of the field at small currents is the core's. The two laws are those
    compared on real systems in arXiv 1909.12028.

    Parameters
    ----------
    knee : (n,) array
        A; infinite where nothing saturates.
    share : (n,) array
        0 to 1.
    law : tuple of str
        "tanh" or "erf", per coil.

    Raises
    ------
    UserError
        If a knee is not positive, a share not in [0, 1], or a law unknown.
    """

    knee: Array
    share: Array
    law: tuple[Law, ...]

    def __post_init__(self) -> None:
        if not (self.knee > 0).all():
            raise UserError("saturation.knee: must be positive, in A")
        if not ((self.share >= 0) & (self.share <= 1)).all():
            raise UserError("saturation.share: must lie between 0 and 1")
        if not set(self.law) <= set(LAWS):
            raise UserError(f"saturation.law: allowed are {', '.join(LAWS)}")

    @cached_property
    def linear(self) -> bool:
        """True if no coil saturates."""
        return bool((np.isinf(self.knee) | (self.share == 0)).all())

    @classmethod
    def none(cls, n: int) -> Self:
        """Return the law of n coils that do not saturate."""
        return cls(np.full(n, np.inf), np.zeros(n), LAWS[:1] * n)

    @classmethod
    def of(cls, knee: ArrayLike, share: ArrayLike, law: Sequence[Law]) -> Self:
        """Return the law from anything array-like."""
        return cls(np.asarray(knee, float), np.asarray(share, float), tuple(law))

    def effective(self, currents: ArrayLike) -> Array:
        """Return e(i), A, for currents (..., n) A."""
        i = np.asarray(currents, float)
        if self.linear:
            return i
        core = np.where(np.isinf(self.knee), i, self._finite_knee * self._shape(i / self.knee))
        return (1 - self.share) * i + self.share * core

    def slope(self, currents: ArrayLike) -> Array:
        """Return de/di (..., n) at currents (..., n) A."""
        i = np.asarray(currents, float)
        if self.linear:
            return np.ones_like(i)
        return 1 - self.share * (1 - self._shape_slope(i / self.knee))

    def inverse(self, effective: ArrayLike) -> Array:
        """Return the currents i with e(i) given, (..., n) A; infinite where none is large enough.

        Newton's method on the convex side: for e > 0 the law is concave, so that the first step
        from i = e lands at or below the root and every further one climbs towards it.
        """
        e = np.asarray(effective, float)
        if self.linear:
            return e
        size = np.abs(e)
        reachable = np.where(self.share < 1, np.inf, self.knee)
        with np.errstate(invalid="ignore", divide="ignore"):
            i = size.copy()
            for _ in range(MAX_NEWTON):
                step = (size - self.effective(i)) / self.slope(i)
                i = np.where(size < reachable, i + step, np.inf)
                if not (np.abs(step) > 1e-13 * np.abs(i))[size < reachable].any():
                    break
        return np.copysign(i, e)

    @cached_property
    def _erf(self) -> Array:
        return np.array([law == "erf" for law in self.law])

    @cached_property
    def _finite_knee(self) -> Array:
        return np.where(np.isinf(self.knee), 1.0, self.knee)

    def _shape(self, x: Array) -> Array:
        if not self._erf.any():
            return np.tanh(x)
        return np.where(self._erf, erf(np.sqrt(np.pi) / 2 * x), np.tanh(x))

    def _shape_slope(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            tanh = 1 / np.cosh(x) ** 2
            return np.where(self._erf, np.exp(-np.pi / 4 * x * x), tanh)
