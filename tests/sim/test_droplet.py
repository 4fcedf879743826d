"""The ferrofluid droplet against closed forms, in free space.

| Law | Reference | Tolerance and its reason |
|---|---|---|
| equilibrium in a field | closed-form energy of a prolate spheroid | 1 %: settling |
| small deformation | (9/16)(mu0 R H^2 / gamma)(chi / (chi + 3))^2 | 10 % where first order holds |
| saturating magnetisation | stationary free energy of the spheroid, quadrature | 1 % |
| oscillation | Lamb's mode with the added mass of a ball | 3 %: damping, step |
| relaxation in creeping flow | Rallison 1980 | 2 %: finite deformation |
| shear | Taylor 1934 | 3 %: second order in the capillary number |
| settling | Hadamard 1911, Rybczynski 1911 | 0.5 %: Re = 1e-3 |
"""

import numpy as np
import pytest
from droplets import BLOOD, DROPLET, make, run, stretch, uniform
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar

from mmdtwin.config import FlowConfig
from mmdtwin.sim.bodies.droplet_ellipsoid import area
from mmdtwin.sim.client import connect
from mmdtwin.units import MU0

AREA = "droplet"  # of the claims in the validation report
TENSION, RADIUS = DROPLET.interfacial_tension, DROPLET.radius
SYRUP = FlowConfig(inlet="a", viscosity=1.0, density=1060.0)
LINEAR = {"saturation": 1e9}  # A/m: Langevin's law in its linear part
PRESET = "R = 1 mm, gamma = 13.5 mN/m (preset `droplet-ferrofluid`) in blood (4 mPa s, 1060 kg/m3)"


@pytest.fixture
def client():
    c = connect()
    yield c
    c.disconnect()


def spheroid_area(aspect):
    """Area over R^2 of a prolate spheroid with the volume of a ball of radius R."""
    minor = aspect ** (-1 / 3)
    e = np.sqrt(1 - aspect**-2)
    return 2 * np.pi * minor**2 * (1 + aspect / e * np.arcsin(e))


def factor_along(aspect):
    e = np.sqrt(1 - aspect**-2)
    return (1 - e * e) / e**3 * (np.arctanh(e) - e)


def bond_number(aspect, chi):
    """mu0 R H^2 / gamma at which this aspect ratio has stationary energy, linear in the field."""

    def slope(function):
        return function(aspect * 1.0001) - function(aspect * 0.9999)

    magnetic = slope(lambda a: 0.5 * 4 / 3 * np.pi * chi / (1 + factor_along(a) * chi))
    return slope(spheroid_area) / magnetic


def field_of(bond):
    return MU0 * np.sqrt(bond * TENSION / (MU0 * RADIUS))


def settled(client, field, duration=0.6, **changes):
    """A droplet that has come to rest in a uniform field (3,) T; damped more than the preset."""
    droplet = make(client, **{"viscosity": 0.05, **changes})
    run(client, droplet, uniform(droplet, field), duration)
    return droplet


def test_at_rest_without_a_field_it_is_a_ball_of_its_volume(client, claim):
    droplet = make(client)
    stretch(droplet, 1.5)
    run(client, droplet, uniform(droplet), 0.5)
    deformation, volume = droplet.deformation(), droplet.volume() / DROPLET.volume
    # The particles themselves, not only their second moments, fill the ball.
    reach = np.linalg.norm(droplet.nodes() - droplet.centre(), axis=1).max() / RADIUS
    assert claim(
        "a ball without a field",
        parameters=f"{PRESET}, 64 particles, 0.5 s after it was stretched to an aspect of 1.5",
        reference="a ball of the configured volume",
        acceptance="D <= 0.01, volume 1e-3; outermost particle at 0.80-0.90 R (half a spacing in)",
        result=f"D = {deformation:.1e}, volume {volume:.6f}, outermost particle at {reach:.2f} R",
        holds=deformation <= 0.01 and abs(volume - 1) < 1e-3 and 0.8 < reach < 0.9,
    )


