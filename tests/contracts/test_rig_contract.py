"""The Rig contract, run on every implementation."""

import numpy as np
import pytest

from mmdtwin.actuation import CoilCurrents, MagnetPose, RotatingField, Waveform
from mmdtwin.config import load_scenario
from mmdtwin.control.path import plan
from mmdtwin.errors import RigError
from mmdtwin.field import FieldModel
from mmdtwin.frame import Frame, Stale
from mmdtwin.hardware import open_rig
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.rig import MAIN, Rig, Start
from mmdtwin.safety import MAX_INTERVAL

SCENARIO = "soft-sheet-bifurcation"


def twin(scenario=SCENARIO, *assignments):
    flat = "imager.background.kind=flat"
    return open_rig(scenario=load_scenario(scenario, [flat, *assignments]))


RESTING = {8: 0.01, 3: 0.1e-3}  # A of eight coils, m of a position
RIGS = {
    "twin": twin,
    "twin-magnet": lambda: twin("soft-sheet-magnet"),
    "twin-biplane": lambda: twin(SCENARIO, "lateral=carm-lateral"),
}


@pytest.fixture(params=RIGS.values(), ids=RIGS.keys())
def rig(request):
    with request.param() as rig:
        yield rig


def start_of(rig):
    vessel = rig.describe().vessel
    branch = next(b for b in vessel.branches.values() if vessel.inlet in (b.start, b.end))
    middle = len(branch.points) // 2
    return Start(branch.points[middle], branch.tangents[middle])


@pytest.fixture
def armed(rig):
    rig.prepare(start_of(rig), seed=1)
    rig.arm()
    return rig


def some_command(rig, size=0.3, valid_for=0.5):
    """Currents of a part of the limit, or a pose some way down from the retreat, 20 mm for 1."""
    limits, seq = rig.describe().limits, rig.next_seq()
    if isinstance(limits, MagnetLimits):
        pose = limits.T_world_retreat.copy()
        pose[2, 3] -= 0.02 * size
        return MagnetPose(T_world_magnet=pose, seq=seq, valid_for=valid_for)
    signs = (-1.0) ** np.arange(len(limits.max_current))
    return CoilCurrents(size * limits.max_current * signs, seq=seq, valid_for=valid_for)


def setting(actuation_or_rig):
    """What is asked of the actuators, or what they do: currents or the magnet's position."""
    if isinstance(actuation_or_rig, Rig):
        readings = actuation_or_rig.telemetry()
        return readings.currents if readings.pose is None else readings.pose[:3, 3]
    if isinstance(actuation_or_rig, MagnetPose):
        return actuation_or_rig.T_world_magnet[:3, 3]
    return actuation_or_rig.values


def rest(rig):
    """The setting of the safe state."""
    limits = rig.describe().limits
    if isinstance(limits, MagnetLimits):
        return limits.T_world_retreat[:3, 3]
    return np.zeros(len(limits.max_current))


def test_description_is_complete(rig):
    d = rig.describe()
    assert isinstance(d.field, FieldModel)
    if isinstance(d.limits, MagnetLimits):
        assert d.field.n_inputs == 6
    else:
        assert d.field.n_inputs == len(d.limits.max_current)
    assert d.frame_rate > 0
    assert set(d.actuations) <= {CoilCurrents, MagnetPose, RotatingField, Waveform}
    for registration in (d.T_world_coils, d.T_world_imager, d.T_world_vessel):
        R = registration.T[:3, :3]
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
        assert registration.id
        assert registration.date
        assert registration.covariance.shape == (6, 6)
        assert (np.linalg.eigvalsh(registration.covariance) >= 0).all()
    plan(
        d.vessel, start_of(rig).position, d.vessel.points[-1] * 0.9 + d.vessel.points[-2] * 0.1,
        d.device, (0, 0, -1.0),
    )  # fmt: skip


def test_life_cycle(rig):
    assert rig.state == "connected"
    with pytest.raises(RigError, match="already"):
        rig.connect()
    rig.prepare(start_of(rig), seed=0)
    rig.arm()
    assert rig.state == "armed"
    rig.stop("test")
    assert rig.state == "stopped"
    with pytest.raises(RigError, match="stopped"):
        rig.arm()
    rig.prepare(start_of(rig), seed=0)
    rig.arm()
    rig.disconnect()
    assert rig.state == "disconnected"
    rig.stop("always allowed")
    with pytest.raises(RigError, match="connect"):
        rig.prepare(start_of(rig), seed=0)
    rig.connect()  # the fixture disconnects again


def test_nothing_is_sent_before_arming(rig):
    rig.prepare(start_of(rig), seed=0)
    applied = rig.apply(some_command(rig))
    assert applied.command is None
    assert "connected" in applied.reasons[0]
    rig.next_frame(1.0)
    np.testing.assert_allclose(setting(rig), rest(rig), atol=1e-9)


