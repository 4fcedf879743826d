"""What several commands are tried on."""

import pytest

from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.records import DataRecord, HarmonicRecord, SaturationRecord


@pytest.fixture
def calibration(tmp_path):
    """A calibration file that is the drawing of three coils."""
    coils = CoilSystem.load("navion-like")
    record = HarmonicRecord(
        kind="harmonics", degree=coils.degree, scale=coils.scale, workspace_radius=0.05,
        saturation=SaturationRecord.of(coils.saturation), potential=coils.potential.tolist(),
    )  # fmt: skip
    path = tmp_path / "mine.yaml"
    Calibration.new(record, DataRecord(file="s.csv", sha256="0" * 64)).save(path)
    return path
