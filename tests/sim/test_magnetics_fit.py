"""The fit against closed forms and Magpylib, and its cache."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError
from mmdtwin.files import cache_dir
from mmdtwin.sim.magnetics import CoilSystem, windings
from mmdtwin.sim.magnetics.check import check, random_points
from mmdtwin.sim.magnetics.fit import cached_fit, fit
from mmdtwin.units import MU0

TURNS, GAIN, DISTANCE, RADIUS = 700, 4.0, 0.07, 0.03  # of one loop; m


def one_loop(**changes) -> CoilsConfig:
    """A coil that a single loop stands for, on the x axis, looking at the origin."""
    coil = {
        "position": (DISTANCE, 0.0, 0.0),
        "axis": (-2.0, 0.0, 0.0),
        "turns": TURNS,
        "inner_radius": RADIUS - 1e-3,
        "outer_radius": RADIUS + 1e-3,
        "length": 0.01,
        "core_gain": GAIN,
        "resistance": 1.0,
        "inductance": 0.01,
    }
    values = {
        "source": "assumed",
        "coils": [coil],
        "loops_radial": 1,
        "loops_axial": 1,
        "workspace_radius": 0.02,
        "harmonic_degree": 16,
        "max_current": 10.0,
        "max_power": 100.0,
        "max_slew": 100.0,
    }
    return CoilsConfig.model_validate(values | changes)


def test_field_on_the_axis_of_a_loop():
    """B = mu0 N I R^2 / (2 (R^2 + d^2)^1.5), its slope and its curvature, along the axis.

    Tolerance: the series falls as (21 mm / 75 mm)^16 = 1e-9; each derivative costs some 16 / 20 mm
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
    curvature = 3 * ampere_turns * (5 * d * d * q**-3.5 - q**-2.5)
    field, gradient = coils.field_and_gradient(points, [1.0])
    assert_allclose(field[:, 0], -expected, rtol=1e-7)
    assert_allclose(field[:, 1:], 0.0, atol=1e-9 * expected.max())
    assert_allclose(gradient[:, 0, 0], -slope, rtol=1e-6)
    assert_allclose(gradient[:, 1, 1], slope / 2, rtol=1e-6)  # by symmetry and zero divergence
    bend = coils.unit_gradient_derivative(points, [1.0, 0.0, 0.0])[:, 0, 0, 0]
    assert_allclose(bend, -curvature, rtol=3e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_shipped_system_keeps_every_limit(seed):
    """Field 1e-3 and gradient 5e-3 of Magpylib's at the 99th percentile, no divergence or curl."""
    figures = check(CoilSystem.load("octomag-like"), 120, seed)
    assert {f.name: f.value for f in figures if not f.passed} == {}


def test_check_fails_for_a_poor_fit():
    """Three degrees cannot carry the field: the check must say so."""
    config = load(CoilsConfig, "coils", "octomag-like").model_copy(update={"harmonic_degree": 3})
    failed = {f.name for f in check(CoilSystem(config), 100, 0) if not f.passed}
    assert failed == {"field, 99th percentile", "gradient, 99th percentile"}


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


def test_loop_weights_keep_the_moment():
    """A winding cut in more loops keeps its ampere-turns, and its far field up to their spread."""
    coil = one_loop().coils[0]
    assert sum(windings.loops_of(coil, 3, 5).weight for _ in range(15)) == pytest.approx(
        TURNS * GAIN
    )
    far = np.array([[-0.4, 0.1, 0.05]])
    coarse = windings.loops_field(windings.loops_of(coil, 1, 1), far)
    fine = windings.loops_field(windings.loops_of(coil, 3, 5), far)
    assert_allclose(fine, coarse, rtol=2e-3)  # winding size over distance squared, 1e-2 / 0.5


def test_nearest_winding():
    """On the axis it is the rim of the bore; from the side it is the mantle."""
    ahead = one_loop()
    assert windings.nearest_winding(ahead) == pytest.approx(np.hypot(0.065, 0.029))
    beside = one_loop(
        coils=[ahead.coils[0].model_copy(update={"axis": (0.0, 0.0, 1.0)}).model_dump()]
    )
    assert windings.nearest_winding(beside) == pytest.approx(DISTANCE - RADIUS - 1e-3)
    assert CoilSystem.load("octomag-like").nearest_winding >= 0.065


def test_workspace_that_reaches_a_winding_is_refused():
    with pytest.raises(ConfigError, match=r"too large .* allowed up to 59\.3 mm"):
        fit(one_loop(workspace_radius=0.065))


def test_cache_returns_the_same_bits_and_survives_damage(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    config = one_loop()
    first = cached_fit(config)
    (stored,) = cache_dir("magnetics").iterdir()
    written = stored.read_bytes()
    assert_array_equal(cached_fit(config), first)
    assert stored.read_bytes() == written

    for damaged in (b"", b"not a zip file", written[: len(written) // 2]):
        stored.write_bytes(damaged)
        assert_array_equal(cached_fit(config), first)
        assert stored.read_bytes() == written


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    expected = fit(one_loop())
    monkeypatch.setenv("MMDTWIN_CACHE", str(blocked))
    assert_array_equal(cached_fit(one_loop()), expected)


def test_cache_key_follows_the_field_and_not_the_limits(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    base = one_loop()
    cached_fit(base)
    cached_fit(base.model_copy(update={"max_current": 3.0}))
    assert len(list(cache_dir("magnetics").iterdir())) == 1
    cached_fit(base.model_copy(update={"harmonic_degree": 8}))
    assert len(list(cache_dir("magnetics").iterdir())) == 2
