"""A living patient: its rhythms, its ECG, and the world that moves with it."""

import numpy as np
import pytest

from mmdtwin.config import PatientConfig, load, load_scenario, names
from mmdtwin.config.patient import BreathingConfig, HeartbeatConfig
from mmdtwin.errors import ConfigError
from mmdtwin.field import PlacedField
from mmdtwin.geometry import apply, transform
from mmdtwin.hardware.twin.rig import TwinRig
from mmdtwin.rig import Start
from mmdtwin.sim.patient import Motion
from mmdtwin.sim.world import World
from mmdtwin.units import GRAVITY

AREA = "patient"
RESTING = load(PatientConfig, "patients", "resting")
RABBIT = load(PatientConfig, "patients", "anaesthetised-rabbit")
STILL = load(PatientConfig, "patients", "still")
LIVING = [name for name in names("patients") if name != "still"]


def breathing(**keys: object) -> PatientConfig:
    base = {"rate": 0.25, "amplitude": 0.01, "direction": (0, -2, 0)}
    return PatientConfig(source="test", breathing=BreathingConfig.model_validate({**base, **keys}))


@pytest.mark.parametrize("n", [1.0, 2.0, 3.0])
def test_regular_breathing_is_lujans_model(n: float) -> None:
    motion = Motion(breathing(exponent=n), seed=3)
    phase = motion.respiratory_phase(0.0)
    for t in np.linspace(0.0, 12.0, 50):
        # z0 - b cos^2n(pi t / tau - phi), exhaled at z0; Lujan et al. 1999.
        angle = np.pi * t / 4.0 - np.pi * (0.5 - phase)
        expected = [0.0, -0.01 * np.cos(angle) ** (2 * n), 0.0]
        assert motion.displacement(t) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", LIVING)
def test_velocity_is_the_slope_of_a_motion_without_jumps(name: str) -> None:
    motion = Motion(load(PatientConfig, "patients", name), seed=1)
    step, end = 1e-4, 60.0
    motion.displacement(end)
    starts = [t for rhythm in motion._rhythms for t in rhythm._starts]
    times = np.concatenate([np.random.default_rng(0).uniform(1.0, end, 3000), starts])
    times = times[(times > 1.0) & (times < end)]  # and where one cycle follows another
    path = [[motion.displacement(t + h) for t in times] for h in (-step, 0.0, step)]
    speed = np.array([motion.velocity(t) for t in times])
    # Central differences are right to step^2 x''' / 6; a jump would show as 1/step.
    slope = (np.array(path[2]) - path[0]) / (2 * step)
    assert slope == pytest.approx(speed, abs=2e-3 * np.abs(speed).max())
    assert np.linalg.norm(path[1], axis=1).max() > 0.5e-3


def test_cycles_vary_as_configured() -> None:
    motion = Motion(breathing(period_variation=0.1, amplitude_variation=0.2), seed=0)
    times = np.arange(0.0, 4000.0, 0.1)
    cycles = np.array([motion._breathing.cycle(t)[0] for t in times])
    depth = np.array([-motion.displacement(t)[1] for t in times])
    starts = times[np.flatnonzero(np.diff(cycles)) + 1]
    periods = np.diff(starts)
    depths = np.array([depth[cycles == k].max() for k in range(1, cycles[-1])])
    # About 1,000 cycles: a mean is known to 0.1/sqrt(1000), a deviation to 2 %; sampled at 0.1 s.
    assert len(periods) > 950
    assert periods.mean() == pytest.approx(4.0, rel=0.015)
    assert periods.std() / periods.mean() == pytest.approx(0.1, rel=0.1)
    assert depths.mean() == pytest.approx(0.01, rel=0.03)
    assert depths.std() / depths.mean() == pytest.approx(0.2, rel=0.1)


def test_same_seed_same_motion_whatever_was_asked_before() -> None:
    one, two, other = Motion(RESTING, 5), Motion(RESTING, 5), Motion(RESTING, 6)
    asked = (90.0, 3.0, 41.5)
    later = np.array([one.displacement(t) for t in asked])
    for t in np.linspace(0, 100, 37):
        two.displacement(t)
    assert np.array_equal([two.displacement(t) for t in asked], later)
    assert not np.allclose(other.displacement(3.0), later[1])


