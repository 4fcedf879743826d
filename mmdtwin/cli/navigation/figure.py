"""The summary picture of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmdtwin.cli.navigation.telemetry import Telemetry
from mmdtwin.control.path import Path as DevicePath
from mmdtwin.files import replacing


def save_summary(
    path: Path, telemetry: Telemetry, plan: DevicePath, report: dict[str, Any]
) -> None:
    """Draw path, error and currents over time to a PNG. `plan` is in the world as estimated."""
    from matplotlib.figure import Figure

    t = telemetry.column("t_exposure")
    position = telemetry.column("position") * 1e3
    points = plan.leg * 1e3
    figure = Figure(figsize=(12, 8), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.1, 1))
    plane = figure.add_subplot(grid[:, 0])
    plane.plot(points[:, 0], points[:, 1], color="tab:orange", label="path")
    plane.plot(position[:, 0], position[:, 1], color="tab:green", lw=1, label="tracked")
    if "true_position" in telemetry.rows[0]:
        truth = telemetry.column("true_position") * 1e3
        plane.plot(truth[:, 0], truth[:, 1], color="black", lw=0.8, ls=":", label="truth")
    plane.plot(*points[-1, :2], "o", mfc="none", mec="tab:red", ms=12, label="target")
    plane.set(xlabel="x / mm", ylabel="y / mm", aspect="equal", title="seen from above")
    plane.legend()

    progress = figure.add_subplot(grid[0, 1])
    progress.plot(t, telemetry.column("s") * 1e3, color="tab:green")
    progress.axhline(plan.length * 1e3, color="tab:red", lw=0.8)
    progress.set(ylabel="along the path / mm")

    error = figure.add_subplot(grid[1, 1], sharex=progress)
    lateral = np.linalg.norm(telemetry.column("lateral"), axis=1) * 1e3
    error.plot(t, lateral, label="across the path, in the image")
    if "true_track_px" in telemetry.rows[0]:
        miss = telemetry.column("track_px") - telemetry.column("true_track_px")
        size = telemetry.column("true_pixel_size") * 1e3
        error.plot(t, np.linalg.norm(miss, axis=1) * size, label="track against truth")
    error.set(ylabel="error / mm", ylim=(0, None))
    error.legend(fontsize=8)

    currents = figure.add_subplot(grid[2, 1], sharex=progress)
    currents.plot(t, telemetry.column("measured"), lw=0.9)
    currents.set(xlabel="time / s", ylabel="coil currents / A")
    verdict = "reached the target" if report["success"] else f"not reached ({report['ended']})"
    figure.suptitle(
        f"{report['scenario']}, seed {report['seed']}: {verdict}, "
        f"{report['target_distance_mm']:.2f} mm from it after {report['time_s']:.1f} s"
    )
    with replacing(path) as part:
        figure.savefig(part, dpi=110)
