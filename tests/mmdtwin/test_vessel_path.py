"""Routes along a vessel tree."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmdtwin.errors import UserError
from mmdtwin.vessel import Branch, VesselMap


def curve(points, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A polyline resampled every 0.25 mm."""
    p = np.asarray(points, float)
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    even = np.linspace(0, s[-1], int(s[-1] / 0.25e-3) + 1)
    return np.stack([np.interp(even, s, c) for c in p.T], axis=1), np.full(len(even), radius)


FORK, SPLIT = [0.0, 0.0, 0.0], [0.009, -0.005, 0.001]
VESSEL = VesselMap(
    {
        "trunk": Branch(*curve([[-0.02, 0, 0], FORK], 2.2e-3), "in", "fork"),
        "left": Branch(
            *curve([FORK, [0.01, 0.006, 0], [0.014, 0.016, 0.003]], 1.7e-3), "fork", "l"
        ),
        "right": Branch(*curve([FORK, SPLIT], 1.7e-3), "fork", "split"),
        "outer": Branch(*curve([[0.012, -0.02, 0], SPLIT], 1.6e-3), "o", "split"),
        "inner": Branch(*curve([SPLIT, [0.022, -0.006, 0.002]], 1.4e-3), "split", "i"),
    },
    ("in", "l", "o", "i"),
)

places = st.tuples(st.sampled_from(sorted(VESSEL.branches)), st.floats(0, 1))
offsets = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


def point(place: tuple[str, float], offset=(0.0, 0.0, 0.0)) -> np.ndarray:
    name, share = place
    branch = VESSEL.branches[name]
    centre, radius = branch.at(share * branch.length)
    return centre + radius * np.asarray(offset)


def along_tree(a: tuple[str, float], b: tuple[str, float]) -> float:
    """Distance along the tree, by hand: via the junctions between the two branches."""
    to = {}
    for name, share in (a, b):
        branch = VESSEL.branches[name]
        s = share * branch.length
        junction_first = branch.start in ("fork", "split")
        to[name] = s if junction_first else branch.length - s
    (na, sa), (nb, sb) = a, b
    if na == nb:
        return abs(sa - sb) * VESSEL.branches[na].length
    right = VESSEL.branches["right"].length
    ends = {"trunk": "fork", "left": "fork", "outer": "split", "inner": "split"}
    if "right" not in (na, nb):
        return to[na] + to[nb] + (right if ends[na] != ends[nb] else 0.0)
    other, share = (nb, sa) if na == "right" else (na, sb)
    s = share * right
    return to[other] + (s if ends[other] == "fork" else right - s)


@settings(max_examples=150, deadline=None)
@given(places, places)
def test_length_is_the_distance_along_the_tree(a, b) -> None:
    path = VESSEL.path(point(a), point(b))
    exact = along_tree(a, b)
    # Rounding cuts each corner: a turn of 130 deg smoothed over 0.8 mm loses at most 1.5 mm. Near
    # a junction a point may be projected on either branch, up to a radius apart.
    assert exact - 3e-3 - 2 * 2.2e-3 < path.length < exact + 2 * 2.2e-3


@settings(max_examples=150, deadline=None)
@given(places, places, offsets, offsets)
def test_a_route_is_smooth_even_and_inside(a, b, da, db) -> None:
    start, target = point(a, da), point(b, db)
    path = VESSEL.path(start, target)
    n = len(path.points)
    assert n == len(path.radius) == len(path.arclength) == len(path.tangents) == len(path.branches)
    assert n >= 2
    steps = np.diff(path.arclength)
    assert path.arclength[0] == 0.0
    assert np.all(steps >= 0)
    assert steps.max() <= 0.2e-3 + 1e-12
    assert np.linalg.norm(path.tangents, axis=1) == pytest.approx(np.ones(n))
    if path.length > 1e-3:
        turn = np.einsum("ij,ij->i", path.tangents[:-1], path.tangents[1:])
        # The sharpest way here turns by 130 deg; unrounded, one 0.2 mm step would take it all.
        assert turn.min() > np.cos(0.6)
    # Each ball lies in an inscribed ball of the map, hence in the lumen.
    assert path.radius.min() > 0.4 * VESSEL.radius.min()
    gap = np.linalg.norm(path.points[:, None] - VESSEL.points[None], axis=2)
    assert np.all((VESSEL.radius - gap).max(axis=1) >= path.radius - 1e-12)
    # It begins and ends at the projections of the two points.
    for p, end in ((start, path.points[0]), (target, path.points[-1])):
        where = VESSEL.locate(p)
        centre, _ = VESSEL.branches[where.branch].at(where.arclength)
        assert np.linalg.norm(end - centre) < 1e-9
    assert path.branches[0] == VESSEL.locate(start).branch
    assert path.branches[-1] == VESSEL.locate(target).branch
    assert path.junctions <= 2
    assert (path.junctions == 0) == (len(set(path.branches)) == 1)