def test_accepted_commands_reach_the_actuators(armed):
    command = some_command(armed, size=0.05)
    armed.next_frame(1.0)
    applied = armed.apply(command)
    np.testing.assert_allclose(setting(applied.command), setting(command))
    assert applied.reasons == ()
    for _ in range(4):
        armed.next_frame(1.0)
    np.testing.assert_allclose(setting(armed), setting(command), rtol=0.05)


def test_whatever_is_asked_currents_stay_within_limits(armed):
    if CoilCurrents not in armed.describe().actuations:
        pytest.skip("this rig takes no currents")
    limits = armed.describe().coil_limits
    for size in (50.0, -50.0, np.nan):
        frame = armed.next_frame(1.0)
        assert isinstance(frame, Frame)
        applied = armed.apply(some_command(armed, size))
        assert applied.reasons
        measured = armed.telemetry().currents
        assert np.isfinite(measured).all()
        assert (np.abs(measured) <= limits.max_current * 1.001).all()


def test_whatever_is_asked_the_magnet_keeps_speed_and_distance(armed):
    limits = armed.describe().limits
    if not isinstance(limits, MagnetLimits):
        pytest.skip("this rig holds no magnet")
    for size in (17.5, -50.0, np.nan, 17.5, 17.5, 100.0):  # the first would end in the phantom
        before, t = setting(armed), armed.clock.now()
        applied = armed.apply(some_command(armed, size, valid_for=1.0))
        assert applied.reasons
        for _ in range(3):
            armed.next_frame(1.0)
        moved = np.linalg.norm(setting(armed) - before)
        assert moved <= limits.max_speed * (armed.clock.now() - t) * (1 + 1e-9)
        assert not limits.blocked(setting(armed), setting(armed))


def test_an_actuation_the_rig_does_not_take_is_refused(armed):
    taken = armed.describe().actuations
    others = (CoilCurrents([1.0]), RotatingField(np.array([0, 0, 1.0]), 1e-3, 1.0))
    for command in (MagnetPose(np.eye(4)), *others):
        if type(command) not in taken:
            with pytest.raises(RigError, match=f"takes {taken[0].__name__}"):
                armed.apply(command)


def test_a_waveform_is_played_by_the_driver(armed):
    if Waveform not in armed.describe().actuations:
        pytest.skip("this rig takes no waveforms")
    n = len(armed.describe().limits.max_current)
    armed.next_frame(1.0)
    rows = np.zeros((3, n))
    rows[:, 0] = (0.0, 1.0, 1.0)
    armed.apply(Waveform(np.array([0.02, 0.1, 0.4]), rows, seq=armed.next_seq()))
    seen = []
    for _ in range(5):
        armed.next_frame(1.0)
        seen.append(armed.telemetry().currents[0])
    assert seen[0] < seen[-1]
    assert seen[-1] == pytest.approx(1.0, rel=0.05)


def test_the_gate_cannot_be_driven_around(armed):
    with pytest.raises(RigError, match="through apply only"):
        armed._send(some_command(armed))
    with pytest.raises(TypeError, match="final"):
        type("Sneaky", (type(armed),), {"apply": lambda _, command: command})
    sub = type("Sub", (type(armed),), {"_send": lambda _, command: command})
    with pytest.raises(RigError, match="through apply only"):
        sub._send(armed, some_command(armed))


def test_every_rig_class_has_the_final_apply(rig):
    for cls in type(rig).__mro__:
        if cls is not Rig and issubclass(cls, Rig):
            assert "apply" not in cls.__dict__
    assert type(rig).apply is Rig.apply


def test_an_accepted_command_cannot_be_changed_behind_the_gate(armed):
    """Neither through the array it was made from, nor through what telemetry gives away."""
    source = np.array(setting(some_command(armed, size=0.05)))
    if isinstance(armed.describe().limits, MagnetLimits):
        pose = armed.describe().limits.T_world_retreat.copy()
        pose[:3, 3] = source
        command, changed = MagnetPose(T_world_magnet=pose, seq=armed.next_seq()), pose[:3, 3]
    else:
        command, changed = CoilCurrents(source, seq=armed.next_seq()), source
    expected = source.copy()
    armed.next_frame(1.0)
    assert armed.apply(command).reasons == ()
    changed += 0.1
    setting(armed)[:] = 0.0
    for _ in range(4):
        armed.next_frame(1.0)
    np.testing.assert_allclose(setting(armed), expected, rtol=0.05)


def test_after_a_pause_the_gate_starts_from_where_the_actuators_are(armed):
    """A command that has expired is gone: what it asked for is a whole step again."""
    armed.next_frame(1.0)
    limits = armed.describe().limits
    armed.apply(some_command(armed, size=0.4, valid_for=0.1))
    for _ in range(30):  # 2 s: back at rest
        armed.next_frame(1.0)
    before = setting(armed)
    np.testing.assert_allclose(before, rest(armed), atol=RESTING[len(before)])
    applied = armed.apply(some_command(armed, size=1.0))
    step = np.abs(setting(applied.command) - before)
    if isinstance(limits, MagnetLimits):
        assert np.linalg.norm(step) <= limits.max_speed * MAX_INTERVAL * (1 + 1e-6)
        assert applied.reasons == ("slowed to the limit of speed",)
    else:
        assert (step <= limits.max_slew * MAX_INTERVAL * (1 + 1e-6)).all()


