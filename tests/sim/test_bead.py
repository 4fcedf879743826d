"""Beads and capsules against theory and published figures.

| Law | Reference | Tolerance and its reason |
|---|---|---|
| terminal speed, Re < 0.05 | Stokes | 1 %: Oseen's inertia |
| terminal speed, Re 1-300 | balance with Schiller and Naumann's drag | 1 %: the contract; numerical |
| drag coefficient, Re 0.1-700 | standard drag curve, Lapple and Shepherd 1940 | 8 %: the law's own |
| centred in a tube | Haberman and Sayre's table | 5 %, drift 3 %: the contract |
| beside a plane | exact solution in bispherical coordinates | 1 %; coupling 1 % of the drag |
| off a tube's axis | u + a^2/6 lap u | 1 %: the contract |
| capsule's creeping drag | boundary integral over the capsule | 4 %: a spheroid stands for it |
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq

from mmdtwin.config import BeadConfig, CapsuleConfig, DeviceConfig, FlowConfig, load, parse
from mmdtwin.errors import ConfigError, PhysicsError
from mmdtwin.sim.bodies import Ambient, Medium
from mmdtwin.sim.bodies.bead import Bead
from mmdtwin.sim.bodies.sphere_drag import inertial_excess, spin_excess
from mmdtwin.sim.bodies.wall_drag import (
    ALONG, COUPLING, NORMAL, ROLL, SHEAR, SHEAR_TORQUE, plane,
)  # fmt: skip
from mmdtwin.sim.client import connect
from mmdtwin.units import GRAVITY, MU0

_spec = importlib.util.spec_from_file_location(
    "sphere_near_plane", Path(__file__).with_name("sphere_near_plane.py")
)
exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exact)

WATER = FlowConfig(inlet="a", viscosity=1e-3, density=1000.0)
BLOOD = FlowConfig(inlet="a", viscosity=4e-3, density=1060.0)
SYRUP = FlowConfig(inlet="a", viscosity=2.0, density=1000.0)  # no inertia to speak of
BEADS = {n: load(DeviceConfig, "devices", n) for n in ("bead-ndfeb", "bead-iron")}
NDFEB = BEADS["bead-ndfeb"]
CAPSULE = load(CapsuleConfig, "devices", "capsule-ndfeb")
SMOOTH = {"roughness": 1e-9}


class PlaneWall:
    """The half space z > 0."""

    def sdf(self, points):
        return np.atleast_2d(points)[:, 2].copy()

    def sdf_gradient(self, points):
        return self.sdf(points), np.tile([0.0, 0.0, 1.0], (len(np.atleast_2d(points)), 1))

    def tube(self, point):
        return np.array([1.0, 0.0, 0.0]), np.inf


class TubeWall:
    """A round tube along x."""

    def __init__(self, radius):
        self.radius = radius

    def sdf(self, points):
        return self.radius - np.linalg.norm(np.atleast_2d(points)[:, 1:], axis=1)

    def sdf_gradient(self, points):
        p = np.atleast_2d(points)
        r = np.linalg.norm(p[:, 1:], axis=1, keepdims=True)
        inward = np.zeros_like(p)
        inward[:, 1:] = -p[:, 1:] / np.where(r > 0, r, 1.0)
        return self.sdf(p), inward

    def tube(self, point):
        return np.array([1.0, 0.0, 0.0]), self.radius

    def flow(self, axial):
        """Return Poiseuille's flow as a function of position."""

        def at(point):
            y, z = point[1:]
            r2 = self.radius**2
            gradient = np.zeros((3, 3))
            gradient[0, 1:] = -2 * axial * y / r2, -2 * axial * z / r2
            return (
                np.array([axial * (1 - (y * y + z * z) / r2), 0, 0]),
                gradient,
                np.array([-4 * axial / r2, 0, 0]),
            )

        return at


def still(_):
    return np.zeros(3), np.zeros((3, 3)), np.zeros(3)


@pytest.fixture
def client():
    c = connect()
    yield c
    c.disconnect()


def make(client, config=NDFEB, fluid=WATER, gravity=(0, 0, 0), wall=None, friction=0.0, **changes):
    medium = Medium(fluid, np.array(gravity, float), friction, wall)
    return Bead(client, config.model_copy(update=changes), medium)


