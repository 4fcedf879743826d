"""The gate is pure: whatever comes in, what goes out is within the limits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmdtwin.actuation import CoilCurrents, MagnetPose, RotatingField, Waveform
from mmdtwin.errors import UserError
from mmdtwin.safety import MAX_INTERVAL, MAX_VALID_FOR, GateState, Limits, gate, scale_to_limits

N = 4
LIMITS = Limits(
    max_current=np.array([10.0, 10.0, 5.0, 10.0]),
    max_voltage=np.array([30.0, 30.0, 30.0, 20.0]),
    max_power=600.0,
    max_slew=np.full(N, 100.0),
    resistance=np.array([2.0, 2.0, 4.0, 1.0]),
    inductance=np.array([0.02, 0.02, 0.01, 0.05]),
    max_temperature=350.0,
)
STEEP = replace(LIMITS, max_slew=np.full(N, 50.0))
anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
moderate = st.floats(-200, 200)


def state(values=None, time=0.0, **more):
    return GateState(
        np.zeros(N) if values is None else np.asarray(values), time, armed=True, **more
    )


@given(arrays(float, N, elements=anything), st.floats(0, 10))
def test_whatever_is_asked_what_is_sent_is_within_limits(values, now):
    sent, after, reasons = gate(CoilCurrents(values, seq=1), state(), LIMITS, now)
    assert np.isfinite(sent.values).all()
    assert (np.abs(sent.values) <= LIMITS.max_current * (1 + 1e-12)).all()
    assert (LIMITS.resistance * sent.values**2).sum() <= LIMITS.max_power * (1 + 1e-9)
    # Below 1e-300 numbers are too coarse to divide well.
    assert (np.abs(sent.values) <= LIMITS.max_slew * now * (1 + 1e-9) + 1e-300).all()
    np.testing.assert_array_equal(after.values, sent.values)
    changed = not np.array_equal(sent.values, values)
    assert bool(reasons) == changed


@given(arrays(float, N, elements=moderate))
def test_scaling_keeps_the_shape_of_the_field(values):
    scale = scale_to_limits(values, LIMITS)
    assert 0 < scale <= 1
    sent, _, _ = gate(CoilCurrents(values, seq=1), state(time=-1e6), LIMITS, 0.0)
    np.testing.assert_allclose(sent.values, values * scale, rtol=1e-12)
    if scale < 1:  # exactly at a limit, not further down than needed
        at_current = np.max(np.abs(sent.values) / LIMITS.max_current)
        at_power = (LIMITS.resistance * sent.values**2).sum() / LIMITS.max_power
        assert max(at_current, at_power) == pytest.approx(1.0)


def test_the_state_passed_in_is_not_changed():
    before = state(np.ones(N))
    gate(CoilCurrents(np.full(N, 3.0), seq=1), before, LIMITS, 1.0)
    np.testing.assert_array_equal(before.values, np.ones(N))
    assert before.seq == -1


def test_unarmed_old_and_foreign_commands_are_refused_without_effect():
    ask = CoilCurrents(np.ones(N), seq=3)
    unarmed = GateState(np.zeros(N), 0.0)
    cases = [
        (ask, unarmed, "not armed"),
        (ask, state(seq=3), "not newer"),
        (RotatingField(np.array([0, 0, 1.0]), 0.01, 1.0, seq=9), state(), "not gated"),
    ]
    for command, given_state, word in cases:
        sent, after, reasons = gate(command, given_state, LIMITS, 1.0)
        assert sent is None
        assert after is given_state
        assert word in reasons[0]


@pytest.mark.parametrize(
    "command",
    [
        CoilCurrents([np.nan, 0, 0, 0], seq=1),
        CoilCurrents([np.inf, 0, 0, 0], seq=1),
        CoilCurrents([1.0, 2.0], seq=1),
        CoilCurrents(np.ones(N), seq=1, valid_for=0.0),
        CoilCurrents(np.ones(N), seq=1, valid_for=np.nan),
        Waveform(np.array([0.1, 0.1]), np.ones((2, N)), seq=1),
        Waveform(np.array([-0.1, 0.1]), np.ones((2, N)), seq=1),
        Waveform(np.array([0.1]), np.ones((2, N)), seq=1),
        Waveform(np.zeros(0), np.zeros((0, N)), seq=1),
    ],
    ids=lambda c: type(c).__name__,
)
def test_a_malformed_command_sends_zero_and_says_why(command):
    sent, after, reasons = gate(command, state(np.ones(N)), LIMITS, 1.0)
    np.testing.assert_array_equal(sent.values, np.zeros(N))
    assert "zero sent" in reasons[0]
    assert after.seq == 1


def test_a_hot_coil_sends_zero():
    sent, _, reasons = gate(CoilCurrents(np.ones(N), seq=1), state(temperature=351.0), LIMITS, 1.0)
    assert not sent.values.any()
    assert "351 K" in reasons[0]


def test_slew_is_limited_from_the_set_point_in_force():
    sent, _, reasons = gate(
        CoilCurrents([8.0, 0, 0, 0], seq=1), state([2.0, 0, 0, 0]), LIMITS, 0.02
    )
    assert sent.values[0] == pytest.approx(4.0)  # 2 A + 100 A/s * 0.02 s
    assert reasons == ("slowed to the slew limit",)


@given(
    arrays(float, N, elements=moderate), arrays(float, N, elements=moderate),
    st.floats(1e-4, 1), st.floats(1, 300),
)  # fmt: skip
def test_the_amplifiers_voltage_is_kept(values, last, elapsed, voltage):
    """|L di/dt + R i| <= V over the step, or what the currents in force take already."""
    limits = replace(LIMITS, max_voltage=np.full(N, voltage))
    last = last * scale_to_limits(last, LIMITS)
    sent, _, reasons = gate(CoilCurrents(values, seq=1), state(last), limits, elapsed)
    step, ask = sent.values - last, values * scale_to_limits(values, limits)
    elapsed = min(elapsed, MAX_INTERVAL)
    used = np.abs(limits.inductance * step / elapsed + limits.resistance * sent.values)
    allowed = np.maximum(voltage, limits.resistance * np.abs(last))
    assert (used <= allowed * (1 + 1e-9) + 1e-9).all()
    # Shortened along the step: all coils by the same part.
    part = step @ (ask - last) / max(float(np.sum((ask - last) ** 2)), 1e-300)
    np.testing.assert_allclose(step, part * (ask - last), atol=1e-9)
    if "slowed to the voltage limit" in reasons and "slowed to the slew limit" not in reasons:
        assert (used >= allowed * (1 - 1e-6) - 1e-9).any()  # no further down than needed


def test_voltage_slows_what_slew_allows():
    """Coil 1 takes 0.02 H * 4 A / 0.005 s + 2 ohm * 4 A = 24 V of 30; a step of 8 A takes 48 V.

    The part allowed is (30 V) / ((0.02 H / 0.005 s + 2 ohm) 8 A) = 0.625.
    """
    limits = replace(LIMITS, max_slew=np.full(N, 1e4))
    sent, _, reasons = gate(CoilCurrents([0, 4.0, 0, 0], seq=1), state(), limits, 0.005)
    assert not reasons
    assert sent.values[1] == 4.0
    sent, _, reasons = gate(CoilCurrents([0, 8.0, 0, 0], seq=1), state(), limits, 0.005)
    assert sent.values[1] == pytest.approx(8.0 * 0.625)
    assert reasons == ("slowed to the voltage limit",)


def test_what_an_amplifier_cannot_hold_scales_the_whole_vector():
    weak = replace(LIMITS, max_voltage=np.array([4.0, 30.0, 30.0, 20.0]))  # 2 A through 2 ohm
    before = state([2.0, 0.5, 0, 0])
    sent, _, reasons = gate(CoilCurrents([4.0, 1.0, 0, 0], seq=1), before, weak, 0.05)
    np.testing.assert_allclose(sent.values, [2.0, 0.5, 0, 0])
    assert "voltage" in reasons[0]


def test_a_command_at_its_limit_to_rounding_passes_as_it_is():
    values = np.array([10.0 * (1 + 1e-14), 0, 0, 0])
    sent, _, reasons = gate(CoilCurrents(values, seq=1), state(time=-1e6), LIMITS, 0.0)
    np.testing.assert_array_equal(sent.values, values)
    assert not reasons


def test_every_row_of_a_waveform_is_gated():
    rows = np.array([[50.0, 0, 0, 0], [-50.0, 0, 0, 0]])
    sent, after, _ = gate(Waveform(np.array([1.0, 1.05]), rows, seq=1), state(), LIMITS, 0.0)
    assert np.abs(sent.values).max() <= 10.0
    assert abs(sent.values[1, 0] - sent.values[0, 0]) <= 100.0 * 0.05 + 1e-9
    np.testing.assert_array_equal(after.values, sent.values[-1])


def test_no_command_stays_in_force_for_long():
    sent, _, reasons = gate(CoilCurrents(np.ones(N), seq=1, valid_for=60.0), state(), LIMITS, 1.0)
    assert sent.valid_for == MAX_VALID_FOR
    assert "valid_for" in reasons[0]


@pytest.mark.parametrize(
    "name",
    ["max_current", "max_voltage", "max_power", "max_slew", "resistance", "inductance"],
)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, None])
def test_limits_cannot_be_absent_or_zero(name, value):
    with pytest.raises(UserError, match=f"limits.{name}"):
        replace(LIMITS, **{name: value})


def test_after_expiry_a_step_starts_from_zero():
    """The driver went to zero then: 10 A, in force before, is a step of 10 A again."""
    sent, after, _ = gate(CoilCurrents([8.0, 0, 0, 0], seq=1, valid_for=0.2), state(), LIMITS, 0.1)
    np.testing.assert_allclose(sent.values, [8.0, 0, 0, 0])
    kept, _, reasons = gate(CoilCurrents([8.0, 0, 0, 0], seq=2), after, LIMITS, 0.15)
    assert (kept.values[0], reasons) == (8.0, ())
    ramped, _, reasons = gate(CoilCurrents([8.0, 0, 0, 0], seq=2), after, STEEP, 0.4)
    np.testing.assert_allclose(ramped.values, [5.0, 0, 0, 0])  # 50 A/s for 0.1 s
    assert reasons == ("slowed to the slew limit",)


def test_after_a_pause_nothing_jumps():
    """A step is spread over 0.1 s at most, however long nothing came."""
    sent, _, reasons = gate(CoilCurrents([8.0, 0, 0, 0], seq=1), state(), STEEP, 60.0)
    np.testing.assert_allclose(sent.values, [5.0, 0, 0, 0])
    assert reasons == ("slowed to the slew limit",)


def test_a_step_out_of_a_waveform_starts_where_it_is():
    """1 ms into a ramp of a second to 10 A, 10 mA flow: 10 A may not be asked for at once."""
    ramp = Waveform(np.array([1e-9, 1.0]), [[0.0] * N, [10.0, 0, 0, 0]], seq=1, valid_for=1.0)
    sent, after, reasons = gate(ramp, state(), LIMITS, 0.0)
    assert reasons == ()
    np.testing.assert_array_equal(sent.values, ramp.values)
    step, _, reasons = gate(CoilCurrents([10.0, 0, 0, 0], seq=2), after, LIMITS, 1e-3)
    np.testing.assert_allclose(step.values[0], 0.01 + 1e-3 * 100, rtol=1e-6)
    assert "slowed to the slew limit" in reasons
    np.testing.assert_allclose(after.set_point(0.5), [5.0, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "command",
    [
        CoilCurrents([1.0, 2.0]),
        Waveform([0.0, 1.0], [[1.0], [2.0]]),
        MagnetPose(np.eye(4)),
        RotatingField([0.0, 0.0, 1.0], 1e-3, 1.0),
    ],
)
def test_commands_keep_copies_that_cannot_change(command):
    """What was gated stays what it was."""
    for name, value in vars(command).items():
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                getattr(command, name)[0] = 5.0


def test_a_command_does_not_follow_the_array_it_was_made_from():
    values, pose = np.zeros(N), np.eye(4)
    commands = CoilCurrents(values), MagnetPose(pose)
    values[0], pose[0, 3] = 5.0, 5.0
    assert commands[0].values[0] == commands[1].T_world_magnet[0, 3] == 0.0
