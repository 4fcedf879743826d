"""Calibrations: coils as measured, with where that comes from, kept in a versioned file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import parse
from mmdtwin.errors import ConfigError
from mmdtwin.field import CoilModel
from mmdtwin.files import digest, replacing
from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics.calibration.reading import read_mapping
from mmdtwin.sim.magnetics.calibration.records import (
    FORMAT,
    VERSION,
    CalibrationRecord,
    DataRecord,
    HarmonicRecord,
    MultipoleRecord,
    SensorRecord,
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A calibrated coil system.

    Parameters
    ----------
    record : CalibrationRecord
        What the file holds.
    model : CoilModel
        The coils' field in their own frame: this replaces the coils as drawn.
    path : str
        Where it was loaded from, for messages.
    """

    record: CalibrationRecord
    model: CoilModel
    path: str = "calibration"

    @classmethod
    def new(
        cls,
        model: HarmonicRecord | MultipoleRecord,
        data: DataRecord,
        sensor: SensorRecord | None = None,
        figures: dict[str, Any] | None = None,
    ) -> Self:
        """Return a calibration of today, with an id of its date and content."""
        now = datetime.now(UTC)
        content = digest([model.model_dump(mode="json"), data.model_dump(mode="json")])
        record = CalibrationRecord(
            format=FORMAT,
            version=VERSION,
            id=f"cal-{now:%Y%m%d}-{content[:8]}",
            date=now.isoformat(timespec="seconds"),
            data=data,
            sensor=sensor,
            figures=figures or {},
            model=model,
        )
        return cls(record, model.model)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a calibration file.

        Raises
        ------
        ConfigError
            If it is none, or of another version.
        """
        data = read_mapping(path, "a calibration file")
        if data.get("format") != FORMAT:
            hint = "; `mmdtwin field import` reads it" if "Coil_List" in data else ""
            raise ConfigError(f"{path}: not a calibration file (format: {FORMAT}){hint}")
        record = parse(CalibrationRecord, data, str(path))
        return cls(record, record.model.model, str(path))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with replacing(path) as part:
            part.write_text(
                yaml.dump(
                    self.record.model_dump(mode="json"),
                    Dumper=_Dumper,
                    sort_keys=False,
                    default_flow_style=None,
                    width=100,
                )
            )

    @property
    def id(self) -> str:
        """Name of this calibration."""
        return self.record.id

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return self.model.n_coils

    def check_matches(self, n_coils: int) -> None:
        """Refuse to stand for a system of another number of coils.

        Raises
        ------
        ConfigError
            If the numbers differ.
        """
        if n_coils != self.n_coils:
            raise ConfigError(
                f"{self.path}: calibration {self.id} is of {self.n_coils} coils;"
                f" the system has {n_coils}"
            )

    def readings(self, positions: ArrayLike, currents: ArrayLike) -> Array:
        """Return what the sensor that measured would read, (n, 3) T, in its own axes.

        Parameters
        ----------
        positions : (n, 3) array
            m, in the coils' frame as the samples gave it.
        currents : (n, c) array
            A.
        """
        effective = self.model.saturation.effective(currents)
        sensor = self.record.sensor
        if sensor is None:
            return np.einsum("nc,nci->ni", effective, self.model.unit_field(positions))
        points = np.asarray(positions, float) + np.array(sensor.position_offset or (0.0, 0.0, 0.0))
        field = np.einsum("nc,nci->ni", effective, self.model.unit_field(points))
        return Rotation.from_rotvec(sensor.rotation).apply(field) + np.array(sensor.offset)


class _Dumper(yaml.SafeDumper):
    """Writes without anchors: equal lists are written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
