"""Drag of a thin rectangular plate as that of a disc of its area."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DISC_BROADSIDE = 16.0  # F = 16 mu a U, Lamb, Hydrodynamics, art. 339
DISC_EDGEWISE = 32.0 / 3.0  # F = 32/3 mu a U, ibid.
PLATE_PRESSURE = 1.12  # drag coefficient of a disc or short plate broadside, Hoerner 1965
BLASIUS = 1.328  # friction coefficient of one side of a plate is 1.328 / sqrt(Re_L)
MAX_REYNOLDS = 1000.0  # on the disc's diameter: within 20 % of Clift, Grace and Weber to there


class PlateDrag(NamedTuple):
    """Force on a whole plate: (edgewise + friction U^0.5) U, (broadside + pressure U) U. SI."""

    edgewise: float  # N s/m
    broadside: float  # N s/m
    friction: float  # N s^1.5/m^1.5, edgewise
    pressure: float  # N s2/m2, broadside


def disc_radius(length: float, width: float) -> float:
    """Radius of the disc with a rectangle's area, m."""
    return float(np.sqrt(length * width / np.pi))


def plate_drag(length: float, width: float, viscosity: float, density: float) -> PlateDrag:
    """Return the drag of a plate, m, in a fluid, Pa s and kg/m3: Stokes' disc plus inertia.

    Broadside a quadratic pressure drag, edgewise the friction of Blasius' boundary layer on both
    sides, are added to the disc's drag at Re = 0.
    """
    radius, area = disc_radius(length, width), length * width
    return PlateDrag(
        edgewise=DISC_EDGEWISE * viscosity * radius,
        broadside=DISC_BROADSIDE * viscosity * radius,
        friction=density * BLASIUS * float(np.sqrt(viscosity / density / length)) * area,
        pressure=0.5 * density * PLATE_PRESSURE * area,
    )
