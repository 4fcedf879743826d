"""What the twin adds to the contract: latency, compute time, truth, honesty of the physics."""

import numpy as np
import pybullet
import pytest

from mmdtwin.actuation import CoilCurrents, MagnetPose
from mmdtwin.config import load_scenario
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.hardware import open_rig
from mmdtwin.hardware.twin.arm_drive import ArmDrive
from mmdtwin.hardware.twin.rig import TwinRig
from mmdtwin.pose import pose_vector
from mmdtwin.rig import Start
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics import CoilSystem, Magnet
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.records import DataRecord, HarmonicRecord, SaturationRecord


def make(*assignments, scenario="soft-sheet-bifurcation"):
    flat = [
        "imager.background.kind=flat",
        "imager.detector.rows=128",
        "imager.detector.columns=128",
    ]
    return TwinRig(load_scenario(scenario, [*flat, *assignments]))


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
    exact = ("rig.current_noise=0", "rig.coil_time_constant=0.001")
    with make("rig.actuation_delay=0.05", *exact) as rig:
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


def test_telemetry_names_what_limits_the_amplifiers():
    with make("rig.continuous_share=0.1", "rig.peak_time=0.01") as rig:  # 2 A; 4 A^2 s
        begin(rig)
        assert rig.telemetry().faults == ()
        for _ in range(4):
            rig.apply(CoilCurrents(np.full(8, 6.0), seq=rig.next_seq()))
            rig.next_frame(1.0)
        faults = rig.telemetry().faults
        assert faults == tuple(f"coil {k}: I2t budget spent, limited to 2 A" for k in range(8))
        rig.next_frame(1.0)
        np.testing.assert_allclose(rig.telemetry().currents, 2.0, rtol=0.05)


def calibration_file(path, n=8):
    """A calibration of n coils that is the drawing, 5 % stronger."""
    coils = CoilSystem.load("octomag-like")
    record = HarmonicRecord(
        kind="harmonics",
        degree=coils.degree,
        scale=coils.scale,
        workspace_radius=coils.workspace_radius,
        saturation=SaturationRecord.of(Saturation.none(n)),
        potential=(1.05 * coils.potential[:n]).tolist(),
    )
    Calibration.new(record, DataRecord(file="samples.csv", sha256="0" * 64)).save(path)


def test_a_calibration_replaces_the_drawing_in_the_description_only(tmp_path):
    """Controllers go by what was measured; the plant stays what it is."""
    path = tmp_path / "cal.yaml"
    calibration_file(path)
    with make(f"rig.calibration={path}") as rig:
        point, currents = [[0.0, 0.0, 0.01]], np.arange(8.0)
        told = rig.describe().field.field(point, currents)
        true = rig.world.field_model.field(point, currents)
        np.testing.assert_allclose(told, 1.05 * true, rtol=1e-9)
        assert rig.describe().calibration == Calibration.load(path).id


def test_a_calibration_of_other_coils_is_refused(tmp_path):
    path = tmp_path / "cal.yaml"
    calibration_file(path, n=7)
    with pytest.raises(ConfigError, match="is of 7 coils; the system has 8"):
        make(f"rig.calibration={path}").connect()


def test_a_magnets_field_is_that_of_its_true_pose():
    """The pose that telemetry tells, moved by the error of registration; tolerance: rounding."""
    with make(scenario="soft-sheet-magnet") as rig:
        rig.prepare(start_of(rig), 1)
        rig.arm()
        pose = np.eye(4)
        pose[:3, 3] = rig.describe().limits.T_world_retreat[:3, 3] - [0.0, 0.0, 0.01]
        for _ in range(6):
            rig.next_frame(1.0)
            rig.apply(MagnetPose(T_world_magnet=pose, seq=rig.next_seq()))
        truth = rig.truth()
        true_pose = truth.T_world_coils @ rig.telemetry().pose
        expected = Magnet.load("cube-50mm").field([truth.world.position], pose_vector(true_pose))
        np.testing.assert_allclose(truth.field, expected[0], rtol=1e-6)
        assert np.linalg.norm(truth.field) > 0.3e-3


@pytest.mark.parametrize("distance", [1e-3, 0.5])
def test_the_magnet_follows_with_its_lag_and_within_its_speed(distance):
    """After 0.1 s: 1 - exp(-t / time constant) of a short way, 0.1 m/s of a long one."""
    scenario = load_scenario("soft-sheet-magnet")
    rig, drive = scenario.rig, ArmDrive(scenario.rig, scenario.limits())
    start = drive.pose
    target = start.copy()
    target[0, 3] += distance
    drive.send(MagnetPose(T_world_magnet=target, valid_for=10.0), -rig.actuation_delay)
    for k in range(100):
        drive.advance(1e-3 * k, 1e-3)
    lagging = distance * (1 - np.exp(-0.1 / rig.arm_time_constant))
    expected = min(lagging, 0.1 * rig.max_speed)
    np.testing.assert_allclose(drive.pose[:3, 3] - start[:3, 3], [expected, 0, 0], atol=1e-9)


def test_controllers_of_currents_say_so_when_the_rig_holds_a_magnet():
    with make(scenario="soft-sheet-magnet") as rig, pytest.raises(UserError, match="by currents"):
        _ = rig.describe().coil_limits


def test_open_rig_takes_the_scenarios_own_rig():
    with open_rig(scenario="soft-sheet-magnet") as rig:
        assert rig.describe().actuations == (MagnetPose,)


def test_telemetry_says_when_the_magnet_retreats_for_want_of_a_command():
    with make(scenario="soft-sheet-magnet") as rig:
        rig.prepare(start_of(rig), 1)
        rig.arm()
        rig.next_frame(1.0)
        assert rig.telemetry().faults == ()
        pose = rig.telemetry().pose
        rig.apply(MagnetPose(T_world_magnet=pose, seq=rig.next_seq(), valid_for=0.2))
        rig.next_frame(1.0)
        assert rig.telemetry().faults == ()
        for _ in range(5):
            rig.next_frame(1.0)
        assert rig.telemetry().faults == ("no command in force: the magnet retreats",)
