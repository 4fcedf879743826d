"""Calibrate hidden, perturbed coil systems; print errors against the truth.

python -m benchmarks.calibration --seeds 5
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.files import writable_dir, write_json
from mmdtwin.sim.magnetics.calibration.study import Hidden, study

LIMIT = 0.5e-3  # T, of the vector's rms in the sensor's frame


def main() -> None:
    """Run every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coils", default="octomag-like")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--knee", type=float, default=1.0, help="over the current limit")
    parser.add_argument("--law", choices=["tanh", "erf"], default="tanh")
    parser.add_argument("--without-drawing", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.json is not None:
        writable_dir(args.json.parent, "--json")
    config = load(CoilsConfig, "coils", args.coils)
    hidden = Hidden(knee=args.knee, law=args.law)
    table = Table(
        "seed", "sensor frame", "true frame", "nominal", "cross-validated", "outliers", "s",
        title=f"rms error of the vector, mT (limit {LIMIT * 1e3:g} in the sensor's frame)",
    )  # fmt: skip
    rows = []
    for seed in range(args.seeds):
        began = time.perf_counter()
        outcome, _ = study(config, hidden, seed, drawn=not args.without_drawing)
        seconds = time.perf_counter() - began
        errors = (
            outcome.sensor_frame,
            outcome.true_frame,
            outcome.nominal,
            outcome.cross_validated,
        )
        found = f"{outcome.outliers_found}/{outcome.outliers_made} +{outcome.false_outliers}"
        table.add_row(str(seed), *(f"{e * 1e3:.3f}" for e in errors), found, f"{seconds:.1f}")
        rows.append({"seed": seed, "seconds": seconds} | asdict(outcome))
    Console().print(table)
    if args.json is not None:
        write_json(args.json, {"coils": args.coils, "hidden": asdict(hidden), "runs": rows})
    if any(row["sensor_frame"] > LIMIT for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
