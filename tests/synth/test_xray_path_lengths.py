"""Path lengths through bodies; the checks of area `matter` compare them with closed forms."""

import re

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from mmdtwin.config import load, names
from mmdtwin.config.devices import BaseDeviceConfig, DeviceConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import transform, unit
from mmdtwin.sim.shapes import Mesh, Solids, Wire
from mmdtwin.synth.xray.checks.matter import gvirtualxray_agrees
from mmdtwin.synth.xray.materials import attenuation
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths


def carm(**changes):
    geometry = {"sid": 1.1, "sod": 0.75, "pitch": 0.3e-3, "shape": (512, 512)} | changes
    return Projection.from_carm(**geometry)


def box(centre, rotation, half, material="water"):
    return Solids(
        np.array([centre], float),
        np.asarray(rotation, float)[None],
        np.array([half], float),
        material,
    )


def whole(projection):
    return (0, projection.shape[0], 0, projection.shape[1])


def lengths(body, projection, supersampling=3):
    """Path and share of the whole image."""
    return path_lengths(body, projection, whole(projection), supersampling)


def as_mesh(shape, T=None, material="water"):
    mesh = Mesh(np.array(shape.vertices), np.array(shape.faces), material)
    return mesh if T is None else mesh.placed(T)


def test_box_turned_by_45_degrees():
    """A square bar of side a turned 45 deg about y: the central ray crosses its diagonal, a ray
    at x crosses sqrt(2) a - 2 |x| (the beam is nearly parallel: 1 mm in 750)."""
    projection = carm(shape=(65, 65), pitch=0.05e-3)
    a = 1e-3
    bar = box((0, 0, 0), Rotation.from_rotvec([0, np.pi / 4, 0]).as_matrix(), [a / 2, 0.02, a / 2])
    path = lengths(bar, projection, supersampling=1)[0][32]
    x = (np.arange(65) - 32) * projection.pixel_size
    expected = np.maximum(np.sqrt(2) * a - 2 * np.abs(x), 0.0)
    assert path[32] == pytest.approx(np.sqrt(2) * a, rel=1e-6)
    assert np.abs(path - expected).max() < 3e-6


