"""What the twin adds to the contract: latency, compute time, truth, honesty of the physics."""

import numpy as np
import pybullet
import pytest

from mmdtwin.actuation import CoilCurrents
from mmdtwin.config import CoilsConfig, TwinRigConfig, load, load_scenario
from mmdtwin.hardware.twin.drive import ROOM_TEMPERATURE, CoilDrive
from mmdtwin.hardware.twin.rig import TwinRig
from mmdtwin.rig import Start


def make(*assignments):
    flat = [
        "imager.background.kind=flat",
        "imager.detector.rows=128",
        "imager.detector.columns=128",
    ]
    return TwinRig(load_scenario("soft-sheet-bifurcation", [*flat, *assignments]))


def start_of(rig):
    vessel = rig.describe().vessel
    branch = next(b for b in vessel.branches.values() if vessel.inlet in (b.start, b.end))
    middle = len(branch.points) // 2
    return Start(branch.points[middle], branch.tangents[middle])


def begin(rig, seed=1):
    rig.prepare(start_of(rig), seed)
    rig.arm()
    return rig.next_frame(1.0)


def test_configured_compute_time_is_charged_once_for_each_frame():
    with make("rig.compute_time=0.03") as rig:
        begin(rig)
        t = rig.clock.now()
        n = len(rig.describe().limits.max_current)
        first = rig.apply(CoilCurrents(np.zeros(n), seq=rig.next_seq()))
        assert first.time == pytest.approx(t + 0.03)
        second = rig.apply(CoilCurrents(np.zeros(n), seq=rig.next_seq()))
        assert second.time == first.time


def test_measured_compute_time_is_charged(monkeypatch):
    from mmdtwin.hardware.twin import rig as module

    with make("rig.compute_time=measured") as rig:
        wall = iter([10.0, 10.25])
        monkeypatch.setattr(module.time, "perf_counter", lambda: next(wall))
        begin(rig)
        t = rig.clock.now()
        applied = rig.apply(CoilCurrents(np.zeros(8), seq=rig.next_seq()))
        assert applied.time == pytest.approx(t + 0.25)


def test_frames_are_dropped_while_compute_exceeds_the_period():
    with make("rig.compute_time=0.15") as rig:  # the period is 1/15 s
        frame = begin(rig)
        gaps = []
        for _ in range(5):
            rig.apply(CoilCurrents(np.zeros(8), seq=rig.next_seq()))
            following = rig.next_frame(1.0)
            gaps.append(following.seq - frame.seq)
            frame = following
        assert min(gaps) >= 2
        assert rig.read_latest(1.0).seq == frame.seq


def test_a_frame_shows_the_world_as_it_was_at_its_exposure():
    with make() as rig:
        frame = begin(rig)
        exposed = rig.truth(frame.seq)
        assert exposed.world.time == pytest.approx(frame.t_exposure)
        assert rig.truth().world.time == pytest.approx(frame.t_received)
        shift = frame.projection.project(exposed.world.position) - exposed.pixel
        assert 0 < np.linalg.norm(shift) < 20  # calibrated projection differs from the true one


def test_a_command_acts_after_its_delay():
    with make("rig.actuation_delay=0.05", "rig.coil_time_constant=0.001") as rig:
        begin(rig)
        applied = rig.apply(CoilCurrents(np.full(8, 0.5), seq=rig.next_seq()))
        rig._advance(applied.time + 0.049)
        np.testing.assert_array_equal(rig.telemetry().currents, 0.0)
        rig._advance(applied.time + 0.07)
        np.testing.assert_allclose(rig.telemetry().currents, 0.5, rtol=1e-3)


def test_the_device_is_held_until_the_first_command_has_acted():
    """Coils first, then let go: no fall while the first image is on its way."""
    with make("rig.release_delay=0.05") as rig:
        begin(rig)
        start = rig.truth().position
        rig._advance(1.0)
        np.testing.assert_array_equal(rig.truth().position, start)
        applied = rig.apply(CoilCurrents(np.zeros(8), seq=rig.next_seq()))
        acts = applied.time + rig.scenario.rig.actuation_delay
        rig._advance(acts + 0.045)
        np.testing.assert_array_equal(rig.truth().position, start)
        rig._advance(acts + 0.25)
        assert np.linalg.norm(rig.truth().position - start) > 0.1e-3  # it sinks to the floor
        assert rig.truth().world.time == pytest.approx(rig.clock.now())


def test_same_seed_same_frames_other_seed_other_frames():
    with make() as rig:
        runs = []
        for seed in (3, 3, 4):
            begin(rig, seed)
            rig.apply(CoilCurrents(np.full(8, 1.0), seq=rig.next_seq()))
            frames = [rig.next_frame(1.0).image for _ in range(3)]
            runs.append((frames, rig.truth().position))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert (runs[0][0][0] != runs[2][0][0]).any()
    assert (runs[0][1] != runs[2][1]).any()


def test_truth_differs_from_what_the_rig_believes():
    with make() as rig:
        begin(rig)
        truth, believed = rig.truth(), rig.describe()
        for true, estimated in (
            (truth.T_world_vessel, believed.T_world_vessel.T),
            (truth.T_world_coils, believed.T_world_coils.T),
            (truth.T_world_imager, believed.T_world_imager.T),
        ):
            shift = np.linalg.norm(true[:3, 3] - estimated[:3, 3])
            assert 0 < shift < 2.5e-3


def test_nothing_resets_the_body_between_reset_and_the_end(monkeypatch):
    with make() as rig:
        begin(rig)

        def forbidden(*_, **__):
            raise AssertionError("a PyBullet reset during a step")

        names = [n for n in dir(pybullet) if n.startswith("reset")]
        assert {"resetBasePositionAndOrientation", "resetJointState", "resetBaseVelocity"} <= set(
            names
        )
        for name in [*names, "restoreState", "createConstraint"]:
            monkeypatch.setattr(pybullet, name, forbidden)
        before = rig.truth().position
        for _ in range(10):
            rig.apply(CoilCurrents(np.full(8, 2.0), seq=rig.next_seq()))
            rig.next_frame(1.0)
        assert np.linalg.norm(rig.truth().position - before) > 1e-5  # it moved, by forces


def test_drive_heats_and_cools_like_one_thermal_mass():
    rig, coils = load(TwinRigConfig, "rigs", "twin"), load(CoilsConfig, "coils", "octomag-like")
    drive = CoilDrive(rig, coils)
    n = len(coils.coils)
    dt, hours = 0.5, 3600
    for k in range(int(hours / dt)):
        if k % 1 == 0:
            drive.send(CoilCurrents(np.full(n, 2.0), seq=k, valid_for=1.0), k * dt)
        drive.advance(k * dt + 0.01, dt)
    resistance = np.array([c.resistance for c in coils.coils])
    steady = ROOM_TEMPERATURE + 4.0 * resistance / rig.coil_cooling
    np.testing.assert_allclose(drive.temperatures, steady, rtol=1e-3)


def test_drive_follows_a_step_with_its_time_constant():
    rig, coils = load(TwinRigConfig, "rigs", "twin"), load(CoilsConfig, "coils", "octomag-like")
    drive = CoilDrive(rig, coils)
    drive.send(CoilCurrents(np.ones(len(coils.coils)), seq=0), 0.0)
    t = rig.actuation_delay
    drive.advance(t, rig.coil_time_constant)
    np.testing.assert_allclose(drive.currents, 1 - np.exp(-1), rtol=1e-9)
