"""The report of a run, and the summary of many."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmdtwin import __version__
from mmdtwin.cli.navigation.telemetry import Telemetry
from mmdtwin.control.session import Outcome
from mmdtwin.control.task import Episode
from mmdtwin.geometry import Array
from mmdtwin.vessel import VesselMap

PACKAGES = ("numpy", "scipy", "numba", "pybullet", "magpylib", "xraylib", "opencv-python-headless")


@dataclass(frozen=True, eq=False)
class Ending:
    """Where a run ended, by truth when the rig is a twin, else by the track, vessel's frame.

    `position` is None when no frame came.
    """

    position: Array | None
    by_truth: bool


def versions() -> dict[str, str]:
    """Versions of what made a result."""
    found = {"mmdtwin": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


def judge(ending: Ending, episode: Episode, vessel: VesselMap, tolerance: float) -> dict[str, Any]:
    """Distance to the target (3-D), branch at the end, and whether both are as asked."""
    distance, branch = None, None
    if ending.position is not None:
        distance = float(np.linalg.norm(ending.position - episode.target))
        branch = vessel.branch_at(ending.position)
    near = distance is not None and distance <= tolerance
    return {
        "reached": near and branch == episode.target_branch,
        "target_distance_mm": None if distance is None else distance * 1e3,
        "final_branch": branch,
        "target_branch": episode.target_branch,
        "judged_by": "truth" if ending.by_truth else "track",
    }


def make_report(
    outcome: Outcome,
    telemetry: Telemetry,
    episode: Episode,
    verdict: dict[str, Any],
    wall_time: float,
) -> dict[str, Any]:
    """Return the report of one run; figures that need the truth are None without it.

    `success` asks that the controller itself found that it had arrived, and that it was right.
    `path_rmse_mm` is the 3-D distance of the device's centre from the path; `tracking_rmse_mm`
    the distance of the track from the projected centre, at the device's depth;
    `tracking_lost_fraction` counts every frame in which the tracker had no detection.
    """
    reached = verdict.pop("reached")
    report: dict[str, Any] = {
        "success": bool(reached and outcome.ended == "arrived"),
        "ended": outcome.ended,
        "time_s": outcome.time,
        "path_length_mm": episode.path.length * 1e3,
        "path_rmse_mm": None,
        "tracking_rmse_mm": None,
        "tracking_lost_fraction": 1.0,
        "wall_contact_fraction": None,
        "frames": len(telemetry),
        "frame_rate_hz": len(telemetry) / outcome.time if outcome.time > 0 else 0.0,
        "realtime_factor": outcome.time / wall_time if wall_time > 0 else 0.0,
        **verdict,
    }
    if len(telemetry):
        states = telemetry.column("track_state")
        report["tracking_lost_fraction"] = float(np.mean(states != "tracking"))
        report["dose_uGy"] = float(telemetry.rows[-1]["dose"] * 1e6)
    if len(telemetry) and "true_position" in telemetry.rows[0]:
        report.update(_against_truth(telemetry, episode))
    return report


def _against_truth(telemetry: Telemetry, episode: Episode) -> dict[str, float]:
    position = telemetry.column("true_vessel_position")
    gaps = np.linalg.norm(position[:, None] - episode.path.points[None], axis=2).min(axis=1)
    miss = telemetry.column("track_px") - telemetry.column("true_track_px")
    miss_m = np.linalg.norm(miss, axis=1) * telemetry.column("true_pixel_size")
    return {
        "path_rmse_mm": float(np.sqrt(np.mean(gaps**2)) * 1e3),
        "tracking_rmse_mm": float(np.sqrt(np.mean(miss_m**2)) * 1e3),
        "wall_contact_fraction": float(np.mean(telemetry.column("wall_contacts") > 0)),
    }


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a proportion (Wilson 1927)."""
    z = 1.959964
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def summarise(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Success count with its interval and the medians of the other figures."""
    n = len(reports)
    successes = sum(r["success"] for r in reports)
    summary: dict[str, Any] = {
        "episodes": n,
        "successes": successes,
        "success_interval_95": wilson(successes, n),
    }
    for key in (
        "time_s", "path_rmse_mm", "tracking_rmse_mm", "tracking_lost_fraction",
        "wall_contact_fraction", "realtime_factor",
    ):  # fmt: skip
        values = [r[key] for r in reports if r.get(key) is not None]
        summary[f"median_{key}"] = float(np.median(values)) if values else None
    return summary
