"""The coil system as a field model: laws, shapes, refusals, and what the shipped one can do."""

import magpylib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import names
from mmdtwin.errors import ConfigError, OutOfWorkspaceError, UserError
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.check import all_entries, random_points
from mmdtwin.sim.magnetics.differences import gradient_by_differences
from mmdtwin.wrench import dipole_wrench


@pytest.fixture(scope="module")
def coils() -> CoilSystem:
    return CoilSystem.load("octomag-like")


@pytest.fixture
def points(coils) -> np.ndarray:
    return random_points(60, coils.workspace_radius, np.random.default_rng(0))


def test_shapes(coils, points):
    currents = np.ones(coils.n_coils)
    field, gradient = coils.field_and_gradient(points, currents)
    jacobian = coils.jacobian(points, currents)
    assert coils.n_inputs == coils.n_coils == 8
    assert coils.workspace_radius == pytest.approx(0.03)
    assert field.shape == (60, 3)
    assert gradient.shape == (60, 3, 3)
    assert coils.unit_field(points).shape == jacobian[0].shape == (60, 8, 3)
    assert coils.unit_gradient(points).shape == jacobian[1].shape == (60, 8, 3, 3)
    assert coils.unit_field(np.empty((0, 3))).shape == (0, 8, 3)


@pytest.mark.parametrize("name", names("coils"))
def test_gradient_is_symmetric_and_traceless(name):
    """Curl and divergence vanish in free space. The kernel writes that in, so all nine entries are
    differentiated apart here: rounding, 1e-12 of the largest. They are the kernel's as well."""
    coils = CoilSystem.load(name)
    points = random_points(60, coils.workspace_radius, np.random.default_rng(0))
    nine = all_entries(coils, points)
    bound = 1e-12 * np.linalg.norm(nine, axis=(2, 3)).max()
    assert_allclose(nine, np.swapaxes(nine, 2, 3), rtol=0, atol=bound)
    assert_allclose(np.trace(nine, axis1=2, axis2=3), 0.0, atol=bound)
    assert_allclose(coils.unit_gradient(points), nine, rtol=0, atol=bound)


def test_kernel_and_unit_fields_agree(coils, points):
    """Superposition: the combined table gives the sum over coils; tolerance: rounding."""
    currents = np.random.default_rng(1).uniform(-20, 20, coils.n_coils)
    field, gradient = coils.field_and_gradient(points, currents)
    assert_allclose(field, np.einsum("c,nci->ni", currents, coils.unit_field(points)), atol=1e-14)
    expected = np.einsum("c,ncij->nij", currents, coils.unit_gradient(points))
    assert_allclose(gradient, expected, atol=1e-12)


def test_field_points_along_the_axes_at_the_centre(coils):
    """Each axis passes through the origin, where a positive current makes a field along it."""
    field = coils.unit_field(np.zeros((1, 3)))[0]
    axes = np.array([coil.axis for coil in coils.config.coils])
    length = np.linalg.norm(field, axis=1, keepdims=True)
    # The fit leaves 1e-5 of the field, the axes are written with six digits.
    assert_allclose(field / length, axes, atol=1e-4)


def test_field_and_five_gradients_are_independent(coils):
    """Eight coils, rank eight: condition below 6 with a gradient weighed by 50 mm."""
    field = coils.unit_field(np.zeros((1, 3)))[0]
    g = coils.unit_gradient(np.zeros((1, 3)))[0]
    five = np.stack([g[:, 0, 0], g[:, 0, 1], g[:, 0, 2], g[:, 1, 1], g[:, 1, 2]], axis=1)
    assert np.linalg.cond(np.hstack([field, 0.05 * five])) < 6.0


def test_resistance_is_that_of_the_copper(coils):
    """60 % copper in the window at 60 degC, 1.68e-8 ohm m (1 + 0.0039 * 40); written to 1 %."""
    coil = coils.config.coils[0]
    window = (coil.outer_radius - coil.inner_radius) * coil.length
    wire = np.pi * (coil.inner_radius + coil.outer_radius) * coil.turns
    expected = 1.68e-8 * 1.156 * wire * coil.turns / (0.6 * window)
    assert coil.resistance == pytest.approx(expected, rel=0.01)


