"""The fit against closed forms and Magpylib, and its cache."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mmdtwin.config.base import load, names
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError
from mmdtwin.files import cache_dir
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.check import check, random_points
from mmdtwin.sim.magnetics.filaments import filaments_of
from mmdtwin.sim.magnetics.fit import cached_fit, fit
from mmdtwin.sim.magnetics.harmonic_model import HarmonicModel
from mmdtwin.units import MU0

TURNS, GAIN, DISTANCE, RADIUS = 700, 4.0, 0.07, 0.03  # of one loop; m
KINDS = ("field", "gradient")


def one_loop(**changes) -> CoilsConfig:
    """A coil that a single loop stands for, on the x axis, looking at the origin."""
    coil = {
        "kind": "cylinder",
        "position": (DISTANCE, 0.0, 0.0),
        "axis": (-2.0, 0.0, 0.0),
        "turns": TURNS,
        "inner_radius": RADIUS - 1e-3,
        "outer_radius": RADIUS + 1e-3,
        "length": 0.01,
        "core_gain": GAIN,
        "resistance": 1.0,
        "inductance": 0.01,
        "heat_capacity": 100.0,
        "thermal_resistance": 1.0,
    }
    values = {
        "source": "assumed",
        "coils": [coil],
        "loops_radial": 1,
        "loops_axial": 1,
        "workspace_radius": 0.02,
        "harmonic_degree": 16,
        "max_current": 10.0,
        "max_voltage": 20.0,
        "max_power": 100.0,
        "max_slew": 100.0,
    }
    return CoilsConfig.model_validate(values | changes)


def test_field_on_the_axis_of_a_loop():
    """B = mu0 N I R^2 / (2 (R^2 + d^2)^1.5) and its slope along the axis.

    Tolerance: the series falls as (21 mm / 75 mm)^16 = 1e-9; the derivative costs some 16 / 20 mm
    times the distance scale, a factor of 30.
    """
    coils = CoilSystem(one_loop())
    x = np.linspace(-0.018, 0.018, 13)
    points = np.column_stack([x, 0 * x, 0 * x])
    d = DISTANCE - x
    ampere_turns = MU0 * TURNS * GAIN * RADIUS**2 / 2
    q = RADIUS**2 + d**2
    expected = ampere_turns * q**-1.5
    slope = 3 * ampere_turns * d * q**-2.5  # d/dx = -d/dd
    field, gradient = coils.field_and_gradient(points, [1.0])
    assert_allclose(field[:, 0], -expected, rtol=1e-7)
    assert_allclose(field[:, 1:], 0.0, atol=1e-9 * expected.max())
    assert_allclose(gradient[:, 0, 0], -slope, rtol=1e-6)
    assert_allclose(gradient[:, 1, 1], slope / 2, rtol=1e-6)  # by symmetry and zero divergence


@pytest.mark.parametrize("name", names("coils"))
def test_shipped_systems_keep_every_limit(name):
    """Field 1e-3 and gradient 5e-3 of Magpylib's at the 99th percentile, no divergence or curl."""
    figures = check(CoilSystem.load(name), 120, 1)
    assert {f.name: f.value for f in figures if not f.passed} == {}


def test_check_fails_for_a_poor_fit():
    """Three degrees cannot carry the field: the check must say so."""
    config = load(CoilsConfig, "coils", "octomag-like").model_copy(update={"harmonic_degree": 3})
    failed = {f.name for f in check(CoilSystem(config), 100, 0) if not f.passed}
    bounds = {f"{what}, bound of the fit" for what in KINDS}
    assert failed == {f"{what}, 99th percentile" for what in KINDS} | bounds


def test_the_degree_is_the_lowest_that_keeps_the_tolerance():
    """One degree less breaks it, and the error found is what a check at other points finds."""
    for tolerance in (1e-2, 1e-4, 1e-6):
        config = one_loop(harmonic_degree=None, tolerance=tolerance)
        found = fit(config)
        degree = HarmonicModel(found.potential, 0.02, 0.02).degree
        assert found.error.within(tolerance)
        less = fit(one_loop(harmonic_degree=degree - 1))
        assert not less.error.within(tolerance)


def test_the_error_bound_holds_inside():
    """Differences of harmonic fields are largest on the border; 20 % for points between its own."""
    config = one_loop(harmonic_degree=7)
    coils, (filaments,) = CoilSystem(config), filaments_of(config)
    points = random_points(3000, config.workspace_radius, np.random.default_rng(2))
    error = np.linalg.norm(coils.unit_field(points)[:, 0] - filaments.field(points), axis=1)
    assert error.max() < 1.2 * coils.error.field
    assert np.linalg.norm(points, axis=1)[error.argmax()] > 0.9 * config.workspace_radius


def test_a_tolerance_out_of_reach_is_refused():
    """At 1.2 workspace radii from the winding the series falls by no more than 1.2 a degree."""
    near = one_loop(workspace_radius=0.058, harmonic_degree=None, tolerance=1e-7)
    with pytest.raises(ConfigError, match=r"tolerance 1e-07 is not kept .* smaller workspace"):
        fit(near)


def test_collection_makes_the_systems_field():
    """`to_magpylib` with mixed currents against the fit; both from the same loops, error < 1e-4."""
    coils = CoilSystem.load("octomag-like")
    rng = np.random.default_rng(4)
    currents = rng.uniform(-15, 15, coils.n_coils)
    points = random_points(50, 0.8 * coils.workspace_radius, rng)
    expected = coils.to_magpylib(currents).getB(points)
    field, _ = coils.field_and_gradient(points, currents)
    error = np.linalg.norm(field - expected, axis=1)
    assert error.max() < 1e-4 * np.linalg.norm(expected, axis=1).mean()


def test_workspace_that_reaches_a_winding_is_refused():
    with pytest.raises(ConfigError, match=r"too large .* allowed up to 59\.3 mm"):
        fit(one_loop(workspace_radius=0.065))


def test_cache_returns_the_same_bits_and_survives_damage(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    config = one_loop()
    first = cached_fit(config)
    (stored,) = cache_dir("magnetics").iterdir()
    written = stored.read_bytes()
    assert_array_equal(cached_fit(config).potential, first.potential)
    assert cached_fit(config).error == first.error
    assert stored.read_bytes() == written

    for damaged in (b"", b"not a zip file", written[: len(written) // 2]):
        stored.write_bytes(damaged)
        assert_array_equal(cached_fit(config).potential, first.potential)
        assert cached_fit(config).error == first.error
        assert stored.read_bytes() == written


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    expected = fit(one_loop())
    monkeypatch.setenv("MMDTWIN_CACHE", str(blocked))
    assert_array_equal(cached_fit(one_loop()).potential, expected.potential)


def test_cache_key_follows_the_field_and_not_the_limits(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    base = one_loop()
    cached_fit(base)
    cached_fit(base.model_copy(update={"max_current": 3.0}))
    assert len(list(cache_dir("magnetics").iterdir())) == 1
    cached_fit(base.model_copy(update={"harmonic_degree": 8}))
    assert len(list(cache_dir("magnetics").iterdir())) == 2
