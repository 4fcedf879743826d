"""Geometry of the C-arm: what projects where, and back."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import override, parse, read
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.distortion import Distortion, distortion_maps
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import (
    aligning_rotation,
    apply,
    invert,
    random_offset,
    transform,
    unit,
)

angles = st.floats(-1.2, 1.2)
lengths = st.floats(-0.03, 0.03)


def carm(primary=0.0, secondary=0.0, T=None):
    return Projection.from_carm(1.1, 0.75, 0.3e-3, (400, 512), primary, secondary, T)


def test_the_isocentre_is_at_the_image_centre_whatever_the_angles():
    for a in (-0.5, 0.0, 0.7):
        np.testing.assert_allclose(carm(a, a / 2).project(np.zeros(3)), (255.5, 199.5), atol=1e-9)


def test_axes_of_the_upright_view():
    p = carm()
    u, v = p.project(np.array([1e-3, 0, 0])) - p.project(np.zeros(3))
    assert u > 0
    assert v == pytest.approx(0, abs=1e-9)  # +x is right
    u, v = p.project(np.array([0, 1e-3, 0])) - p.project(np.zeros(3))
    assert v < 0  # +y (head) is up
    np.testing.assert_allclose(p.source, (0, 0, 0.75))
    assert np.linalg.det(p.axes) == pytest.approx(1.0)  # not mirrored


def test_magnification_is_sid_over_depth():
    p = carm()
    for z in (-0.1, 0.0, 0.1):
        points = np.array([[0, 0, z], [0.01, 0, z]])
        px = np.diff(p.project(points)[:, 0])[0]
        assert px * p.pitch / 0.01 == pytest.approx(1.1 / (0.75 - z))
    assert p.pixel_size == pytest.approx(0.3e-3 * 0.75 / 1.1)


@given(angles, angles, lengths, lengths, lengths)
def test_back_projection_inverts_projection(primary, secondary, x, y, z):
    offset = transform(Rotation.from_rotvec([0.1, -0.2, 0.05]).as_matrix(), [1e-3, -2e-3, 3e-3])
    p = carm(primary, secondary, offset)
    point = np.array([x, y, z])
    again = p.back_project(p.project(point), p.depth(point))
    np.testing.assert_allclose(again, point, atol=1e-12)


@given(angles, angles)
def test_moving_the_gantry_is_moving_the_world_the_other_way(primary, secondary):
    T = transform(Rotation.from_rotvec([0.02, 0.01, -0.03]).as_matrix(), [1e-3, 2e-3, -1e-3])
    point = np.array([0.01, -0.02, 0.005])
    moved = carm(primary, secondary, T).project(point)
    still = carm(primary, secondary).project(apply(invert(T), point))
    np.testing.assert_allclose(moved, still, atol=1e-8)


def test_random_offsets_have_the_stated_rms():
    rng = np.random.default_rng(0)
    offsets = [random_offset(rng, 0.5e-3, 0.01) for _ in range(4000)]
    shift = np.sqrt(np.mean([np.sum(T[:3, 3] ** 2) for T in offsets]))
    turn = np.sqrt(
        np.mean([np.sum(Rotation.from_matrix(T[:3, :3]).as_rotvec() ** 2) for T in offsets])
    )
    # rms of 4000 draws: relative standard error about 1 %
    assert shift == pytest.approx(0.5e-3, rel=0.04)
    assert turn == pytest.approx(0.01, rel=0.04)


@given(st.tuples(lengths, lengths, lengths).filter(lambda v: np.linalg.norm(v) > 1e-4))
@example((-2.738050611851609e-08, 0.0, -0.029296875))  # downwards, all but
def test_aligning_rotation_is_a_rotation_onto_the_direction(direction):
    R = aligning_rotation(direction)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-9)
    assert np.linalg.det(R) == pytest.approx(1.0)
    np.testing.assert_allclose(R[:, 0], unit(direction), atol=1e-9)
    assert R[2, 2] >= -1e-9  # the normal is on the upper side


def imager(*assignments):
    data, where = read("imagers", "carm-fluoro")
    return parse(ImagerConfig, override(data, assignments), where)


def test_opencv_matrices_are_the_projection():
    T = transform(Rotation.from_rotvec([0.1, -0.2, 0.05]).as_matrix(), [1e-3, -2e-3, 3e-3])
    p = carm(0.4, -0.3, T)
    rotation, translation = p.extrinsics
    np.testing.assert_allclose(
        p.intrinsics @ np.column_stack([rotation, translation]), p.matrix, rtol=1e-12, atol=1e-9
    )
    np.testing.assert_array_equal(p.distortion_coefficients, np.zeros(5))


def test_opencv_cannot_have_s_distortion():
    with pytest.raises(UserError, match="no S-distortion"):
        _ = Projection.from_config(imager("detector.intensifier={}")).distortion_coefficients


def test_a_detector_off_the_central_ray_keeps_rays_and_pixels_together():
    p = Projection.from_carm(1.1, 0.75, 0.3e-3, (400, 512), 0.3, principal=(250.0, 210.0))
    np.testing.assert_allclose(p.project(p.isocentre), (250.0, 210.0), atol=1e-9)
    point = np.array([0.02, -0.01, 0.03])
    np.testing.assert_allclose(p.back_project(p.project(point), p.depth(point)), point, atol=1e-12)


@pytest.mark.parametrize("table", [(0.01, 0, 0), (0, -0.02, 0), (0, 0, 0.05)])
def test_the_table_takes_the_world_along(table):
    moved = Projection.from_config(imager(f"table={list(table)}"), 0.3, -0.2)
    still = Projection.from_config(imager(), 0.3, -0.2)
    np.testing.assert_allclose(moved.isocentre, -np.array(table), atol=1e-12)
    point = np.array([0.005, 0.01, -0.02])  # on the table
    np.testing.assert_allclose(moved.project(point), still.project(point + table), atol=1e-9)


def test_angles_and_place_of_the_configuration_hold_unless_given():
    T = transform(None, [1e-3, 0, 0])
    p = Projection.from_config(imager("primary=0.3", "secondary=0.1"), T_world_imager=T)
    q = Projection.from_carm(1.1, 0.75, 0.3e-3, (512, 512), 0.3, 0.1, T)
    np.testing.assert_allclose(p.matrix, q.matrix, rtol=1e-12, atol=1e-9)


def test_a_panel_crops_and_an_intensifier_zooms():
    sizes = "detector.field_sizes=[0.09]", "detector.field=0.09"
    panel = Projection.from_config(imager(*sizes))
    assert (panel.pitch, panel.shape) == (0.3e-3, (300, 300))
    whole = Projection.from_config(imager())
    point = np.array([0.01, 0.02, 0.0])
    # The crop shows the same at the same distance from the middle.
    np.testing.assert_allclose(panel.project(point) - 149.5, whole.project(point) - 255.5)
    tube = Projection.from_config(imager(*sizes, "detector.intensifier={}"))
    assert tube.shape == (512, 512)
    assert tube.pitch == pytest.approx(0.09 / 512)


def test_binning_makes_fewer_and_larger_pixels():
    p = Projection.from_config(imager("detector.binning=2"))
    assert (p.pitch, p.shape) == (0.6e-3, (256, 256))


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["detector.binning=3"], "must divide rows"),
        (["detector.field_sizes=[0.4]", "detector.field=0.4"], "more than the detector has"),
        (["detector.field_sizes=[1e-5]", "detector.field=1e-5"], "less than a pixel"),
    ],
)
def test_fields_that_cannot_be_are_refused(assignments, message):
    with pytest.raises(UserError, match=message):
        Projection.from_config(imager(*assignments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sid": -1.1}, "behind the source"),
        ({"sid": 0.0}, "behind the source"),
        ({"sod": 1.1}, "less than sid"),
        ({"sod": 1.3}, "less than sid"),
        ({"sod": -0.1}, "less than sid"),
        ({"pitch": 0.0}, "pitch"),
        ({"pitch": -1e-4}, "pitch"),
        ({"sid": np.nan}, "finite"),
        ({"pitch": np.inf}, "finite"),
        ({"primary": np.inf}, "finite"),
        ({"shape": (0, 512)}, "shape"),
        ({"T_world_imager": np.full((4, 4), np.nan)}, "finite"),
    ],
)
def test_geometry_that_makes_no_sense_is_refused(change, message):
    sound = {"sid": 1.1, "sod": 0.75, "pitch": 0.3e-3, "shape": (400, 512)}
    with pytest.raises(UserError, match=message):
        Projection.from_carm(**(sound | change))


@given(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0, 2), st.floats(-3.2, 3.2))
def test_distortion_displaces_as_stated_and_keeps_the_order_of_radii(k, s, r, angle):
    bent = Distortion(k, s, 200.0, (255.5, 255.5))
    ideal = 255.5 + 200 * r * np.array([np.cos(angle), np.sin(angle)])
    offset = (bent.distort(ideal) - 255.5) / 200
    farther = (bent.distort(255.5 + (ideal - 255.5) * 1.01) - 255.5) / 200
    if r <= 1:
        assert np.hypot(*offset) == pytest.approx(r * (1 + k * r**2), abs=1e-12)
        turned = np.array([np.cos(angle + s * r**2), np.sin(angle + s * r**2)])
        np.testing.assert_allclose(offset, r * (1 + k * r**2) * turned, atol=1e-12)
    assert np.hypot(*farther) >= np.hypot(*offset)


@pytest.mark.parametrize("values", [(-0.34, 0, 1), (np.nan, 0, 1), (0, np.inf, 1), (0, 0, 0)])
def test_distortion_that_folds_or_is_no_number_is_refused(values):
    with pytest.raises(UserError, match="distortion"):
        Distortion(*values, (0.0, 0.0))


def test_trackers_get_the_place_from_a_distorted_image():
    p = Projection.from_config(imager("detector.intensifier={pincushion: 0.1}"), 0.3)
    point = np.array([0.03, 0.02, -0.01])
    assert np.linalg.norm(p.project(point) - p.ideal.project(point)) > 5
    np.testing.assert_allclose(p.back_project(p.project(point), p.depth(point)), point, atol=1e-12)


def test_distortion_maps_move_a_point_to_where_it_is_projected():
    p = Projection.from_config(imager("detector.intensifier={pincushion: 0.06}"), 0.2)
    point = np.array([0.02, -0.015, 0.01])
    v, u = np.mgrid[: p.shape[0], : p.shape[1]]
    du, dv = np.moveaxis(np.stack([u, v], -1) - p.ideal.project(point), -1, 0)
    spot = np.exp(-(du**2 + dv**2) / (2 * 3.0**2)).astype(np.float32)
    map_u, map_v, area = distortion_maps(p)
    seen = cv2.remap(spot, map_u, map_v, cv2.INTER_LINEAR) * area
    centroid = np.array([(u * seen).sum(), (v * seen).sum()]) / seen.sum()
    # cv2.remap rounds places to 1/32 px; the stretch across a spot of 3 px shifts it by less.
    np.testing.assert_allclose(centroid, p.project(point), atol=0.03)
    # Light is neither lost nor made, but for interpolation; without the area it were 6 % more.
    assert seen.sum() == pytest.approx(spot.sum(), rel=3e-3)


def test_without_distortion_the_maps_change_nothing():
    map_u, map_v, area = distortion_maps(carm())
    v, u = np.mgrid[:400, :512]
    assert np.array_equal(map_u, u)
    assert np.array_equal(map_v, v)
    assert np.all(area == 1)
