"""Permanent magnets: exact fields, what their derivatives are worth, spin, force, refusals."""

import magpylib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mmdtwin.config import MagnetConfig, names, parse
from mmdtwin.errors import ConfigError, OutOfWorkspaceError, UserError
from mmdtwin.field import PlacedField
from mmdtwin.geometry import transform, unit
from mmdtwin.pose import (
    pose_matrix,
    pose_vector,
    spin_axis_for,
    spun,
    turn_per_rotation_vector,
)
from mmdtwin.sim.magnetics.magnet import Magnet
from mmdtwin.sim.magnetics.magnet_shapes import FAR, body_of
from mmdtwin.wrench import dipole_wrench

SHIPPED = names("magnets")
CUBES = {20: "cube-20mm", 30: "cube-30mm", 50: "cube-50mm"}
TILTED = {  # one of each shape, polarised along no axis of it
    "cuboid": {"kind": "cuboid", "size": [0.02, 0.03, 0.04]},
    "cylinder": {"kind": "cylinder", "diameter": 0.03, "height": 0.02},
    "sphere": {"kind": "sphere", "diameter": 0.03},
}
coordinate = st.floats(-1.0, 1.0)
pose_numbers = st.tuples(*[coordinate] * 6)


def magnet_of(body: dict, **more) -> Magnet:
    data = {
        "source": "test",
        "shape": body,
        "remanence": 1.3,
        "direction": [1, 2, -1.5],
        "workspace_radius": 0.3,
    }
    return Magnet(parse(MagnetConfig, {**data, **more}, "test"))


@pytest.fixture(scope="module", params=[*SHIPPED, *TILTED])
def magnet(request) -> Magnet:
    shape = TILTED.get(request.param)
    return Magnet.load(request.param) if shape is None else magnet_of(shape)


def around(magnet: Magnet, n: int, seed: int, nearest=1.15, furthest=8.0):
    """A random pose, and points 1.15 to 8 bounding radii from the magnet, within 0.1 m of 0."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.05, 0.05, (n, 3))
    r = magnet.bounding_radius * rng.uniform(nearest + 0.1, furthest)
    towards = unit(rng.normal(size=3))
    position = points.mean(axis=0) + towards * (r + np.ptp(points, axis=0).max())
    pose = np.concatenate([position, rng.normal(size=3)])
    far = np.linalg.norm(points - position, axis=1) > nearest * magnet.bounding_radius
    return points[far], pose


@pytest.mark.parametrize(
    ("edge", "distance", "field", "slope"),
    [
        (20, 40, "25.9", "1.91"), (20, 55, "10.1", "0.55"), (20, 80, "3.3", "0.12"),
        (30, 40, "83.5", "5.80"), (30, 55, "33.5", "1.78"), (30, 80, "11.0", "0.41"),
        (50, 40, "293", "14.6"), (50, 55, "140", "6.57"), (50, 80, "49.8", "1.79"),
    ],
)  # fmt: skip
def test_cubes_on_their_axis(edge, distance, field, slope):
    """Exact cube, Br 1.32 T: mT and T/m at mm from its centre, to the digits printed."""
    magnet = Magnet.load(CUBES[edge])
    b, g = magnet.field_and_gradient([[0, 0, 0]], [0, 0, -distance * 1e-3, 0, 0, 0])
    assert f"{b[0, 2] * 1e3:.{len(field.partition('.')[2])}f}" == field
    assert f"{abs(g[0, 2, 2]):.{len(slope.partition('.')[2])}f}" == slope


@pytest.mark.parametrize(("edge", "moment"), [(20, 8.4), (30, 28.4), (50, 131.3)])
def test_dipole_moment_is_polarisation_times_volume(edge, moment):
    dipole = Magnet.load(CUBES[edge]).dipole
    assert_allclose(dipole, [0, 0, moment], atol=0.05)


def test_field_is_that_of_magpylibs_objects(magnet):
    """The same kernels in another frame, and for far cylinders a quadrature of 2e-10."""
    for seed in range(5):
        points, pose = around(magnet, 20, seed)
        field = magnet.field(points, pose)
        expected = magnet.to_magpylib(pose).getB(points)
        error = np.linalg.norm(field - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() < 1e-9


def test_gradient_is_that_of_magpylibs_objects(magnet):
    """Fourth-order differences of Magpylib's objects, step 1 % of the distance: 3e-7 at worst."""
    for seed in range(4):
        points, pose = around(magnet, 6, seed, nearest=1.4)
        gradient = magnet.field_and_gradient(points, pose)[1]
        source = magnet.to_magpylib(pose)
        gap = np.linalg.norm(points - pose[:3], axis=1) - magnet.bounding_radius
        for n, point in enumerate(points):
            h = 0.01 * gap[n]
            steps = h * np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None] * np.eye(3)
            b = source.getB(point + steps)
            expected = (b[0] - 8 * b[1] + 8 * b[2] - b[3]).T / (12 * h)
            assert np.abs(gradient[n] - expected).max() < 1e-6 * np.linalg.norm(expected)