def test_outside_is_refused_with_distance_and_radius(coils):
    with pytest.raises(OutOfWorkspaceError, match=r"31\.00 mm .* radius of 30 mm"):
        coils.unit_field([[0.0, 0.0, 0.0], [0.0, 0.031, 0.0]])
    coils.unit_field([[0.03, 0.0, 0.0]])  # the border belongs to it


@pytest.mark.parametrize(
    "bad", [[0.0, 0.0, 0.0], [[0.0, 0.0]], [[0.0, np.nan, 0.0]], [[0.0, 0.0, np.inf]]]
)
def test_bad_points_are_refused(coils, bad):
    with pytest.raises(UserError, match="point"):
        coils.field_and_gradient(bad, np.zeros(8))


@pytest.mark.parametrize("bad", [np.zeros(7), np.zeros((1, 8)), [np.nan] * 8, [np.inf] * 8])
def test_bad_currents_are_refused(coils, bad):
    for ask in (coils.field_and_gradient, coils.jacobian):
        with pytest.raises(UserError, match="currents"):
            ask(np.zeros((1, 3)), bad)
    with pytest.raises(UserError, match="currents"):
        coils.to_magpylib(bad)


def test_unknown_name_says_what_is_known():
    with pytest.raises(ConfigError, match="octomag-like"):
        CoilSystem.load("no-such-coils")


MOMENT = np.array([4e-5, -3e-5, 5e-5])  # A m2


@pytest.mark.parametrize("name", names("coils"))
def test_force_and_torque_are_the_slopes_of_the_energy(name):
    """E = -m.B: sixth-order differences of the model's own field, to 1e-6 of the largest."""
    model = CoilSystem.load(name)
    radius = model.workspace_radius
    at = random_points(12, 0.85 * radius, np.random.default_rng(5))
    currents = 0.3 * model.config.limits.max_current * np.cos(np.arange(model.n_coils))
    field, gradient = model.field_and_gradient(at, currents)
    force, torque = dipole_wrench(MOMENT, field, gradient)
    slopes = gradient_by_differences(lambda p: model.field(p, currents), at, radius / 30)
    pull = np.einsum("i,nij->nj", MOMENT, slopes)
    assert_allclose(force, pull, atol=1e-6 * np.abs(pull).max())
    h = 1e-4  # rad; the energy is a cosine of the angle: central differences err by h^2 / 6
    for axis, turn in enumerate(np.eye(3)):
        turned = [Rotation.from_rotvec(s * h * turn).apply(MOMENT) for s in (1, -1)]
        slope = -(field @ turned[0] - field @ turned[1]) / (2 * h)
        assert_allclose(torque[:, axis], -slope, atol=1e-6 * np.abs(torque).max())


@pytest.mark.parametrize("name", names("coils"))
def test_force_and_torque_are_magpylibs_within_the_fits_bound(name):
    """getFT on the same filaments; within the bound of the fit, and 1e-4 for its own steps."""
    model = CoilSystem.load(name)
    currents = 0.3 * model.config.limits.max_current * np.cos(np.arange(model.n_coils))
    source = model.to_magpylib(currents)
    total = np.abs(currents).sum()
    for at in random_points(3, 0.9 * model.workspace_radius, np.random.default_rng(6)):
        field, gradient = model.field_and_gradient([at], currents)
        force, torque = dipole_wrench(MOMENT, field[0], gradient[0])
        dipole = magpylib.misc.Dipole(moment=MOMENT, position=at)
        f, t = magpylib.getFT(source, dipole)
        size = np.linalg.norm(MOMENT)
        f_bound = size * total * model.error.gradient + 1e-4 * np.linalg.norm(f)
        assert np.linalg.norm(force - f) < f_bound
        t_bound = size * total * model.error.field + 1e-4 * np.linalg.norm(t)
        assert np.linalg.norm(torque - t) < t_bound
