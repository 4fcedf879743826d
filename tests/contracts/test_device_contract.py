"""The Device contract, run on every preset."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmdtwin.config import DeviceConfig, FlowConfig, load, names
from mmdtwin.sim.bodies import Ambient, Medium, device_class
from mmdtwin.sim.client import connect
from mmdtwin.units import GRAVITY

PRESETS = names("devices")
BLOOD = FlowConfig(inlet="a", viscosity=4e-3, density=1060.0)
DOWN = np.array([0.0, 0.0, -GRAVITY])
STEP = 1e-3


@pytest.fixture
def client(preset):
    c = connect(device_class(load(DeviceConfig, "devices", preset)).deformable)
    yield c
    c.disconnect()


class Floor:
    """The plane z = 0: signed distances, and a slab for what collides in PyBullet."""

    def __init__(self, client, deformable):
        if not deformable:
            shape = client.createCollisionShape(client.GEOM_BOX, halfExtents=[50.0, 50.0, 5.0])
            slab = client.createMultiBody(0, shape, -1, [0.0, 0.0, -5.0])
            client.changeDynamics(slab, -1, lateralFriction=0.2, restitution=0.0)

    def sdf(self, points):
        return np.atleast_2d(points)[:, 2]

    def sdf_gradient(self, points):
        return self.sdf(points), np.tile([0.0, 0.0, 1.0], (len(points), 1))

    def tube(self, _):
        return np.array([1.0, 0.0, 0.0]), np.inf


def make(client, preset, gravity=(0.0, 0.0, 0.0), wall=None):
    config = load(DeviceConfig, "devices", preset)
    friction = 0.2 if wall else 0.0
    medium = Medium(BLOOD, np.array(gravity, float), friction, wall)
    device = device_class(config)(client, config, medium)
    device.place(np.zeros(3), np.eye(3))
    return device


def run(client, device, duration, **surroundings):
    t = 0.0
    while t < duration - 1e-12:
        ambient = Ambient.uniform(len(device.points), **surroundings)
        h = device.push(min(STEP, duration - t), ambient)
        assert 0.0 < h <= STEP + 1e-15
        client.setTimeStep(h)
        client.stepSimulation()
        device.read()
        t += h
    return Ambient.uniform(len(device.points), **surroundings)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_where_it_is_put(client, preset):
    device = make(client, preset)
    place = np.array([3e-3, -2e-3, 1e-3])
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix()
    device.place(place, rotation)
    size = device.facts(device.config, BLOOD).length
    assert np.linalg.norm(device.centre() - place) < 0.05 * size
    assert np.linalg.norm(device.velocity()) == 0.0
    points, nodes = device.points, device.nodes()
    assert points.ndim == nodes.ndim == 2 and points.shape[1] == nodes.shape[1] == 3
    centres, radii = device.surface()
    assert len(centres) == len(radii) and (radii >= 0).all()
    for p in (points, nodes, centres):
        assert np.linalg.norm(p - place, axis=1).max() < size
    assert np.linalg.norm(device.direction) == pytest.approx(1.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_its_facts_describe_it(client, preset):
    """The imager sees about the box that the facts give, and no more."""
    device = make(client, preset)
    facts = device.facts(device.config, BLOOD)
    solids = device.solids()
    reach = np.einsum("nij,nj->ni", np.abs(solids.rotation), solids.half_extents)
    size = (solids.centre + reach).max(axis=0) - (solids.centre - reach).min(axis=0)
    size = np.sort(size)[::-1]
    assert facts.length >= facts.width >= facts.thickness > 0
    np.testing.assert_allclose(size, [facts.length, facts.width, facts.thickness], rtol=0.15)
    assert facts.moment >= 0
    assert facts.drag > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_its_moment_is_the_stated_one_in_10_mT(client, preset):
    """Permanent or induced, along the field; 5 %: a soft body bends, a drop has drawn out.

    A sheet's profile may have no net moment, but for what its bending in the field makes.
    """
    device = make(client, preset)
    stated = device.facts(device.config, BLOOD).moment
    size = np.linalg.norm(device.moment)
    along = device.moment / size if size > 1e-12 else device.direction
    run(client, device, 2e-3, field=10e-3 * along)
    if stated < 1e-12 and device.config.kind == "sheet":
        assert size < 1e-12  # while it is flat
    else:
        assert device.moment @ along == pytest.approx(stated, rel=0.05)


@pytest.mark.parametrize("preset", PRESETS)
def test_without_forces_it_stays(client, preset):
    """1 % of its length in half a second: a liquid may settle into its shape."""
    device = make(client, preset)
    before, size = device.centre(), device.facts(device.config, BLOOD).length
    ambient = run(client, device, 0.5)
    assert np.linalg.norm(device.centre() - before) < 1e-3 * size
    assert np.linalg.norm(device.velocity()) < 1e-3 * size / 0.5
    device.check(ambient)
    assert device.pieces == 1
    assert device.contacts() == 0 and device.contact_force() == 0.0
    assert len(device.wall_distances()) == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_it_sinks_or_rises_as_its_weight_says(client, preset):
    device = make(client, preset, DOWN)
    weight = device.facts(device.config, BLOOD).weight
    ambient = run(client, device, 0.2)
    assert np.sign(-device.velocity()[2]) == np.sign(weight)
    assert abs(device.velocity()[2]) > 10 * np.linalg.norm(device.velocity()[:2])
    assert device.reynolds(ambient) > 0.0


@pytest.mark.parametrize("preset", PRESETS)
def test_the_fluid_carries_it(client, preset):
    """In still air it stays, in a flow of 5 mm/s it is carried; 5 %: its inertia is spent."""
    device = make(client, preset)
    run(client, device, 1.0, flow=(5e-3, 0.0, 0.0))
    np.testing.assert_allclose(device.velocity(), [5e-3, 0.0, 0.0], atol=0.25e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_moves_as_it_did_and_by_forces_alone(client, preset, monkeypatch):
    def fly():
        return run(client, device, 0.1, field=(6e-3, 0, 8e-3), gradient=np.diag([0.2, -0.1, -0.1]))

    device = make(client, preset, DOWN)
    with monkeypatch.context() as patch:
        for name in [n for n in dir(client) if n.startswith("reset")]:
            patch.setattr(client, name, lambda *_, **__: pytest.fail("a reset during a step"))
        fly()
    first = device.nodes()
    device.remove()
    device = make(client, preset, DOWN)
    fly()
    np.testing.assert_array_equal(device.nodes(), first)
    assert np.abs(first).max() > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_a_snapshot_goes_on_as_it_did(client, preset):
    def fly():
        run(client, device, 0.05, field=(6e-3, 0, 8e-3), gradient=np.diag([0.2, -0.1, -0.1]))

    device = make(client, preset, DOWN)
    fly()
    snapshot = device.snapshot()
    fly()
    first = device.nodes()
    device.place(np.zeros(3), np.eye(3))
    device.restore(snapshot)
    fly()
    assert np.abs(device.nodes() - first).max() < 1e-9


@pytest.mark.parametrize("preset", PRESETS)
def test_a_floor_bears_its_weight(client, preset):
    """Force within 5 % over 0.1 s, as it may still rock; depth within 50 um."""
    kind = device_class(load(DeviceConfig, "devices", preset))
    device = make(client, preset, DOWN, Floor(client, kind.deformable))
    weight = kind.facts(device.config, BLOOD).weight
    centres, radii = device.surface()
    device.place(np.array([0.0, 0.0, 20e-6 - (centres[:, 2] - radii).min()]), np.eye(3))
    run(client, device, 0.4)
    forces = []
    for _ in range(50):
        run(client, device, 2e-3)
        forces.append(device.contact_force())
        distances = device.wall_distances()
        assert len(distances) == device.contacts()
        assert (distances > -50e-6).all()
    assert device.contacts() > 0
    assert np.mean(forces) == pytest.approx(weight, rel=0.05)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_fluid_that_speeds_up_takes_a_weightless_device_along(client, preset):
    """Du/Dt bears on the displaced and the added mass, so that with the fluid's own density a body
    goes with a pulse of 1.2 Hz, Maxey and Riley (1983). Drag alone would leave heavy ones behind;
    2 % is for the steps, which are a hundredth of the beat's shortest time."""
    config = load(DeviceConfig, "devices", preset)
    kind = device_class(config)
    light, heavy = (
        kind.facts(config, BLOOD.model_copy(update={"density": density})).weight
        for density in (1000.0, 2000.0)
    )
    density = 1000.0 + 1000.0 * light / (light - heavy)
    fluid = BLOOD.model_copy(update={"density": density})
    device = kind(client, config, Medium(fluid, np.zeros(3)))
    device.place(np.zeros(3), np.eye(3))
    speed, omega, t, worst = 0.01, 2 * np.pi * 1.2, 0.0, 0.0
    way = np.array([0.6, 0.0, 0.8])
    while t < 0.45:
        flow, gain = speed * np.sin(omega * t) * way, speed * omega * np.cos(omega * t) * way
        ambient = Ambient.uniform(len(device.points), flow=flow)
        ambient = ambient._replace(flow_acceleration=np.tile(gain, (len(device.points), 1)))
        h = device.push(min(STEP, device.max_step), ambient)
        client.setTimeStep(h)
        client.stepSimulation()
        device.read()
        t += h
        worst = max(worst, np.linalg.norm(device.velocity() - speed * np.sin(omega * t) * way))
    assert worst < 0.02 * speed
