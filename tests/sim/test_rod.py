"""The soft rod against closed forms, in planes that are none of its own.

| Law | Reference | Tolerance and its reason |
|---|---|---|
| static bending in a field | exact elastica, tests/data/elastica.csv | 1 % or 0.5 deg, 1.5 % of L |
| buckling under a field against it | pi^2/4 | 1 %: ten joints |
| first bending mode | Euler-Bernoulli cantilever, fluid carried along | 5 % |
| twist by a torque at the tip | T L / G J | 1e-3 |
| drag | numerical cylinders of Tirado and Garcia de la Torre | 3 % |
| turning in shear | Jeffery, slender | 1 % |
"""

import numpy as np
import pytest
from soft_chain import (
    BLOOD,
    ELASTICA,
    ROD,
    VACUUM,
    WATER,
    G,
    bent,
    buckling_load,
    cantilever_frequency,
    connect,
    draw_errors,
    draw_order,
    errors,
    make,
    ringing_frequency,
    run,
    stir,
    uniform,
)  # fmt: skip

from mmdtwin.config import FlowConfig, RodConfig, load_scenario, override, parse
from mmdtwin.errors import ConfigError, PhysicsError
from mmdtwin.sim import World
from mmdtwin.sim.bodies import Ambient

AREA = "rod"
PARAMETERS = "soft-rod: 6 mm, radius 0.15 mm, 1 MPa, 144 kA/m (published specimen), 10 ball joints"
AZIMUTH = 0.7  # rad, of the plane of bending about the rod's length
GLYCEROL = FlowConfig(inlet="a", viscosity=0.219, density=1235.0)
VOLUME = np.pi * ROD.radius**2 * ROD.length


@pytest.fixture
def client():
    c = connect()
    yield c
    c.disconnect()


def test_bends_like_the_elastica_in_any_plane(client, claim):
    found = [errors(bent(client, ROD, *case[:2], azimuth=AZIMUTH), case) for case in ELASTICA]
    allowed = [max(0.5, 0.01 * case[2]) for case in ELASTICA]
    angle, place = np.array(found).T
    assert claim(
        "clamped, in a uniform field, it bends like the elastica",
        parameters=f"{PARAMETERS}; lambda 0.5-20 and 70.44, field at 30-120 deg, plane at 40 deg",
        reference="elliptic integrals, tests/data/elastica.csv",
        acceptance="tip angle within 1 % or 0.5 deg, tip within 1.5 % of L: ten joints",
        result=f"worst {angle.max():.2f} deg and {place.max():.2%} of L",
        holds=np.all(angle <= allowed) and place.max() <= 0.015,
        draw=draw_errors([case[0] for case in ELASTICA], angle, place),
    )


def test_converges_with_the_square_of_the_joints(client, claim):
    case = (10.0, 120.0)
    exact = next(row for row in ELASTICA if row[:2] == case)
    counts = np.array([7, 14, 28])
    found = np.array(
        [errors(bent(client, ROD, *case, AZIMUTH, joints=int(n)), exact) for n in counts]
    )
    cells = np.log(counts + 0.5)  # joints sit at the middle of cells
    orders = -np.diff(np.log(found), axis=0) / np.diff(cells)[:, None]
    assert claim(
        "its error falls with the square of the number of joints",
        parameters=f"{PARAMETERS}; 7, 14 and 28 joints, lambda 10",
        reference="the elastica; joints in the middle of cells are of second order",
        acceptance="order 2 +- 0.3, of tip angle and tip place",
        result=f"orders {orders.min():.2f} to {orders.max():.2f}",
        holds=np.all(abs(orders - 2) <= 0.3),
        draw=draw_order(counts + 0.5, found),
    )


def test_buckles_at_the_exact_load(client, claim):
    ratio = buckling_load(client, ROD, AZIMUTH) / (np.pi**2 / 4)
    assert claim(
        "a field against its magnetisation buckles it",
        parameters=f"{PARAMETERS}; growth rates at four loads, in vacuum, undamped",
        reference="lambda = pi^2/4, where the growth rate squared goes through zero",
        acceptance="0.99 to 1.01",
        result=f"{ratio:.4f} pi^2/4",
        holds=0.99 < ratio < 1.01,
    )