@pytest.mark.parametrize("chi", [1.0, 3.0, 10.0])
def test_small_deformation(client, claim, chi):
    found, exact, law = [], [], np.array([0.02, 0.03, 0.05, 0.08])
    for expected in law:
        bond = expected * 16 / 9 * ((chi + 3) / chi) ** 2
        droplet = settled(client, (0, 0, field_of(bond)), susceptibility=chi, **LINEAR)
        found.append(droplet.deformation())
        droplet.remove()
        aspect = brentq(lambda a, bond=bond: bond_number(a, chi) - bond, 1.001, 1.5)
        exact.append((aspect - 1) / (aspect + 1))
    found, exact = np.array(found), np.array(exact)
    valid = np.abs(exact / law - 1) < 0.095
    bonds = law * 16 / 9 * ((chi + 3) / chi) ** 2

    def draw(axes) -> None:
        aspects = np.linspace(1.01, 1.5, 50)
        balance = np.array([bond_number(a, chi) for a in aspects])
        shown = balance < 1.3 * bonds[-1]
        axes.plot(bonds, law, ":", label="first-order law")
        axes.plot(balance[shown], ((aspects - 1) / (aspects + 1))[shown], label="spheroid balance")
        axes.plot(bonds, found, "o", label="droplet")
        axes.set(xlabel="magnetic Bond number mu0 R H^2 / gamma", ylabel="D")
        axes.legend()

    assert claim(
        f"small deformation at chi = {chi:g}",
        parameters=f"{PRESET}, 64 particles, linear fluid, law's D = {law}",
        reference="(9/16)(mu0 R H^2/gamma)(chi/(chi + 3))^2, and the exact spheroid balance",
        acceptance="10 % of the law where the exact balance is within that of it: it is of first "
        "order in H^2; everywhere 1 % of the balance (settling)",
        result=f"over the law {np.round(found / law, 3)}, over the balance "
        f"{np.round(found / exact, 4)}",
        holds=valid[:2].all()
        and np.abs(found / law - 1)[valid].max() < 0.1
        and np.abs(found / exact - 1).max() < 0.01,
        limits=""
        if valid.all()
        else "the law itself is off the exact balance by "
        f"{np.abs(exact / law - 1).max():.0%} at D = 0.08",
        draw=draw,
    )


def test_aspect_ratio_is_the_spheroid_balances_for_any_number_of_particles(client, claim):
    cases = [(1.0, 1.5), (3.0, 2.0), (10.0, 2.0), (3.0, 3.0)]
    found = np.zeros((2, len(cases)))
    by_particles = np.zeros_like(found)
    for n, particles in enumerate((64, 128)):
        for k, (chi, aspect) in enumerate(cases):
            field = (0, field_of(bond_number(aspect, chi)), 0)
            changes = {"susceptibility": chi, "particles": particles, **LINEAR}
            droplet = settled(client, field, duration=0.8, **changes)
            short, middle, long = droplet.semi_axes()[0]
            assert middle == pytest.approx(short, rel=1e-3)
            assert abs(droplet.direction[1]) == pytest.approx(1.0, abs=1e-4)
            found[n, k] = long / short / aspect
            deviation = (droplet.nodes() - droplet.centre()).std(axis=0)
            by_particles[n, k] = deviation[1] / deviation[0] / aspect
            droplet.remove()
    assert claim(
        "aspect ratio in a uniform field",
        parameters=f"{PRESET}, linear fluid, chi and aspect {cases}, 64 and 128 particles",
        reference="stationary energy of a prolate spheroid with closed-form area and "
        "demagnetising factor (Bacri and Salin 1982; Afkhami et al. 2010)",
        acceptance="1 % (asked: 10 %, and 5 % between 64 and 128 particles)",
        result=f"over the balance {np.round(found, 4).tolist()}",
        holds=np.abs(found - 1).max() < 0.01
        and np.abs(by_particles - 1).max() < 0.01
        and np.abs(found[0] / found[1] - 1).max() < 0.01,
    )


@pytest.mark.parametrize(("field", "tension"), [(0.02, TENSION), (0.035, 5e-3)])
def test_saturating_fluid_is_where_its_free_energy_is_least(client, field, tension):
    """Aspect ratios of 7.0 and 14.8: `check` ends at 15. Viscous, not to draw too far at first."""
    changes = {"interfacial_tension": tension, "viscosity": 0.5}
    droplet = settled(client, (0, 0, field), duration=1.0, **changes)
    chi, most = DROPLET.susceptibility, DROPLET.saturation

    def langevin(h):
        a = 3 * chi * h / most
        return most * (1 / np.tanh(a) - 1 / a)

    def energy(aspect):
        n = factor_along(aspect)
        h = brentq(lambda h: h + n * langevin(h) - field / MU0, 1.0, field / MU0)
        work = quad(langevin, 1e-3, h)[0]
        magnetic = -MU0 * (0.5 * n * langevin(h) ** 2 + work) * DROPLET.volume
        return tension * RADIUS**2 * spheroid_area(aspect) + magnetic

    best = minimize_scalar(energy, bounds=(1.01, 30.0), method="bounded").x
    short, _, long = droplet.semi_axes()[0]
    assert long / short == pytest.approx(best, rel=0.01)
    n = factor_along(best)
    h = brentq(lambda h: h + n * langevin(h) - field / MU0, 1.0, field / MU0)
    assert droplet.moment[2] == pytest.approx(langevin(h) * DROPLET.volume, rel=0.01)


