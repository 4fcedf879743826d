"""A point from its images: exactly, with noise as errors add up, and where there is none."""

import numpy as np
import pytest

from mmdtwin.distortion import Distortion
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.triangulation import triangulate

SHAPE = (512, 512)
BENT = Distortion(0.05, 0.02, 256.0, (255.5, 255.5))


def view(primary, secondary=0.0, **more):
    return Projection.from_carm(1.1, 0.75, 0.3e-3, SHAPE, primary, secondary, **more)


@pytest.mark.parametrize("angles", [(0.0, -np.pi / 2), (0.3, 0.8), (0.0, 0.6, -1.2)])
@pytest.mark.parametrize("distortion", [None, BENT])
def test_views_of_a_point_give_it_back(angles, distortion):
    """Tolerance: what undoing a distortion by iteration leaves, far below a pixel of 0.2 mm."""
    views = [view(a, 0.1 * k, distortion=distortion) for k, a in enumerate(angles)]
    for point in np.random.default_rng(0).uniform(-0.02, 0.02, (20, 3)):
        found, residual = triangulate(views, [v.project(point) for v in views])
        np.testing.assert_allclose(found, point, atol=1e-7)
        assert residual < 1e-7


def test_pixel_noise_is_a_pixel_at_the_isocentre():
    """Views at right angles: across both planes (y, seen twice) the error of a pixel of 0.205 mm
    is divided by sqrt 2; along x and z it is that of the one view that sees them. 5 % for 2000."""
    rng, views = np.random.default_rng(1), [view(0.0), view(-np.pi / 2)]
    point = np.array([1e-3, -2e-3, 3e-3])
    pixels = np.stack([v.project(point) for v in views])
    noisy = pixels + rng.normal(0.0, 1.0, (2000, 2, 2))
    found = [triangulate(views, list(uv)) for uv in noisy]
    errors = np.std([p - point for p, _ in found], axis=0)
    size = views[0].pixel_size
    np.testing.assert_allclose(errors, [size, size / np.sqrt(2), size], rtol=0.05)
    # What is left is the disagreement along y, spread over two rays.
    rms = np.sqrt(np.mean([r**2 for _, r in found]))
    assert rms == pytest.approx(size / np.sqrt(2), rel=0.05)


def test_pixels_of_two_points_leave_a_residual():
    views = [view(0.0), view(-np.pi / 2)]
    low, high = np.array([0.0, -2e-3, 0.0]), np.array([0.0, 2e-3, 0.0])
    found, residual = triangulate(views, [views[0].project(low), views[1].project(high)])
    np.testing.assert_allclose(found, 0.0, atol=1e-5)
    assert residual == pytest.approx(2e-3, rel=1e-2)


def test_what_has_no_depth_is_refused():
    with pytest.raises(UserError, match="parallel"):
        triangulate([view(0.3)] * 2, [[10.0, 20.0]] * 2)
    with pytest.raises(UserError, match="at least two"):
        triangulate([view(0.3)], [[10.0, 20.0]])
    with pytest.raises(UserError, match="as many of one as of the other"):
        triangulate([view(0.3), view(0.9)], [[10.0, 20.0]])
    with pytest.raises(UserError, match="not finite"):
        triangulate([view(0.3), view(0.9)], [[np.nan, 20.0], [10.0, 20.0]])