def run(client, bead, duration, step=1e-3, flow=still, field=None, gradient=None):
    """Advance; `flow` is a function of position, `field` of time."""
    t = 0.0
    while t < duration - 1e-12:
        u, g, lap = flow(bead.centre())
        b = np.zeros(3) if field is None else field(t)
        db = np.zeros((3, 3)) if gradient is None else gradient
        ambient = Ambient(b[None], db[None], u[None], g[None], lap[None])
        h = bead.push(min(step, duration - t), ambient)
        client.setTimeStep(h)
        client.stepSimulation()
        bead.read()
        t += h
    return ambient


def volume(config):
    return np.pi / 6 * config.diameter**3


# Free fall and terminal speed


@pytest.mark.parametrize("name", BEADS)
@pytest.mark.parametrize("fluid", [WATER, BLOOD], ids=["water", "blood"])
@pytest.mark.parametrize("reynolds", [0.01, 0.045])
def test_terminal_speed_is_stokes(client, name, fluid, reynolds):
    config = BEADS[name]
    a = config.diameter / 2
    speed = reynolds * fluid.viscosity / (fluid.density * 2 * a)
    pull = speed * 9 * fluid.viscosity / (2 * a * a * (config.density - fluid.density))
    bead = make(client, config, fluid, (0, 0, -pull))
    run(client, bead, 10 * config.density * a * a / fluid.viscosity * 2 / 9, step=2e-3)
    assert -bead.velocity()[2] == pytest.approx(speed, rel=0.01)


def schiller_naumann(config, fluid, pull):
    """Terminal speed at which the drag coefficient 24/Re (1 + 0.15 Re^0.687) holds the weight."""
    d = config.diameter
    weight = (config.density - fluid.density) * volume(config) * pull

    def excess(u):
        re = fluid.density * u * d / fluid.viscosity
        cd = 24 / re * (1 + 0.15 * re**0.687)
        return cd * fluid.density * u * u / 2 * np.pi * d * d / 4 - weight

    return brentq(excess, 1e-9, 10.0)


@pytest.mark.parametrize("name", BEADS)
@pytest.mark.parametrize("fluid", [WATER, BLOOD], ids=["water", "blood"])
@pytest.mark.parametrize("reynolds", [None, 1.0, 20.0, 300.0], ids=lambda r: f"Re={r}")
def test_terminal_speed_is_schiller_and_naumanns(client, name, fluid, reynolds):
    """Under its own weight, and under as much as gives a Reynolds number."""
    config, pull = BEADS[name], GRAVITY
    if reynolds:
        speed = reynolds * fluid.viscosity / (fluid.density * config.diameter)
        drag = 18 * fluid.viscosity * speed * (1 + 0.15 * reynolds**0.687)
        pull = drag / config.diameter**2 / (config.density - fluid.density)
    bead = make(client, config, fluid, (0, 0, -pull))
    ambient = run(client, bead, 1.0)
    assert -bead.velocity()[2] == pytest.approx(schiller_naumann(config, fluid, pull), rel=0.01)
    if reynolds:
        assert bead.reynolds(ambient) == pytest.approx(reynolds, rel=0.01)


# C. E. Lapple and C. B. Shepherd, Ind. Eng. Chem. 32 (1940) 605.
STANDARD_DRAG = {
    0.1: 240, 0.3: 80, 1: 26.5, 3: 10.4, 10: 4.1, 30: 2.0, 100: 1.07, 300: 0.65, 700: 0.50,
}  # fmt: skip


@pytest.mark.parametrize("reynolds", STANDARD_DRAG)
def test_drag_follows_the_standard_curve(reynolds):
    coefficient = 24 / reynolds * (1 + inertial_excess(reynolds))
    assert coefficient == pytest.approx(STANDARD_DRAG[reynolds], rel=0.08)


def test_beyond_the_drags_range_is_an_error(client):
    speed = 801 * WATER.viscosity / (WATER.density * NDFEB.diameter)
    bead = make(client, NDFEB, WATER)
    still_water = Ambient.uniform(1, flow=(speed, 0, 0))
    with pytest.raises(PhysicsError, match="800"):
        bead.check(still_water)
    bead.check(Ambient.uniform(1, flow=(0.99 * speed, 0, 0)))