@pytest.mark.parametrize(
    ("setting", "fluid", "step", "changes"),
    [
        ("validation setting, vacuum", VACUUM, 1e-4, {"damping_ratio": 0.005}),
        ("default, water", WATER, 1e-3, {}),
        ("default, vacuum", VACUUM, 1e-3, {}),
    ],
)
def test_first_mode_is_the_cantilevers(client, claim, setting, fluid, step, changes):
    exact = cantilever_frequency(ROD, fluid)
    found = ringing_frequency(client, ROD, fluid, step, AZIMUTH, **changes)
    assert claim(
        f"first bending frequency, {setting}",
        parameters=f"{PARAMETERS}; step {step * 1e3:g} ms, {changes or 'damping ratio 0.1'}",
        reference=f"Euler-Bernoulli with rho pi a^2 of fluid, {exact:.2f} Hz",
        acceptance="5 %, of the natural frequency in a damped cosine",
        result=f"{found:.2f} Hz, {found / exact - 1:+.1%}",
        holds=abs(found / exact - 1) < 0.05,
        limits="in glycerol, its default fluid, the mode is overdamped and does not ring",
    )


def test_overdamped_mode_decays_at_the_rate_of_drag_against_bending(client, claim):
    # In glycerol EI y'''' = -c y' with c of resistive-force theory: rate = EI (1.875/L)^4 / c.
    rod = make(client, ROD, GLYCEROL, clamped=True, damping_ratio=0.0)
    run(client, rod, uniform(rod, (0, 0, 2e-4)), 1.0)
    t, y = run(client, rod, uniform(rod), 0.12, 2e-4, lambda r: r.tip()[0][2])
    late = slice(len(t) // 3, None)  # higher modes are gone
    found = -np.polyfit(t[late], np.log(y[late]), 1)[0]
    stiffness = ROD.youngs_modulus * np.pi * ROD.radius**4 / 4
    across = 4 * np.pi * GLYCEROL.viscosity / (np.log(ROD.length / ROD.radius) + 0.193)
    exact = stiffness * (1.8751040687 / ROD.length) ** 4 / across
    assert claim(
        "relaxation of the first mode at its default setting in its default fluid",
        parameters=f"{PARAMETERS}; 90 % glycerol, 0.219 Pa s; no material damping",
        reference=f"EI (1.875/L)^4 over the drag per length, {exact:.1f} 1/s",
        acceptance="5 %: ten joints, and inertia, which is left out there",
        result=f"{found:.1f} 1/s, {found / exact - 1:+.1%}",
        holds=abs(found / exact - 1) < 0.05,
    )


def test_a_torque_about_its_length_twists_it(client):
    # Magnetised across at the tip, in a field across it: torque about the length.
    segments = [
        {"length": 5.7e-3, "direction": (0, 0, 0)},
        {"length": 0.3e-3, "direction": (0, 1, 0)},
    ]
    profile = {"kind": "piecewise", "segments": segments}
    rod = make(client, ROD, clamped=True, profile=profile, joints=9)
    field = 5e-3
    run(client, rod, uniform(rod, (0, 0, field)), 0.5)
    twist = np.arctan2(rod.axes()[-1, 2, 1], rod.axes()[-1, 1, 1])
    torque = ROD.magnetisation * np.pi * ROD.radius**2 * 0.3e-3 * field * np.cos(twist)
    rigidity = ROD.youngs_modulus / 3 * np.pi * ROD.radius**4 / 2  # G J of rubber, G = E / 3
    joints_reach = 9 * rod.link_length  # the couple acts on the last link, past all joints
    assert twist == pytest.approx(torque * joints_reach / rigidity, rel=1e-3)


def test_sinks_as_fast_as_numerical_cylinders(client, claim):
    # M. M. Tirado, C. Lopez Martinez, J. Garcia de la Torre, J. Chem. Phys. 81 (1984) 2047
    p = ROD.length / (2 * ROD.radius)
    across = 4 * np.pi * GLYCEROL.viscosity / (np.log(p) + 0.839 + 0.185 / p + 0.233 / p**2)
    along = 2 * np.pi * GLYCEROL.viscosity / (np.log(p) - 0.207 + 0.980 / p - 0.133 / p**2)
    weight = (ROD.density - GLYCEROL.density) * VOLUME * 9.80665
    speeds = []
    for gravity in (G, -G[[2, 0, 1]]):
        rod = make(client, ROD, GLYCEROL, gravity)
        run(client, rod, uniform(rod), 0.3)
        speeds.append(np.linalg.norm(rod.velocity()))
        rod.remove()
    exact = weight / (np.array([across, along]) * ROD.length)
    worst = abs(np.array(speeds) / exact - 1).max()
    assert claim(
        "sinking across and along its length",
        parameters=f"{PARAMETERS}; 90 % glycerol",
        reference="numerical drag of cylinders, Tirado et al. 1984",
        acceptance="3 %: resistive-force theory is of first order in 1/ln(L/a)",
        result=f"{worst:.1%} at most",
        holds=worst < 0.03,
        limits="against turning as a whole, the same theory gives 39 % too little drag at L/d = 20",
    )


def test_a_sheared_fluid_turns_it_like_jefferys_slender_body(client):
    rate, angle = 2.0, 0.6
    rod = make(client, ROD, GLYCEROL, youngs_modulus=1e8, density=1235.0)
    turned = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    rod.place(np.zeros(3), turned)
    shear = np.zeros((rod.n_links, 3, 3))
    shear[:, 0, 2] = rate  # v_x = rate z
    for _ in range(100):
        still = uniform(rod)
        loads = Ambient(still.field, still.gradient, np.einsum("nij,nj->ni", shear, rod.nodes()),
                        shear, still.flow_laplacian, still.flow_acceleration)  # fmt: skip
        run(client, rod, loads, 1e-3)
    exact = np.arctan2(1.0, 1 / np.tan(angle) + rate * 0.1)
    assert np.arctan2(rod.direction[2], rod.direction[0]) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    ("where", "fluid", "duration"), [("vacuum", VACUUM, 2.0), ("blood", BLOOD, 10.0)]
)
def test_energy_does_not_grow(client, claim, where, fluid, duration):
    worst = 0.0
    for seed in range(4):
        rod = make(client, ROD, fluid)
        stir(client, rod, seed)
        start = rod.energy()
        _, energies = run(client, rod, uniform(rod), duration, watch=lambda r: r.energy())
        worst = max(worst, energies.max() / start)
        rod.remove()
    assert claim(
        f"energy does not grow in {where}",
        parameters=f"{PARAMETERS}; joints bent by 0.3 rad an axis, moving at random, four seeds, "
        f"damping ratio 0.1, {duration:g} s",
        reference="its start, fluid carried along included",
        acceptance="1.02 of it",
        result=f"{worst:.4f} of it at most",
        holds=worst <= 1.02,
    )


