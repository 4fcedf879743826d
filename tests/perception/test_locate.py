"""Places in the world from places in the image, against where things were put."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, arclength, unit
from mmdtwin.perception.locate import distance_along, from_views, in_vessel
from mmdtwin.vessel import Branch, Location, VesselMap

FRONT = Projection.from_carm(1.2, 0.8, 0.3e-3, (512, 512))  # 0.2 mm px at the isocentre
SIDE = Projection.from_carm(1.2, 0.8, 0.3e-3, (512, 512), primary=np.pi / 2)
C = np.array([[0.5, 0.1], [0.1, 0.3]])  # px^2


def line(*corners: tuple[float, float, float], step: float = 0.3e-3) -> Array:
    """Evenly spaced points along straight lines between corners, mm to m."""
    raw = np.array(corners) * 1e-3
    s = arclength(raw)
    even = np.linspace(0.0, s[-1], int(s[-1] / step) + 1)
    return np.stack([np.interp(even, s, raw[:, i]) for i in range(3)], axis=1)


# Goes away from the source while it winds, and crosses itself in the front view at (0, 0).
LOOP = line((-20, 0, 10), (10, 0, 10), (10, 15, 0), (0, 15, -5), (0, -15, -10))


def curve() -> tuple[Array, Array]:
    s = np.linspace(0.0, 1.0, 200)
    points = 1e-3 * np.stack([60 * s - 30, 10 * np.sin(4 * s), 25 * s**2], axis=1)
    return points, 1e-3 * (2.0 - s)


def placed(points: Array, radius: Array, rng: np.random.Generator) -> Array:
    """Draw a point that is equally likely everywhere along and across a vessel."""
    i = rng.integers(1, len(points) - 1)
    tangent = unit(points[i + 1] - points[i - 1])
    a = unit(np.cross(tangent, [0.3, 0.5, 0.8]))
    r, angle = radius[i] * np.sqrt(rng.uniform()), rng.uniform(0.0, 2.0 * np.pi)
    along = rng.uniform(-0.5, 0.5) * (points[i + 1] - points[i - 1]) / 2.0
    return points[i] + along + r * (np.cos(angle) * a + np.sin(angle) * np.cross(tangent, a))


def test_errors_in_a_vessel_match_the_covariance() -> None:
    """Mean squared Mahalanobis distance of 3; 300 trials know it to 0.15."""
    rng = np.random.default_rng(0)
    points, radius = curve()
    distances, mismatches = [], []
    for _ in range(300):
        true = placed(points, radius, rng)
        seen = rng.multivariate_normal(FRONT.project(true), C)
        place = in_vessel(seen, C, FRONT, points, radius)
        error = true - place.position
        distances.append(error @ np.linalg.solve(place.covariance, error))
        mismatches.append(place.mismatch)
        assert not place.ambiguous
    assert np.mean(distances) == pytest.approx(3.0, abs=0.45)
    assert np.max(distances) < 20.0
    assert np.mean(mismatches) < 2.0


def test_depth_is_known_to_the_lumen_where_the_vessel_lies_across_the_rays() -> None:
    points = line((-20, 0, 0), (20, 0, 0))
    place = in_vessel(
        FRONT.project([1e-3, 0.5e-3, 0.0]), C, FRONT, points, np.full(len(points), 2e-3)
    )
    sigma = np.sqrt(np.diag(place.covariance))
    np.testing.assert_allclose(sigma[2], 1e-3, rtol=0.01)  # half the radius
    np.testing.assert_allclose(sigma[0], np.sqrt(0.5) * 0.2e-3, rtol=0.2)
    assert sigma[1] < 0.2e-3
    np.testing.assert_allclose(place.position, [1e-3, 0.5e-3, 0.0], atol=0.05e-3)
    (candidate,) = place.candidates
    assert np.linalg.norm(points[candidate.index] - [1e-3, 0, 0]) < 0.3e-3
    assert candidate.branch == ""


def test_where_the_vessel_crosses_itself_the_place_is_ambiguous() -> None:
    radius = np.full(len(LOOP), 1e-3)
    true = np.array([0.0, 0.0, 10.0e-3])
    place = in_vessel(FRONT.project(true), C, FRONT, LOOP, radius)
    assert place.ambiguous
    first, second = place.candidates
    assert first.probability + second.probability == pytest.approx(1.0)
    assert second.probability > 0.2
    depths = sorted(c.position[2] for c in place.candidates)
    np.testing.assert_allclose(depths, [-7.5e-3, 10e-3], atol=0.5e-3)
    assert np.sqrt(place.covariance[2, 2]) > 7e-3  # 17.5 mm apart
    assert max(np.sqrt(c.covariance[2, 2]) for c in place.candidates) < 1e-3


@pytest.mark.parametrize(("expected", "depth"), [(22e-3, 10e-3), (75e-3, -7.5e-3)])
def test_an_expected_arclength_decides(expected: float, depth: float) -> None:
    along = arclength(LOOP) - expected
    place = in_vessel(
        FRONT.project([0.0, 0.0, 10e-3]), C, FRONT, LOOP, np.full(len(LOOP), 1e-3),
        along=along, along_sigma=5e-3,
    )  # fmt: skip
    assert not place.ambiguous
    assert place.position[2] == pytest.approx(depth, abs=0.7e-3)


def test_ambiguous_places_are_as_probable_as_stated() -> None:
    """Over the crossing, in (0.5, 1] the first candidate is right as often as it says."""
    rng = np.random.default_rng(1)
    radius = np.full(len(LOOP), 1e-3)
    near = np.flatnonzero(np.hypot(*LOOP[:, :2].T) < 3e-3)
    right, stated = [], []
    for _ in range(200):
        i = int(rng.choice(near))
        true = placed(LOOP[i - 1 : i + 2], radius[:3], rng)
        seen = rng.multivariate_normal(FRONT.project(true), C)
        best = in_vessel(seen, C, FRONT, LOOP, radius).candidates[0]
        stated.append(best.probability)
        right.append(np.linalg.norm(best.position - true) < 5e-3)
    assert np.mean(right) == pytest.approx(np.mean(stated), abs=0.08)


def test_a_registration_that_errs_widens_the_place() -> None:
    points, radius = curve()
    seen = FRONT.project(points[100])
    exact = in_vessel(seen, C, FRONT, points, radius)
    unsure = in_vessel(seen, C, FRONT, points, radius, registration=0.7e-3)
    assert np.linalg.eigvalsh(unsure.covariance - exact.covariance)[0] > 0.0


def test_what_is_seen_outside_the_vessel_is_a_mismatch() -> None:
    points, radius = curve()
    place = in_vessel(FRONT.project(points[100]) + np.array([0.0, 60.0]), C, FRONT, points, radius)
    assert place.mismatch > 50.0


def tree() -> VesselMap:
    """A trunk to a fork, of whose branches one hides the other in the front view."""
    parts = {
        "trunk": (line((-20, 0, 0), (0, 0, 0)), "inlet", "fork"),
        "near": (line((0, 0, 0), (20, 0, 10)), "fork", "a"),
        "far": (line((0, 0, 0), (20, 0, -10)), "fork", "b"),
        "island": (line((0, 40, 0), (20, 40, 0)), "c", "d"),
    }
    return VesselMap(
        {n: Branch(p, np.full(len(p), 1e-3), start, end) for n, (p, start, end) in parts.items()}
    )


def test_distance_along_a_tree() -> None:
    vessel = tree()
    distance = distance_along(vessel, Location("near", 5e-3, 0.0))
    names = np.array(vessel.branch_names)
    side = np.hypot(20e-3, 10e-3)
    np.testing.assert_allclose(distance[names == "trunk"][[0, -1]], [25e-3, 5e-3])
    np.testing.assert_allclose(distance[names == "far"][[0, -1]], [5e-3, 5e-3 + side])
    np.testing.assert_allclose(distance[names == "near"][[0, -1]], [5e-3, side - 5e-3])
    assert np.isinf(distance[names == "island"]).all()
    assert distance.min() < 0.2e-3


def test_the_branch_is_named_and_decided_by_what_was_known() -> None:
    vessel = tree()
    true = np.array([14e-3, 0.0, -7e-3])
    seen = FRONT.project(true)
    place = in_vessel(seen, C, FRONT, vessel.points, vessel.radius, vessel.branch_names)
    assert {c.branch for c in place.candidates} == {"near", "far"}
    along = distance_along(vessel, Location("far", 13e-3, 0.0))
    known = in_vessel(
        seen, C, FRONT, vessel.points, vessel.radius, vessel.branch_names, along, 3e-3
    )
    assert known.candidates[0].branch == "far"
    assert not known.ambiguous
    np.testing.assert_allclose(known.position, true, atol=1e-3)


def test_two_views_find_a_known_point() -> None:
    true = np.array([4e-3, -7e-3, 11e-3])
    views = [FRONT, SIDE]
    place = from_views(views, [p.project(true) for p in views], [C, 4.0 * C])
    np.testing.assert_allclose(place.position, true, atol=1e-10)
    assert place.mismatch == pytest.approx(0.0, abs=1e-12)
    assert place.candidates == () and not place.ambiguous


def test_errors_of_two_views_match_the_covariance() -> None:
    """Squared Mahalanobis distances sum to chi-square, 3 a trial; the mismatch to 1 a trial."""
    rng = np.random.default_rng(2)
    oblique = Projection.from_carm(1.2, 0.8, 0.3e-3, (512, 512), primary=0.6, secondary=0.2)
    true = np.array([4e-3, -7e-3, 11e-3])
    covariances = [C, np.diag([2.0, 0.2])]
    errors, mismatches = [], []
    for _ in range(200):
        seen = [
            rng.multivariate_normal(p.project(true), c)
            for p, c in zip([FRONT, oblique], covariances, strict=True)
        ]
        place = from_views([FRONT, oblique], seen, covariances)
        error = place.position - true
        errors.append(error @ np.linalg.solve(place.covariance, error))
        mismatches.append(place.mismatch)
    for values, freedom in ((errors, 3), (mismatches, 1)):
        low, high = chi2.ppf([0.025, 0.975], freedom * len(values))
        assert low < np.sum(values) < high


def test_bad_input_is_refused() -> None:
    points, radius = curve()
    seen = FRONT.project(points[100])
    with pytest.raises(UserError, match="positive definite"):
        in_vessel(seen, np.zeros((2, 2)), FRONT, points, radius)
    with pytest.raises(UserError, match="198 radii"):
        in_vessel(seen, C, FRONT, points, radius[:-2])
    with pytest.raises(UserError, match="radii positive"):
        in_vessel(seen, C, FRONT, points, 0.0 * radius)
    with pytest.raises(UserError, match="behind the source"):
        in_vessel(seen, C, FRONT, points + np.array([0, 0, 2.0]), radius)
    with pytest.raises(UserError, match="sigma"):
        in_vessel(seen, C, FRONT, points, radius, along_sigma=0.0)
    with pytest.raises(UserError, match="registration"):
        in_vessel(seen, C, FRONT, points, radius, registration=-1.0)
    with pytest.raises(UserError, match="repeated"):
        in_vessel(seen, C, FRONT, points[[0, 0, 0]], radius[:3])
    with pytest.raises(UserError, match="no branch"):
        distance_along(tree(), Location("nowhere", 0.0, 0.0))
    with pytest.raises(UserError, match="two"):
        from_views([FRONT], [seen], [C])
    with pytest.raises(UserError, match="covariances"):
        from_views([FRONT, SIDE], [seen, seen], [C])
    with pytest.raises(UserError, match="parallel"):
        from_views([FRONT, FRONT], [seen, seen], [C, C])