def test_it_carries_half_of_the_displaced_fluid(client):
    """A light ball in inviscid fluid rises with 2 g (m_f - m) / (m_f + 2 m), not m_f / m - 1."""
    thin = FlowConfig(inlet="a", viscosity=1e-9, density=1000.0)
    bead = make(client, NDFEB, thin, (0, 0, -GRAVITY), density=100.0)
    run(client, bead, 1e-3, step=1e-4)
    rise = 2 * GRAVITY * (1000 - 100) / (1000 + 200)
    assert bead.velocity()[2] == pytest.approx(rise * 1e-3, rel=1e-3)


def test_it_does_not_fall_out_of_a_turning_stream(client):
    """Neutrally buoyant, it stays on a circle of water in solid rotation: u . grad u pulls it."""
    omega = 2.0
    spin = np.array([[0.0, -omega, 0.0], [omega, 0.0, 0.0], [0.0, 0.0, 0.0]])
    bead = make(client, NDFEB, WATER, density=1000.0)
    bead.place(np.array([5e-3, 0, 0]), np.eye(3))
    run(client, bead, 2.0, flow=lambda p: (spin @ p, spin, np.zeros(3)))
    assert np.hypot(*bead.centre()[:2]) == pytest.approx(5e-3, rel=0.02)
    np.testing.assert_allclose(bead.angular_velocity(), [0, 0, omega], atol=0.02 * omega)


# Walls

HABERMAN_SAYRE_DRAG = {0.1: 1.263, 0.2: 1.680, 0.3: 2.371, 0.4: 3.596, 0.5: 5.970, 0.6: 11.135}
HABERMAN_SAYRE_DRIFT = {0.1: 0.994, 0.2: 0.973, 0.3: 0.941, 0.4: 0.895, 0.5: 0.838}


@pytest.mark.parametrize("ratio", HABERMAN_SAYRE_DRAG)
def test_drag_in_the_middle_of_a_tube(client, ratio):
    wall = TubeWall(NDFEB.diameter / 2 / ratio)
    bead = make(client, fluid=SYRUP, gravity=(GRAVITY, 0, 0), wall=wall)
    run(client, bead, 0.02)
    force = (NDFEB.density - SYRUP.density) * volume(NDFEB) * GRAVITY
    stokes = force / (3 * np.pi * SYRUP.viscosity * NDFEB.diameter)
    assert stokes / bead.velocity()[0] == pytest.approx(HABERMAN_SAYRE_DRAG[ratio], rel=0.05)


@pytest.mark.parametrize("ratio", HABERMAN_SAYRE_DRIFT)
def test_drift_in_the_middle_of_a_tube(client, ratio):
    wall = TubeWall(NDFEB.diameter / 2 / ratio)
    bead = make(client, fluid=SYRUP, wall=wall, density=SYRUP.density)
    run(client, bead, 0.05, flow=wall.flow(10e-3))
    assert bead.velocity()[0] / 10e-3 == pytest.approx(HABERMAN_SAYRE_DRIFT[ratio], rel=0.03)


@pytest.mark.parametrize("ratio", [0.05, 0.1])
@pytest.mark.parametrize("off", [0.2, 0.4, 0.55])
def test_drift_off_the_axis_is_faxens(client, ratio, off):
    radius = NDFEB.diameter / 2 / ratio
    wall = TubeWall(radius)
    flow = wall.flow(10e-3)
    bead = make(client, fluid=SYRUP, wall=wall, density=SYRUP.density)
    start = np.array([0, off * radius, 0])
    bead.place(start, np.eye(3))
    run(client, bead, 0.05, flow=flow)
    u, _, lap = flow(start)
    assert bead.velocity()[0] == pytest.approx((u + (NDFEB.diameter / 2) ** 2 / 6 * lap)[0], rel=0.01)
    np.testing.assert_allclose(bead.velocity()[1:], 0, atol=1e-6)


def test_reference_beside_a_plane_is_goldman_cox_and_brenners():
    """Their tables' values at h/a = 1.5431, 1.1276 and 1.005004, which the solver must give."""
    table = {0.5431: (1.5675, 1.4391), 0.1276: (2.1514, 1.6160), 0.005004: (3.7863, 1.6969)}
    for gap, (drag, shear) in table.items():
        found = exact.parallel(gap)
        assert found["F_t"] == pytest.approx(drag, rel=5e-4)
        assert found["F_s"] == pytest.approx(shear, rel=5e-4)
    assert exact.normal(0.5431) == pytest.approx(3.0361, rel=1e-3)  # Brenner 1961


