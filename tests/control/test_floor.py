"""Where a device rests, against closed forms."""

import numpy as np
import pytest

from mmdtwin.control.floor import STEP, bridged, resting_places
from mmdtwin.control.path import DOWN, resting_offset
from mmdtwin.rig import DeviceFacts

DEVICE = DeviceFacts(length=3.7e-3, width=1.5e-3, thickness=0.185e-3, moment=6.4e-5, weight=8.7e-6)
CENTRE = np.array([[x, 0.0, 0.0] for x in np.linspace(0, 10e-3, 5)])
ALONG = np.tile([1.0, 0.0, 0.0], (5, 1))


class Tube:
    """A round tube along x."""

    def __init__(self, radius: float) -> None:
        self.radius = radius

    def at(self, points):
        return self.radius - np.hypot(points[:, 1], points[:, 2])


class Plane:
    """A wide tube whose floor is a plane below the axis, tilted about x."""

    def __init__(self, below: float, tilt: float) -> None:
        self.below, self.normal = below, np.array([0.0, -np.sin(tilt), np.cos(tilt)])

    def at(self, points):
        return points @ self.normal + self.below


def rest(wall, radius: float):
    return resting_places(wall, CENTRE, ALONG, np.full(5, radius), DEVICE, DOWN)


@pytest.mark.parametrize("radius", [1.2e-3, 1.6e-3, 2.2e-3])
def test_in_a_round_tube_it_rests_in_the_middle(radius):
    """As `resting_offset` says; it asks half a thickness of room off the wall, not off the edge,
    and looks in steps: both cost less than half a thickness together with one step."""
    offsets, pull = rest(Tube(radius), radius)
    expected = resting_offset(radius, DEVICE.width, DEVICE.thickness)
    np.testing.assert_allclose(-offsets[:, 2], expected, atol=DEVICE.thickness / 2 + STEP)
    np.testing.assert_allclose(offsets[:, :2], 0.0, atol=1e-9)
    np.testing.assert_allclose(pull, 0.0, atol=0.02)


def test_a_tilted_floor_pulls_downhill():
    """A weight on a plane tilted by 20 degrees is pulled along it by tan(20) of itself."""
    tilt = np.radians(20.0)
    offsets, pull = rest(Plane(1.0e-3, tilt), 2e-3)
    # The floor falls towards negative y, and there the device lies, if not at the very edge.
    assert np.all(pull[:, 1] < 0)
    np.testing.assert_allclose(np.linalg.norm(pull, axis=1), np.tan(tilt), rtol=0.35)
    assert np.all(offsets[:, 1] < 0)
    assert np.all(offsets[:, 1] > -0.6e-3)


def test_no_floor_means_as_deep_as_is_looked():
    class Nothing:
        def at(self, points):
            return np.full(len(points), 1e-3)

    offsets, _ = rest(Nothing(), 2e-3)
    assert np.all(offsets[:, 2] < -4e-3)


def test_a_straight_device_bridges_hollows_and_lies_on_humps():
    """On a parabola of curvature k its middle is k (L/2)^2 / 2 above the floor, or on it."""
    x = np.arange(-50, 51) * 0.2
    hollow = 0.5 * 0.1 * x**2
    held = bridged(hollow, 20.0)
    np.testing.assert_allclose(held[20:-20], 0.5 * 0.1 * 2.0**2, atol=1e-9)
    np.testing.assert_allclose(bridged(-hollow, 20.0)[20:-20], 0.0, atol=1e-12)
