"""Drag across a cylinder beyond creeping flow, against published coefficients."""

import pytest

from mmdtwin.sim.bodies.slender import crossflow_drag, resistive_coefficients


@pytest.mark.parametrize(("reynolds", "measured"), [(10, 2.9), (20, 2.1), (40, 1.6), (100, 1.35)])
def test_a_cylinder_across_the_stream(reynolds, measured):
    """D. J. Tritton, J. Fluid Mech. 6 (1959) 547, figure 4; 20 %: a formula for all Re to 2e5."""
    length, radius, viscosity, density = 20e-3, 0.2e-3, 4e-3, 1060.0
    speed = reynolds * viscosity / (2 * radius * density)
    force = crossflow_drag(length, radius, viscosity, density, speed)
    assert force == pytest.approx(
        0.5 * density * speed**2 * 2 * radius * length * measured, rel=0.2
    )


def test_creeping_flow_is_resistive_force_theory():
    _, across = resistive_coefficients(20e-3, 0.2e-3, 4e-3)
    assert crossflow_drag(20e-3, 0.2e-3, 4e-3, 1060.0, 1e-3) == pytest.approx(across * 20e-3 * 1e-3)