def test_breath_and_beat_have_streams_of_their_own() -> None:
    alone = RESTING.model_copy(update={"heartbeat": None})
    t = 17.3
    assert Motion(alone, 2).respiratory_phase(t) == Motion(RESTING, 2).respiratory_phase(t)


def test_a_still_patient_has_no_phases() -> None:
    motion = Motion(STILL, seed=0)
    assert not motion.moving and motion.heart_rate is None
    assert np.all(motion.transform(3.0) == np.eye(4))
    assert motion.ecg_phase(1.0) is None and motion.respiratory_phase(1.0) is None
    assert motion.ecg(1.0) == 0.0 and motion.cardiac_time(1.0) == 1.0


def test_ecg_has_one_r_wave_a_beat_and_its_neighbours_in_order() -> None:
    motion = Motion(RESTING, seed=4)
    times = np.arange(0.0, 60.0, 2e-3)
    ecg = np.array([motion.ecg(t) for t in times])
    phase = np.array([motion.ecg_phase(t) for t in times])
    r = np.flatnonzero((ecg[1:-1] > ecg[:-2]) & (ecg[1:-1] >= ecg[2:]) & (ecg[1:-1] > 0.5e-3)) + 1
    beats = motion._heartbeat.cycle(60.0)[0]
    assert abs(len(r) - beats) <= 1
    # Neighbours pull the peak a little; 2 ms are 0.002 of a beat.
    assert np.all(np.minimum(phase[r], 1 - phase[r]) < 0.01)
    assert 50 < len(r) < 80
    beat = lambda low, high: ecg[(phase > low) & (phase < high)]  # noqa: E731
    assert beat(0.80, 0.87).max() == pytest.approx(0.25e-3, rel=0.1)  # P
    assert beat(0.93, 0.97).min() < 0.0 < 0.3e-3 < beat(0.2, 0.3).max()  # Q, T
    assert beat(0.03, 0.07).min() < -0.05e-3  # S


def test_cardiac_clock_keeps_the_pulse_in_phase_with_the_beat() -> None:
    motion = Motion(RESTING, seed=2)
    rate = motion.heart_rate
    times = np.arange(0.0, 40.0, 0.01)
    clock = np.array([motion.cardiac_time(t) for t in times])
    phase = np.array([motion.ecg_phase(t) for t in times])
    assert np.all(np.diff(clock) > 0)
    away = (clock * rate - phase) % 1.0
    assert np.minimum(away, 1 - away).max() < 1e-9
    # It runs at the mean pace: 44 beats that vary by 5 % each.
    assert clock[-1] - clock[0] == pytest.approx(40.0, rel=0.03)


def test_acceleration_of_the_frame_is_small_against_gravity(claim) -> None:
    peaks, step = {}, 1e-3
    for name in LIVING:
        motion = Motion(load(PatientConfig, "patients", name), seed=0)
        speed = np.array([motion.velocity(t) for t in np.arange(0.0, 60.0, step)])
        acceleration = np.linalg.norm(np.diff(speed, axis=0), axis=1) / step
        peaks[name] = acceleration.max() / GRAVITY
    assert claim(
        "acceleration of the vessel's frame may be left out",
        parameters="60 s of each living preset, seed 0",
        reference="gravity: fluid and walls move along, so that a body feels (m - m_f)(g - a)",
        acceptance="5 % of g, and so of the device's weight in the fluid",
        result=", ".join(f"{name} {peak:.2%}" for name, peak in peaks.items()),
        holds=0.0 < max(peaks.values()) < 0.05,
        limits="the vessel is translated as a whole; it neither turns nor deforms",
    )


@pytest.fixture(scope="module")
def world() -> World:
    scenario = load_scenario("soft-sheet-in-vivo")
    world = World(scenario)
    world.T_world_rest = transform(translation=[1e-3, -0.5e-3, 0.2e-3])
    world.T_world_coils = transform(translation=[-0.3e-3, 0.1e-3, 0.4e-3])
    return world


