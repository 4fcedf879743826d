"""Windings of every shape against closed forms, and what keeps them apart."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmdtwin.config.base import names
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError, OutOfWorkspaceError
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.check import random_points
from mmdtwin.sim.magnetics.differences import gradient_by_differences
from mmdtwin.sim.magnetics.filaments import filaments_of
from mmdtwin.sim.magnetics.windings import nearest_winding, parts_of, refuse_overlaps
from mmdtwin.units import MU0

TURNS = 40
CENTRE = (0.01, -0.02, 0.005)  # m
AXIS, SIDE = (0.0, 0.6, 0.8), (1.0, 0.0, 0.0)
SHAPES = {
    "cylinder": {"inner_radius": 0.049, "outer_radius": 0.051, "length": 0.002},
    "rectangle": {"side": SIDE, "width": 0.08, "height": 0.06, "thickness": 1e-6, "length": 1e-6},
    "racetrack": {
        "side": SIDE, "straight": 0.03, "inner_radius": 0.019, "outer_radius": 0.021,
        "length": 0.002,
    },
    "helmholtz": {"radius": 0.05, "thickness": 0.002, "length": 0.002},
    "maxwell": {"radius": 0.05, "thickness": 0.002, "length": 0.002},
    "saddle": {"side": SIDE, "radius": 0.05, "thickness": 1e-6, "length": 5.0},
}  # fmt: skip


def system(*coils, cells=(1, 1), **changes) -> CoilsConfig:
    """Coils of a shape each, of one filament per winding unless told otherwise."""
    common = {
        "position": CENTRE, "axis": AXIS, "turns": TURNS, "resistance": 1.0, "inductance": 0.01,
        "heat_capacity": 100.0, "thermal_resistance": 1.0,
    }  # fmt: skip
    kinds = [coil if isinstance(coil, dict) else {"kind": coil} for coil in coils]
    values = {
        "source": "assumed",
        "coils": [common | SHAPES[coil["kind"]] | coil for coil in kinds],
        "loops_radial": cells[0],
        "loops_axial": cells[1],
        "workspace_radius": 0.005,
        "max_current": 10.0,
        "max_voltage": 20.0,
        "max_power": 100.0,
        "max_slew": 100.0,
    }
    return CoilsConfig.model_validate(values | changes)


def field(config: CoilsConfig, points) -> np.ndarray:
    return filaments_of(config)[0].field(np.atleast_2d(np.asarray(points, float)))


def along_axis(config: CoilsConfig, distance: float = 0.0) -> float:
    """The field's part along the axis, on it; what lies across must vanish."""
    axis = np.array(AXIS)
    (b,) = field(config, CENTRE + distance * axis)
    assert_allclose(b - (b @ axis) * axis, 0.0, atol=1e-6 * np.linalg.norm(b) + 1e-18)
    return float(b @ axis)


def test_loop_on_its_axis():
    """mu0 N I R^2 / (2 (R^2 + z^2)^1.5); the kernel is exact, the tolerance is rounding."""
    for z in (0.0, 0.03):
        expected = MU0 * TURNS * 0.05**2 / (2 * (0.05**2 + z**2) ** 1.5)
        assert along_axis(system("cylinder"), z) == pytest.approx(expected, rel=1e-12)


def test_helmholtz_centre_field():
    """(4/5)^1.5 mu0 N I / R, and no gradient there."""
    assert along_axis(system("helmholtz")) == pytest.approx(
        0.8**1.5 * MU0 * TURNS / 0.05, rel=1e-12
    )
    slope = gradient_by_differences(
        lambda p: field(system("helmholtz"), p), np.array([CENTRE]), 1e-3
    )
    assert np.abs(slope).max() < 1e-9


def test_maxwell_gradient():
    """(48/49) sqrt(3/7) mu0 N I / R^2 along the axis, and no field there."""
    config, axis = system("maxwell"), np.array(AXIS)
    (slope,) = gradient_by_differences(lambda p: field(config, p), np.array([CENTRE]), 1e-3)
    expected = 48 / 49 * np.sqrt(3 / 7) * MU0 * TURNS / 0.05**2
    assert axis @ slope @ axis == pytest.approx(expected, rel=1e-8)
    assert np.linalg.norm(field(config, CENTRE)) < 1e-12 * expected


