"""Womersley's and Carreau's profiles against closed forms and the momentum balance."""

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.linalg import solve_banded
from scipy.special import bei, beip, ber, berp

from mmdtwin.config import FlowConfig
from mmdtwin.config.flow import CarreauConfig
from mmdtwin.sim.flow import Flow
from mmdtwin.sim.flow.carreau import TubeFlow, viscosity
from mmdtwin.sim.flow.profiles import womersley, womersley_series
from mmdtwin.sim.flow.waveforms import harmonics
from mmdtwin.vessel import Branch, VesselMap

AREA = "flow"
RADIUS, LENGTH = 2e-3, 40e-3
AXIS = np.array([0.6, 0.0, 0.8])
X = np.linspace(0.0, 0.999, 60)


def tube(radius: float = RADIUS) -> VesselMap:
    points = np.linspace(0.0, LENGTH, 161)[:, None] * AXIS
    return VesselMap({"tube": Branch(points, np.full(161, radius), "in", "out")}, ("in", "out"))


def config(**keys: object) -> FlowConfig:
    base = {"inlet": "in", "mean_speed": 0.05, "viscosity": 4e-3, "density": 1060.0}
    return FlowConfig.model_validate({**base, **keys})


def across(x: np.ndarray, radius: float = RADIUS) -> np.ndarray:
    """Points at relative radii x, half-way along the tube."""
    return 0.5 * LENGTH * AXIS + radius * x[:, None] * np.array([0.0, 1.0, 0.0])


def kelvin(alpha: float, x: np.ndarray) -> np.ndarray:
    """Womersley's profile over its mean in Kelvin functions: J0(i^(3/2) a) = ber a + i bei a."""
    edge = ber(alpha) + 1j * bei(alpha)
    slope = berp(alpha) + 1j * beip(alpha)  # its derivative, -i^(3/2) J1(i^(3/2) a)
    flux = -2j * slope / (alpha * edge)
    return (1 - (ber(alpha * x) + 1j * bei(alpha * x)) / edge) / (1 - flux)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 5.0, 12.0, 25.0])
def test_womersley_obeys_the_momentum_balance(alpha: float) -> None:
    # i alpha^2 u = G + (x u')'/x, u(1) = 0: solved by second-order differences, mean scaled to 1.
    n = 2000
    h = 1.0 / n
    x = (np.arange(n) + 0.5) * h
    outer, inner = (x + h / 2) / (x * h * h), (x - h / 2) / (x * h * h)
    diagonal = 1j * alpha**2 + outer + inner
    diagonal[-1] += outer[-1]  # the wall lies half a cell beyond the last point
    bands = [np.r_[0.0, -outer[:-1]], diagonal, np.r_[-inner[1:], 0.0]]
    u = solve_banded((1, 1), bands, np.ones(n))
    u /= 2 * np.sum(u * x) * h
    assert womersley(alpha, x**2) == pytest.approx(u, abs=1e-4 * np.abs(u).max())


def test_womersley_goes_from_poiseuille_to_a_plug(claim) -> None:
    slow = np.abs(womersley(0.01, X**2) - 2 * (1 - X**2)).max()
    core = X < 0.95  # the boundary layer is sqrt(2)/alpha thick: e^-14 is left at 0.95
    # The core moves faster than the mean by what the layer lacks, 2 exp(-i pi/4) / alpha.
    plug = 1 + 2 * np.exp(-1j * np.pi / 4) / 400
    fast = np.abs(womersley(400.0, X[core] ** 2) - plug).max()
    assert abs(womersley(400.0, np.array([1.0]))[0]) < 1e-12
    assert claim(
        "Womersley's profile at its limits",
        parameters="alpha 0.01 and 400",
        reference="Poiseuille's parabola; a plug with its boundary layer, 1 + 2 exp(-i pi/4)/alpha",
        acceptance="1e-4 (alpha^2 is left); 4e-5 (3/alpha^2 is left)",
        result=f"{slow:.1e}; {fast:.1e}",
        holds=slow <= 1e-4 and fast <= 4e-5,
    )


PULSE = ((1.3, 0.4), (0.5, -1.0), (0.2, 2.0))  # amplitude and phase of three harmonics
RATES = (0.02, 0.3, 1.2, 4.0, 30.0)  # Hz: alpha 0.37 to 25 in the three harmonics


def pulsed(rate: float, t: float) -> np.ndarray:
    """The closed form of the axial speed at X, m/s."""
    exact = 2 * 0.05 * (1 - X**2)
    for k, (amplitude, phase) in enumerate(PULSE, start=1):
        alpha = RADIUS * np.sqrt(2 * np.pi * k * rate * 1060 / 4e-3)
        wave = amplitude * np.exp(1j * (2 * np.pi * k * rate * t + phase))
        exact = exact + 0.05 * (wave * kelvin(alpha, X)).real
    return exact