def test_box_seen_at_an_angle():
    """A wide slab of thickness h tilted by 60 deg is h / cos 60 thick to the central ray."""
    projection = carm(shape=(65, 65))
    rotation = Rotation.from_rotvec([np.deg2rad(60), 0, 0]).as_matrix()
    slab = box((0, 0, 0), rotation, [0.1, 0.1, 0.5e-3])
    path, share = lengths(slab, projection)
    assert share.min() == 1.0
    assert path[32, 32] == pytest.approx(2e-3, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_shadow_lies_where_the_projection_says(seed):
    """A small ball-like box anywhere, any gantry angle: the shadow's centroid is the projected
    centre within 0.02 px (perspective across a 1 mm box)."""
    rng = np.random.default_rng(seed)
    offset = np.eye(4)
    offset[:3, 3] = rng.normal(0, 2e-3, 3)
    projection = carm(
        primary=rng.uniform(-0.5, 0.5), secondary=rng.uniform(-0.3, 0.3), T_world_imager=offset
    )
    centre = rng.uniform(-0.03, 0.03, 3)
    rotation = Rotation.random(random_state=seed).as_matrix()
    cube = box(centre, rotation, [0.5e-3] * 3)
    roi = covered_roi(cube, projection, margin=2)
    path, _ = path_lengths(cube, projection, roi, supersampling=5)
    assert path[0].max() == path[-1].max() == path[:, 0].max() == path[:, -1].max() == 0.0
    v, u = np.mgrid[roi[0] : roi[1], roi[2] : roi[3]]
    found = np.array([(u * path).sum(), (v * path).sum()]) / path.sum()
    assert found == pytest.approx(projection.project(centre), abs=0.02)


def any_body(seed):
    """A body of each kind, somewhere near the isocentre."""
    rng = np.random.default_rng(seed)
    T = transform(Rotation.random(random_state=seed).as_matrix(), rng.uniform(-0.02, 0.02, 3))
    points = np.cumsum(rng.normal(0, 3e-3, (7, 3)), axis=0)
    bodies = (
        Solids.balls(rng.normal(0, 2e-3, (5, 3)), rng.uniform(0.5e-3, 2e-3, 5), "water"),
        Solids.chain(
            np.array([[0, 0, 0], [2e-3, 0, 0]]), np.tile(np.eye(3), (2, 1, 1)),
            np.full((2, 3), 1e-3), "water",
        ),
        Wire(points, 0.4e-3, "steel"),
        Wire(points, 0.9e-3, "silicone", inner=0.6e-3),
        as_mesh(trimesh.creation.icosphere(2, 3e-3)),
    )  # fmt: skip
    return [body.placed(T) for body in bodies]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", range(5))
def test_the_covered_rows_and_columns_hold_all_of_the_shadow(kind, seed):
    """Outside of `covered_roi` no ray is met; within it, a part of the image is what the whole
    image holds there. Shares are between 0 and 1, and 0 only where there is no path."""
    projection = carm(shape=(200, 220), primary=0.4)
    body = any_body(seed)[kind]
    path, share = lengths(body, projection)
    roi = covered_roi(body, projection)
    window = (slice(roi[0], roi[1]), slice(roi[2], roi[3]))
    assert path.sum() == pytest.approx(path[window].sum(), rel=1e-6)
    assert path[window].sum() > 0.0
    assert share.min() >= 0.0 and share.max() <= 1.0
    assert np.array_equal(share > 0.0, path > 0.0)
    part = (roi[0] + 3, roi[1] - 2, roi[2] + 1, roi[3] - 4)
    cut = path_lengths(body, projection, part)[0]
    assert np.array_equal(cut, path[part[0] : part[1], part[2] : part[3]])


def test_bodies_beside_the_image_behind_the_source_or_the_detector_cast_nothing():
    projection = carm()
    for centre in ((1.0, 0, 0), (0, 0, 0.76), (0, 0, 2.0), (0, 0, -0.36)):
        for body in (
            box(centre, np.eye(3), [1e-3] * 3),
            Wire(np.array([[0, 0, 0], [1e-3, 0, 0]]) + centre, 1e-4, "steel"),
            as_mesh(trimesh.creation.box([1e-3] * 3), transform(None, centre)),
        ):
            assert covered_roi(body, projection) is None
            assert path_lengths(body, projection, (0, 8, 0, 8))[0].max() == 0.0


@pytest.mark.parametrize("shift", [(0.2, 0.0, 0.6), (0.0, 0.0, 0.75), (0.0, 0.1, -0.35)])
def test_rays_begin_at_the_source_and_end_at_the_detector(shift):
    """A cube of 0.5 m about the source, beside it and about the detector, drawn as a solid and as
    triangles: the central ray is inside from the source to the cube's face, or from its face to
    the detector, and nowhere are the two different."""
    projection = carm(shape=(65, 65), pitch=4e-3)
    half = 0.25
    solid = box(shift, np.eye(3), [half] * 3)
    mesh = as_mesh(trimesh.creation.box([2 * half] * 3), transform(None, shift))
    top, bottom = min(shift[2] + half, 0.75), max(shift[2] - half, -0.35)
    path, _ = lengths(solid, projection)
    assert path[32, 32] == pytest.approx(top - bottom, rel=1e-3)
    assert np.abs(lengths(mesh, projection)[0] - path).max() < 2e-3  # rays along a face differ
    assert covered_roi(solid, projection) == covered_roi(mesh, projection)


def test_balls_in_one_place_count_once():
    """Twice the same ball, a smaller one within it and one behind it: the order is no matter."""
    projection = carm(shape=(65, 65))
    ball = Solids.balls(np.zeros((1, 3)), np.array([3e-3]), "water")
    centre = np.array([[0, 0, 0], [0, 0, 0], [5e-4, 0, 1e-3], [0, 0, 0.02]])
    radius = np.array([3e-3, 3e-3, 1e-3, 1e-3])
    several = Solids.balls(centre, radius, "water")
    turned = Solids.balls(centre[::-1], radius[::-1], "water")
    behind = Solids.balls(centre[3:], radius[3:], "water")
    path, share = lengths(several, projection)
    assert path == pytest.approx(lengths(ball, projection)[0] + lengths(behind, projection)[0])
    assert np.array_equal(path, lengths(turned, projection)[0])
    assert share.max() == 1.0
    assert share == pytest.approx(lengths(ball, projection)[1])  # it hides the one behind


def test_flat_bodies_have_no_path():
    projection = carm(shape=(65, 65))
    for shape in ("box", "ellipsoid"):
        flat = Solids(
            np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1)),
            np.array([[1e-3, 1e-3, 0.0], [1e-3, 1e-3, 1e-3]]), "water", shape,
        )  # fmt: skip
        assert lengths(flat, projection)[0].max() == pytest.approx(2e-3, rel=0.01)
    nothing = Solids.balls(np.zeros((0, 3)), np.zeros(0), "water")
    assert covered_roi(nothing, projection) is None
    assert lengths(nothing, projection)[0].max() == 0.0


