"""Sheets and rods on a bench of their own, and the closed forms that they are held against."""

import csv
from pathlib import Path

import numpy as np
import pybullet
from pybullet_utils.bullet_client import BulletClient
from scipy.optimize import curve_fit, minimize_scalar

from mmdtwin.config import FlowConfig, RodConfig, SheetConfig, load
from mmdtwin.sim.bodies import Ambient, Medium, device_class

SHEET = load(SheetConfig, "devices", "soft-sheet")
ROD = load(RodConfig, "devices", "soft-rod")
VACUUM = FlowConfig(inlet="a", viscosity=1e-12, density=1e-9)
WATER = FlowConfig(inlet="a", viscosity=1e-3, density=1000.0)
BLOOD = FlowConfig(inlet="a", viscosity=4e-3, density=1060.0)
G = np.array([0.0, 0.0, -9.80665])
FIRST_MODE = 1.8751040687  # root of cos x cosh x = -1

TABLE = (Path(__file__).parents[1] / "data/elastica.csv").read_text()
# lambda, phi (deg), tip angle (deg), tip x/L, y/L; the last is 20 mT on the default sheet, from a
# boundary-value solve (scipy's solve_bvp, 1e-9)
ELASTICA = [tuple(map(float, row.values())) for row in csv.DictReader(TABLE.splitlines())]
ELASTICA.append((70.44, 90.0, 89.9570, 0.168502, 0.930204))


def connect():
    client = BulletClient(connection_mode=pybullet.DIRECT)
    client.setPhysicsEngineParameter(numSubSteps=0)
    return client


def make(client, config, fluid=VACUUM, gravity=(0, 0, 0), clamped=False, **changes):
    config = type(config).model_validate(config.model_dump() | changes)
    medium = Medium(fluid, np.array(gravity, float), friction=0.2)
    return device_class(config)(client, config, medium, clamped=clamped)


def uniform(device, field=(0, 0, 0), gradient=None, flow=(0, 0, 0)):
    g = np.zeros((3, 3)) if gradient is None else gradient
    return Ambient.uniform(device.n_links, field, g, flow)


def run(client, device, loads, duration, step=1e-3, watch=None):
    """Run, and return times and what `watch` says after each step."""
    t, times, seen = 0.0, [], []
    while t < duration - 1e-12:
        h = device.push(min(step, duration - t), loads)
        client.setTimeStep(h)
        client.stepSimulation()
        device.read()
        t += h
        if watch is not None:
            times.append(t)
            seen.append(watch(device))
    return np.array(times), np.array(seen)


def stir(client, device, seed, speed=50.0, spin=10.0, bend=0.3, rate=5.0):
    """Give it a random shape and motion, in mm, g and s."""
    rng, body = np.random.default_rng(seed), device.bodies[0]
    client.resetBaseVelocity(
        body, (speed * rng.normal(size=3)).tolist(), (spin * rng.normal(size=3)).tolist()
    )
    for joint in range(device.n_links - 1):
        if device.hinged:
            client.resetJointState(body, joint, bend * rng.normal(), rate * rng.normal())
            continue
        vector = bend * rng.normal(size=3)
        angle = np.linalg.norm(vector)
        turn = [*(np.sin(angle / 2) * vector / angle), np.cos(angle / 2)]
        client.resetJointStateMultiDof(body, joint, turn, (rate * rng.normal(size=3)).tolist())
    device.read()


def section(config):
    """Bending stiffness N m2, area m2 and width m of a section."""
    if config.kind == "sheet":
        stiffness = config.youngs_modulus * config.width * config.thickness**3 / 12
        return stiffness, config.width * config.thickness, config.width
    area = np.pi * config.radius**2
    return config.youngs_modulus * area * config.radius**2 / 4, area, 2 * config.radius


def field_of(config, lam):
    """Field T of a magnetic load lambda = M B A L^2 / EI."""
    stiffness, area, _ = section(config)
    return lam * stiffness / (config.magnetisation * area * config.length**2)


def across(azimuth):
    """Direction of bending: along the normal, or turned from it about the length by an angle."""
    return np.array([0.0, np.sin(azimuth), np.cos(azimuth)])


def bent(client, config, lam, phi, azimuth=0.0, **changes):
    """Tip angle (deg), x/L and y/L of a clamped body at rest in a field at an angle phi, deg."""
    body = make(client, config, clamped=True, damping_ratio=0.5, **changes)
    side, turn = across(azimuth), np.deg2rad(phi)
    field = field_of(config, lam) * (np.cos(turn) * np.array([1, 0, 0]) + np.sin(turn) * side)
    run(client, body, uniform(body, field), 1.5 if config.kind == "sheet" else 0.7, step=2e-3)
    tip, along = body.tip()
    body.remove()
    return (
        np.degrees(np.arctan2(along @ side, along[0])),
        *(tip[[0]] / config.length),
        (tip @ side / config.length),
    )