def test_an_old_command_expires(armed):
    armed.next_frame(1.0)
    armed.apply(some_command(armed, size=0.1, valid_for=0.1))
    armed.next_frame(1.0)
    assert np.abs(setting(armed) - rest(armed)).max() > 1e-4
    for _ in range(7):  # 0.53 s later
        armed.next_frame(1.0)
    np.testing.assert_allclose(setting(armed), rest(armed), atol=RESTING[len(rest(armed))])


def test_stop_brings_the_actuators_to_rest(armed):
    armed.next_frame(1.0)
    armed.apply(some_command(armed))
    armed.next_frame(1.0)
    armed.stop("test")
    for _ in range(6):
        armed.next_frame(1.0)
    np.testing.assert_allclose(setting(armed), rest(armed), atol=RESTING[len(rest(armed))])


def test_frames_are_delivered_late_in_order_and_after_now(armed):
    d = armed.describe()
    before = armed.clock.now()
    last = None
    for _ in range(6):
        frame = armed.next_frame(1.0, MAIN)
        assert frame.t_received > before
        assert frame.t_received == pytest.approx(armed.clock.now())
        assert frame.t_received - frame.t_exposure == pytest.approx(d.image_delay)
        if last is not None:
            assert frame.seq == last.seq + 1
            assert frame.t_exposure - last.t_exposure == pytest.approx(1 / d.frame_rate)
        assert frame.image.shape == frame.projection.shape
        assert frame.live
        last, before = frame, armed.clock.now()


def test_a_timeout_gives_stale_and_time_passes(armed):
    armed.next_frame(1.0)
    before = armed.clock.now()
    stale = armed.next_frame(1e-3)
    assert isinstance(stale, Stale)
    assert armed.clock.now() - before == pytest.approx(1e-3)
    assert isinstance(armed.next_frame(1.0), Frame)


def test_every_source_that_is_described_delivers_and_no_other(armed):
    sources = armed.describe().sources
    assert sources[0] == MAIN
    for source in sources:
        assert armed.next_frame(1.0, source).source == source
        assert armed.read_latest(10.0, source).source == source
    with pytest.raises(RigError, match="no source 'sideways'"):
        armed.next_frame(1.0, "sideways")


def test_while_the_beam_is_off_the_image_is_held_and_no_dose_is_given(armed):
    armed.next_frame(1.0)
    try:
        armed.fluoroscopy(False)
    except RigError:
        pytest.skip("this rig has no hand on the pedal")
    d = armed.describe()
    last = armed.read_latest(10.0, MAIN)
    assert last.live  # more are on their way
    while isinstance(frame := armed.next_frame(d.image_delay + 1 / d.frame_rate), Frame):
        assert frame.live
        last = frame if frame.source == MAIN else last
    dose, before = armed.telemetry().dose, armed.clock.now()
    assert isinstance(armed.next_frame(0.5), Stale)
    assert armed.clock.now() - before == pytest.approx(0.5)
    held = armed.read_latest(10.0, MAIN)
    assert (held.live, held.seq, held.t_exposure) == (False, last.seq, last.t_exposure)
    assert isinstance(armed.read_latest(0.45, MAIN), Stale)  # a held image grows old
    readings = armed.telemetry()
    assert readings.dose == dose
    assert readings.fluoroscopy is False
    armed.fluoroscopy(True)
    pressed = armed.clock.now()
    frame = armed.next_frame(1.0, MAIN)
    assert frame.live
    assert frame.seq == last.seq + 1
    assert pressed <= frame.t_exposure <= pressed + 1 / d.frame_rate + 0.01
    assert armed.telemetry().dose > dose


def test_read_latest_never_moves_time(armed):
    assert isinstance(armed.read_latest(1.0), Stale)
    frame = armed.next_frame(1.0)
    before = armed.clock.now()
    assert armed.read_latest(10.0).seq == frame.seq
    assert isinstance(armed.read_latest(1e-6), Stale)
    assert armed.clock.now() == before


def test_telemetry_carries_times_and_dose(armed):
    armed.next_frame(1.0)
    readings = armed.telemetry()
    assert readings.state == "armed"
    assert readings.dose > 0
    assert (readings.temperatures > 250).all()
    told = {
        name
        for name in ("reference_kerma", "dap", "tube_charge", "fluoroscopy", "pose", "ecg_phase")
        if getattr(readings, name) is not None
    }
    assert {"currents", "temperatures", "dose"} | told <= set(readings.times)
    if readings.dap is not None and readings.reference_kerma is not None:
        assert 0 < readings.dose < readings.reference_kerma  # the patient takes most of it
        assert readings.dap > 0


def test_leaving_the_context_stops_and_disconnects():
    rig = twin()
    with pytest.raises(ZeroDivisionError), rig:
        rig.prepare(start_of(rig), seed=0)
        rig.arm()
        raise ZeroDivisionError
    assert rig.state == "disconnected"
