"""Calibration files: what they hold, and what is refused."""

import numpy as np
import pytest
import yaml

from mmdtwin.errors import ConfigError, OutOfWorkspaceError
from mmdtwin.saturation import Saturation
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel, Region, Sources
from mmdtwin.sim.magnetics.calibration.records import (
    DataRecord,
    HarmonicRecord,
    MultipoleRecord,
    SaturationRecord,
    SensorRecord,
)


def a_calibration():
    rng = np.random.default_rng(0)
    law = Saturation.of([10.0, np.inf], [0.7, 0.0], ("erf", "tanh"))
    return Calibration.new(
        HarmonicRecord(
            kind="harmonics",
            degree=3,
            scale=0.03,
            workspace_radius=0.025,
            saturation=SaturationRecord.of(law),
            potential=[tuple(row) for row in rng.normal(size=(2, 16)) * 1e-4],
        ),
        DataRecord(file="s.csv", sha256="0" * 64, rows=100),
        SensorRecord(rotation=(0, 0, np.pi / 2), offset=(1e-3, 0, 0), position_offset=None),
        {"rmse_held_out": 3e-4},
    )


def test_a_file_holds_the_whole_calibration(tmp_path):
    """Read back, it gives the same field to the last digit, and the same record."""
    path = tmp_path / "my.yaml"
    made = a_calibration()
    made.save(path)
    read = Calibration.load(path)
    points, currents = np.random.default_rng(1).normal(size=(9, 3)) * 5e-3, [12.0, -7.0]
    for a, b in zip(
        made.model.field_and_gradient(points, currents),
        read.model.field_and_gradient(points, currents),
        strict=True,
    ):
        assert np.array_equal(a, b)
    assert read.record == made.record
    assert read.id.startswith("cal-") and read.n_coils == 2
    assert list(tmp_path.iterdir()) == [path]


def test_multipoles_keep_their_region(tmp_path):
    source = Sources(np.zeros((1, 3)), np.eye(3)[:1], np.zeros((1, 2)), np.array([[1e-6, 1e-9]]))
    for radius in (0.01, np.inf):
        region = Region(np.full(3, 0.05), np.full(3, 0.07), radius)
        made = Calibration.new(
            MultipoleRecord.of(MultipoleModel([source], region)), DataRecord(file="f", sha256="0")
        )
        made.save(tmp_path / "m.yaml")
        read = Calibration.load(tmp_path / "m.yaml").model
        points = np.full((1, 3), 0.055)
        assert np.array_equal(read.unit_field(points), made.model.unit_field(points))
        with pytest.raises(OutOfWorkspaceError):
            read.unit_field(np.full((1, 3), 0.08))
        assert read.region.radius == radius


def test_readings_turn_and_shift_the_field():
    """What the sensor reads is R B + b: here a quarter turn about z and 1 mT along x."""
    calibration = a_calibration()
    points, currents = np.full((1, 3), 1e-3), np.array([[1.0, 2.0]])
    bx, by, bz = calibration.model.field(points, currents[0])[0]
    reading = calibration.readings(points, currents)[0]
    assert np.allclose(reading, [1e-3 - by, bx, bz], rtol=1e-12)


def test_a_calibration_of_another_coil_count_is_refused():
    a_calibration().check_matches(2)
    with pytest.raises(ConfigError, match=r"calibration cal-.* is of 2 coils; the system has 8"):
        a_calibration().check_matches(8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "version"),
        (
            lambda d: d.update(format="other"),
            "not a calibration file (format: mmdtwin-calibration)",
        ),
        (lambda d: d["model"]["potential"][0].pop(), "a row of 16 numbers per coil"),
        (lambda d: d["model"]["saturation"]["knee"].pop(), "knee, share and law of each of 2"),
        (
            lambda d: d["model"].update(scale=float("nan")),
            "model.scale: Input should be a finite number",
        ),
        (lambda d: d["model"].update(kind="spline"), "model"),
        (lambda d: d.update(extra=1), "extra: unknown key"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, message):
    data = a_calibration().record.model_dump(mode="json")
    change(data)
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError) as error:
        Calibration.load(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "Coil_List: [Coil_0]\n"])
def test_other_files_are_no_calibrations(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"my\.yaml"):
        Calibration.load(path)