@pytest.mark.parametrize("bend", [0.3, np.pi / 2, 2.0, 2.5, np.pi])
def test_a_bent_wire_has_neither_gap_nor_knot_at_its_joint(bend):
    """Seen along the normal of the plane that it is bent in, no ray through its middle line misses
    it, and none is inside for more than the diameter. Bends of more than 120 deg are cut square,
    at the joint itself."""
    projection = carm(shape=(161, 161), pitch=0.05e-3)
    leg, radius = 2e-3, 0.2e-3
    points = np.array([[-leg, 0, 0], [0, 0, 0], [leg * np.cos(bend), leg * np.sin(bend), 0]])
    path, _ = lengths(Wire(points, radius, "steel"), projection, supersampling=1)
    u, v = np.rint(projection.project(np.linspace(points[0], points[1], 60)[2:-1])).astype(int).T
    assert path[v, u].min() > 1.98 * radius
    assert path.max() < 2.01 * radius


def test_a_wire_that_turns_back_on_itself_counts_once():
    projection = carm(shape=(65, 65))
    there = Wire(np.array([[-3e-3, 0, 0], [3e-3, 0, 0]]), 0.4e-3, "steel")
    back = Wire(np.array([[-3e-3, 0, 0], [3e-3, 0, 0], [-3e-3, 0, 0]]), 0.4e-3, "steel")
    assert lengths(back, projection)[0] == pytest.approx(lengths(there, projection)[0], abs=1e-9)


def test_a_straight_wire_does_not_depend_on_its_points():
    """Cut into pieces of any length, or with points given twice, it is the same wire."""
    projection = carm(primary=0.5)
    ends = np.array([[-0.03, -0.02, 0.01], [0.02, 0.03, -0.01]])
    share = np.sort(np.append(np.random.default_rng(0).uniform(0, 1, 9), [0, 0.5, 0.5, 1]))
    many = ends[0] + share[:, None] * (ends[1] - ends[0])
    for inner in (0.0, 0.3e-3):
        path, met = lengths(Wire(ends, 0.5e-3, "steel", inner), projection)
        again, met_again = lengths(Wire(many, 0.5e-3, "steel", inner), projection)
        assert np.abs(again - path).max() < 1e-9
        assert np.abs(met_again - met).max() < 1e-6