@pytest.mark.parametrize("gap", [5.0, 1.0, 0.3, 0.06, 0.02, 0.005])
def test_plane_factors_are_the_exact_ones(gap):
    x, found = 1 / (1 + gap), exact.parallel(gap)
    for which, name in (
        (ALONG, "F_t"), (ROLL, "T_r"), (SHEAR, "F_s"), (SHEAR_TORQUE, "T_s"),
    ):  # fmt: skip
        assert plane(which, x) == pytest.approx(found[name], rel=0.01), name
    assert plane(COUPLING, x) == pytest.approx(found["T_t"], abs=0.01 * found["T_r"])
    assert found["F_r"] == pytest.approx(4 / 3 * found["T_t"], abs=1e-4)  # reciprocity
    assert plane(NORMAL, x) == pytest.approx(exact.normal(gap), rel=0.01)


@pytest.mark.parametrize("gap", [0.5, 0.05, 0.005])
def test_pulled_along_a_plane_it_moves_and_turns(client, gap):
    a = NDFEB.diameter / 2
    bead = make(client, fluid=SYRUP, gravity=(GRAVITY, 0, 0), wall=PlaneWall(), **SMOOTH)
    bead.place(np.array([0, 0, a * (1 + gap)]), np.eye(3))
    run(client, bead, 0.02)
    f = exact.parallel(gap)
    force = (NDFEB.density - SYRUP.density) * volume(NDFEB) * GRAVITY
    speed, turning = np.linalg.solve(
        [[f["F_t"], -f["F_r"]], [-f["T_t"], f["T_r"]]],
        [force / (6 * np.pi * SYRUP.viscosity * a), 0],
    )
    assert bead.velocity()[0] == pytest.approx(speed, rel=0.02)
    assert bead.angular_velocity()[1] * a == pytest.approx(turning, abs=0.02 * speed)


@pytest.mark.parametrize("gap", [0.5431, 0.0453, 0.005])
def test_in_shear_beside_a_plane_it_lags(client, gap):
    a, shear = NDFEB.diameter / 2, 10.0
    gradient = np.zeros((3, 3))
    gradient[0, 2] = shear
    bead = make(client, fluid=SYRUP, wall=PlaneWall(), density=SYRUP.density, **SMOOTH)
    bead.place(np.array([0, 0, a * (1 + gap)]), np.eye(3))
    run(client, bead, 0.02, flow=lambda p: (gradient @ p, gradient, np.zeros(3)))
    f = exact.parallel(gap)
    speed, turning = np.linalg.solve(
        [[f["F_t"], -f["F_r"]], [-f["T_t"], f["T_r"]]],
        [f["F_s"] * (1 + gap) * a * shear, f["T_s"] * a * shear / 2],
    )
    assert bead.velocity()[0] == pytest.approx(speed, rel=0.02)
    assert bead.angular_velocity()[1] * a == pytest.approx(turning, rel=0.02)


@pytest.mark.parametrize("gap", [0.3, 0.05, 0.01])
def test_it_nears_a_plane_as_brenner_says(client, gap):
    a = NDFEB.diameter / 2
    bead = make(client, fluid=SYRUP, gravity=(0, 0, -GRAVITY), wall=PlaneWall(), **SMOOTH)
    bead.place(np.array([0, 0, a * (1 + gap)]), np.eye(3))
    run(client, bead, 4e-3, step=1e-4)
    here = bead.centre()[2] / a - 1
    force = (NDFEB.density - SYRUP.density) * volume(NDFEB) * GRAVITY
    stokes = force / (6 * np.pi * SYRUP.viscosity * a)
    assert here < gap
    assert -stokes / bead.velocity()[2] == pytest.approx(exact.normal(here), rel=0.02)


# Rotation and magnetism


@pytest.mark.parametrize("lag", [20.0, 60.0])
def test_it_follows_a_turning_field_with_the_lag_of_its_drag(client, lag):
    """m B sin(lag) = 8 pi mu a^3 omega; 2 deg: what the field turns in a step."""
    bead = make(client, fluid=SYRUP)
    omega = 2 * np.pi
    moment = NDFEB.magnet.magnetisation * volume(NDFEB)
    b = 8 * np.pi * SYRUP.viscosity * (NDFEB.diameter / 2) ** 3 * omega / moment
    b /= np.sin(np.radians(lag))
    run(client, bead, 3.0, field=lambda t: b * np.array([np.cos(omega * t), np.sin(omega * t), 0]))
    m = bead.moment
    behind = np.degrees(omega * 3.0 - np.arctan2(m[1], m[0]))
    assert (behind + 180) % 360 - 180 == pytest.approx(lag, abs=2.0)
    np.testing.assert_allclose(bead.angular_velocity(), [0, 0, omega], rtol=0.01, atol=0.01)