def errors(found, case):
    """Errors of angle (deg) and of the tip's place (share of the length)."""
    return abs(found[0] - case[2]), np.hypot(found[1] - case[3], found[2] - case[4])


def draw_errors(loads, angle, place):
    """Return what draws the errors of bending: angle in deg and place in % of L over lambda."""

    def draw(axes):
        axes.loglog(loads, angle, "o", label="tip angle, deg")
        axes.loglog(loads, 100 * place, "s", label="tip place, % of L")
        axes.set(xlabel="magnetic load $M B A L^2 / EI$", ylabel="error")
        axes.legend()

    return draw


def draw_order(cells, found):
    """Return what draws errors (n, 2) over the number of cells, beside a slope of 2."""

    def draw(axes):
        cells_, scale = np.asarray(cells, float), (cells[0] / np.asarray(cells)) ** 2
        for column, label in enumerate(("tip angle, deg", "tip place, share of L")):
            axes.loglog(cells_, found[:, column], "o-", label=label)
            axes.loglog(cells_, found[0, column] * scale, "k:", lw=1)
        axes.set(xlabel="cells over the length (dotted: order 2)", ylabel="error")
        axes.legend()

    return draw


def cantilever_frequency(config, fluid):
    """First bending frequency, Hz, by Euler and Bernoulli, with pi/4 rho w^2 of fluid."""
    stiffness, area, width = section(config)
    line = config.density * area + np.pi / 4 * fluid.density * width**2
    return (FIRST_MODE / config.length) ** 2 * np.sqrt(stiffness / line) / (2 * np.pi)


def ringing_frequency(client, config, fluid, step, azimuth=0.0, **changes):
    """Natural frequency, Hz, of a clamped body let go: of the damped cosine that fits its tip."""
    body = make(client, config, fluid, clamped=True, **changes)
    side, guess = across(azimuth), cantilever_frequency(config, fluid)
    run(client, body, uniform(body, field_of(config, 0.02) * side), 0.8, step=2e-3)
    t, y = run(client, body, uniform(body), 5 / guess, step, lambda b: b.tip()[0] @ side)

    def damped(t, a, decay, omega, phase):
        return a * np.exp(-decay * t) * np.cos(omega * t + phase)

    omega = 2 * np.pi * guess
    fitted, _ = curve_fit(damped, t, y / abs(y).max(), p0=[1, 0.15 * omega, omega, 0])
    return np.hypot(fitted[1], fitted[2]) / (2 * np.pi)


def buckling_load(client, config, azimuth=0.0):
    """Load lambda of a field against the magnetisation at which the straight body buckles.

    Where the growth rate squared goes through zero, by a parabola through four loads.
    """
    stiffness, area, _ = section(config)
    scale = (FIRST_MODE / config.length) ** 2 * np.sqrt(stiffness / (config.density * area))
    side, critical = across(azimuth), np.pi**2 / 4
    loads = critical * np.array([0.94, 0.97, 1.03, 1.06])
    rates = []
    for lam in loads:
        body = make(client, config, clamped=True, damping_ratio=0.0)
        run(client, body, uniform(body, field_of(config, 1e-4) * side), 0.01)
        against = uniform(body, (-field_of(config, lam), 0, 0))
        t, y = run(client, body, against, 18 / scale, 1e-4, lambda b: b.tip()[0] @ side)
        rates.append(growth_rate_squared(t, y / abs(y).max(), scale))
        body.remove()
    return np.polyval(np.polyfit(rates, loads, 2), 0.0)


def growth_rate_squared(t, y, scale):
    """The s that fits y'' = s y, of the order of a tenth of scale^2."""

    def misfit(s):
        root = np.sqrt(abs(s)) + 1e-9
        even, odd = (np.cosh, np.sinh) if s > 0 else (np.cos, np.sin)
        basis = np.stack([even(root * t), odd(root * t)], axis=1)
        basis /= abs(basis).max(axis=0)
        return np.sum((basis @ np.linalg.lstsq(basis, y, rcond=None)[0] - y) ** 2)

    grid = np.linspace(-0.3, 0.3, 121) * scale**2
    best = int(np.argmin([misfit(s) for s in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return minimize_scalar(
        misfit, bounds=bounds, method="bounded", options={"xatol": 1e-6 * scale**2}
    ).x