def test_gradient_is_symmetric_and_traceless(magnet):
    """Curl and divergence vanish outside. Nothing is symmetrised: 1e-6 bounds the differences."""
    for seed in range(12):
        points, pose = around(magnet, 30, seed, furthest=40.0 if seed % 3 == 0 else 8.0)
        gradient = magnet.field_and_gradient(points, pose)[1]
        size = np.linalg.norm(gradient, axis=(1, 2))
        curl = np.abs(gradient - np.swapaxes(gradient, 1, 2)).max(axis=(1, 2))
        assert (curl / size).max() < 1e-6
        assert (np.abs(np.trace(gradient, axis1=1, axis2=2)) / size).max() < 1e-6


def test_on_the_cylinders_own_lines():
    """Kernels divide by the radius and by its difference to the cylinder's: both are zero here."""
    magnet = magnet_of(TILTED["cylinder"])
    points = np.array([[0, 0, 0.03], [0.015, 0, 0.03], [0, 0.04, 0], [0.03, 0, 0.01], [0, 0, -0.1]])
    field, gradient = magnet.field_and_gradient(points, np.zeros(6))
    assert_allclose(field, magnet.to_magpylib(np.zeros(6)).getB(points), rtol=1e-9, atol=1e-12)
    assert_allclose(gradient, np.swapaxes(gradient, 1, 2), atol=1e-6 * np.abs(gradient).max())


FLAT = {"kind": "cylinder", "diameter": 0.03, "height": 0.003}
SQUARE = {"kind": "cylinder", "diameter": 0.025, "height": 0.025}
LONG = {"kind": "cylinder", "diameter": 0.006, "height": 0.03}


