"""Telemetry of a run: every frame's row, written as HDF5 (h5py, pandas) in one go or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmdtwin.actuation import CoilCurrents
from mmdtwin.control.session import Moment
from mmdtwin.files import replacing
from mmdtwin.hardware.twin.rig import Truth
from mmdtwin.rig import RigState

UNITS = {
    "t_exposure": "s", "t_received": "s", "t_applied": "s", "track_px": "px",
    "track_velocity_px": "px/s", "track_covariance_px": "px^2", "score": "1", "s": "m",
    "speed": "m/s", "position": "m", "lateral": "m", "reference": "m", "field": "T",
    "force": "N", "commanded": "A", "accepted": "A", "measured": "A", "temperature": "K",
    "dose": "Gy", "reference_kerma": "Gy", "dap": "Gy m2", "tube_charge": "A s",
    "true_position": "m", "true_vessel_position": "m", "true_velocity": "m/s",
    "true_field": "T", "true_track_px": "px", "true_pixel_size": "m", "clearance": "m",
}  # fmt: skip


class Telemetry:
    """Collects one row a frame. Truth columns are there for a twin only."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, moment: Moment, readings: RigState, truth: Truth | None) -> None:
        """Add the row of a moment."""
        frame, track, estimate = moment.frame, moment.track, moment.estimate
        accepted = moment.applied.command
        values = accepted.values if isinstance(accepted, CoilCurrents) else None
        row: dict[str, Any] = {
            "seq": frame.seq,
            "t_exposure": frame.t_exposure,
            "t_received": frame.t_received,
            "t_applied": moment.applied.time,
            "track_px": track.position,
            "track_velocity_px": track.velocity,
            "track_covariance_px": track.covariance[:2, :2],
            "score": track.score,
            "track_state": track.state,
            "s": estimate.s,
            "speed": estimate.speed,
            "position": estimate.position,
            "lateral": estimate.lateral,
            "reference": moment.decision.reference,
            "field": moment.decision.field,
            "force": moment.decision.force,
            "commanded": moment.decision.currents,
            "accepted": np.full_like(moment.decision.currents, np.nan)
            if values is None
            else values,
            "reasons": "; ".join(moment.applied.reasons),
            "measured": readings.currents,
            "temperature": readings.temperatures,
            "faults": "; ".join(readings.faults),
            "dose": readings.dose,
            "reference_kerma": _number(readings.reference_kerma),
            "dap": _number(readings.dap),
            "tube_charge": _number(readings.tube_charge),
        }
        if truth is not None:
            row.update(
                true_position=truth.world.position,
                true_vessel_position=truth.position,
                true_velocity=truth.world.velocity,
                true_nodes=truth.world.nodes,
                true_field=truth.field,
                true_track_px=truth.pixel,
                true_pixel_size=truth.pixel_size,
                wall_contacts=truth.world.wall_contacts,
                clearance=truth.world.clearance,
            )
        self.rows.append(row)

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """One column as an array, a row for each frame."""
        return np.array([row[name] for row in self.rows])

    def save(self, path: Path, attributes: dict[str, Any]) -> None:
        """Write one data set a column, with its unit, and the attributes as JSON."""
        import h5py

        with replacing(path) as part, h5py.File(part, "w") as file:
            file.attrs["report"] = json.dumps(attributes)
            for name in self.rows[0] if self.rows else ():
                column = self.column(name)
                data = column.astype(h5py.string_dtype()) if column.dtype.kind == "U" else column
                file.create_dataset(name, data=data).attrs["unit"] = UNITS.get(name, "")


def _number(reading: float | None) -> float:
    """A reading, or nan where there is none."""
    return float("nan") if reading is None else reading
