"""Geometry of the C-arm: what projects where, and back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

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
