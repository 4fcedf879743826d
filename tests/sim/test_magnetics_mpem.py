"""Multipoles and the import of MPEM calibrations.

The law: sources are axial multipoles, phi = sum (A_n r^n + B_n r^-(n+1)) P_n, B = -grad phi.
References: measured nodes of OctoMag; the exact multipoles of a current loop against Magpylib's
elliptic integrals; finite differences of the field.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from magpylib.core import current_circle_Hfield
from scipy.special import binom

from mmdtwin.errors import OutOfWorkspaceError, UserError
from mmdtwin.sim.magnetics.calibration.mpem import errors_at, read_mpem, read_nodes
from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel, Region, Sources
from mmdtwin.units import MU0

OCTOMAG = Path(__file__).parents[1] / "data" / "octomag"
FILE, NODES = OCTOMAG / "mpem_calibration.yaml", OCTOMAG / "field_nodes.csv"
RADIUS = 0.04  # m, of the loop
AXIS = np.array([0.48, 0.6, 0.64])
CENTRE = np.array([0.01, -0.02, 0.005])


def test_reproduces_the_nodes_of_all_coils():
    """1000 measured nodes, 8 coils: within 1e-9 T. They are printed with 9 digits of 1e-3 T."""
    nodes = read_nodes(NODES)
    for imported in (read_mpem(FILE), read_mpem(FILE, nodes.box)):
        errors = errors_at(imported.model, nodes)
        assert errors.shape == (8,)
        assert errors.max() <= 1e-9


def loop_source(order):
    """The multipoles of a loop of 1 A, up to an order, from its field on the axis.

    B_z = mu0 a^2 / (2 (a^2 + z^2)^(3/2)) is, by the binomial series, a sum of z^-(n+2) for z > a
    and of z^(n-1) for z < a; on the axis P_n = 1, so order n adds (n + 1) B_n z^-(n+2) and
    -n A_n z^(n-1).
    """
    n = np.arange(1, order + 1)
    j = (n - 1) // 2
    series = np.where(n % 2 == 1, binom(-1.5, j), 0.0)
    far = MU0 * RADIUS ** (2.0 * j + 2) / 2 * series / (n + 1)
    near = -MU0 / (2 * RADIUS ** (2.0 * j + 1)) * series / n
    return far, near


def loop_field(points):
    """Magpylib's field of the same loop, T."""
    relative = points - CENTRE
    z = relative @ AXIS
    radial = relative - z[:, None] * AXIS
    r = np.linalg.norm(radial, axis=1)
    ones = np.ones(len(points))
    h = current_circle_Hfield(r0=RADIUS * ones, r=r, z=z, i0=ones)
    return MU0 * (h[0][:, None] * radial / r[:, None] + h[2][:, None] * AXIS)


def shell(low, high, n=200):
    """Random points with a distance from the loop's centre in units of its radius."""
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return CENTRE + RADIUS * rng.uniform(low, high, (n, 1)) * directions


def relative_error(order, points, which):
    far, near = loop_source(order)
    none = np.zeros(order)
    growing, decaying = (none, far) if which == "far" else (near, none)
    source = Sources(CENTRE[None], AXIS[None], growing[None], decaying[None])
    field = source.fields(points)[0][:, 0]
    reference = loop_field(points)
    sizes = np.linalg.norm(reference, axis=1)
    return (np.linalg.norm(field - reference, axis=1) / sizes).max()


@pytest.mark.parametrize(("which", "low", "high"), [("far", 2.0, 4.0), ("near", 0.05, 0.5)])
def test_high_orders_are_those_of_a_loop(which, low, high):
    """Each further odd order falls by (1/2)^2 at twice or half the radius: order 1 to 31.

    The series' terms grow with j as binom(-3/2, j) (2 j) P_2j+1, hence the factor of 3.5 and not
    4; what is left of 16 orders is then some 1e-8. Magpylib's kernel is exact to about 1e-14.
    """
    points = shell(low, high)
    orders = np.arange(1, 33, 2)
    errors = np.array([relative_error(order, points, which) for order in orders])
    assert (errors[1:] < errors[:-1]).all()
    assert errors[0] > 0.1  # a dipole, or a uniform field, alone is far off
    assert (errors[4] / errors[-1]) ** (1 / 11) > 3.3
    assert errors[-1] < 2e-8


coefficients = st.lists(st.floats(-1, 1), min_size=4, max_size=4)


