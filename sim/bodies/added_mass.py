"""Fluid carried along by slender bodies: added mass and inertia per length, SI."""

from __future__ import annotations

import numpy as np

from mmdtwin.geometry import Array


def elliptic_section(width: float, thickness: float, density: float) -> tuple[Array, float]:
    """Return what a cylinder of elliptic section carries along, per length.

    J. N. Newman, Marine Hydrodynamics, 1977, table 4.3: pi rho b^2 across, with b the semi-axis
    normal to the motion, and pi/8 rho (a^2 - b^2)^2 about the centre. A thin sheet is a flat
    ellipse (pi/4 rho w^2 across), a round rod a circle (pi rho a^2). Motion along the length
    carries nothing. Exact for a long body; a plate 2.5 times as long as wide carries 20 % less.

    Parameters
    ----------
    width, thickness : float
        Axes of the section, m.
    density : float
        Of the fluid, kg/m3.

    Returns
    -------
    mass : (3,) array
        kg/m, for motion along the length, the width and the normal.
    inertia : float
        kg m, for turning about the length.
    """
    wide2, thin2 = (width / 2) ** 2, (thickness / 2) ** 2
    mass = np.pi * density * np.array([0.0, thin2, wide2])
    return mass, float(np.pi / 8 * density * (wide2 - thin2) ** 2)
