"""Allocation by rank: what too few coils miss, and several devices served apart or refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mmdtwin.control import Target, allocate, allocate_many
from mmdtwin.control.allocation import FIELD_UNIT, FORCE_UNIT
from mmdtwin.errors import UserError
from mmdtwin.field import CoilModel
from mmdtwin.geometry import unit
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics import CoilSystem

MOMENT = 6.4e-5  # A m2, the navigating sheet
WEIGHT = np.array([0.0, 0.0, 8.7e-6])  # N, what carries it in water
COILS = CoilSystem.load("octomag-like")
LIMITS = COILS.config.limits

directions = st.builds(
    lambda z, a: np.array([np.cos(a) * (1 - z * z) ** 0.5, np.sin(a) * (1 - z * z) ** 0.5, z]),
    st.floats(-1, 1),
    st.floats(0, 6.3),
)


class Three(CoilModel):
    """The first three coils of `octomag-like`."""

    saturation = Saturation.none(3)
    workspace_radius = COILS.workspace_radius

    def unit_field(self, points):
        return COILS.unit_field(points)[:, :3]

    def unit_gradient(self, points):
        return COILS.unit_gradient(points)[:, :3]


@pytest.mark.parametrize("method", ["fast", "bounded"])
def test_what_three_coils_cannot_make_is_missed_by_least_squares(method):
    """Field alone is met; of field and force, six conditions, three are."""
    u = unit([0.3, -0.5, 1.0])
    assert allocate(Three(), np.zeros(3), 0.01 * u, method=method).residual < 1e-5
    result = allocate(
        Three(), np.zeros(3), 0.01 * u, WEIGHT, MOMENT * u, method=method
    )  # fmt: skip
    field, gradient = Three().units(np.zeros((1, 3)))
    force = np.einsum("i,cij->jc", MOMENT * u, gradient[0])
    rows = np.vstack([field[0].T / FIELD_UNIT, force / FORCE_UNIT])
    target = np.concatenate([0.01 * u / FIELD_UNIT, WEIGHT / FORCE_UNIT])
    reference = np.linalg.lstsq(rows, target)[0]
    assert_allclose(result.inputs, reference, rtol=1e-4)
    assert result.residual == pytest.approx(np.linalg.norm(rows @ reference - target), rel=1e-6)
    assert result.residual > 1.0
    assert not result.limited


@settings(max_examples=40, deadline=None)
@given(directions, directions, st.floats(2e-3, 0.02), st.sampled_from(["fast", "bounded"]))
def test_two_devices_are_served_apart(u, v, apart, method):
    """Six conditions of eight coils: a field for each of two devices, whatever the other's."""
    places = apart * np.array([u, -u])
    wanted = 0.004 * np.array([v, u])
    targets = [Target(place, field) for place, field in zip(places, wanted, strict=True)]
    result = allocate_many(COILS, targets, LIMITS, method=method)
    fields = COILS.field(places, result.inputs)
    tolerance = 1e-9 if method == "bounded" else 3e-3 * (1e-3 / apart) ** 2 + 1e-6
    assert_allclose(fields, result.scale * wanted, atol=tolerance)
    for k in range(2):
        assert_allclose(result.achieved[k].field, fields[k], atol=1e-12)
    if method == "bounded":
        assert max(a.direction_error for a in result.achieved) < 1e-6


def test_more_than_the_rank_is_refused_with_both_numbers():
    places = 0.01 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]])
    targets = [Target(p, field=[0, 0, 0.01 * k]) for k, p in enumerate(places[:3])]
    with pytest.raises(UserError, match=r"3 devices .* 9 independent .* rank 8"):
        allocate_many(COILS, targets, LIMITS)
    with pytest.raises(UserError, match=r"2 devices .* 6 independent .* rank 3"):
        allocate_many(Three(), targets[:2])
    # A torque is part of the field: three conditions each, not five.
    turning = [Target(p, [0, 0, 0.01], None, [1e-5, 0, 0], torque=[0, 1e-7, 0]) for p in places[:3]]
    with pytest.raises(UserError, match=r"9 independent"):
        allocate_many(COILS, turning)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-5, 5)] * 8).map(np.array))
def test_more_conditions_than_the_rank_are_met_where_they_agree(currents):
    """Twelve conditions that one set of currents makes: that set is found."""
    places = 0.01 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, 0]])
    fields = COILS.field(places, currents)
    targets = [Target(p, field=b) for p, b in zip(places, fields, strict=True)]
    result = allocate_many(COILS, targets, LIMITS, method="bounded")
    assert_allclose(result.inputs, currents, atol=1e-7)
    assert result.condition < 1e3


def test_one_target_is_the_same_as_allocate():
    u = unit([1.0, -2.0, 0.5])
    one = allocate(COILS, np.zeros(3), 0.01 * u, WEIGHT, MOMENT * u, LIMITS)
    many = allocate_many(COILS, [Target(np.zeros(3), 0.01 * u, WEIGHT, MOMENT * u)], LIMITS)
    np.testing.assert_array_equal(one.inputs, many.inputs)


def test_no_targets_are_refused():
    with pytest.raises(UserError, match="at least one target"):
        allocate_many(COILS, [])
