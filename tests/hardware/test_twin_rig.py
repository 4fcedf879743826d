"""What the twin adds to the contract: latency, compute time, truth, honesty of the physics."""

import dataclasses

import numpy as np
import pybullet
import pytest

from mmdtwin.actuation import CoilCurrents, MagnetPose
from mmdtwin.config import load_scenario
from mmdtwin.control.follower import DoNothing
from mmdtwin.control.session import Session
from mmdtwin.control.task import draw_episode
from mmdtwin.errors import ConfigError, RigError, UserError
from mmdtwin.hardware import open_rig
from mmdtwin.hardware.twin.arm_drive import ArmDrive
from mmdtwin.hardware.twin.rig import TwinRig
from mmdtwin.perception import ImageTracker
from mmdtwin.pose import pose_vector
from mmdtwin.rig import Rig, Start
from mmdtwin.saturation import Saturation
from mmdtwin.seeding import stream
from mmdtwin.sim.magnetics import CoilSystem, Magnet
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.records import DataRecord, HarmonicRecord, SaturationRecord
from mmdtwin.triangulation import triangulate


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


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_a_pulse_sees_the_world_at_the_centres_of_its_parts(samples, monkeypatch):
    """Its frame's time is its middle, whose truth is kept, and so is that of the looks' mean."""
    pulse = ("imager.pulse_width=0.02", f"imager.pulse_samples={samples}")
    with make(*pulse) as rig:
        frame = begin(rig)
        looks, expose = [], rig.imager().expose

        def record(scenes, seq=0):
            looks.append([scene.time for scene in scenes])
            return expose(scenes, seq=seq)

        monkeypatch.setattr(rig.imager(), "expose", record)
        frames = [rig.next_frame(1.0) for _ in range(3)]
    parts = ((np.arange(samples) + 0.5) / samples - 0.5) * 0.02
    middles = looks[0][0] - parts[0] + np.arange(len(looks)) / 15
    np.testing.assert_allclose(looks, middles[:, None] + parts, atol=2e-9)
    for following in frames:
        assert following.t_exposure == pytest.approx(following.seq / 15)
        assert following.t_received == pytest.approx(following.t_exposure + 0.1)
    assert frame.t_exposure == 0.0
    assert min(abs(middles - frames[-1].t_exposure)) < 2e-9


def test_the_truth_of_a_frame_is_that_of_the_middle_of_its_pulse():
    with make("imager.pulse_width=0.02", "imager.pulse_samples=4") as rig:
        begin(rig)
        for _ in range(3):
            frame = rig.next_frame(1.0)
            assert rig.truth(frame.seq).world.time == pytest.approx(frame.t_exposure, abs=2e-9)


def test_no_frame_is_delivered_before_its_pulse_has_ended():
    with make("imager.latency=0", "imager.pulse_width=0.02", "imager.pulse_samples=3") as rig:
        frame = begin(rig)
        assert frame.t_received - frame.t_exposure == pytest.approx(0.01)
        assert rig.describe().image_delay == pytest.approx(0.01)


def test_samples_of_a_pulse_leave_a_resting_device_sharp():
    """All looks are alike, so that the frames are too, noise included."""
    with make() as one, make("imager.pulse_samples=4") as many:
        np.testing.assert_array_equal(begin(one).image, begin(many).image)


def biplane(*assignments):
    small = ("lateral.detector.rows=128", "lateral.detector.columns=128")
    return make("lateral=carm-lateral", *small, *assignments)


def test_the_planes_of_a_biplane_take_turns():
    with biplane() as rig:
        assert rig.describe().sources == ("main", "lateral")
        frames = [begin(rig), *(rig.next_frame(1.0) for _ in range(5))]
        assert [frame.source for frame in frames] == ["main", "lateral"] * 3
        assert [frame.seq for frame in frames] == [0, 0, 1, 1, 2, 2]
        np.testing.assert_allclose([f.t_exposure for f in frames], np.arange(6) / 30, atol=1e-9)
        following = [rig.next_frame(1.0, "lateral") for _ in range(2)]
        assert [f.seq for f in following] == [3, 4]
        assert rig.read_latest(1.0, "main").seq == 4
        view = rig.truth(3, "lateral")
        assert view.world.time == pytest.approx(following[0].t_exposure)
        assert np.linalg.norm(view.pixel - following[0].projection.project(view.world.position)) < 9