def test_rigid_motion_keeps_its_momentum(client):
    rod = make(client, ROD)
    client.resetBaseVelocity(rod.bodies[0], [30, -20, 10], [0, 0, 0])
    rod.read()
    run(client, rod, uniform(rod), 0.3)
    np.testing.assert_allclose(rod.velocity(), [0.03, -0.02, 0.01], rtol=1e-3)


def test_a_field_aligns_it_whichever_way(client):
    for field in ((0, 5e-3, 0), (0, 0, 5e-3), (-4e-3, 3e-3, 1e-3)):
        rod = make(client, ROD, GLYCEROL)
        run(client, rod, uniform(rod, field), 1.5)
        direction = rod.moment / np.linalg.norm(rod.moment)
        np.testing.assert_allclose(direction, np.array(field) / np.linalg.norm(field), atol=0.01)
        rod.remove()


def test_bullet_finds_the_acceleration_wanted_whatever_inertia_it_holds(client):
    rod = make(client, ROD, WATER, gravity=G)
    stir(client, rod, 0, spin=100.0, rate=100.0)
    loads = uniform(rod, (3e-3, 5e-3, -2e-3), np.diag([0.5, -0.2, -0.3]), (0.01, 0.02, 0))
    h = rod.push(1e-5, loads)
    _, before, wanted = rod._wanted
    client.setTimeStep(h)
    client.stepSimulation()
    found = (rod._body.state()[3] - before) / h
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8 * abs(wanted).max())


def test_beyond_a_reynolds_number_of_one_it_is_refused(client):
    rod = make(client, ROD, GLYCEROL)
    rod.check(uniform(rod, flow=(0.5, 0, 0)))
    with pytest.raises(PhysicsError, match="range of resistive-force drag"):
        rod.check(uniform(rod, flow=(0.7, 0, 0)))


def test_flies_in_its_vessel_under_random_fields_the_same_each_time():
    ends = []
    for _ in range(2):
        world = World.from_config(load_scenario("rod-bifurcation"))
        rng = np.random.default_rng(5)
        clearance = []
        for _ in range(15):
            world.inputs = rng.uniform(-2.0, 2.0, len(world.inputs))
            for _ in range(67):
                world.step(1e-3)
            clearance.append(world.clearance())
        ends.append(world.device.nodes())
        world.close()
    assert min(clearance) > -0.25 * ROD.radius
    np.testing.assert_array_equal(*ends)


def test_a_stout_rod_is_refused():
    with pytest.raises(ConfigError, match=r"rod.yaml: radius: allowed is up to 0.0006 m"):
        parse(RodConfig, override(ROD.model_dump(mode="json"), ["radius=0.7e-3"]), "rod.yaml")
