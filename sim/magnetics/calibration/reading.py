"""Users' files, read with their faults named on one line: CSV tables and YAML mappings."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mmdtwin.errors import ConfigError, UserError
from mmdtwin.geometry import Array

Indices = NDArray[np.signedinteger[Any]]


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """Return the mapping in a YAML file that should be `what`, e.g. "a calibration file".

    Raises
    ------
    ConfigError
        If the file cannot be read, or holds something else.
    """
    try:
        data = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text; give {what}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values; give {what}")
    return data


def read_table(path: str | Path) -> tuple[list[str], Array, list[int]]:
    """Return the header, the numbers (NaN where there is none) and each row's line number.

    Raises
    ------
    UserError
        If the file cannot be read, or a row is longer or shorter than the header.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text; give a CSV file") from error
    try:
        rows = [
            (number, [cell.strip() for cell in cells])
            for number, cells in enumerate(csv.reader(text.splitlines()), 1)
            if any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#")
        ]
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file: {error}") from error
    if len(rows) < 2:
        raise UserError(f"{path}: no rows; expected a header and one row per sample")
    header = [name.lower() for name in rows[0][1]]
    for number, cells in rows[1:]:
        if len(cells) != len(header):
            raise UserError(
                f"{path}: line {number}: {len(cells)} columns; the header has {len(header)}"
            )
    numbers = np.array([[_number(cell) for cell in cells] for _, cells in rows[1:]])
    return header, numbers, [number for number, _ in rows[1:]]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def check_columns(path: str | Path, header: list[str], expected: list[str]) -> None:
    """Refuse a header with columns missing, unknown or twice; UserError."""
    missing = [name for name in expected if name not in header]
    extra = [name or "(no name)" for name in header if name not in expected]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing or extra or twice:
        faults = [("missing", missing), ("unknown", extra), ("twice", twice)]
        found = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults if names)
        raise UserError(f"{path}: columns {found}; expected {','.join(expected)}")


def check_finite(path: str | Path, table: Array, lines: list[int]) -> None:
    """Refuse rows with a value that is not finite, by number; UserError."""
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if bad.size:
        raise UserError(f"{path}: {rows_named(bad, lines)}: a value is not a finite number")


def rows_named(indices: Indices, lines: list[int], shown: int = 5) -> str:
    """Name rows, counted from 1 below the header, with the line of the first."""
    more = f" and {len(indices) - shown} more" if len(indices) > shown else ""
    plural = "s" if len(indices) > 1 else ""
    return f"row{plural} {listed(indices[:shown] + 1)}{more} (line {lines[int(indices[0])]})"


def listed(numbers: Indices) -> str:
    """Write whole numbers in a row."""
    return ", ".join(str(int(number)) for number in numbers)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
