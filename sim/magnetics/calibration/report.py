"""What a calibration reached: figures, the calibrated coils, and plots of the residuals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmdtwin.files import replacing
from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics.calibration.calibrate import Fitted
from mmdtwin.sim.magnetics.calibration.calibration import Calibration
from mmdtwin.sim.magnetics.calibration.records import (
    DataRecord,
    HarmonicRecord,
    SaturationRecord,
    SensorRecord,
)
from mmdtwin.sim.magnetics.calibration.registration import Registration
from mmdtwin.sim.magnetics.calibration.samples import hull_radius
from mmdtwin.sim.magnetics.calibration.terms import Drawn

WORST = 10  # rows shown
# The hull of scattered samples lies inside the region they were drawn from, and a smooth field
# goes on a little beyond its last sample; both assumed.
BEYOND_HULL, BEYOND_SAMPLES = 1.25, 1.05


def calibration_of(
    fitted: Fitted, drawn: str | None = None, registration: Registration | None = None
) -> Calibration:
    """Return the calibrated coils.

    Parameters
    ----------
    fitted : Fitted
        From `calibrate`.
    drawn : str, optional
        Name of the coil system it started from.
    registration : Registration, optional
        Of the stage, if fiducials were given.
    """
    state, samples = fitted.state, fitted.samples
    potential = fitted.family.potential(state.parameters)
    rigid = isinstance(fitted.family, Drawn) and fitted.family.rigid
    return Calibration.new(
        model=HarmonicRecord(
            kind="harmonics",
            degree=fitted.family.degree,
            scale=fitted.family.scale,
            workspace_radius=covered_radius(fitted),
            saturation=SaturationRecord.of(state.saturation),
            potential=tuple(tuple(row) for row in potential.tolist()),
        ),
        data=DataRecord(
            file=Path(samples.path).name, sha256=samples.sha256, rows=len(samples), coils=drawn
        ),
        sensor=SensorRecord(
            rotation=state.rotation_vector.tolist(),
            offset=state.bias.tolist(),
            position_offset=state.offset.tolist() if rigid else None,
        ),
        figures=figures(fitted, registration),
    )


def covered_radius(fitted: Fitted) -> float:
    """Return the radius in m about the origin of the region that the samples cover.

    Up to a quarter more than the largest ball inside the samples' hull, at most a twentieth
    further than the furthest sample, and never beyond the workspace of the coils as drawn.
    """
    samples = fitted.samples
    bounds = [BEYOND_HULL * hull_radius(samples.positions), BEYOND_SAMPLES * samples.furthest]
    if isinstance(fitted.family, Drawn):
        bounds.append(fitted.family.scale)
    return min(bounds)


def figures(fitted: Fitted, registration: Registration | None = None) -> dict[str, Any]:
    """Return the figures of a calibration, SI, as JSON can hold them.

    RMSE is that of the vector (root mean square length of the residual); a component's is
    1/sqrt(3) of it. Outliers are left out except where the name says all.
    """
    state, good = fitted.state, ~fitted.outliers
    lengths = np.linalg.norm(fitted.held_out, axis=1)
    measured = fitted.samples.fields[good]
    spread = np.sum((measured - measured.mean(axis=0)) ** 2)
    law, errors = state.saturation, _sensor_errors(fitted)
    drawn = isinstance(fitted.family, Drawn)
    return {
        "samples": len(lengths),
        "coils": fitted.samples.n_coils,
        "model": _model(fitted),
        "degree": fitted.family.degree,
        "rmse_held_out": rms(fitted.held_out[good]),
        "rmse_held_out_component": rms(fitted.held_out[good]) / 3**0.5,
        "rmse_held_out_all": rms(fitted.held_out),
        "rmse_fit": rms(fitted.problem.residuals(state)[good]),
        "rmse_nominal": None if fitted.nominal is None else rms(fitted.nominal[good]),
        "r2_held_out": float(1 - np.sum(fitted.held_out[good] ** 2) / spread),
        "noise_component": fitted.problem.noise,
        "condition_number": condition_number(fitted),
        "outliers": [int(k) + 1 for k in np.flatnonzero(~good)],
        "worst": [
            {"row": int(k) + 1, "residual": float(lengths[k]), "outlier": bool(not good[k])}
            for k in np.argsort(-lengths)[:WORST]
        ],
        "saturation": [
            {
                "coil": k + 1,
                "gain": float(1 + state.parameters[k, 0]) if drawn else None,
                "law": law.law[k] if state.saturating[k] else "linear",
                "knee": float(law.knee[k]) if state.saturating[k] else None,
                "share": float(law.share[k]),
            }
            for k in range(fitted.samples.n_coils)
        ],
        "sensor": {
            "rotation": state.rotation_vector.tolist(),
            "rotation_error": errors[:3].tolist(),
            "offset": state.bias.tolist(),
            "offset_error": errors[3:6].tolist(),
            "position_offset": _position_offset(fitted, errors[6:]),
        },
        "registration": None if registration is None else _placed(fitted, registration),
    }


def rms(vectors: Array) -> float:
    """Return the root mean square length of vectors (n, 3)."""
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=1))))


def condition_number(fitted: Fitted) -> float:
    """Return how well the readings tell the coils apart: 1 is best.

    That of the matrix of what each coil adds to the readings, columns scaled to equal size.
    """
    state, problem = fitted.state, fitted.problem
    fields = problem.terms.fields(state.parameters, state.offset)
    made = state.effective(problem.currents)[0][..., None] * fields
    columns = made.swapaxes(1, 2).reshape(-1, made.shape[1])
    return float(np.linalg.cond(columns / np.linalg.norm(columns, axis=0)))


def _model(fitted: Fitted) -> str:
    if not isinstance(fitted.family, Drawn):
        return "harmonics"
    return "parametric" if fitted.family.rigid else "drawn coils with harmonics"


def _sensor_errors(fitted: Fitted) -> Array:
    """Return standard errors of rotation (rad), offset (T) and position offset (m), (9,)."""
    return fitted.solution.errors[-9:]


def _position_offset(fitted: Fitted, errors: Array) -> dict[str, Any]:
    """Return how far the sensor is from where the samples, as registered, say it is."""
    if isinstance(fitted.family, Drawn) and fitted.family.rigid:
        return {
            "value": fitted.state.offset.tolist(),
            "error": errors.tolist(),
            "from": "the coils as drawn, and only as true as they lie so",
        }
    return {
        "value": None,
        "error": None,
        "from": "not reported: a moved harmonic field is harmonic, so that coils and sensor cannot"
        " be told apart; use --model parametric, or place the stage by --fiducials",
    }


def _placed(fitted: Fitted, registration: Registration) -> dict[str, Any]:
    """Return where the stage lies in the coils' frame, and how well that places the samples."""
    points = np.vstack([registration.origin, fitted.samples.positions])
    errors = registration.errors_at(points)
    return {
        "fiducials": len(registration.fiducials),
        "rms": registration.rms,
        "origin": registration.origin.tolist(),
        "origin_error": None if errors is None else errors[0].tolist(),
        "rotation": registration.turn.tolist(),
        "samples_error": None if errors is None else rms(errors[1:]),
    }


