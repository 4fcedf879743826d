"""Hydraulics of vessel trees against hand-solved networks and closed forms."""

import numpy as np
import pytest

from mmdtwin.config import FlowConfig
from mmdtwin.config.flow import CarreauConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.flow import NetworkFlow, solve_network
from mmdtwin.sim.flow.carreau import TubeFlow
from mmdtwin.sim.flow.impedance import carreau_resistance, impedance, resistance
from mmdtwin.vessel import Branch, VesselMap

AREA = "flow"
MU, RHO = 4e-3, 1060.0
SOLVED = 1e-9  # relative: the bar for pressures; double precision leaves 1e-13


def config(**keys: object) -> FlowConfig:
    return FlowConfig.model_validate({"inlet": "in", "viscosity": MU, "density": RHO, **keys})


def tube(length: float, r0: float, r1: float | None = None, *, n: int = 41, at=0.0) -> tuple:
    x = np.linspace(0.0, length, n)
    return np.stack([x + at, 0 * x, 0 * x], axis=1), np.linspace(r0, r0 if r1 is None else r1, n)


def fork() -> VesselMap:
    """A trunk of 20 mm and two branches of 10 and 15 mm; the second is drawn backwards."""
    return VesselMap(
        {
            "trunk": Branch(*tube(0.020, 2e-3), "in", "fork"),
            "a": Branch(*tube(0.010, 1.5e-3), "fork", "a"),
            "b": Branch(*tube(0.015, 1.2e-3), "b", "fork"),
        },
        ("in", "a", "b"),
    )


def poiseuille(length: float, radius: float) -> float:
    return 8 * MU * length / (np.pi * radius**4)


TRUNK, A, B = poiseuille(0.020, 2e-3), poiseuille(0.010, 1.5e-3), poiseuille(0.015, 1.2e-3)


def steady(flow: NetworkFlow) -> tuple[dict[str, float], dict[str, float]]:
    return flow.at(0.0)


def test_resistance_of_a_tube_and_of_a_cone() -> None:
    assert resistance(Branch(*tube(0.02, 2e-3), "a", "b"), MU) == pytest.approx(TRUNK, rel=SOLVED)
    cone = Branch(*tube(0.03, 2.2e-3, 1.1e-3, n=7), "a", "b")
    # int dx / r^4 over r = r0 + (r1 - r0) x / L, by hand.
    exact = 8 * MU / np.pi * 0.03 / (3 * (2.2e-3 - 1.1e-3)) * (1.1e-3**-3 - 2.2e-3**-3)
    assert resistance(cone, MU) == pytest.approx(exact, rel=SOLVED)


def flow_in_pressures_out() -> tuple[dict, dict]:
    q, pa, pb = 2e-7, 30.0, -12.0
    fork = (q + pa / A + pb / B) / (1 / A + 1 / B)
    given = {"flow_rate": q, "outlets": {"a": {"pressure": pa}, "b": {"pressure": pb}}}
    return given, {"in": fork + q * TRUNK, "fork": fork, "a": pa, "b": pb}


def pressure_in_resistances_out() -> tuple[dict, dict]:
    p, ra, rb = 400.0, 3e8, 8e8
    fork = (p / TRUNK + 50 / (B + rb)) / (1 / TRUNK + 1 / (A + ra) + 1 / (B + rb))
    outlets = {"a": {"resistance": ra}, "b": {"resistance": rb, "pressure": 50.0}}
    at_a, at_b = fork * ra / (A + ra), 50 + (fork - 50) * rb / (B + rb)
    return {"pressure": p, "outlets": outlets}, {"in": p, "fork": fork, "a": at_a, "b": at_b}


def nothing_in_and_one_outlet_higher() -> tuple[dict, dict]:
    fork = 100.0 * B / (A + B)  # flows back from a through the fork to b
    given = {"outlets": {"a": {"pressure": 100.0}, "b": {}}}
    return given, {"in": fork, "fork": fork, "a": 100.0, "b": 0.0}


def test_pressures_of_a_fork_solved_by_hand(claim) -> None:
    worst = 0.0
    for given, expected in (
        flow_in_pressures_out(), pressure_in_resistances_out(), nothing_in_and_one_outlet_higher()
    ):  # fmt: skip
        flows, pressures = steady(solve_network(fork(), config(**given)))
        scale = max(map(abs, expected.values()))
        worst = max(worst, *(abs(pressures[n] - p) / scale for n, p in expected.items()))
        # The flow of each branch is that of its ends; the second is drawn backwards.
        drops = expected["in"] - expected["fork"], expected["fork"] - expected["a"]
        assert flows["trunk"] == pytest.approx(drops[0] / TRUNK, rel=SOLVED, abs=1e-18)
        assert flows["a"] == pytest.approx(drops[1] / A, rel=SOLVED)
        assert flows["b"] == pytest.approx((expected["b"] - expected["fork"]) / B, rel=SOLVED)
    assert claim(
        "pressures of a forking network",
        parameters="three branches of 10-20 mm and 1.2-2 mm radius, 4 mPa s; flow or pressure at "
        "the inlet, pressures or resistances at the outlets, backflow from an outlet",
        reference="Kirchhoff's laws, solved by hand",
        acceptance="1e-9 of the largest pressure (double precision, cancellation in drops)",
        result=f"{worst:.1e}",
        holds=worst <= SOLVED,
    )


