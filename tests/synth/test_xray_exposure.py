"""Exposure control and dose counters: limits, bad input, areas."""

import math

import pytest

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.synth.xray.exposure import ExposureControl, bucky_factor, field_area


def make_config(**changes):
    values = {
        "source": "test",
        "background": {"kind": "flat"},
        "detector": {"electronic_noise": 0.0},
        "exposure": {"detector_dose": 100e-9},
    }
    return ImagerConfig.model_validate(values | changes)


def make_control(**changes):
    config = make_config(**changes)
    return ExposureControl(config, make_projection(config))


def make_projection(config):
    d = config.detector
    return Projection.from_carm(config.sid, config.sod, d.pitch, (d.rows, d.columns))


def test_charge_by_hand_stays_whatever_is_measured():
    control = make_control(exposure={"charge": 0.5})
    control.start(1e-3)
    control.measured(1e-5, 0.07)
    assert control.charge == pytest.approx(0.5e-3)  # A s
    assert control.exposure(2e-3).detector_dose == pytest.approx(1e-6)


def test_control_makes_up_63_per_cent_of_an_error_in_its_time():
    """However the time is cut into frames."""
    for frames in (1, 7, 60):
        control = make_control(exposure={"detector_dose": 100e-9, "control_time": 0.3})
        control.start(1e-3)
        wanted = 2 * control.charge
        for _ in range(frames):
            control.measured(0.5e-3, 0.3 / frames)
        assert control.charge == pytest.approx(wanted * (1 - 0.5 * math.exp(-1)))


@pytest.mark.parametrize("blocked", [0.0, 1e-30, float("nan")])
def test_control_stops_at_the_tubes_current(blocked):
    control = make_control()
    control.start(blocked)
    assert control.charge == pytest.approx(200e-3 * 8e-3)
    for _ in range(100):
        control.measured(blocked, 0.1)
    assert control.charge <= control.max_charge * (1 + 1e-12)


def test_a_charge_by_hand_beyond_the_tube_is_refused():
    with pytest.raises(UserError, match=r"1\.6 mAs"):
        make_control(exposure={"charge": 2.0})


def test_a_flash_has_no_limit_but_needs_light():
    control = make_control(pulse_width=0.0)
    control.start(1e-9)
    assert control.charge == pytest.approx(100.0)
    with pytest.raises(UserError, match="nothing reaches"):
        control.start(0.0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("rectangular", 0.01),
        ("round", math.pi * 0.05**2),
        ("octagonal", 8 * math.tan(math.pi / 8) * 0.05**2),
    ],
)
def test_area_of_the_opening(shape, expected):
    config = make_config(collimator={"shape": shape, "opening": (0.1, 0.1)})
    assert field_area(config, make_projection(config)) == pytest.approx(expected)


def test_without_a_collimator_the_beam_fills_the_image():
    panel = make_config(detector={"electronic_noise": 0.0, "rows": 256})
    assert field_area(panel, make_projection(panel)) == pytest.approx(256 * 512 * 0.3e-3**2)
    round_one = make_config(detector={"electronic_noise": 0.0, "intensifier": {}})
    side = 512 * 0.3e-3
    area = field_area(round_one, make_projection(round_one))
    assert area == pytest.approx(math.pi / 4 * side**2)


def test_doses_are_proportional_to_charge():
    control = make_control()
    control.start(1e-3)
    one = control.exposure(1e-3)
    control.start(0.5e-3)
    two = control.exposure(0.5e-3)
    assert two.charge == pytest.approx(2 * one.charge)
    assert two.detector_dose == pytest.approx(one.detector_dose)
    assert two.reference_kerma == pytest.approx(2 * one.reference_kerma)
    assert two.dap == pytest.approx(2 * one.dap)


def test_a_grid_pays_more_the_less_scatter_there_is_to_stop():
    """Without scatter it only costs primary; a grid that passes all costs nothing."""
    grid = make_config(grid={"primary": 0.7, "scatter": 0.12}).grid
    assert bucky_factor(grid, 0.0) == pytest.approx(1 / 0.7)
    assert bucky_factor(grid, 1e9) == pytest.approx(1 / 0.12)
    assert bucky_factor(make_config(grid={"primary": 1.0, "scatter": 1.0}).grid, 3.0) == 1.0