def test_a_tube_is_hollow():
    """Across its middle a ray is inside both walls; near its side, in one chord. Seen end on, the
    bore is free but for the divergence of the rays, and the wall is as deep as the tube is long."""
    projection = carm(shape=(129, 129), pitch=0.05e-3)
    outer, inner = 1e-3, 0.7e-3
    tube = Wire(np.array([[0, -5e-3, 0], [0, 5e-3, 0]]), outer, "silicone", inner)
    path, share = lengths(tube, projection, supersampling=1)
    x = (np.arange(129) - 64) * projection.pixel_size

    def chord(r):
        return 2 * np.sqrt(np.maximum(r**2 - x**2, 0.0))

    assert np.abs(path[64] - (chord(outer) - chord(inner))).max() < 2e-5
    assert share[64, 64] == 1.0 and path[64, 64] == pytest.approx(0.6e-3, rel=1e-5)
    along = Wire(np.array([[0, 0, -2e-3], [0, 0, 2e-3]]), outer, "silicone", inner)
    path, _ = lengths(along, projection, supersampling=1)
    radius = np.hypot(*np.meshgrid(x, x))
    assert path[radius < 0.69e-3].max() == 0.0
    assert path[(radius > 0.71e-3) & (radius < 0.99e-3)] == pytest.approx(4e-3, rel=1e-4)


@pytest.mark.parametrize("n", [1, 3])
def test_triangles_leave_neither_cracks_nor_spikes(n):
    """Balls and cubes of triangles with corners, edges and faces exactly on rays, and thin
    splinters between them: nowhere is a ray inside for more than the body is thick, and within the
    shadow no ray is outside. A missed triangle would leave a path of half a metre."""
    projection = carm(shape=(65, 65), pitch=0.1e-3)
    for shape, deepest in (
        (trimesh.creation.icosphere(3), 2e-3),
        (trimesh.creation.uv_sphere(count=[64, 64]), 2e-3),
        (trimesh.creation.box([2] * 3), np.sqrt(12) * 1e-3),
        (trimesh.creation.cylinder(1, 2, sections=128), np.sqrt(8) * 1e-3),
    ):
        shape.apply_scale(1e-3)
        for rotation in (np.eye(3), Rotation.random(random_state=1).as_matrix()):
            path, _ = lengths(as_mesh(shape, transform(rotation)), projection, n)
            assert path.max() < 1.001 * deepest
            v, u = np.mgrid[0:65, 0:65]
            inner = np.hypot(u - 32, v - 32) * projection.pixel_size < 0.9e-3
            assert path[inner].min() > 0.3e-3


def test_a_ball_of_triangles_is_a_ball():
    """5120 facets lie up to 1 um inside a ball of 1 mm, which slanting rays (cosine of 0.3 where
    the chord is 0.6 mm) see as up to 2 x 1 um / 0.3."""
    projection = carm(shape=(129, 129), pitch=0.05e-3)
    ball = lengths(Solids.balls(np.zeros((1, 3)), np.array([1e-3]), "water"), projection, 1)[0]
    mesh = lengths(as_mesh(trimesh.creation.icosphere(4, 1e-3)), projection, 1)[0]
    clear = ball > 0.6e-3
    assert np.abs(mesh - ball)[clear].max() < 7e-6
    assert mesh.max() <= ball.max()


def test_a_cavity_is_empty():
    shell = trimesh.creation.icosphere(3, 2e-3)
    hole = trimesh.creation.icosphere(3, 1e-3)
    hole.invert()
    path, _ = lengths(as_mesh(shell + hole), carm(shape=(65, 65)))
    assert path[32, 32] == pytest.approx(2e-3, rel=0.01)