@pytest.mark.parametrize("kind", ["helmholtz", "maxwell"])
def test_thin_pairs_by_their_fit(kind):
    """The same closed forms through the harmonics, the pair about the origin, to 1e-6."""
    config = system({"kind": kind, "position": (0.0, 0.0, 0.0)}, tolerance=1e-7)
    coils, axis = CoilSystem(config), np.array(AXIS)
    b, slope = coils.field_and_gradient([[0.0, 0.0, 0.0]], [2.0])
    if kind == "helmholtz":
        assert axis @ b[0] == pytest.approx(2 * 0.8**1.5 * MU0 * TURNS / 0.05, rel=1e-6)
    else:
        expected = 2 * 48 / 49 * np.sqrt(3 / 7) * MU0 * TURNS / 0.05**2
        assert axis @ slope[0] @ axis == pytest.approx(expected, rel=1e-6)


def test_rectangle_centre_field():
    """2 mu0 N I sqrt(a^2 + b^2) / (pi a b); its winding is 1 um thick and adds 1e-5."""
    expected = 2 * MU0 * TURNS * np.hypot(0.08, 0.06) / (np.pi * 0.08 * 0.06)
    assert along_axis(system("rectangle")) == pytest.approx(expected, rel=2e-5)


def test_racetrack_is_two_half_circles_and_two_runs():
    """At the centre: mu0 N I times line integrals done by hand.

    An area-true polygon of chords of 5 deg errs by (5 deg)^2 / 24 = 3.2e-4 from nearby.
    """
    a, r = 0.015, 0.02  # half of a straight run, mean radius
    angle = np.linspace(-np.pi / 2, np.pi / 2, 20001)
    x, y = a + r * np.cos(angle), r * np.sin(angle)
    # (x dy - y dx) / |r|^3 over one half circle; a run gives 2 a / (r sqrt(a^2 + r^2)).
    integrand = (x * r * np.cos(angle) + y * r * np.sin(angle)) / (x * x + y * y) ** 1.5
    total = 2 * np.trapezoid(integrand, angle) + 2 * 2 * a / (r * np.hypot(a, r))
    expected = MU0 * TURNS / (4 * np.pi) * total
    assert along_axis(system("racetrack")) == pytest.approx(expected, rel=4e-4)


def test_a_racetrack_without_runs_is_round():
    far = np.array([CENTRE + 0.2 * np.array(AXIS), CENTRE + 0.15 * np.array(SIDE)])
    round_ = system({"kind": "cylinder", "inner_radius": 0.019, "outer_radius": 0.021})
    stretched = system({"kind": "racetrack", "straight": 1e-9})
    assert_allclose(field(stretched, far), field(round_, far), rtol=1e-3, atol=1e-12)


def test_long_saddle_is_four_wires():
    """2 mu0 N I sin(angle / 2) / (pi R) for endless wires; ends 50 radii away leave 1e-3."""
    expected = 2 * MU0 * TURNS * np.sin(np.pi / 3) / (np.pi * 0.05)
    assert along_axis(system("saddle")) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("kind", SHAPES)
def test_filaments_and_magpylib_objects_agree(kind):
    """Array kernels and objects are the same formulas; tolerance: rounding."""
    config = system(kind, cells=(2, 3))
    points = random_points(20, 0.01, np.random.default_rng(0))
    (filaments,) = filaments_of(config)
    objects = filaments.to_magpylib(2.5).getB(points)
    assert_allclose(objects, 2.5 * filaments.field(points), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["cylinder", "racetrack", "saddle", "helmholtz"])
def test_cutting_a_winding_finer_keeps_its_ampere_turns(kind):
    """Far away only the moment counts; the spread of a 2 mm winding at 0.6 m adds 1e-3."""
    shape = {"kind": kind} | ({"length": 0.05} if kind == "saddle" else {})
    far = np.array([[0.4, -0.3, 0.3]])
    coarse, fine = (field(system(shape, cells=cells), far) for cells in ((1, 1), (3, 5)))
    assert_allclose(fine, coarse, rtol=2e-3)


