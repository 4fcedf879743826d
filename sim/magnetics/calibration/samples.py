"""Measured rows for a calibration: read, checked, and refused with a reason."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, apply, rotate, transform

Mask = NDArray[np.bool_]
Indices = NDArray[np.signedinteger[Any]]

MAX_FIELD = 10.0  # T; no navigation system comes near it
MAX_POSITION = 1.0  # m from the centre of the coils
MIN_THICKNESS = 0.02  # smallest over largest rms extent of the positions
MIN_EXCITATION = 1e-3  # smallest over largest singular value of the currents, columns of equal size
MIN_FIDUCIALS = 3
MARGIN = 2.0  # numbers measured per unknown of the smallest model


@dataclass(frozen=True, eq=False)
class Samples:
    """Readings of a field sensor.

    Parameters
    ----------
    positions : (n, 3) array
        m, in the coils' frame as far as it is known.
    currents : (n, c) array
        A.
    fields : (n, 3) array
        T, in the sensor's axes.
    path : str
        The file.
    sha256 : str
        Of the file's bytes.
    """

    positions: Array
    currents: Array
    fields: Array
    path: str = "samples"
    sha256: str = ""

    @property
    def n_coils(self) -> int:
        """Number of coils."""
        return int(self.currents.shape[1])

    def __len__(self) -> int:
        return len(self.positions)

    def moved(self, T_coils_stage: Array) -> Samples:
        """Return the samples in the coils' frame, given where the stage's frame lies in it."""
        return replace(
            self,
            positions=apply(T_coils_stage, self.positions),
            fields=rotate(T_coils_stage, self.fields),
        )


@dataclass(frozen=True, eq=False)
class Registration:
    """Rigid registration of the stage, which positions the sensor, to the coils.

    Parameters
    ----------
    T_coils_stage : (4, 4) array
        Takes the stage's coordinates to the coils'.
    rms : float
        Of what remains at the fiducials, m.
    n : int
        Number of fiducials.
    """

    T_coils_stage: Array
    rms: float
    n: int


def read_samples(path: str | Path, n_coils: int | None = None) -> Samples:
    """Read rows x,y,z (m), i1..ic (A), bx,by,bz (T) from a CSV file with a header.

    Columns may come in any order; lines that start with # are comments.

    Raises
    ------
    UserError
        One line, if the file, a column or a row is not as it must be, or the coils are not
        `n_coils`.
    """
    header, table, lines = read_table(path)
    coils = [name for name in header if name[:1] == "i" and name[1:].isdigit()]
    n = len(coils)
    expected = [*"xyz", *(f"i{k + 1}" for k in range(n_coils or max(n, 1))), "bx", "by", "bz"]
    if n_coils is not None and n != n_coils and n > 0:
        raise UserError(f"{path}: currents of {n} coils (i1..i{n}); the coil system has {n_coils}")
    check_columns(path, header, expected)
    table = table[:, [header.index(name) for name in expected]]
    _check_rows(path, table, lines)
    return Samples(
        positions=table[:, :3],
        currents=table[:, 3:-3],
        fields=table[:, -3:],
        path=str(path),
        sha256=sha256_of(path),
    )


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check(samples: Samples, n_unknowns: int) -> None:
    """Refuse samples from which `n_unknowns` cannot be found.

    Raises
    ------
    UserError
        If the rows are too few, positions do not span three dimensions, or currents do not
        excite every coil independently.
    """
    needed = int(np.ceil(MARGIN * n_unknowns / 3))
    if len(samples) < needed:
        raise UserError(
            f"{samples.path}: {len(samples)} samples are too few for {samples.n_coils} coils;"
            f" at least {needed} are needed (three numbers each, {n_unknowns} unknowns twice over)"
        )
    _check_positions(samples)
    _check_currents(samples)


def _check_positions(samples: Samples) -> None:
    centred = samples.positions - samples.positions.mean(axis=0)
    extents = np.linalg.svd(centred, compute_uv=False)
    if extents[2] >= MIN_THICKNESS * extents[0] and extents[0] > 0:
        return
    flat = int(np.sum(extents > MIN_THICKNESS * max(extents[0], 1e-12)))
    shape = ("one point", "a line", "a plane")[flat]
    raise UserError(
        f"{samples.path}: the positions lie on {shape}; they must span three dimensions,"
        " as the field in space is what is fitted"
    )


def _check_currents(samples: Samples) -> None:
    sizes = np.linalg.norm(samples.currents, axis=0)
    idle = np.flatnonzero(sizes == 0) + 1
    if idle.size:
        raise UserError(
            f"{samples.path}: coil {_list(idle)} never carries a current;"
            " every coil must be excited in some rows"
        )
    _, singular, rows = np.linalg.svd(samples.currents / sizes, full_matrices=True)
    bound = MIN_EXCITATION * singular[0]
    null = rows[len(singular) :] if len(samples) < len(sizes) else rows[singular < bound]
    if len(null):
        mixed = np.flatnonzero(np.abs(null).max(axis=0) > 0.1) + 1
        raise UserError(
            f"{samples.path}: the currents of coils {_list(mixed)} always keep one proportion, so"
            f" these coils cannot be told apart; {len(sizes)} independent current vectors are"
            " needed"
        )


def read_fiducials(path: str | Path) -> Registration:
    """Register stage and coils from rows x,y,z (stage, m) and x_coils,y_coils,z_coils (m).

    Least squares over rotation and translation (Kabsch 1976, Acta Cryst. A32, 922).

    Raises
    ------
    UserError
        If there are fewer than three fiducials, or they lie on a line.
    """
    header, table, lines = read_table(path)
    expected = [*"xyz", *(f"{axis}_coils" for axis in "xyz")]
    check_columns(path, header, expected)
    table = table[:, [header.index(name) for name in expected]]
    check_finite(path, table, lines)
    stage, coils = table[:, :3], table[:, 3:]
    centred = stage - stage.mean(axis=0)
    extents = np.linalg.svd(centred, compute_uv=False)
    if len(stage) < MIN_FIDUCIALS or extents[1] < MIN_THICKNESS * extents[0]:
        raise UserError(
            f"{path}: {len(stage)} fiducials; at least {MIN_FIDUCIALS} are needed that do not lie"
            " on a line"
        )
    u, _, vt = np.linalg.svd(centred.T @ (coils - coils.mean(axis=0)))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u @ flip @ vt).T
    T = transform(rotation, coils.mean(axis=0) - rotation @ stage.mean(axis=0))
    rms = float(np.sqrt(np.mean(np.sum((apply(T, stage) - coils) ** 2, axis=1))))
    return Registration(T, rms, len(stage))


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
    rows = [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(csv.reader(text.splitlines()), 1)
        if any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#")
    ]
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
        raise UserError(f"{path}: {_rows(bad, lines)}: a value is not a finite number")


def _check_rows(path: str | Path, table: Array, lines: list[int]) -> None:
    check_finite(path, table, lines)
    far = np.flatnonzero((np.abs(table[:, :3]) > MAX_POSITION).any(axis=1))
    if far.size:
        raise UserError(
            f"{path}: {_rows(far, lines)}: a position above {MAX_POSITION:g} m;"
            " positions are in m (mm?)"
        )
    strong = np.flatnonzero((np.abs(table[:, -3:]) > MAX_FIELD).any(axis=1))
    if strong.size:
        raise UserError(
            f"{path}: {_rows(strong, lines)}: a field above {MAX_FIELD:g} T; fields are in T (mT?)"
        )


def _rows(indices: Indices, lines: list[int], shown: int = 5) -> str:
    """Name rows, counted from 1 below the header, with the line of the first."""
    more = f" and {len(indices) - shown} more" if len(indices) > shown else ""
    plural = "s" if len(indices) > 1 else ""
    return f"row{plural} {_list(indices[:shown] + 1)}{more} (line {lines[int(indices[0])]})"


def _list(numbers: Indices) -> str:
    return ", ".join(str(int(number)) for number in numbers)