@settings(max_examples=40, deadline=None)
@given(growing=coefficients, decaying=coefficients, seed=st.integers(0, 1000))
def test_gradient_is_that_of_the_field(growing, decaying, seed):
    """Fourth-order differences, step 2e-3 of a distance of 1 to 2: error about 1e-8 of the scale.

    Symmetric (no curl) and traceless (no divergence) to rounding.
    """
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=(1, 3))
    axis /= np.linalg.norm(axis)
    source = Sources(np.zeros((1, 3)), axis, np.array([growing]), np.array([decaying]))
    points = rng.normal(size=(5, 3))
    points *= rng.uniform(1, 2, (5, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    gradient = source.fields(points)[1][:, 0]
    step = 2e-3
    scale = 100 * (np.abs(growing).sum() + np.abs(decaying).sum()) + 1e-6
    for j, direction in enumerate(np.eye(3) * step):
        f = [source.fields(points + k * direction)[0][:, 0] for k in (-2, -1, 1, 2)]
        difference = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
        assert np.abs(gradient[..., j] - difference).max() < 1e-7 * scale
    assert np.array_equal(gradient, gradient.swapaxes(1, 2))
    assert np.abs(np.trace(gradient, axis1=1, axis2=2)).max() < 1e-14 * scale


def test_growing_terms_are_regular_at_their_source():
    """At r = 0, A_1 is the uniform field -A_1 d, and A_2 the gradient -A_2 (3 d d^T - I)."""
    source = Sources(np.zeros((1, 3)), AXIS[None], np.array([[2.0, 3.0, 5.0]]), np.zeros((1, 3)))
    field, gradient = source.fields(np.zeros((1, 3)))
    assert np.allclose(field[0, 0], -2 * AXIS, atol=1e-15)
    assert np.allclose(gradient[0, 0], -3 * (3 * np.outer(AXIS, AXIS) - np.eye(3)), atol=1e-14)


def test_region_is_the_workspace_within_reach_of_the_sources():
    """The file says +-10 mm; its nearest source lies 16.56 mm off, and 0.6 of that counts."""
    imported = read_mpem(FILE)
    region, model = imported.model.region, imported.model
    assert imported.nearest == (pytest.approx(0.016555, abs=1e-6), "Coil_4: Src_0")
    assert region.radius == pytest.approx(0.6 * imported.nearest[0])
    assert model.workspace_radius == pytest.approx(region.radius)
    corners = np.array(np.meshgrid(*[[-5e-3, 5e-3]] * 3)).reshape(3, -1).T
    model.unit_field(corners)
    model.unit_field([[0.0, 0.0, 0.99 * region.radius]])
    with pytest.raises(OutOfWorkspaceError, match=r"within 9\.93 mm") as error:
        model.unit_field([[0.0, 0.0, 0.0], [7e-3, 7e-3, 7e-3]])
    assert "7.00, 7.00, 7.00" in str(error.value) and "[-10, 10]" in str(error.value)


def test_region_of_nodes_is_their_box():
    """Measured nodes say where the fit was checked: corners are in, beyond them is not."""
    model = read_mpem(FILE, read_nodes(NODES).box).model
    assert model.workspace_radius == pytest.approx(5e-3)
    model.field_and_gradient([[5e-3, -5e-3, 5e-3]], np.ones(8))
    with pytest.raises(OutOfWorkspaceError, match=r"\[-5, 5\] x"):
        model.field_and_gradient([[5.1e-3, 0, 0]], np.ones(8))


def test_currents_add_up():
    """B = sum of current times unit field, and its derivative is the unit field."""
    model = read_mpem(FILE).model
    points, currents = np.array([[1e-3, 2e-3, -3e-3]]), np.arange(8) - 2.5
    field, gradient = model.field_and_gradient(points, currents)
    assert np.allclose(field, np.einsum("c,nci->ni", currents, model.unit_field(points)))
    assert np.array_equal(model.jacobian(points, currents)[1], model.unit_gradient(points))
    assert gradient.shape == (1, 3, 3)


def test_region_away_from_the_origin_has_no_ball_about_it():
    region = Region(np.array([0.01, -0.01, -0.01]), np.array([0.03, 0.01, 0.01]))
    assert region.radius_about_origin == 0.0
    with pytest.raises(UserError, match="shape"):
        region.check([0.0, 0.0, 0.0])
    with pytest.raises(UserError, match="finite"):
        region.check([[0.02, np.nan, 0.0]])


def test_coils_of_different_orders_are_filled_up():
    one = Sources(np.zeros((1, 3)), AXIS[None], np.zeros((1, 1)), np.array([[1e-6]]))
    two = Sources(np.zeros((2, 3)), np.tile(AXIS, (2, 1)), np.zeros((2, 3)), np.full((2, 3), 1e-6))
    model = MultipoleModel([one, two], Region(np.full(3, 0.5), np.full(3, 1.0)))
    points = np.array([[0.7, 0.8, 0.9]])
    assert np.allclose(model.unit_field(points)[:, 0], one.fields(points)[0][:, 0], rtol=1e-15)
    assert np.allclose(
        model.unit_field(points)[:, 1], two.fields(points)[0].sum(axis=1), rtol=1e-15
    )