@settings(max_examples=50, deadline=None)
@given(places, places)
@example(("left", 0.0), ("trunk", 0.0))  # 20 mm, a whole number of steps
def test_the_way_back_is_the_same_way(a, b) -> None:
    forth, back = VESSEL.path(point(a), point(b)), VESSEL.path(point(b), point(a))
    assert back.length == pytest.approx(forth.length, abs=1e-9)
    assert back.points[::-1] == pytest.approx(forth.points, abs=1e-8)
    assert forth.junctions == back.junctions


def test_a_route_over_two_junctions_names_its_branches() -> None:
    path = VESSEL.path(point(("trunk", 0.2)), point(("inner", 0.8)))
    assert list(dict.fromkeys(path.branches)) == ["trunk", "right", "inner"]
    assert path.junctions == 2
    straight = 0.8 * 0.02 + np.linalg.norm(SPLIT)
    straight += 0.8 * np.linalg.norm(np.subtract([0.022, -0.006, 0.002], SPLIT))
    assert path.length == pytest.approx(straight, abs=0.5e-3)
    assert path.tangents[0] == pytest.approx([1, 0, 0], abs=1e-9)


def test_a_route_to_where_one_is_has_no_length() -> None:
    path = VESSEL.path(point(("left", 0.5)), point(("left", 0.5)))
    assert path.length == 0.0
    assert len(path.points) == 2
    assert np.linalg.norm(path.tangents, axis=1) == pytest.approx([1, 1])


def test_a_target_outside_the_lumen_is_refused_in_one_line() -> None:
    outside = point(("left", 0.6)) + np.array([0, 0, 4e-3])
    with pytest.raises(UserError, match=r"outside the lumen, about 2\.\d mm.*'left'") as caught:
        VESSEL.path(point(("trunk", 0.5)), outside)
    assert "\n" not in str(caught.value)


def test_a_start_measured_outside_the_lumen_is_projected() -> None:
    path = VESSEL.path(point(("trunk", 0.5)) + np.array([0, 0, 3e-3]), point(("left", 0.9)))
    assert path.points[0] == pytest.approx(point(("trunk", 0.5)), abs=1e-9)


def test_branches_that_are_not_joined_have_no_route() -> None:
    lost = Branch(*curve([[0, 0, 0.05], [0.01, 0, 0.05]], 1e-3), "a", "b")
    vessel = VesselMap({**VESSEL.branches, "lost": lost}, (*VESSEL.ends, "a", "b"))
    with pytest.raises(UserError, match="no way leads from branch 'trunk' to 'lost'"):
        vessel.path(point(("trunk", 0.5)), [0.005, 0, 0.05])


def test_a_wide_vessel_wins_over_a_thin_branch_inside_it() -> None:
    """A thin branch starts on the axis of a wide one; beside its start lies the wide lumen."""
    vessel = VesselMap(
        {
            "wide": Branch(*curve([[-0.02, 0, 0], [0.02, 0, 0]], 5e-3), "a", "b"),
            "thin": Branch(*curve([[0, 0, 0], [0, 0.02, 0]], 1e-3), "c", "d"),
        },
        ("a", "b", "c", "d"),
    )
    assert vessel.locate([3e-3, 3e-3, 0]).branch == "wide"
    assert vessel.locate([0.2e-3, 9e-3, 0]).branch == "thin"
    assert vessel.locate([3e-3, 3e-3, 0]).relative_radius == pytest.approx(0.6)


def test_location_is_continuous_between_points() -> None:
    where = VESSEL.locate([-0.01013, 1.1e-3, 0])
    assert where.branch == "trunk"
    assert where.arclength == pytest.approx(0.02 - 0.01013, abs=1e-9)
    assert where.relative_radius == pytest.approx(0.5)
