"""What a branch opposes to its flow: pressure drop over volume flow, Pa s/m3."""

from __future__ import annotations

import numpy as np

from mmdtwin.config.flow import FlowConfig
from mmdtwin.sim.flow.carreau import TubeFlow
from mmdtwin.sim.flow.profiles import flux_ratio
from mmdtwin.vessel import Branch


def resistance(branch: Branch, viscosity: float) -> float:
    """Poiseuille resistance 8 mu / pi int ds / r^4; r is linear between points."""
    a, b = branch.radius[:-1], branch.radius[1:]
    inverse_fourth = (a * a + a * b + b * b) / (3.0 * (a * b) ** 3)
    steps = np.diff(branch.arclength)
    return float(8.0 * viscosity / np.pi * np.sum(steps * inverse_fourth))


def impedance(branch: Branch, fluid: FlowConfig, omega: float) -> complex:
    """Longitudinal impedance of a rigid tube at omega > 0 rad/s (Womersley 1955)."""
    alpha = branch.radius * np.sqrt(omega * fluid.density / fluid.viscosity)
    inertance = fluid.density / (np.pi * branch.radius**2)
    per_length = 1j * omega * inertance / (1.0 - flux_ratio(alpha))
    return complex(np.trapezoid(per_length, branch.arclength))


def carreau_resistance(branch: Branch, tube: TubeFlow, flow: float) -> float:
    """Resistance to a Carreau fluid at a volume flow of `flow` m3/s."""
    if flow == 0.0:
        return resistance(branch, tube.fluid.zero_viscosity)
    stress = tube.wall_stress(abs(flow) / (np.pi * branch.radius**3))
    return float(np.trapezoid(2.0 * stress / branch.radius, branch.arclength)) / abs(flow)