def start(world: World, seed: int) -> None:
    branch = world.vessel.map.branches["trunk"]
    middle = len(branch.points) // 2
    world.reset(branch.points[middle], branch.tangents[middle], seed)


def test_a_held_device_moves_with_the_vessel(world: World) -> None:
    start(world, seed=1)
    world.held = True
    moved = []
    for _ in range(100):
        world.step(0.02)
        at_rest = apply(world.T_world_rest, world.device.centre())
        moved.append(world.state().position - at_rest)
        assert moved[-1] == pytest.approx(world.motion.displacement(world.time), abs=1e-12)
        assert world.state().velocity == pytest.approx(world.motion.velocity(world.time), abs=1e-9)
    assert np.linalg.norm(moved, axis=1).max() > 1e-3


def test_the_field_is_that_of_where_the_device_is_now(world: World) -> None:
    start(world, seed=1)
    world.held = True
    world.inputs = np.linspace(-2.0, 3.0, len(world.inputs))
    placed = PlacedField(world.field_model, world.T_world_coils)
    for _ in range(5):
        world.step(0.3)
        expected, _ = placed.field_and_gradient(world.state().position[None], world.inputs)
        assert world.field_at_device() == pytest.approx(expected[0], abs=1e-12)


def test_gravity_does_not_turn_and_physics_does_not_feel_the_motion(world: World) -> None:
    start(world, seed=1)
    for _ in range(200):
        world.step(1e-3)
    moving = world.device.centre()
    start(world, seed=2)  # another course of breathing
    for _ in range(200):
        world.step(1e-3)
    # No current, no force: in the vessel's frame the fall is the same.
    assert world.device.centre() == pytest.approx(moving, abs=1e-12)


def test_a_snapshot_goes_on_where_the_vessel_was(world: World) -> None:
    start(world, seed=3)
    for _ in range(20):
        world.step(1e-3)
    kept = world.snapshot()
    before = world.state().position
    for _ in range(50):
        world.step(1e-3)
    world.restore(kept)
    assert world.state().position == pytest.approx(before, abs=1e-12)


def test_the_heart_drives_the_pulse() -> None:
    pulse = ["phantom.flow.pulse={rate: 1.0, waveform: arterial}"]
    living = World(load_scenario("soft-sheet-in-vivo", pulse))
    assert living.flow.network.rate == RABBIT.heartbeat.rate
    still = World(load_scenario("soft-sheet-bifurcation", pulse))
    assert still.flow.network.rate == 1.0


@pytest.mark.parametrize(("patient", "alive"), [("anaesthetised-rabbit", True), ("still", False)])
def test_telemetry_shows_both_phases(patient: str, alive: bool) -> None:
    rig = TwinRig(load_scenario("soft-sheet-bifurcation", patient=patient))
    with rig:
        trunk = rig.describe().vessel.branches["trunk"]
        middle = len(trunk.points) // 2
        rig.prepare(Start(trunk.points[middle], trunk.tangents[middle]), seed=7)
        rig.next_frame(timeout=1.0)
        state = rig.telemetry()
        if not alive:
            assert state.ecg_phase is None and state.respiratory_phase is None
            return
        motion = Motion(RABBIT, seed=7)
        assert state.ecg_phase == pytest.approx(motion.ecg_phase(state.time))
        assert state.respiratory_phase == pytest.approx(motion.respiratory_phase(state.time))
        assert state.times["ecg_phase"] == state.time


def test_scenarios_are_still_unless_they_say_so() -> None:
    assert load_scenario("soft-sheet-bifurcation").patient.breathing is None
    assert load_scenario("soft-sheet-in-vivo").patient == RABBIT
    with pytest.raises(ConfigError, match=r"unknown name 'cat'; known: .*still"):
        load_scenario("soft-sheet-bifurcation", patient="cat")


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"direction": (0, 0, 0)}, "must not be zero"), ({"peak": 0.3, "exponent": 1.0}, "too small")],
)
def test_impossible_rhythms_are_refused(keys: dict, message: str) -> None:
    base = {"rate": 1.0, "amplitude": 1e-3, "direction": (0, 0, 1)}
    with pytest.raises(ValueError, match=message):
        HeartbeatConfig.model_validate({**base, **keys})