def test_torque_of_fast_rotation_joins_slow_rotations():
    """Series 1 + Re^2 / 1200 (Bickley 1938) to Re = 5; 4.9 is above Dennis' table's 5 % at 8."""
    assert spin_excess(5.0) == 0.0
    assert spin_excess(10.0) == pytest.approx(100 / 1200, abs=0.05)
    # Dennis, Singh and Ingham 1980, beyond which inertia is half as much again
    assert 0.4 < spin_excess(40.0) < 0.6


def test_soft_iron_is_pulled_and_not_turned(client):
    """Force 4 pi a^3 / mu0 (mu - 1) / (mu + 2) B dB/dx along x, the conducting sphere's for iron."""
    iron = BEADS["bead-iron"]
    a, b, slope = iron.diameter / 2, 5e-3, 0.5
    bead = make(client, iron, SYRUP)
    gradient = np.diag([slope, -slope / 2, -slope / 2])
    run(client, bead, 0.02, field=lambda t: np.array([b, 0, 0]), gradient=gradient)
    mu = 1 + iron.magnet.susceptibility
    force = 4 * np.pi * a**3 / MU0 * (mu - 1) / (mu + 2) * b * slope
    assert bead.velocity()[0] == pytest.approx(force / (6 * np.pi * SYRUP.viscosity * a), rel=0.01)
    assert np.linalg.norm(bead.angular_velocity()) < 1e-9


def test_soft_iron_saturates(client):
    iron = BEADS["bead-iron"]
    bead = make(client, iron, SYRUP)
    run(client, bead, 1e-3, field=lambda t: np.array([0, 2.0, 0]))
    expected = iron.magnet.saturation * volume(iron)
    np.testing.assert_allclose(bead.moment, [0, expected, 0], rtol=1e-9)


def test_a_soft_capsule_turns_its_length_along_the_field(client):
    magnet = CAPSULE.magnet.model_copy(update={"magnetisation": None, "susceptibility": 5.0})
    capsule = make(client, CAPSULE, WATER, magnet=magnet)
    field = 20e-3 * np.array([0.5, np.sqrt(0.75), 0.0])
    run(client, capsule, 2.0, field=lambda t: field)
    assert abs(capsule.direction @ field) == pytest.approx(20e-3, rel=1e-4)


def test_torque_on_a_soft_capsule_is_the_slope_of_its_energy(client):
    """Osborn's table has N = 0.1736 along a prolate spheroid of 2:1."""
    magnet = CAPSULE.magnet.model_copy(update={"magnetisation": None, "susceptibility": 5.0})
    capsule = make(client, CAPSULE, SYRUP, magnet=magnet, length=2 * CAPSULE.diameter)
    angle, b = np.radians(40.0), 10e-3
    field = b * np.array([np.cos(angle), np.sin(angle), 0.0])
    ambient = Ambient.uniform(1, field=field)
    capsule.push(1e-5, ambient)
    body = capsule.config
    along, across = (5 / (1 + 5 * n) for n in (0.1736, (1 - 0.1736) / 2))
    expected = body.volume * b * b / MU0 * (along - across) * np.sin(2 * angle) / 2
    torque = np.cross(capsule.moment, field)[2]
    assert torque == pytest.approx(expected, rel=2e-3)


# Capsules