def test_oscillates_and_its_energy_never_grows(client):
    droplet = make(client)
    stretch(droplet, 1.1)
    liquid = droplet.liquid
    sizes, energies = [], []
    for _ in range(60):
        run(client, droplet, uniform(droplet), 1e-3)
        moving = 0.5 * liquid.particle_mass * (droplet.velocities() ** 2).sum() * 1e6
        semi = (droplet.semi_axes()[0] * 1e3) ** 2
        energies.append(moving + liquid.tension * area(semi)[0])
        x, _, z = (droplet.nodes() - droplet.centre()).std(axis=0)
        sizes.append(z / x - 1)
    energies = np.array(energies)
    assert (np.diff(energies) <= 1e-6 * (energies[0] - 4 * np.pi * liquid.tension)).all()
    turns = np.flatnonzero(np.diff(np.sign(sizes)))
    rate = np.pi / (np.diff(turns).mean() * 1e-3)
    density = DROPLET.density + 0.5 * BLOOD.density
    assert rate == pytest.approx(np.sqrt(8 * TENSION / (density * RADIUS**3)), rel=0.03)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
def test_relaxes_in_creeping_flow_as_a_drop_in_a_fluid(client, ratio):
    droplet = make(client, SYRUP, viscosity=ratio * SYRUP.viscosity)
    stretch(droplet, 1.05)
    time = (19 * ratio + 16) * (2 * ratio + 3) / (40 * (ratio + 1))
    time *= SYRUP.viscosity * RADIUS / TENSION
    run(client, droplet, uniform(droplet), 0.2 * time)
    before = droplet.deformation()
    run(client, droplet, uniform(droplet), 0.5 * time)
    assert np.log(before / droplet.deformation()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("ratio", [0.1, 2.0])
def test_deforms_in_shear_as_taylors_drop(client, ratio):
    droplet = make(client, SYRUP, viscosity=ratio * SYRUP.viscosity)
    shear = 0.4  # 1/s

    def ambient(d):
        flow = np.zeros((len(d.points), 3))
        flow[:, 0] = shear * d.points[:, 2]
        return uniform(d)._replace(flow=flow)

    run(client, droplet, ambient, 1.5)
    capillary = SYRUP.viscosity * shear * RADIUS / TENSION
    expected = capillary * (19 * ratio + 16) / (16 * ratio + 16)
    assert droplet.deformation() == pytest.approx(expected, rel=0.03)


def test_settles_as_a_fluid_ball(client):
    ratio = DROPLET.viscosity / SYRUP.viscosity
    droplet = make(client, SYRUP, gravity=(0, 0, -9.80665))
    run(client, droplet, uniform(droplet), 0.1)
    weight = (DROPLET.density - SYRUP.density) * 9.80665
    speed = 2 / 3 * weight * RADIUS**2 / SYRUP.viscosity * (1 + ratio) / (2 + 3 * ratio)
    assert -droplet.velocity()[2] == pytest.approx(speed, rel=0.005)


def test_gradient_pulls_with_the_moment(client):
    droplet = make(client, FlowConfig(inlet="a", viscosity=1e-12, density=1e-9), viscosity=0.05)
    field, pull = 5e-3, 0.4
    loads = uniform(droplet, (0, 0, field), np.diag([-pull / 2, -pull / 2, pull]))
    run(client, droplet, loads, 0.2)
    before = droplet.velocity()[2]
    run(client, droplet, loads, 0.02)
    mass = DROPLET.density * DROPLET.volume
    expected = droplet.moment[2] * pull / mass
    assert (droplet.velocity()[2] - before) / 0.02 == pytest.approx(expected, rel=1e-3)