def test_pulsatile_velocity_is_the_closed_form(claim) -> None:
    worst = 0.0
    for rate in RATES:
        flow = Flow(tube(), config(pulse={"rate": rate, "harmonics": PULSE}))
        times = np.linspace(0.0, 1.0 / rate, 16)
        exact = np.array([pulsed(rate, t) for t in times])
        found = np.array([flow.velocity(across(X), t) for t in times])
        assert found - (found @ AXIS)[:, :, None] * AXIS == pytest.approx(0.0, abs=1e-15)
        worst = max(worst, np.abs(found @ AXIS - exact).max() / np.abs(exact).max())

    def draw(axes) -> None:
        flow = Flow(tube(), config(pulse={"rate": 4.0, "harmonics": PULSE}))
        for share in np.arange(0, 1, 0.125):
            line = axes.plot(X, flow.velocity(across(X), share / 4.0) @ AXIS * 1e3, lw=1)[0]
            axes.plot(X[::6], pulsed(4.0, share / 4.0)[::6] * 1e3, ".", color=line.get_color())
        axes.set(xlabel="r/R", ylabel="mm/s: lines twin, dots closed form, 4 Hz")

    assert claim(
        "Womersley's profile",
        parameters="tube of 2 mm radius, blood (4 mPa s, 1060 kg/m3), mean 50 mm/s and three "
        "harmonics of 0.02-30 Hz: alpha 0.37-50, 16 instants, 60 radii",
        reference="closed form in Kelvin functions (J. R. Womersley, J Physiol 127, 1955, 553)",
        acceptance="1e-3 of the peak speed",
        result=f"{worst:.1e}",
        holds=worst <= 1e-3,
        limits="developed flow in a rigid tube; within an entrance length of a junction the true "
        "profile is blunter",
        draw=draw,
    )
    assert worst < 1e-5  # the series leaves out 1e-7 of each harmonic


@pytest.mark.parametrize("waveform", ["sine", "arterial", "triphasic"])
def test_profile_carries_the_flow_of_every_instant(waveform: str) -> None:
    flow = Flow(tube(), config(pulse={"rate": 1.2, "waveform": waveform}))
    x = (np.arange(400) + 0.5) / 400
    for t in np.linspace(0.0, 0.8, 9):
        axial = flow.velocity(across(x), t) @ AXIS
        mean = 2 * np.sum(axial * x) / 400
        carried = flow.network.at(t)[0]["tube"] / (np.pi * RADIUS**2)
        # Midpoints of 400 rings miss (1/400)^2 of the profile's curvature.
        assert mean == pytest.approx(carried, abs=1e-4 * 0.05)


def test_flow_reverses_at_the_wall_before_it_does_on_the_axis() -> None:
    flow = Flow(tube(), config(pulse={"rate": 1.2, "waveform": "triphasic"}))
    times = np.linspace(0.0, 1 / 1.2, 400)
    axial = np.array([flow.velocity(across(np.array([0.0, 0.95])), t) @ AXIS for t in times])
    late = times > 0.18 / 1.2  # after the systolic peak
    first = [times[late][np.argmax(axial[late][:, k] < 0)] for k in (0, 1)]
    assert axial.min() < -0.02
    assert first[1] < first[0]


def test_waveforms_have_the_features_they_are_named_for() -> None:
    phase = np.arange(200) / 200
    curves = {}
    for name in ("arterial", "triphasic"):
        c = harmonics(config(pulse={"rate": 1.0, "waveform": name}).pulse)
        curves[name] = (c @ np.exp(2j * np.pi * np.outer(np.arange(len(c)), phase))).real
        assert curves[name].mean() == pytest.approx(1.0)
        assert 0.1 < phase[np.argmax(curves[name])] < 0.25  # early systole, after the R wave
    assert curves["arterial"].min() > 0.0
    assert curves["triphasic"].min() < -0.5


def test_peak_speed_and_reynolds_number_over_the_beat() -> None:
    flow = Flow(tube(), config(pulse={"rate": 1.2, "waveform": "triphasic"}))
    times = np.linspace(0.0, 1 / 1.2, 300)
    speeds = [np.abs(flow.velocity(across(X), t) @ AXIS).max() for t in times]
    rates = [abs(flow.network.at(t)[0]["tube"]) for t in times]
    assert flow.peak_speeds()["tube"] == pytest.approx(max(speeds), rel=2e-3)  # 128 instants
    fastest = max(rates) / (np.pi * RADIUS**2)
    assert flow.reynolds()["tube"] == pytest.approx(2 * 1060 * fastest * RADIUS / 4e-3, rel=2e-3)