@pytest.mark.parametrize("kind", ["cylinder", "rectangle", "racetrack", "helmholtz", "saddle"])
def test_a_positive_current_makes_a_field_along_the_axis(kind):
    assert along_axis(system(kind)) > 0


def test_nearest_winding():
    """On the axis it is the rim of the bore; from the side it is the mantle."""
    round_ = {"kind": "cylinder", "inner_radius": 0.029, "outer_radius": 0.031, "length": 0.01}
    ahead = round_ | {"position": (0.07, 0.0, 0.0), "axis": (1.0, 0.0, 0.0)}
    assert nearest_winding(system(ahead)) == pytest.approx(np.hypot(0.065, 0.029))
    beside = ahead | {"axis": (0.0, 0.0, 1.0)}
    assert nearest_winding(system(beside)) == pytest.approx(0.07 - 0.031)
    assert CoilSystem.load("octomag-like").nearest_winding >= 0.065


UPRIGHT = {"position": (0.0, 0.0, 0.0), "axis": (0.0, 0.0, 1.0)}
SADDLE = UPRIGHT | {"kind": "saddle", "radius": 0.06, "thickness": 0.006, "length": 0.2}
RUN = 0.063 * np.array([0.0, np.sin(np.pi / 3), np.cos(np.pi / 3)])  # middle of a straight run


def test_a_saddle_is_as_near_as_its_runs():
    """The origin is one inner radius from the middle of each run; the arcs' chords swell the
    radius by (2.5 deg)^2 / 24 = 8e-5. From beside a run it is the distance less half the wire."""
    config = system(SADDLE)
    assert nearest_winding(config) == pytest.approx(0.06, rel=1e-4)
    first, second = parts_of(config.coils[0])
    for x in np.linspace(-0.09, 0.09, 23):
        point = RUN + np.array([x, 0.02, 0.0])
        assert first.distance(point) == pytest.approx(0.017, abs=1e-5)
        assert second.distance(point * (1, 1, -1)) == pytest.approx(0.017, abs=1e-5)
        inside = first.contains(RUN + np.array([[x, 0, 0], [x, 0.0029, 0], [x, 0, 0.0031]]))
        assert inside.tolist() == [True, True, False]


@pytest.mark.parametrize("z", [0.0, 0.005])
@pytest.mark.parametrize("x", [-0.05, 0.0, 0.017])
def test_a_wire_across_a_straight_run_is_refused(x, z):
    """The lower side of a rectangle, 3 mm thick, crosses the runs at x or passes z above them."""
    height = 0.08
    rectangle = {
        "kind": "rectangle", "position": (x, 0.0, RUN[2] + z + height / 2 + 0.0015),
        "axis": (1.0, 0.0, 0.0), "side": (0.0, 1.0, 0.0), "width": 0.16, "height": height,
        "thickness": 0.003, "length": 0.003,
    }  # fmt: skip
    if z > 0.0045:  # half of each section
        refuse_overlaps(system(SADDLE, rectangle))
        return
    with pytest.raises(ConfigError, match=r"coils\.0 and coils\.1 overlap"):
        refuse_overlaps(system(SADDLE, rectangle))


def test_saddles_whose_runs_cross_are_refused():
    """Turned by a right angle about the field, runs cross at (+-55, +-55) mm; arcs are clear."""
    turned = SADDLE | {"side": (0.0, 1.0, 0.0)}
    with pytest.raises(ConfigError, match="overlap near"):
        refuse_overlaps(system(SADDLE, turned))
    refuse_overlaps(system(SADDLE, turned | {"radius": 0.075}))


def test_thin_rectangles_that_cross_are_refused():
    """Sections of 2 mm on sides of 200 mm, turned by 45 deg in one plane."""
    thin = UPRIGHT | {"kind": "rectangle", "width": 0.2, "height": 0.2, "thickness": 0.002,
                      "length": 0.002}  # fmt: skip
    with pytest.raises(ConfigError, match="overlap near"):
        refuse_overlaps(system(thin, thin | {"side": (1.0, 1.0, 0.0)}))