BALL = trimesh.creation.icosphere(1, 1e-3)
NAN = np.array([[np.nan, 0, 0], [1e-3, 0, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Solids.balls(NAN, np.ones(2), "water"), "water: a position or size is not"),
        (lambda: box((0, 0, 0), np.eye(3), [1, np.inf, 1]), "not a finite number"),
        (lambda: box((0, 0, 0), np.eye(3), [1, -1, 1]), "must not be negative"),
        (lambda: Wire(NAN, 1e-3, "steel"), "steel: a position or size is not"),
        (lambda: Wire(np.zeros((4, 3)), 1e-3, "steel"), "two or more different points"),
        (lambda: Wire(np.eye(3)[:1], 1e-3, "steel"), "two or more different points"),
        (lambda: Wire(np.eye(3), 0.0, "steel"), "inner radius 0.0 m must be"),
        (lambda: Wire(np.eye(3), 1e-3, "steel", 1e-3), "less than the radius"),
        (lambda: Wire(np.eye(3), np.nan, "steel"), "not a finite number"),
        (lambda: Mesh(BALL.vertices, BALL.faces[1:], "water"), "water: leaks"),
        (lambda: Mesh(BALL.vertices, BALL.faces[:, ::-1], "water"), "inside out"),
        (lambda: Mesh(BALL.vertices, BALL.faces + 1, "water"), "beyond the 42 given"),
        (lambda: Mesh(BALL.vertices, BALL.faces[:0], "water"), "needs triangles"),
        (lambda: Mesh(BALL.vertices * np.nan, BALL.faces, "water"), "not a finite number"),
        (lambda: path_lengths(any_body(0)[0], carm(), (0, 8, 0, 8), 0), "supersampling: 0"),
    ],
)
def test_what_is_no_body_is_refused(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_one_triangle_the_wrong_way_round_is_refused():
    faces = np.array(BALL.faces)
    faces[3] = faces[3, ::-1]
    with pytest.raises(UserError, match="do not agree"):
        Mesh(BALL.vertices, faces, "water")


def test_a_part_that_faces_inwards_is_refused_when_seen():
    """A small ball inside out beside a large one: closed, and of positive volume together."""
    inverted = trimesh.creation.icosphere(2, 1e-3)
    inverted.invert()
    inverted.apply_translation((5e-3, 0, 0))
    mesh = as_mesh(trimesh.creation.icosphere(2, 2e-3) + inverted, material="iodine:300")
    projection = carm(shape=(129, 129))
    with pytest.raises(UserError, match="mesh of iodine:300: a part of it faces inwards"):
        lengths(mesh, projection)


@pytest.mark.parametrize("seed", range(3))
def test_a_moved_body_is_seen_as_by_the_gantry_moved_back(seed):
    """Only the placement of one against the other matters."""
    T = transform(Rotation.random(random_state=seed).as_matrix(), unit([1, 2, seed]) * 5e-3)
    there = carm(shape=(90, 100), pitch=0.2e-3)
    moved = carm(shape=(90, 100), pitch=0.2e-3, T_world_imager=T)
    for body in any_body(seed):
        path, seen = lengths(body, there)[0], lengths(body.placed(T), moved)[0]
        # A ray at a rim may be rounded to the other side.
        assert np.abs(path - seen).sum() < 1e-3 * path.sum() + 1e-9


@pytest.mark.parametrize("preset", names("devices"))
def test_every_device_is_of_a_known_material(preset):
    config: BaseDeviceConfig = load(DeviceConfig, "devices", preset)
    assert attenuation(config.material, np.array([30.0, 60.0])).min() > 10.0  # 1/m; water has 20


def test_gvirtualxray_agrees():
    found = gvirtualxray_agrees(seed=0)
    if found.skipped:
        pytest.skip(found.skipped)
    assert found.holds, found.result


@pytest.mark.parametrize(
    ("seed", "code", "reason"),
    [
        (
            11,
            "raise ImportError('libxcb-res.so.0: cannot open')",
            r"here \(libxcb-res.so.0: cannot",
        ),
        (12, "import os; os.abort()", r"gVirtualXray failed \(exit code -6\)"),
    ],
)
def test_a_missing_library_or_a_crash_of_opengl_skips_visibly(
    seed, code, reason, tmp_path, monkeypatch
):
    package = tmp_path / "gvxrPython3"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = gvirtualxray_agrees(seed)
    assert re.search(reason, found.skipped)
    assert not found.holds