@pytest.mark.parametrize(
    ("rate", "allowed"), [(0.05, 1e-6), (3.0, 1e-4), (20.0, 3e-3), (200.0, 0.04)]
)
def test_carreau_profile_obeys_the_balance_of_forces(rate: float, allowed: float) -> None:
    fluid = CarreauConfig()
    tubes = TubeFlow(fluid)
    series = tubes.profile(np.array([rate]))[0]
    y = np.linspace(0.02, 0.98, 50)
    slope = 2 * chebyshev.chebval(2 * y - 1, chebyshev.chebder(series))
    shear = -2 * np.sqrt(y) * slope * rate  # -du/dr at U/R = rate
    stress = viscosity(fluid, shear) * shear
    # The plateau about the axis shrinks as 1/rate; its slope is what 32 terms resolve last.
    wall = float(tubes.wall_stress(rate))
    assert stress / np.sqrt(y) == pytest.approx(wall, rel=allowed)
    mean = np.trapezoid(chebyshev.chebval(np.linspace(-1, 1, 2001), series)) / 2000
    assert mean == pytest.approx(1.0, abs=1e-5)


def test_carreau_goes_from_poiseuille_to_a_power_law(claim) -> None:
    y = np.linspace(0.0, 1.0, 40)
    slow = TubeFlow(CarreauConfig()).profile(np.array([1e-3]))[0]
    parabola = np.abs(chebyshev.chebval(2 * y - 1, slow) - 2 * (1 - y)).max()
    n, rate = 0.5, 5.0
    thin = CarreauConfig(
        zero_viscosity=10.0, infinite_viscosity=1e-9, exponent=n, time_constant=1e3
    )
    tubes = TubeFlow(thin)
    law = (3 * n + 1) / (n + 1) * (1 - np.sqrt(y) ** ((n + 1) / n))
    series = tubes.profile(np.array([rate]))[0]
    power = np.abs(chebyshev.chebval(2 * y - 1, series) - law).max()
    consistency = 10.0 * 1e3 ** (n - 1)
    wall = consistency * ((3 * n + 1) / n * rate) ** n  # tau_w of a power law
    drop = abs(float(tubes.wall_stress(rate)) / wall - 1)
    assert claim(
        "Carreau fluid in a tube at its limits",
        parameters="blood of Cho and Kensey 1991 at U/R = 1e-3 1/s; a fluid with n = 0.5 and "
        "lambda U/R = 5,000",
        reference="Poiseuille's parabola; profile and wall stress of a power law",
        acceptance="1e-4 (blood has thinned by as much); 2e-3 and 1e-3 (32 terms, a plateau left)",
        result=f"{parabola:.1e}; {power:.1e} and {drop:.1e}",
        holds=parabola <= 1e-4 and power <= 2e-3 and drop <= 1e-3,
        limits="steady flow only; at U/R = 200 1/s the speed is right to 1e-3, its slope near the "
        "axis to 4 %",
    )


def test_carreau_blood_is_blunter_and_says_its_viscosity() -> None:
    flow = Flow(tube(), config(mean_speed=5e-3, carreau={}))
    axial = flow.velocity(across(X)) @ AXIS
    assert 5e-3 < axial[0] < 0.95 * 2 * 5e-3
    on_axis, at_wall = flow.apparent_viscosity(across(np.array([0.0, 0.99])))
    fluid = CarreauConfig()
    assert on_axis == pytest.approx(fluid.zero_viscosity, rel=1e-3)
    assert fluid.infinite_viscosity < at_wall < 0.3 * on_axis
    stirred = flow.apparent_viscosity(across(np.array([0.0])), shear_rate=100.0)
    assert stirred[0] == pytest.approx(float(viscosity(fluid, 100.0)), rel=1e-6)
    still = Flow(tube(), config()).apparent_viscosity(across(X))
    assert np.all(still == 4e-3)


def test_published_viscosities_of_blood() -> None:
    # High-shear plateau of whole blood, 3-4 mPa s at 37 C, and ten times as much below 0.2 1/s.
    fluid = CarreauConfig()
    assert 3e-3 < viscosity(fluid, 1000.0) < 4e-3
    assert viscosity(fluid, 0.1) > 10 * viscosity(fluid, 1000.0)


def test_series_are_as_short_as_the_frequency_allows() -> None:
    lengths = [womersley_series(np.array([alpha])).shape[1] for alpha in (1.0, 10.0, 40.0)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2] < 64
