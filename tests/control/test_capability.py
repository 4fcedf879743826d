"""Isotropy and achievable forces against cases that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmdtwin.control.allocation import allocate
from mmdtwin.control.capability import achievable_forces, isotropy
from mmdtwin.errors import UserError
from mmdtwin.geometry import sphere_points
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.harmonic_model import HarmonicModel

OCTO = CoilSystem.load("octomag-like")
PAIRS = CoilSystem.load("helmholtz-maxwell")
CENTRE = np.zeros(3)
MOMENT = np.array([6.4e-5, 0.0, 0.0])  # A m2


def reach(forces: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return (forces @ directions.T).max(axis=0)


def test_isotropy_of_perpendicular_pairs():
    """At the centre each pair makes its own direction: weakest over strongest unit field."""
    unit = np.linalg.norm(PAIRS.unit_field([CENTRE])[0], axis=1)[:3]
    assert_allclose(isotropy(PAIRS, [CENTRE]), unit.min() / unit.max(), rtol=1e-6)


def test_current_limits_make_a_zonotope():
    """Without a power limit the reach in a direction is sum |d . F_c| i_max, coil by coil.

    The hull touches it in the directions it was made for; tolerance: the price of loss, 1e-6.
    """
    limits = replace(OCTO.config.limits, max_power=1e9)
    forces = achievable_forces(OCTO, CENTRE, MOMENT, limits)
    rows = np.einsum("j,cji->ic", MOMENT, OCTO.unit_gradient([CENTRE])[0])
    directions = sphere_points(len(forces))
    expected = np.abs(directions @ rows) @ limits.max_current
    assert_allclose(reach(forces, directions), expected, rtol=1e-6)


def test_the_voltage_limits_the_zonotope_too():
    """Amplifiers of 10 V hold 10 V / R, less than max_current: the reach is that of those."""
    limits = replace(OCTO.config.limits, max_power=1e9, max_voltage=np.linspace(6.0, 20.0, 8))
    most = limits.max_voltage / limits.resistance
    assert (most < limits.max_current).all()
    forces = achievable_forces(OCTO, CENTRE, MOMENT, limits)
    rows = np.einsum("j,cji->ic", MOMENT, OCTO.unit_gradient([CENTRE])[0])
    directions = sphere_points(len(forces))
    assert_allclose(reach(forces, directions), np.abs(directions @ rows) @ most, rtol=1e-6)


def test_power_alone_makes_an_ellipsoid():
    """Without current limits the reach is sqrt(P d' F R^-1 F' d); the price is found to 1e-6."""
    large = np.full(8, 1e3)
    limits = replace(OCTO.config.limits, max_power=500.0, max_current=large, max_voltage=large)
    forces = achievable_forces(OCTO, CENTRE, MOMENT, limits)
    rows = np.einsum("j,cji->ic", MOMENT, OCTO.unit_gradient([CENTRE])[0])
    directions = sphere_points(len(forces))
    scaled = directions @ rows / np.sqrt(limits.resistance)
    expected = np.sqrt(limits.max_power) * np.linalg.norm(scaled, axis=1)
    assert_allclose(reach(forces, directions), expected, rtol=1e-5)


def test_holding_a_field_costs_reach_and_what_is_promised_can_be_had():
    """Any force of the hull, with the field, is allocated within the limits."""
    limits, field = OCTO.config.limits, np.array([15e-3, 0.0, 0.0])
    free = achievable_forces(OCTO, CENTRE, MOMENT, limits)
    held = achievable_forces(OCTO, CENTRE, MOMENT, limits, field)
    directions = sphere_points(len(held))
    assert (reach(held, directions) <= reach(free, directions) * (1 + 1e-5)).all()
    for force in 0.98 * held[::30]:
        got = allocate(OCTO, CENTRE, field, force, MOMENT, limits=limits, method="bounded")
        assert got.residual < 1e-3
        assert not got.limited


def test_more_power_reaches_at_least_as_far():
    """With a field held; the solver's program stays well scaled where the power hardly binds."""
    mini = CoilSystem.load("minimag-like")
    directions, last = sphere_points(50), 0.0
    for power in (100.0, 350.0, 1e4, 1e9):
        limits = replace(mini.config.limits, max_power=power)
        forces = achievable_forces(mini, CENTRE, MOMENT, limits, [0.0, 5e-3, 0.0])
        assert (reach(forces, directions) > (1 - 1e-5) * last).all()
        last = reach(forces, directions)


def test_limits_are_kept_where_coils_saturate_and_the_power_binds():
    """Knees of a fifth of the currents: what is returned is had by currents within the power."""
    shipped = CoilSystem.load("minimag-like")
    limits, field = replace(shipped.config.limits, max_power=100.0), np.array([0.0, 5e-3, 0.0])
    law = replace(shipped.saturation, knee=0.2 * limits.max_current)
    mini = HarmonicModel(shipped.potential, shipped.scale, shipped.workspace_radius, law)
    forces = achievable_forces(mini, CENTRE, MOMENT, limits, field)
    for force in 0.98 * forces[::30]:
        got = allocate(mini, CENTRE, field, force, MOMENT, limits=limits, method="bounded")
        assert np.linalg.norm(got.force - force) < 1e-9
    directions = sphere_points(len(forces))
    free = achievable_forces(mini, CENTRE, MOMENT, replace(limits, max_power=1e9), field)
    assert (reach(forces, directions) < 0.9 * reach(free, directions)).all()


def test_saturation_takes_reach():
    mini = CoilSystem.load("minimag-like")
    limits = replace(mini.config.limits, max_power=1e9)
    hard = replace(limits, max_current=3 * limits.max_current)
    directions = sphere_points(50)
    ratio = reach(achievable_forces(mini, CENTRE, MOMENT, hard), directions) / reach(
        achievable_forces(mini, CENTRE, MOMENT, limits), directions
    )
    law = mini.saturation
    assert_allclose(
        ratio, (law.effective(hard.max_current) / law.effective(limits.max_current))[0], rtol=1e-5
    )
    assert ratio.max() < 2.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_current": np.full(8, 0.1)}, "current and voltage"),
        ({"max_voltage": np.full(8, 0.1)}, "current and voltage"),
        ({"max_power": 1.0}, "power"),
    ],
)
def test_a_field_out_of_reach_is_refused(change, message):
    limits = replace(OCTO.config.limits, **change)
    with pytest.raises(UserError, match=f"cannot be held .* {message} limit"):
        achievable_forces(OCTO, CENTRE, MOMENT, limits, field=[50e-3, 0.0, 0.0])
