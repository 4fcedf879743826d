"""Axial multipoles: the fields of point sources with an axis, evaluated directly.

A source has the scalar potential

    phi = sum_n (A_n r^n + B_n r^-(n+1)) P_n(cos theta),        B = -grad phi,    n = 1, 2, ...

with r the distance from it and theta the angle to its axis: the multipole electromagnet model
(MPEM) of Petruska, Edelmann and Nelson 2017, IEEE Trans. Magn. 53(7), "Model-based calibration for
magnetic manipulation", in the sign and normalisation of their program (Tesla and mag_manip,
`ScalorPotential::getGradient`). A_1 is a uniform field, B_1 a dipole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.field import CoilModel
from mmdtwin.geometry import Array, unit
from mmdtwin.saturation import Saturation

BORDER = 1e-9  # m; points this far outside still count as on the border (rounding)


@dataclass(frozen=True, eq=False)
class Sources:
    """Axial multipoles, of one coil or of several.

    Parameters
    ----------
    position : (s, 3) array
        m.
    axis : (s, 3) array
        Unit vectors.
    growing, decaying : (s, n_orders) arrays
        A_n in T m^(1 - n) and B_n in T m^(n + 2), n from 1; per ampere for coils.
    """

    position: Array
    axis: Array
    growing: Array
    decaying: Array

    @classmethod
    def joined(cls, parts: list[Sources]) -> Sources:
        """Return the sources of several sets in a row; lower orders are filled up with zeros."""
        orders = max(part.growing.shape[1] for part in parts)

        def filled(table: Array) -> Array:
            return np.pad(table, [(0, 0), (0, orders - table.shape[1])])

        return cls(
            position=np.concatenate([part.position for part in parts]),
            axis=np.concatenate([part.axis for part in parts]),
            growing=np.concatenate([filled(part.growing) for part in parts]),
            decaying=np.concatenate([filled(part.decaying) for part in parts]),
        )

    def fields(self, points: ArrayLike) -> tuple[Array, Array]:
        """Return each source's field (n, s, 3) and gradient (n, s, 3, 3) at points (n, 3) m.

        With p = r / |r|, c = cos theta, d the axis, and k = n or -(n + 1), one term is

            grad (r^k P)      = r^(k-1) (a p + P' d)
            grad grad (r^k P) = r^(k-2) (a I + ((k - 2) a - c a') p p^T
                                         + a' (p d^T + d p^T) + P'' d d^T)

        with a = k P - c P' and a' = (k - 1) P' - c P'',
        whose trace vanishes by Legendre's equation: the field is free of curl and divergence
        term by term.
        """
        r = np.asarray(points, float)[:, None] - self.position
        size = np.linalg.norm(r, axis=-1)
        # At the source itself growing terms do not depend on p: any direction will do.
        p = np.where(size[..., None] > 0, unit(r), self.axis)
        d = np.broadcast_to(self.axis, p.shape)
        c = np.einsum("nsi,nsi->ns", p, d)
        along_p, along_d, g_unit, g_pp, g_pd, g_dd = np.zeros((6, *c.shape))
        for order, (legendre, first, second) in enumerate(_legendre(c, self.growing.shape[1]), 1):
            for k, coefficient in (
                (order, self.growing[:, order - 1]),
                (-order - 1, self.decaying[:, order - 1]),
            ):
                if not coefficient.any():
                    continue
                a = k * legendre - c * first
                da = (k - 1) * first - c * second
                weight = -coefficient * size ** (k - 1)
                along_p += weight * a
                along_d += weight * first
                if k != 1:  # else uniform
                    weight = -coefficient * size ** (k - 2)
                    g_unit += weight * a
                    g_pp += weight * ((k - 2) * a - c * da)
                    g_pd += weight * da
                    g_dd += weight * second
        field = along_p[..., None] * p + along_d[..., None] * d
        pd = np.einsum("nsi,nsj->nsij", p, d)
        gradient = (
            g_unit[..., None, None] * np.eye(3)
            + g_pp[..., None, None] * np.einsum("nsi,nsj->nsij", p, p)
            + g_pd[..., None, None] * (pd + pd.swapaxes(-1, -2))
            + g_dd[..., None, None] * np.einsum("nsi,nsj->nsij", d, d)
        )
        return field, gradient


@dataclass(frozen=True, eq=False)
class Region:
    """Where a model holds: a box, cut to a ball about its centre.

    Parameters
    ----------
    low, high : (3,) arrays
        Corners of the box, m.
    radius : float
        Of the ball, m; infinite where the box alone counts.
    """

    low: Array
    high: Array
    radius: float = np.inf

    @property
    def centre(self) -> Array:
        """Centre of the box, (3,) m."""
        return (self.low + self.high) / 2

    @property
    def radius_about_origin(self) -> float:
        """Radius in m of the largest ball about the origin inside the region, else 0."""
        sides = float(min(self.high.min(), -self.low.max()))
        return max(0.0, min(sides, self.radius - float(np.linalg.norm(self.centre))))

    def __str__(self) -> str:
        box = " x ".join(
            f"[{low * 1e3:g}, {high * 1e3:g}]"
            for low, high in zip(self.low, self.high, strict=True)
        )
        ball = f" within {self.radius * 1e3:.2f} mm of its centre" if self.radius < np.inf else ""
        return f"the box {box} mm{ball}"

    def check(self, points: ArrayLike) -> Array:
        """Return the points as an array (n, 3).

        Raises
        ------
        OutOfWorkspaceError
            If one lies outside.
        UserError
            If the shape is another, or a coordinate is not finite.
        """
        p = np.asarray(points, float)
        if p.ndim != 2 or p.shape[1] != 3:
            raise UserError(f"points: shape {p.shape}; allowed is (n, 3), in m")
        if not np.isfinite(p).all():
            raise UserError("points: a coordinate is not a finite number")
        outside = ((p < self.low - BORDER) | (p > self.high + BORDER)).any(axis=1)
        outside |= np.linalg.norm(p - self.centre, axis=1) > self.radius + BORDER
        if outside.any():
            shown = ", ".join(f"{x * 1e3:.2f}" for x in p[int(np.argmax(outside))])
            raise OutOfWorkspaceError(
                f"point ({shown}) mm is outside the region where the calibration holds;"
                f" allowed is {self}"
            )
        return p


class MultipoleModel(CoilModel):
    """Coils that are sums of axial multipoles, linear in the currents.

    Indices: n points, c coils, i field component, j direction of differentiation.

    Parameters
    ----------
    coils : list of Sources
        One per coil, per ampere.
    region : Region
        Where the model holds.
    """

    def __init__(self, coils: list[Sources], region: Region) -> None:
        self.coils = coils
        self.region = region
        self._sources = Sources.joined(coils)
        self._first = np.cumsum([0, *(len(coil.position) for coil in coils[:-1])])

    @property
    def workspace_radius(self) -> float:
        return self.region.radius_about_origin

    @cached_property
    def _linear(self) -> Saturation:
        return Saturation.none(len(self.coils))

    @property
    def saturation(self) -> Saturation:
        return self._linear

    def unit_field(self, points: ArrayLike) -> Array:
        return self.units(points)[0]

    def unit_gradient(self, points: ArrayLike) -> Array:
        return self.units(points)[1]

    def units(self, points: ArrayLike) -> tuple[Array, Array]:
        field, gradient = self._sources.fields(self.region.check(points))
        return (
            np.add.reduceat(field, self._first, axis=1),
            np.add.reduceat(gradient, self._first, axis=1),
        )


def _legendre(c: Array, degree: int) -> list[tuple[Array, Array, Array]]:
    """Return P_n(c) and its first two derivatives for n = 1 .. degree.

    Bonnet's recurrence for P; P'_(n+1) = P'_(n-1) + (2 n + 1) P_n, and the same once more.
    """
    one, zero = np.ones_like(c), np.zeros_like(c)
    rows = [(one, zero, zero), (c, one, zero)]
    for n in range(1, degree):
        (p0, d0, s0), (p1, d1, _) = rows[-2:]
        rows.append(
            (
                ((2 * n + 1) * c * p1 - n * p0) / (n + 1),
                d0 + (2 * n + 1) * p1,
                s0 + (2 * n + 1) * d1,
            )
        )
    return rows[1 : degree + 1]
