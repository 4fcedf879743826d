"""Parts of the ferrofluid droplet: its ellipsoid, its particles as a body, its configuration."""

import numpy as np
import pytest
from droplets import DROPLET, make, run, stretch, uniform
from scipy.special import elliprd, elliprg

from mmdtwin.config import DropletConfig, FlowConfig, load, load_scenario
from mmdtwin.errors import ConfigError, PhysicsError, UserError
from mmdtwin.sim.bodies.droplet_ellipsoid import area, demagnetising, factor_slopes
from mmdtwin.sim.bodies.droplet_forces import largest_step, safe_step
from mmdtwin.sim.client import connect
from mmdtwin.sim.world import World

RADIUS = DROPLET.radius


@pytest.fixture
def client():
    c = connect()
    yield c
    c.disconnect()


@pytest.mark.parametrize("square", [(1, 1, 1), (0.2, 1, 5), (1, 1, 900), (1e-3, 1, 1.5)], ids=str)
def test_area_and_demagnetising_factors_are_carlsons(square):
    g = np.array(square, float)
    x, y, z = g[1] * g[2], g[0] * g[2], g[0] * g[1]
    found, slopes = area(g)
    assert found == pytest.approx(4 * np.pi * elliprg(x, y, z), rel=1e-7)
    factors, differences = demagnetising(g)
    a, b, c = g
    third = np.sqrt(g.prod()) / 3
    exact = third * np.array([elliprd(b, c, a), elliprd(a, c, b), elliprd(a, b, c)])
    np.testing.assert_allclose(factors, exact, rtol=1e-7)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-5 * g[k]
        up, down = area(g + step)[0], area(g - step)[0]
        assert slopes[k] == pytest.approx((up - down) / (2 * step[k]), rel=1e-5)
        change = (demagnetising(g + step)[0] - demagnetising(g - step)[0]) / (2 * step[k])
        slope = factor_slopes(g, factors, differences)[:, k]
        np.testing.assert_allclose(slope, change, rtol=1e-4, atol=1e-6 * np.abs(change).max())


def test_internal_forces_carry_no_momentum(client):
    droplet = make(client, FlowConfig(inlet="a", viscosity=1e-12, density=1e-9))
    stretch(droplet, 2.0)
    rng = np.random.default_rng(3)
    droplet.restore({**droplet.snapshot(), "velocities": rng.normal(0, 20.0, (64, 3)).tolist()})
    mass = droplet.liquid.particle_mass

    def momenta():
        v, r = droplet.velocities(), droplet.nodes()
        return mass * v.sum(axis=0), mass * np.cross(r, v).sum(axis=0)

    linear, angular = momenta()
    run(client, droplet, uniform(droplet), 0.02)
    after_linear, after_angular = momenta()
    scale = mass * np.linalg.norm(droplet.velocities(), axis=1).sum()
    np.testing.assert_allclose(after_linear, linear, atol=1e-10 * scale)
    # The step moves particles along straight lines, so turning forces act a step late.
    np.testing.assert_allclose(after_angular, angular, atol=2e-2 * scale * RADIUS)


def test_step_that_the_stiffest_mode_cannot_take_is_refused():
    """By the world's constructor, with a limit that it then takes."""
    changes = ["device.radius=20e-6", "rig.physics_step={}"]
    with pytest.raises(UserError, match=r"rig\.physics_step: 0\.001 s .* 2e-05 m; .* 4\.1e-05 s"):
        World(load_scenario("droplet-bifurcation", [c.format(1e-3) for c in changes]))
    World(load_scenario("droplet-bifurcation", [c.format(4e-5) for c in changes]))


@pytest.mark.parametrize("aspect", [1.0, 8.0, 50.0])
def test_steps_are_halved_to_what_the_stiffest_mode_takes(client, aspect):
    droplet = make(client, radius=20e-6)
    stretch(droplet, aspect)
    loads = uniform(droplet, (0, 0, 1.0))
    limit = largest_step(droplet._shapes, loads.field, droplet.liquid)
    assert safe_step(droplet.liquid) <= limit
    assert droplet.push(64.0 * limit, loads) <= limit
    loads = uniform(droplet)
    if aspect == 1.0:  # else it is fast
        limit = largest_step(droplet._shapes, loads.field, droplet.liquid)
        assert droplet.push(limit, loads) == limit


def test_check_refuses_what_is_drawn_too_far(client):
    droplet = make(client)
    stretch(droplet, 14.0)
    droplet.check(uniform(droplet))
    stretch(droplet, 17.0 / 14.0)
    with pytest.raises(PhysicsError, match="aspect ratio of 17 is above 15"):
        droplet.check(uniform(droplet))


def test_same_start_same_end(client):
    ends = []
    for _ in range(2):
        droplet = make(client)
        run(client, droplet, uniform(droplet, (4e-3, 0, 6e-3), np.diag([0.1, -0.05, -0.05])), 0.1)
        ends.append(droplet.nodes())
    np.testing.assert_array_equal(*ends)


def test_goes_on_from_a_snapshot(client):
    droplet = make(client)
    loads = uniform(droplet, (4e-3, 0, 6e-3))
    run(client, droplet, loads, 0.02)
    snapshot = droplet.snapshot()
    run(client, droplet, loads, 0.02)
    end = droplet.nodes()
    droplet.restore(snapshot)
    run(client, droplet, loads, 0.02)
    np.testing.assert_allclose(droplet.nodes(), end, rtol=0, atol=1e-12)


def test_solids_hold_its_volume(client):
    """What lies in any of the overlapping particles is as much as the droplet, by 200 000 points
    (0.3 %) and as its particles happen to lie (1.5 %)."""
    droplet = make(client)
    run(client, droplet, uniform(droplet, (0, 0, 6e-3)), 0.2)
    solids = droplet.solids()
    reach = solids.half_extents.max()
    low, high = solids.centre.min(axis=0) - reach, solids.centre.max(axis=0) + reach
    points = np.random.default_rng(0).uniform(low, high, (200_000, 3))
    inside = np.zeros(len(points), bool)
    for centre, rotation, half in zip(
        solids.centre, solids.rotation, solids.half_extents, strict=True
    ):
        inside |= (((points - centre) @ rotation / half) ** 2).sum(axis=1) < 1.0
    volume = inside.mean() * (high - low).prod()
    assert volume == pytest.approx(DROPLET.volume, rel=0.02)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("radius", 1.0, "is it in mm"),
        ("interfacial_tension", 13.5, "is it in mN/m"),
        ("contact_angle", 160, "is it in degrees"),
        ("saturation", 1e6, "of the fluid as a whole"),
        ("particles", 8, "greater than or equal to 30"),
    ],
)
def test_bad_values_are_refused_with_a_hint(key, value, message, tmp_path):
    lines = [f"{k}: {v}" for k, v in {**DROPLET.model_dump(), key: value}.items()]
    path = tmp_path / "bad.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=f"{key}: .*{message}"):
        load(DropletConfig, "devices", path)