@pytest.mark.parametrize("name", names("coils"))
def test_shipped_windings_do_not_overlap(name):
    refuse_overlaps(CoilSystem.load(name).config)


@pytest.mark.parametrize("kind", SHAPES)
def test_overlapping_coils_are_refused_by_number(kind):
    """A coil and its copy moved by less than its section; far enough apart they are let be."""
    thick = {
        "rectangle": {"thickness": 0.01, "length": 0.01},
        "saddle": {"thickness": 0.01, "length": 0.1},
    }.get(kind, {})
    moved = {"kind": kind, "position": tuple(np.array(CENTRE) + 1e-3 * np.array(AXIS))} | thick
    with pytest.raises(ConfigError, match=r"coils\.0 and coils\.1 overlap near"):
        refuse_overlaps(system({"kind": kind} | thick, moved))
    away = moved | {"position": tuple(np.array(CENTRE) + 0.5 * np.array(AXIS))}
    refuse_overlaps(system({"kind": kind} | thick, away))


def test_a_coil_in_anothers_bore_is_refused_only_if_a_core_is_there():
    small = {"kind": "cylinder", "inner_radius": 0.01, "outer_radius": 0.02}
    refuse_overlaps(system("cylinder", small))
    with pytest.raises(ConfigError, match="overlap"):
        refuse_overlaps(system({"kind": "cylinder", "core_gain": 3.0}, small))


def test_fields_beyond_the_workspace_if_asked_for():
    """The fall-back is Magpylib's field, with its gradient; inside a winding it still refuses."""
    config = CoilSystem.load("octomag-like").config
    coils, currents = CoilSystem(config, beyond="magpylib"), np.arange(8.0) - 3
    points = np.array([[0.0, 0.0, 0.02], [0.0, 0.0, 0.045], [0.05, 0.0, 0.05]])
    b, slope = coils.field_and_gradient(points, currents)
    expected = coils.to_magpylib(currents).getB(points)
    assert_allclose(b, expected, rtol=1e-4, atol=1e-6)
    assert_allclose(slope, np.swapaxes(slope, 1, 2), atol=1e-6 * np.abs(slope).max())
    with pytest.raises(OutOfWorkspaceError, match="lies in coil 0"):
        coils.unit_field([[0.1, 0.0, -0.036]])


def test_parts_of_pairs_stand_at_their_spacing():
    for kind, spacing in (("helmholtz", 0.05), ("maxwell", 0.05 * np.sqrt(3))):
        first, second = parts_of(system(kind).coils[0])
        assert np.linalg.norm(first.centre - second.centre) == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("coil", "message"),
    [
        ({"kind": "cylinder", "turns": 0}, "turns.*greater than 0"),
        ({"kind": "cylinder", "resistance": -1.0}, "resistance.*greater than 0"),
        ({"kind": "cylinder", "outer_radius": 0.01}, "outer_radius must be larger"),
        ({"kind": "cylinder", "axis": (0.0, 0.0, 0.0)}, "axis must not be zero"),
        ({"kind": "rectangle", "side": AXIS}, "side must not be zero or along the axis"),
        ({"kind": "helmholtz", "length": 0.06}, "smaller than the spacing"),
        ({"kind": "cylinder", "saturation": {"law": "tanh", "knee": 5.0}}, "without a core"),
        ({"kind": "cylinder", "core_gain": 2.0, "saturation": {"law": "atan", "knee": 1}}, "'erf'"),
    ],
)
def test_bad_coils_are_refused(coil, message):
    from mmdtwin.config.base import parse

    values = system("cylinder").model_dump()
    values["coils"] = [system(coil["kind"]).coils[0].model_dump() | coil]
    with pytest.raises(ConfigError, match=message):
        parse(CoilsConfig, values, "my-coils.yaml")


def test_an_unknown_shape_names_the_known_ones():
    from mmdtwin.config.base import parse

    values = system("cylinder").model_dump()
    values["coils"] = [values["coils"][0] | {"kind": "spiral"}]
    with pytest.raises(ConfigError, match=r"my-coils.*'cylinder'.*'saddle'"):
        parse(CoilsConfig, values, "my-coils.yaml")