def boundary_integral_drag(length, diameter, rings=24, around=16):
    """Creeping drag of a capsule over viscosity and speed, m: regularised Stokeslets on it.

    R. Cortez, L. Fauci and A. Medovikov, Phys. Fluids 17 (2005) 031504. Return along, across and
    the torque over viscosity and rate, m3, end over end.
    """
    a, half = diameter / 2, (length - diameter) / 2
    arc = half * 2 + np.pi * a
    s = (np.arange(rings) + 0.5) / rings * arc
    x = np.where(
        s < np.pi * a / 2,
        -half - a * np.cos(s / a),
        np.where(s > arc - np.pi * a / 2, half + a * np.cos((arc - s) / a), s - arc / 2),
    )
    r = np.sqrt(np.maximum(a**2 - np.maximum(np.abs(x) - half, 0) ** 2, 0))
    phi = 2 * np.pi * (np.arange(around)[None] + 0.5 * (np.arange(rings)[:, None] % 2)) / around
    flat = [np.broadcast_to(x[:, None], phi.shape), r[:, None] * np.cos(phi), r[:, None] * np.sin(phi)]
    p = np.stack([v.ravel() for v in flat], axis=1)
    weight = np.repeat(2 * np.pi * r * arc / rings / around, around)
    e = 0.42 * np.sqrt(weight.mean())  # gives a ball its drag
    d = p[:, None] - p[None]
    r2 = (d**2).sum(-1)
    scale = 1 / (8 * np.pi * (r2 + e * e) ** 1.5)
    block = scale[..., None, None] * (
        (r2 + 2 * e * e)[..., None, None] * np.eye(3) + d[..., :, None] * d[..., None, :]
    )
    matrix = block.transpose(0, 2, 1, 3).reshape(3 * len(p), 3 * len(p))
    turning = np.cross([0, 0, 1.0], p)
    motions = np.stack([np.tile([1.0, 0, 0], len(p)), np.tile([0, 1.0, 0], len(p)), turning.ravel()])
    forces = np.linalg.lstsq(matrix, motions.T, rcond=1e-10)[0].T.reshape(3, len(p), 3)
    return forces[0, :, 0].sum(), forces[1, :, 1].sum(), np.cross(p, forces[2])[:, 2].sum()


def test_creeping_drag_of_a_capsule(client):
    along, across, over = boundary_integral_drag(CAPSULE.length, CAPSULE.diameter)
    weight = (CAPSULE.density - SYRUP.density) * CAPSULE.volume * GRAVITY
    for direction, drag in ((np.array([1, 0, 0]), along), (np.array([0, 1, 0]), across)):
        capsule = make(client, CAPSULE, SYRUP, GRAVITY * direction)
        run(client, capsule, 0.05)
        speed = weight / (drag * SYRUP.viscosity)
        assert capsule.velocity() @ direction == pytest.approx(speed, rel=0.04)
        capsule.remove()
    capsule = make(client, CAPSULE, SYRUP)
    b = 1e-3
    run(client, capsule, 0.02, field=lambda t: np.array([0, b, 0]))
    sin = capsule.direction[1]
    torque = CAPSULE.magnet.magnetisation * CAPSULE.volume * b * np.sqrt(1 - sin**2)
    rate = torque / (over * SYRUP.viscosity)
    assert capsule.angular_velocity()[2] == pytest.approx(rate, rel=0.06)


@pytest.mark.parametrize("reynolds", [1.0, 10.0, 100.0])
def test_drag_of_a_capsule_at_finite_reynolds_number(client, reynolds):
    """Hoelzer and Sommerfeld, Powder Technology 184 (2008) 361, which errs by 14 % itself."""
    c = CAPSULE
    equivalent = (6 / np.pi * c.volume) ** (1 / 3)
    speed = reynolds * WATER.viscosity / (WATER.density * equivalent)
    surface = np.pi * c.diameter * c.length
    sphericity = np.pi * equivalent**2 / surface
    cap, side = np.pi / 4 * c.diameter**2, c.diameter * (c.length - c.diameter)
    disc = np.pi / 4 * equivalent**2
    # What is seen along the flow, and from beside it, on average over the views.
    for axis, seen, beside in ((0, cap, cap + side), (1, cap + side, cap + 2 / np.pi * side)):
        lengthwise = disc / (surface / 2 - beside)
        crosswise = disc / seen
        coefficient = (
            8 / reynolds / np.sqrt(lengthwise)
            + 16 / reynolds / np.sqrt(sphericity)
            + 3 / np.sqrt(reynolds) / sphericity**0.75
            + 0.42 * 10 ** (0.4 * (-np.log10(sphericity)) ** 0.2) / crosswise
        )
        force = coefficient * WATER.density * speed**2 / 2 * disc
        pull = force / ((c.density - WATER.density) * c.volume) * np.eye(3)[axis]
        capsule = make(client, c, WATER, pull)
        run(client, capsule, 1.0)
        assert capsule.velocity()[axis] == pytest.approx(speed, rel=0.15)
        capsule.remove()