def random_tree(rng: np.random.Generator) -> tuple[dict[str, Branch], dict[int, list[int]]]:
    """39 branches by the name of their farther node, some drawn backwards, and children by node."""
    branches, children = {}, {0: [1], 1: []}
    for node in range(1, 40):
        # Node 0 is the inlet and stays an end.
        parent = int(rng.integers(1, node)) if node > 1 else 0
        if node > 1:
            children[parent].append(node)
            children[node] = []
        points, radius = tube(rng.uniform(5e-3, 3e-2), *rng.uniform(0.5e-3, 3e-3, 2))
        nodes = (str(parent), str(node))
        forward = rng.random() < 0.5
        branches[str(node)] = Branch(points, radius, *(nodes if forward else nodes[::-1]))
    return branches, children


def deviation_of_random_tree(seed: int) -> float:
    """Largest relative error of the pressures against the resistance seen from each node."""
    rng = np.random.default_rng(seed)
    branches, children = random_tree(rng)
    leaves = [n for n, c in children.items() if not c]
    beyond = {n: float(rng.choice([0.0, rng.uniform(1e7, 1e10)])) for n in leaves}
    ohms = {int(n): resistance(b, MU) for n, b in branches.items()}

    def seen(node: int) -> float:  # from a node down to 0 Pa
        if not children[node]:
            return beyond[node]
        return 1 / sum(1 / (ohms[c] + seen(c)) for c in children[node])

    expected = {0: 1000.0}
    for node in range(1, 40):  # parents come first
        parent = next(p for p, c in children.items() if node in c)
        expected[node] = expected[parent] * seen(node) / (ohms[node] + seen(node))
    outlets = {str(n): {"resistance": r} for n, r in beyond.items()}
    network = config(inlet="0", pressure=1000.0, outlets=outlets)
    found = solve_network(VesselMap(branches, ("0", *map(str, leaves))), network)
    pressures = steady(found)[1]
    return max(abs(pressures[str(n)] - p) for n, p in expected.items()) / 1000.0


def test_pressures_of_random_trees(claim) -> None:
    worst = max(deviation_of_random_tree(seed) for seed in range(20))
    assert claim(
        "pressures of random trees",
        parameters="20 trees of 39 tapering branches, 1,000 Pa at the inlet, outlets of 0 or "
        "1e7-1e10 Pa s/m3",
        reference="series and parallel resistances from the outlets inwards, by recursion",
        acceptance="1e-9 of the inlet's pressure (double precision)",
        result=f"{worst:.1e}",
        holds=worst <= SOLVED,
    )


def test_murrays_split_and_its_pressures() -> None:
    flows, pressures = steady(solve_network(fork(), config(flow_rate=1e-7)))
    share = 1.5**3 / (1.5**3 + 1.2**3)
    assert flows["a"] == pytest.approx(1e-7 * share, rel=SOLVED)
    assert pressures["in"] - pressures["fork"] == pytest.approx(1e-7 * TRUNK, rel=SOLVED)
    assert pressures["fork"] - pressures["a"] == pytest.approx(1e-7 * share * A, rel=SOLVED)
    assert min(pressures.values()) == pressures["b"] == 0.0


def test_a_pressure_shared_by_murray_drives_the_flow_that_makes_it() -> None:
    by_flow = solve_network(fork(), config(flow_rate=1e-7))
    drop = by_flow.at(0.0)[1]["in"]
    by_pressure = solve_network(fork(), config(pressure=drop))
    assert by_pressure.at(0.0)[0] == pytest.approx(by_flow.at(0.0)[0], rel=SOLVED)


def test_a_tube_opposes_a_slow_pulse_by_friction_and_a_fast_one_by_inertia() -> None:
    branch = Branch(*tube(0.02, 2e-3), "a", "b")
    fluid = config()
    assert impedance(branch, fluid, 1e-6) == pytest.approx(TRUNK, rel=1e-6)
    omega = 1e7  # alpha = 1 mm sqrt(...): about 3,000
    inertance = RHO * 0.02 / (np.pi * 2e-3**2)
    # The boundary layer, 2 / alpha of the radius, takes away from the section.
    assert impedance(branch, fluid, omega) == pytest.approx(1j * omega * inertance, rel=2e-3)


