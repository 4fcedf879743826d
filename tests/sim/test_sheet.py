"""The soft sheet against closed forms.

| Law | Reference | Tolerance and its reason |
|---|---|---|
| static bending in a uniform field | exact elastica, tests/data/elastica.csv | 1 deg: ten hinges |
| first bending mode in vacuum | Euler-Bernoulli cantilever | 6 %: added inertia 3 %, ten hinges |
| sinking speed broadside | Stokes disc plus pressure drag | 2 %: numerical |
| turning rate in a field | torque balance with the disc's drag | 6 %: strips instead of a disc |
| free fall | weight / mass | 1e-6 |
"""

import csv
from pathlib import Path

import numpy as np
import pybullet
import pytest
from pybullet_utils.bullet_client import BulletClient
from scipy.optimize import brentq

from mmdtwin.config import FlowConfig, SheetConfig, load
from mmdtwin.sim.bodies import Ambient, Medium
from mmdtwin.sim.bodies.sheet import BLASIUS, PLATE_PRESSURE, SoftSheet, drag_along

SHEET = load(SheetConfig, "devices", "soft-sheet")
VACUUM = FlowConfig(inlet="a", viscosity=1e-12, density=1e-9)
WATER = FlowConfig(inlet="a", viscosity=1e-3, density=1000.0)
G = np.array([0.0, 0.0, -9.80665])


@pytest.fixture
def client():
    c = BulletClient(connection_mode=pybullet.DIRECT)
    c.setPhysicsEngineParameter(numSubSteps=0)
    yield c
    c.disconnect()


def make(client, fluid=VACUUM, gravity=(0, 0, 0), clamped=False, **changes):
    config = SHEET.model_copy(update=changes)
    medium = Medium(fluid, np.array(gravity, float), friction=0.2)
    return SoftSheet(client, config, medium, clamped=clamped)


def uniform(sheet, field=(0, 0, 0), gradient=None, flow=(0, 0, 0)):
    g = np.zeros((3, 3)) if gradient is None else gradient
    return Ambient.uniform(sheet.config.links, field, g, flow)


def run(client, sheet, loads, duration, step=1e-3, record=None):
    t = 0.0
    while t < duration - 1e-12:
        h = sheet.push(min(step, duration - t), loads)
        client.setTimeStep(h)
        client.stepSimulation()
        sheet.read()
        t += h
        if record is not None:
            record.append((t, sheet))
            record[-1] = (t, sheet.tip_angle(), sheet.velocity().copy())