def plot(fitted: Fitted, path: Path) -> None:
    """Write a PNG of the held-out residuals: over the reading, their histogram, and in space."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    good, residuals = ~fitted.outliers, fitted.held_out * 1e3
    lengths = np.linalg.norm(residuals, axis=1)
    predicted = np.linalg.norm(fitted.problem.predicted(fitted.state), axis=1) * 1e3
    top = 1.1 * float(lengths[good].max())
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle = figure.add_subplot(1, 3, 1), figure.add_subplot(1, 3, 2)
    left.plot(predicted[good], lengths[good], ".", markersize=3)
    for k in np.flatnonzero(~good):
        left.annotate(f"{k + 1}", (predicted[k], min(lengths[k], top)), color="C3", fontsize=8)
    left.set(
        xlabel="predicted reading (mT)",
        ylabel="held-out residual (mT)",
        ylim=(0, 1.05 * top),
        title="red: rows of outliers",
    )
    for axis, name in enumerate("xyz"):
        middle.hist(residuals[good, axis], bins=40, histtype="step", label=name)
    middle.set(xlabel="held-out residual (mT)", ylabel="samples")
    middle.legend()
    right = figure.add_subplot(1, 3, 3, projection="3d")
    shown = right.scatter(*(fitted.samples.positions[good] * 1e3).T, c=lengths[good], s=6)
    right.set(xlabel="x (mm)", ylabel="y (mm)", zlabel="z (mm)")
    figure.colorbar(shown, ax=right, label="held-out residual (mT)", shrink=0.7)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