def test_a_capsule_tumbles_in_shear_as_jeffery_says(client):
    """Period 2 pi / S (r + 1/r) for the slenderness r of its spheroid."""
    shear, gradient = 2.0, np.zeros((3, 3))
    gradient[0, 1] = shear
    capsule = make(client, CAPSULE, SYRUP, density=SYRUP.density)
    r = CAPSULE.length / CAPSULE.diameter
    period = 2 * np.pi / shear * (r + 1 / r)
    run(client, capsule, period / 2, step=5e-3, flow=lambda p: (gradient @ p, gradient, np.zeros(3)))
    np.testing.assert_allclose(np.abs(capsule.direction[0]), 1.0, atol=0.01)
    run(client, capsule, period / 4, step=5e-3, flow=lambda p: (gradient @ p, gradient, np.zeros(3)))
    assert abs(capsule.direction[0]) < 0.1


# Contact


def add_floor(client, friction):
    floor = client.createMultiBody(0, client.createCollisionShape(client.GEOM_PLANE))
    client.changeDynamics(floor, -1, lateralFriction=friction, restitution=0.0)


def roll(client, frequency, friction=0.3):
    """Return the speed over a omega of a bead on a floor in a field that turns about y."""
    add_floor(client, 1.0)  # PyBullet multiplies the coefficients of both
    bead = make(
        client, fluid=WATER, gravity=(0, 0, -GRAVITY), wall=PlaneWall(), friction=friction
    )
    bead.place(np.array([0, 0, NDFEB.diameter / 2]), np.eye(3))
    omega, b = 2 * np.pi * frequency, 5e-3
    run(
        client, bead, 0.5,
        field=lambda t: b * np.array([np.cos(omega * t), 0, -np.sin(omega * t)]),
    )  # fmt: skip
    assert bead.contact_force() == pytest.approx(
        (NDFEB.density - 1000) * volume(NDFEB) * GRAVITY, rel=0.05
    )
    return bead.velocity()[0] / (NDFEB.diameter / 2 * omega)


@pytest.mark.parametrize("frequency", [1.0, 5.0])
def test_it_rolls_without_slip(client, frequency):
    assert roll(client, frequency) == pytest.approx(1.0, abs=0.02)


def test_it_slips_where_friction_cannot_hold_the_drag(client):
    """Drag beyond friction times weight: without friction the film alone drives it."""
    assert roll(client, 5.0, friction=0.0) < 0.3


def test_resting_it_presses_with_its_weight(client):
    add_floor(client, 1.0)
    bead = make(client, fluid=BLOOD, gravity=(0, 0, -GRAVITY), wall=PlaneWall(), friction=0.2)
    bead.place(np.array([0, 0, NDFEB.diameter / 2 + 0.1e-3]), np.eye(3))
    run(client, bead, 1.0)
    weight = (NDFEB.density - BLOOD.density) * volume(NDFEB) * GRAVITY
    assert bead.contact_force() == pytest.approx(weight, rel=0.01)
    assert abs(bead.centre()[2] - NDFEB.diameter / 2) < 2e-6


def test_a_fast_bead_takes_short_steps_to_the_wall(client):
    """Thrown at the floor with 0.3 m/s it enters it by less than 20 um."""
    add_floor(client, 1.0)
    bead = make(client, fluid=WATER, gravity=(0, 0, -20 * GRAVITY), wall=PlaneWall())
    bead.place(np.array([0, 0, 5e-3]), np.eye(3))
    lowest = np.inf
    for _ in range(60):
        run(client, bead, 1e-3)
        lowest = min(lowest, bead.centre()[2] - NDFEB.diameter / 2)
    assert lowest < 1e-6
    assert lowest > -20e-6


# Configuration


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"diameter": 0.5}, "is it in mm"),
        ({"density": -1}, "density"),
        ({"magnet": {}}, "either magnetisation or susceptibility"),
        ({"magnet": {"magnetisation": 1e6, "saturation": 1e6}}, "saturation"),
        ({"colour": "red"}, "unknown key; allowed: density, diameter"),
    ],
)
def test_what_is_wrong_with_a_bead_is_said(change, says):
    data = {**NDFEB.model_dump(exclude_none=True), **change}
    with pytest.raises(ConfigError, match=says):
        parse(BeadConfig, data, "bead.yaml")


def test_a_capsule_is_longer_than_wide():
    data = {**CAPSULE.model_dump(exclude_none=True), "length": CAPSULE.diameter}
    with pytest.raises(ConfigError, match="1.05 to 10 diameters"):
        parse(DeviceConfig, data, "capsule.yaml")