TABLE = (Path(__file__).parents[1] / "data/elastica.csv").read_text()
ROWS = list(csv.DictReader(TABLE.splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"lambda={r['lambda']}-phi={r['phi_deg']}")
def test_clamped_sheet_bends_like_the_elastica(client, row):
    lam, phi = float(row["lambda"]), np.deg2rad(float(row["phi_deg"]))
    sheet = make(client, clamped=True, damping_ratio=0.5)
    c = sheet.config
    bending = c.youngs_modulus * c.width * c.thickness**3 / 12
    b = lam * bending / (c.magnetisation * c.width * c.thickness * c.length**2)
    # z of the sheet is the bending direction: a field towards +z turns the tip towards +z
    run(client, sheet, uniform(sheet, (b * np.cos(phi), 0, b * np.sin(phi))), 1.0)
    assert np.degrees(-sheet.tip_angle()) == pytest.approx(float(row["tip_angle_deg"]), abs=1.0)


def test_first_mode_is_the_cantilevers_and_its_shift_is_stated(client):
    sheet = make(client, clamped=True, damping_ratio=0.005)
    c = sheet.config
    bending = c.youngs_modulus * c.width * c.thickness**3 / 12
    line = c.density * c.width * c.thickness
    expected = (1.8751040687 / c.length) ** 2 * np.sqrt(bending / line) / (2 * np.pi)
    run(client, sheet, uniform(sheet, (0, 0, 5e-5)), 0.5)
    trace = []
    run(client, sheet, uniform(sheet), 0.4, step=0.5e-3, record=trace)
    t, angle = np.array([r[0] for r in trace]), np.array([r[1] for r in trace])
    rising = np.flatnonzero((angle[:-1] < 0) & (angle[1:] >= 0))
    assert len(rising) >= 4
    frequency = (len(rising) - 1) / (t[rising[-1]] - t[rising[0]])
    assert frequency < expected  # the added inertia can only slow it
    assert frequency == pytest.approx(expected, rel=0.06)


def test_free_fall_in_vacuum(client):
    sheet = make(client, gravity=G)
    run(client, sheet, uniform(sheet), 0.05)
    np.testing.assert_allclose(sheet.velocity(), G * 0.05, rtol=1e-6, atol=1e-9)


def test_sinking_speed_broadside(client):
    sheet = make(client, WATER, gravity=G, youngs_modulus=1e8)
    run(client, sheet, uniform(sheet), 1.0)
    c = sheet.config
    weight = (c.density - WATER.density) * c.length * c.width * c.thickness * 9.80665
    radius = np.sqrt(c.length * c.width / np.pi)

    def excess(u):
        pressure = 0.5 * WATER.density * PLATE_PRESSURE * c.length * c.width * u * u
        return 16 * WATER.viscosity * radius * u + pressure - weight

    assert -sheet.velocity()[2] == pytest.approx(brentq(excess, 0, 1), rel=0.02)


def test_pull_along_its_length_balances_edgewise_drag(client):
    sheet = make(client, WATER, youngs_modulus=1e8)
    pull = 0.02  # T/m along x on a moment along x
    run(client, sheet, uniform(sheet, (5e-3, 0, 0), np.diag([pull, -pull / 2, -pull / 2])), 3.0)
    c = sheet.config
    force = c.magnetisation * c.length * c.width * c.thickness * pull
    radius = np.sqrt(c.length * c.width / np.pi)

    def excess(u):
        reynolds = WATER.density * u * c.length / WATER.viscosity
        skin = 0.5 * WATER.density * u * u * 2 * c.length * c.width * BLASIUS / np.sqrt(reynolds)
        return 32 / 3 * WATER.viscosity * radius * u + skin - force

    speed = brentq(excess, 1e-6, 1)
    assert sheet.velocity()[0] == pytest.approx(speed, rel=0.02)
    # What a laboratory is told of it is the same law.
    assert drag_along(c, WATER, speed) * speed == pytest.approx(force, rel=1e-6)


def test_flow_carries_a_neutrally_buoyant_sheet(client):
    sheet = make(client, WATER, density=1000.0)
    run(client, sheet, uniform(sheet, flow=(0.004, 0, 0.002)), 2.0)
    np.testing.assert_allclose(sheet.velocity(), (0.004, 0, 0.002), rtol=1e-3, atol=1e-7)


def test_turning_towards_the_field_at_the_rate_that_drag_allows(client):
    viscous = FlowConfig(inlet="a", viscosity=1.0, density=1000.0)  # Stokes: inertia is negligible
    sheet = make(client, viscous, youngs_modulus=1e8)
    trace = []
    b = 1e-3
    run(client, sheet, uniform(sheet, (0, 0, b)), 0.2)
    start = sheet.axes()[0, 2, 0]
    run(client, sheet, uniform(sheet, (0, 0, b)), 0.2, record=trace)
    end = sheet.axes()[0, 2, 0]
    c = sheet.config
    radius = np.sqrt(c.length * c.width / np.pi)
    moment = c.magnetisation * c.length * c.width * c.thickness
    rate = moment * b / (32 / 3 * viscous.viscosity * radius**3)
    # tan(angle to the field / 2) decays exponentially with that rate
    angle = [np.pi / 2 - np.arcsin(v) for v in (start, end)]
    measured = np.log(np.tan(angle[0] / 2) / np.tan(angle[1] / 2)) / 0.2
    assert measured == pytest.approx(rate, rel=0.06)


def test_torque_about_every_axis_follows_the_field(client):
    for field in ((0, 5e-3, 0), (0, 0, 5e-3), (-4e-3, 3e-3, 0)):
        sheet = make(client, WATER)
        sheet.place(np.zeros(3), np.eye(3))
        run(client, sheet, uniform(sheet, field), 2.0)
        direction = sheet.moment / np.linalg.norm(sheet.moment)
        np.testing.assert_allclose(direction, np.array(field) / np.linalg.norm(field), atol=0.01)


def test_harmonic_profile_has_no_net_moment_while_flat(client):
    sheet = make(client, profile="harmonic")
    whole = SHEET.magnetisation * SHEET.length * SHEET.width * SHEET.thickness
    assert np.linalg.norm(sheet.moment) < 1e-12 * whole / 1e-6
    sheet_uniform = make(client)
    assert sheet_uniform.moment[0] == pytest.approx(whole)


def test_substep_shrinks_when_the_sheet_is_fast(client):
    sheet = make(client, WATER)
    assert sheet.push(1e-3, uniform(sheet)) == 1e-3
    strong = np.diag([1.0, -0.5, -0.5])  # 64 uN on 1.9 mg: 33 m/s2
    loads = uniform(sheet, (0.02, 0, 0), strong)
    steps = []
    for _ in range(40):
        h = sheet.push(1e-3, loads)
        client.setTimeStep(h)
        client.stepSimulation()
        sheet.read()
        steps.append(h)
        assert np.linalg.norm(sheet.velocity()) * h <= 1.01 * 0.25 * SHEET.thickness
    assert min(steps) < 1e-3