def test_a_second_plane_changes_nothing_of_the_first():
    with make() as single, biplane() as double:
        for rig in (single, double):
            begin(rig)
        for _ in range(3):
            first, second = single.next_frame(1.0, "main"), double.next_frame(1.0, "main")
            np.testing.assert_array_equal(first.image, second.image)


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("lateral.frame_rate=7.5", "must be imager.frame_rate, 15.0 Hz"),
        ("lateral.pulse_width=0.06", "must not overlap"),
    ],
)
def test_planes_that_cannot_take_turns_are_refused(assignment, says):
    with pytest.raises(ConfigError, match=says):
        biplane(assignment)


def test_two_views_find_the_device():
    """The rays through both images of the true geometry meet in the device. Tolerance: the views
    are half a period apart, in which the held device rests, so that rounding is all that errs."""
    with biplane() as rig:
        begin(rig)
        rig.next_frame(1.0)
        truths = [rig.truth(0, source) for source in ("main", "lateral")]
        views = [rig.imager(source).projection for source in ("main", "lateral")]
    point, residual = triangulate(views, [truth.pixel for truth in truths])
    np.testing.assert_allclose(point, truths[0].world.position, atol=1e-9)
    assert residual < 1e-9


def test_two_calibrated_views_find_the_device_within_what_registration_errs():
    """Pixels found in the images, geometry as frames carry it: 3 standard deviations of two
    registrations of 0.5 mm and 1 deg of 25 mm at most from the isocentre, and of a pixel."""
    with biplane() as rig:
        begin(rig)
        frames = [rig.read_latest(1.0, "main"), rig.next_frame(1.0, "lateral")]
        pixels = [np.round(rig.truth(f.seq, f.source).pixel) for f in frames]
        point, residual = triangulate([f.projection for f in frames], pixels)
        error = np.linalg.norm(point - rig.truth(0).world.position)
    assert error < 3 * np.hypot(0.5e-3, np.radians(1.0) * 25e-3)
    assert 0 < residual < 2e-3


def test_dose_is_counted_over_frames_and_sources():
    with biplane() as rig:
        begin(rig)
        rig._advance(0.9)
        frames = rig._in_flight + list(rig._latest.values())
        readings = rig.telemetry()
        counted = sum(scope.exposed for scope in rig._scopes.values())
        assert counted == 28  # 14 of each plane in 0.9 s
        per_source = {frame.source: frame for frame in frames}
        for name in ("dose", "reference_kerma", "dap"):
            total = sum(14 * getattr(frame, name) for frame in per_source.values())
            assert getattr(readings, name) == pytest.approx(total, rel=0.05)  # exposure control


def test_telemetry_tells_what_exposure_control_does():
    """Twice the dose at the detector takes twice the charge, and gives the patient twice."""
    readings = []
    for dose in ("1e-7", "2e-7"):
        with make(f"imager.exposure.detector_dose={dose}") as rig:
            begin(rig)
            readings.append(rig.telemetry())
    for name in ("tube_charge", "reference_kerma", "dap"):
        once, twice = (getattr(r, name) for r in readings)
        assert once > 0
        assert twice == pytest.approx(2 * once, rel=0.01)


def fly(rig, observe):
    task = rig.scenario.task
    episode = draw_episode(task, rig.describe(), stream(1, "task"))
    tracker = ImageTracker.for_rig(rig.describe())
    return Session(rig, tracker, episode, task, DoNothing).run(1, observe)


def test_a_session_steers_by_no_held_image():
    """The pedal is let go: what is on its way is used, then nothing is commanded any more."""
    with make() as rig:
        seen = []

        def observe(moment):
            seen.append(moment)
            if len(seen) == 3:
                rig.fluoroscopy(False)

        outcome = fly(rig, observe)
        assert outcome.ended == "stale"
        assert rig.state == "stopped"
        assert all(moment.frame.live for moment in seen)
        assert seen[-1].applied.time < rig.clock.now() - 0.9
        assert rig.read_latest(10.0).live is False


def test_a_session_ends_on_a_rig_that_delivers_held_images(monkeypatch):
    with make() as rig:
        seen = []
        real = TwinRig.next_frame

        def next_frame(self, timeout, source=None):
            frame = real(self, timeout, source)
            return dataclasses.replace(frame, live=frame.seq < 4)

        monkeypatch.setattr(TwinRig, "next_frame", next_frame)
        assert fly(rig, seen.append).ended == "stale"
        assert [moment.frame.seq for moment in seen] == [0, 1, 2, 3]


def test_without_a_pedal_at_hand_a_rig_says_so():
    class Bare(TwinRig):
        fluoroscopy = Rig.fluoroscopy

    with pytest.raises(RigError, match="use the pedal"):
        Bare(load_scenario("soft-sheet-bifurcation")).fluoroscopy(False)
