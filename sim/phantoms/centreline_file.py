"""Centrelines as a table: branch, s, x, y, z, radius, all in m."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.geometry import Array
from mmdtwin.vessel import VesselMap

COLUMNS = ("branch", "s", "x", "y", "z", "radius")


def write_centrelines(path: Path, vessel_map: VesselMap) -> None:
    """Write the centrelines of a map, branch by branch, with arclength and inscribed radius."""
    with replacing(path) as part, part.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(COLUMNS)
        for name, branch in vessel_map.branches.items():
            for s, point, radius in zip(
                branch.arclength, branch.points, branch.radius, strict=True
            ):
                table.writerow([name, *(f"{v:.9g}" for v in (s, *point, radius))])


def read_centrelines(path: Path) -> dict[str, Array]:
    """Read the points and radii (n, 4) m of each branch; s is not needed.

    Raises
    ------
    UserError
        If there is no such file, a column is missing, a number is wrong, a radius is not positive
        or a branch has fewer than two points.
    """
    try:
        with path.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table of centrelines ({error})") from error
    missing = [c for c in COLUMNS if c != "s" and (not rows or c not in rows[0])]
    if missing:
        raise UserError(
            f"{path}: lacks the column {missing[0]}; needed: {', '.join(COLUMNS)}, in m"
        )
    lines: dict[str, list[Array]] = {}
    for number, row in enumerate(rows, 2):
        try:
            values = np.array([float(row[c]) for c in COLUMNS[2:]])
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: line {number}: not a number ({error})") from error
        if not np.isfinite(values).all() or values[3] <= 0.0:
            raise UserError(
                f"{path}: line {number}: needs finite x, y, z and a radius above 0 (got "
                f"{row['radius']})"
            )
        lines.setdefault(row["branch"], []).append(values)
    short = [name for name, points in lines.items() if len(points) < 2]
    if short:
        raise UserError(f"{path}: branch '{short[0]}' has one point; a centreline needs two")
    return {name: np.array(points) for name, points in lines.items()}