def test_slow_oscillation_adds_a_third_to_the_fluids_inertia() -> None:
    branch, omega = Branch(*tube(0.02, 2e-3), "a", "b"), 0.05
    # Poiseuille's profile has the kinetic energy of 4/3 of the mass in plug flow.
    inertance = 4 / 3 * RHO * 0.02 / (np.pi * 2e-3**2)
    assert impedance(branch, config(), omega).imag / omega == pytest.approx(inertance, rel=1e-4)


def test_every_instant_conserves_volume_and_the_inlet_follows_its_table() -> None:
    table = (0.5, 0.6, 3.0, 2.6, 1.2, 0.4, -0.3, 0.6, 0.7)
    pulse = {"rate": 1.5, "table": table}
    outlets = {"a": {"resistance": 2e8}, "b": {"pressure": 20.0}}
    for extra in ({}, {"outlets": outlets}):
        flow = solve_network(fork(), config(flow_rate=1e-7, pulse=pulse, **extra))
        for k, value in enumerate(table):
            t = k / len(table) / 1.5
            flows, _ = flow.at(t)
            # Nine samples hold four harmonics and no more: the series passes through them.
            assert flows["trunk"] == pytest.approx(1e-7 * value / np.mean(table), rel=1e-9)
            assert abs(flows["trunk"] - flows["a"] + flows["b"]) < 1e-20
        back = flow.at(6 / 9 / 1.5)[0]
        assert back["trunk"] < 0  # reversal


def test_mean_of_a_pulse_is_the_steady_network() -> None:
    outlets = {"a": {"resistance": 2e8, "pressure": 15.0}, "b": {"pressure": 20.0}}
    keys = {"pressure": 200.0, "outlets": outlets}
    still = solve_network(fork(), config(**keys)).at(0.0)
    beat = solve_network(fork(), config(**keys, pulse={"rate": 1.0, "waveform": "triphasic"}))
    times = np.arange(64) / 64
    for name, mean in still[0].items():
        assert np.mean([beat.at(t)[0][name] for t in times]) == pytest.approx(mean, rel=1e-9)
    for node, mean in still[1].items():
        assert np.mean([beat.at(t)[1][node] for t in times]) == pytest.approx(mean, rel=1e-9)


def test_heart_rate_takes_the_place_of_the_pulses_own() -> None:
    pulse = {"rate": 1.0, "waveform": "sine"}
    flow = solve_network(fork(), config(flow_rate=1e-7, pulse=pulse), heart_rate=4.0)
    assert flow.at(0.25 / 4.0)[0]["trunk"] == pytest.approx(2e-7)  # the crest of 1 + sin


def test_a_thinning_fluid_without_thinning_is_newtonian() -> None:
    same = CarreauConfig(zero_viscosity=MU, infinite_viscosity=MU)
    branch = Branch(*tube(0.02, 2e-3), "a", "b")
    # The tabulated wall stress is interpolated to 1e-9.
    assert carreau_resistance(branch, TubeFlow(same), 1e-7) == pytest.approx(TRUNK, rel=1e-7)


def test_thinning_blood_takes_the_path_of_higher_shear_more_easily() -> None:
    outlets = {"a": {}, "b": {}}
    newtonian = steady(solve_network(fork(), config(flow_rate=1e-7, outlets=outlets)))
    network = config(flow_rate=1e-7, outlets=outlets, carreau={})
    thinning = steady(solve_network(fork(), network))
    assert thinning[0]["a"] - thinning[0]["b"] == pytest.approx(1e-7, rel=1e-12)
    tubes = TubeFlow(network.carreau)
    for name, branch in fork().branches.items():
        drop = thinning[1][branch.start] - thinning[1][branch.end]
        ohm = carreau_resistance(branch, tubes, thinning[0][name])
        assert drop == pytest.approx(ohm * thinning[0][name], rel=1e-9)
    ratio = [abs(f["b"] / f["a"]) for f in (newtonian[0], thinning[0])]
    # Shear rate at the same pressure gradient goes with r: the wider branch thins more.
    assert ratio[1] < ratio[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"inlet": "fork"}, "unknown end 'fork'; allowed: in, a, b"),
        ({"outlets": {"a": {}}}, "no outlet given for b"),
        ({"outlets": {"a": {}, "b": {}, "c": {}}}, "unknown end 'c'; allowed: a, b"),
    ],
)
def test_wrong_ends_are_named(keys: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        solve_network(fork(), config(**keys))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mean_speed": 1e-3, "pressure": 5.0}, "only one of"),
        ({"pulse": {"rate": 1.0}}, "exactly one of harmonics, table and waveform"),
        ({"pulse": {"rate": 1.0, "table": [1, -2, 0.5]}}, "mean must be positive"),
        ({"pulse": {"rate": 1.0, "waveform": "sine"}, "carreau": {}}, "exclude each other"),
        ({"carreau": {"zero_viscosity": 1e-3}}, "must not be below"),
    ],
)
def test_contradictions_are_refused(keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**keys)