def from_a_cylinder(body: dict, direction, radii, n=60):
    """A magnet, a pose, and points about the origin at so many bounding radii from it; half of
    them near its axis, where the kernel rounds most."""
    magnet, rng = (
        magnet_of(body, direction=direction, workspace_radius=1.0),
        np.random.default_rng(0),
    )
    towards = unit(rng.normal(size=(n, 3)))
    distance = radii * magnet.bounding_radius
    towards[: n // 2, :2] *= 0.5 * body["diameter"] / distance
    towards[: n // 2, 2] = np.sign(towards[: n // 2, 2])
    points = distance * unit(towards)
    return magnet, np.zeros(6), points


@pytest.mark.parametrize("radii", [1.5, 2.5, 3.9, 4.1, 10.0, 20.0, 40.0])
@pytest.mark.parametrize("body", [FLAT, SQUARE, LONG])
def test_cylinders_polarised_across_have_no_curl_near_or_far(body, radii):
    """Differences lose digits with distance, 1e-6 at 5 to 12 radii; a sum of dipoles does not."""
    magnet, pose, points = from_a_cylinder(body, [1, 0, 0], radii)
    gradient = magnet.field_and_gradient(points, pose)[1]
    size = np.linalg.norm(gradient, axis=(1, 2))
    curl = np.abs(gradient - np.swapaxes(gradient, 1, 2)).max(axis=(1, 2))
    bound = 1e-6 if radii < FAR else 1e-13
    assert (curl / size).max() < bound
    assert (np.abs(np.trace(gradient, axis1=1, axis2=2)) / size).max() < bound


@pytest.mark.parametrize("direction", [[1, 0, 0], [0, 0, 1], [1, 2, -1.5]])
@pytest.mark.parametrize("body", [FLAT, SQUARE, LONG])
def test_a_far_cylinder_is_magpylibs(body, direction):
    """On both sides of where dipoles take over; the rule is made to miss 1e-10 or so there."""
    for radii in (0.999 * FAR, 1.001 * FAR):
        magnet, pose, points = from_a_cylinder(body, direction, radii)
        expected = magnet.to_magpylib(pose).getB(points)
        error = np.linalg.norm(magnet.field(points, pose) - expected, axis=1)
        assert (error / np.linalg.norm(expected, axis=1)).max() < 1e-9


@pytest.mark.parametrize("radii", [4.1, 10.0, 40.0])
def test_derivatives_of_a_far_cylinder(radii):
    """Sixth-order differences of field and gradient, step 1 % of the distance: below 1e-8."""
    body = body_of(magnet_of(SQUARE).config)
    _, _, points = from_a_cylinder(SQUARE, [1, 0, 0], radii, n=8)
    h = 0.01 * radii * np.hypot(0.0125, 0.0125)
    for derivative, function in (
        (body.expand(points)[1], lambda p: body.expand(p)[0]),
        (body.curvature(points), lambda p: body.expand(p)[1].reshape(-1, 9)),
    ):
        weights = np.array([45, -9, 1]) / 60 / h
        for k in range(3):
            step = h * np.eye(3)[k]
            slope = sum(
                w * (function(points + j * step) - function(points - j * step))
                for j, w in enumerate(weights, 1)
            )
            got = derivative[..., k].reshape(len(points), -1)
            assert_allclose(got, slope, atol=1e-8 * np.abs(derivative).max())


@pytest.mark.parametrize("radii", [10.0, 20.0, 40.0])
def test_far_away_a_cylinder_is_its_dipole(radii):
    """The moment after the dipole, V (h^2 / 3 - r^2 / 4), vanishes where the half height h is
    sqrt(3 / 4) r; the next leaves (R / d)^4 times its own size, below 1."""
    body = {"kind": "cylinder", "diameter": 0.02, "height": 0.02 * np.sqrt(0.75)}
    magnet, pose, points = from_a_cylinder(body, [1, 2, -1.5], radii)
    expected = magpylib.misc.Dipole(moment=magnet.dipole).getB(points)
    error = np.linalg.norm(magnet.field(points, pose) - expected, axis=1)
    assert (error / np.linalg.norm(expected, axis=1)).max() < radii**-4


def test_jacobian_is_the_derivative_by_the_pose(magnet):
    """Central differences in each coordinate, steps 2e-5: truncation about 1e-5 at these radii."""
    points, pose = around(magnet, 4, 3, nearest=1.4)
    d_field, d_gradient = magnet.jacobian(points, pose)
    assert d_field.shape == (len(points), 6, 3)
    assert d_gradient.shape == (len(points), 6, 3, 3)
    for k in range(6):
        h = 2e-5 * np.eye(6)[k]
        ahead = magnet.field_and_gradient(points, pose + h)
        behind = magnet.field_and_gradient(points, pose - h)
        for got, a, b in zip((d_field, d_gradient), ahead, behind, strict=True):
            expected = (a - b) / 4e-5
            assert_allclose(got[:, k], expected, atol=2e-5 * np.abs(expected).max())


@given(pose_numbers)
def test_pose_vectors_and_matrices_agree(numbers):
    pose = 1.8 * np.array(numbers)  # angles up to 3.1
    assert_allclose(pose_vector(pose_matrix(pose)), pose, atol=1e-9)
    h = 1e-6
    turns = turn_per_rotation_vector(pose[3:])
    start = Rotation.from_rotvec(pose[3:])
    for k in range(3):
        ahead = Rotation.from_rotvec(pose[3:] + h * np.eye(3)[k])
        assert_allclose((ahead * start.inv()).as_rotvec() / h, turns[:, k], atol=1e-5)


def test_evaluation_at_a_fixed_pose_is_the_same(magnet):
    points, pose = around(magnet, 10, 1)
    evaluate = magnet.at(pose)
    for got, expected in zip(
        evaluate(points), magnet.field_and_gradient(points, pose), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    pose[:] = 0  # what was fixed stays fixed
    assert evaluate(points)[0].any()
    assert magnet.saturation is None
    assert magnet.n_inputs == 6


def test_a_placed_magnet_is_a_magnet_elsewhere():
    """Rotation and translation of the frame turn field and gradient with it; rounding only."""
    magnet = magnet_of(TILTED["sphere"])
    T = transform(Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), [0.01, 0.02, -0.03])
    points, pose = around(magnet, 5, 2)
    placed = PlacedField(magnet, T).field_and_gradient(points, pose)
    moved = magnet.field_and_gradient(points, pose_vector(T @ pose_matrix(pose)))
    assert_allclose(placed[0], moved[0], rtol=1e-10, atol=1e-15)
    assert_allclose(placed[1], moved[1], rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.tuples(coordinate, coordinate, coordinate), st.tuples(coordinate, coordinate, coordinate))
def test_a_spinning_sphere_turns_the_field_about_the_wanted_axis(offset, axis):
    """Mahoney and Abbott 2014, exact for a dipole: the field stays perpendicular to the wanted
    axis, and turns in the same sense as the magnet. Tolerance: rounding."""
    offset, axis = np.array(offset), np.array(axis)
    if np.linalg.norm(offset) < 0.1 or np.linalg.norm(axis) < 0.1:
        return
    magnet = Magnet.load("sphere-40mm")
    position = -0.06 * unit(offset)
    device = np.zeros(3)
    spindle = spin_axis_for(axis, position, device)
    turn = Rotation.align_vectors(spindle[None], magnet.spin_axis[None])[0]
    pose = np.concatenate([position, turn.as_rotvec()])
    fields = []
    for angle in np.linspace(0, 2 * np.pi, 9):
        turned = spun(pose, magnet.spin_axis, angle)
        assert_allclose(turned[:3], position)
        fields.append(magnet.field(device[None], turned)[0])
    fields = np.array(fields)
    assert_allclose(fields @ unit(axis), 0.0, atol=1e-12 * np.abs(fields).max())
    assert_allclose(fields[-1], fields[0], atol=1e-12)
    sense = np.einsum("ni,ni->n", np.cross(fields[:-1], fields[1:]), np.tile(unit(axis), (8, 1)))
    assert (sense > 0).all()


def test_spin_axes_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="not zero"):
        spin_axis_for([0, 0, 0], [0, 0, 0.1], [0, 0, 0])
    with pytest.raises(UserError, match="off the magnet"):
        spin_axis_for([0, 0, 1], [0, 0, 0.1], [0, 0, 0.1])


def test_force_and_torque_are_the_slopes_of_the_energy(magnet):
    """E = -m.B: F = -dE/dx, and tau . n = -dE/d(angle about n) of the moment. Sixth-order
    differences, steps 1 % of the gap and 0.01 rad: below 1e-8 of the largest entry; bound 1e-6."""
    points, pose = around(magnet, 3, 7, nearest=1.5)
    moment = np.array([2e-5, -5e-5, 3e-5])
    field, gradient = magnet.field_and_gradient(points, pose)
    force, torque = dipole_wrench(moment, field, gradient)
    steps, weights = np.array([-3, -2, -1, 1, 2, 3]), np.array([-1, 9, -45, 45, -9, 1]) / 60
    for n, point in enumerate(points):
        h = 0.01 * (np.linalg.norm(point - pose[:3]) - magnet.bounding_radius)
        for j in range(3):
            at = point + h * steps[:, None] * np.eye(3)[j]
            energy = -magnet.field(at, pose) @ moment
            assert abs(force[n, j] + weights @ energy / h) < 1e-6 * np.linalg.norm(force[n])
            turned = Rotation.from_rotvec(0.01 * steps[:, None] * np.eye(3)[j]).apply(moment)
            slope = weights @ -(turned @ field[n]) / 0.01
            assert abs(torque[n, j] + slope) < 1e-6 * np.linalg.norm(torque[n])


def test_force_and_torque_are_magpylibs(magnet):
    """Magpylib's getFT on a dipole, and on a 0.2 mm sphere of the same moment; its own differences
    and that size leave 1e-3."""
    points, pose = around(magnet, 1, 11, nearest=1.5)
    moment = np.array([2e-5, -5e-5, 3e-5])
    force, torque = dipole_wrench(moment, *(v[0] for v in magnet.field_and_gradient(points, pose)))
    d = 2e-4
    polarisation = 4e-7 * np.pi * moment / (np.pi / 6 * d**3)
    source = magnet.to_magpylib(pose)
    for target in (
        magpylib.misc.Dipole(moment=moment, position=points[0]),
        magpylib.magnet.Sphere(diameter=d, polarization=polarisation, position=points[0]),
    ):
        f, t = magpylib.getFT(source, target)
        assert_allclose(force, f, atol=1e-3 * np.linalg.norm(f))
        assert_allclose(torque, t, atol=1e-3 * np.linalg.norm(t))


def test_points_in_the_magnet_or_outside_the_workspace_are_refused(magnet):
    inside, far = [[0.001, 0, 0.002]], [[magnet.workspace_radius * 1.01, 0, 0]]
    for call in (magnet.field_and_gradient, magnet.jacobian):
        with pytest.raises(OutOfWorkspaceError, match="in the magnet"):
            call(inside, np.zeros(6))
        with pytest.raises(OutOfWorkspaceError, match="outside the magnet's workspace"):
            call(far, [0, 0, 0.2, 0, 0, 0])


def test_malformed_arguments_are_refused():
    magnet = Magnet.load("cube-30mm")
    good = [0, 0, 0.1, 0, 0, 0]
    for points, pose, word in (
        ([[0, 0, 0]], [0, 0, 0.1], "pose: shape"),
        ([[0, 0, 0]], [0, 0, np.nan, 0, 0, 0], "pose"),
        ([0, 0, 0], good, "points: shape"),
        ([[0, np.nan, 0]], good, "not a finite number"),
    ):
        with pytest.raises(UserError, match=word):
            magnet.field_and_gradient(points, pose)
    assert magnet.field_and_gradient(np.empty((0, 3)), good)[1].shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"remanence": 1320.0}, "remanence"),
        ({"direction": [0, 0, 0]}, "direction must not be zero"),
        ({"spin_axis": [1, 2, -1.5]}, "perpendicular"),
        ({"shape": {"kind": "ring"}}, "shape"),
        ({"shape": {"kind": "sphere", "diameter": -1}}, "diameter"),
        ({"colour": "red"}, "allowed"),
    ],
)
def test_wrong_configurations_are_refused_in_a_line(change, word):
    with pytest.raises(ConfigError, match=word) as caught:
        magnet_of(TILTED["sphere"], **change)
    assert "\n" not in str(caught.value)
