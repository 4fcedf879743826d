"""Measured rows for a calibration: read, checked, and refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, apply, rotate
from mmdtwin.sim.magnetics.calibration.reading import (
    check_columns,
    check_finite,
    listed,
    read_table,
    rows_named,
    sha256_of,
)

Mask = NDArray[np.bool_]

MAX_FIELD = 10.0  # T; no navigation system comes near it
MAX_CURRENT = 1000.0  # A; assumed: navigation systems carry up to some 100 A
# T/A of a typical reading: windings of 2000 turns about iron with a gap of 5 mm, mu0 N / gap, and
# thus a lab's bound; coils around a workspace make 1e-4 to 2e-2.
MAX_UNIT_FIELD = 0.5
MAX_POSITION = 1.0  # m from the centre of the coils
MIN_THICKNESS = 0.02  # smallest over largest rms extent of the positions
MIN_COVER = 0.1  # largest ball about the centre inside the samples' hull, over the furthest sample
MIN_EXCITATION = 1e-3  # smallest over largest singular value of the currents, columns of equal size
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

    @property
    def furthest(self) -> float:
        """Distance in m from the centre of the coils to the furthest sample."""
        return float(np.linalg.norm(self.positions, axis=1).max())

    def __len__(self) -> int:
        return len(self.positions)

    def moved(self, T_coils_stage: Array) -> Samples:
        """Return the samples in the coils' frame, given where the stage's frame lies in it."""
        return replace(
            self,
            positions=apply(T_coils_stage, self.positions),
            fields=rotate(T_coils_stage, self.fields),
        )


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


def check(samples: Samples, n_unknowns: int) -> None:
    """Refuse samples from which `n_unknowns` cannot be found.

    Raises
    ------
    UserError
        If the rows are too few, positions do not surround the centre of the coils, or currents
        do not excite every coil independently.
    """
    needed = int(np.ceil(MARGIN * n_unknowns / 3))
    if len(samples) < needed:
        raise UserError(
            f"{samples.path}: {len(samples)} samples are too few for {samples.n_coils} coils;"
            f" at least {needed} are needed (three numbers each, {n_unknowns} unknowns twice over)"
        )
    _check_positions(samples)
    _check_cover(samples)
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


def hull_radius(positions: Array) -> float:
    """Return the radius in m of the largest ball about the origin inside the hull of positions.

    Negative if the origin lies outside: then at least that far.
    """
    return float(-ConvexHull(positions).equations[:, 3].max())


def _check_cover(samples: Samples) -> None:
    """A calibration holds in a ball about the centre of the coils, so samples must be around it."""
    radius, furthest = hull_radius(samples.positions), samples.furthest
    if radius >= MIN_COVER * furthest:
        return
    middle = np.round(samples.positions.mean(axis=0) * 1e3, 1).tolist()
    where = (
        f"lies at least {-radius * 1e3:.1f} mm outside the samples"
        if radius < 0
        else f"has samples around it to {radius * 1e3:.1f} mm only, of {furthest * 1e3:.1f} mm"
    )
    raise UserError(
        f"{samples.path}: the centre of the coils {where}, whose middle is {middle} mm; they must"
        f" surround it, to a tenth of the furthest at least (positions from another origin?"
        " give --fiducials)"
    )


def _check_currents(samples: Samples) -> None:
    sizes = np.linalg.norm(samples.currents, axis=0)
    idle = np.flatnonzero(sizes == 0) + 1
    if idle.size:
        raise UserError(
            f"{samples.path}: coil {listed(idle)} never carries a current;"
            " every coil must be excited in some rows"
        )
    _, singular, rows = np.linalg.svd(samples.currents / sizes, full_matrices=True)
    bound = MIN_EXCITATION * singular[0]
    null = rows[len(singular) :] if len(samples) < len(sizes) else rows[singular < bound]
    if len(null):
        mixed = np.flatnonzero(np.abs(null).max(axis=0) > 0.1) + 1
        raise UserError(
            f"{samples.path}: the currents of coils {listed(mixed)} always keep one proportion, so"
            f" these coils cannot be told apart; {len(sizes)} independent current vectors are"
            " needed"
        )


def _check_rows(path: str | Path, table: Array, lines: list[int]) -> None:
    check_finite(path, table, lines)
    far = np.flatnonzero((np.abs(table[:, :3]) > MAX_POSITION).any(axis=1))
    if far.size:
        raise UserError(
            f"{path}: {rows_named(far, lines)}: a position above {MAX_POSITION:g} m;"
            " positions are in m (mm?)"
        )
    large = np.flatnonzero((np.abs(table[:, 3:-3]) > MAX_CURRENT).any(axis=1))
    if large.size:
        raise UserError(
            f"{path}: {rows_named(large, lines)}: a current above {MAX_CURRENT:g} A; currents are"
            " in A (mA?)"
        )
    strong = np.flatnonzero((np.abs(table[:, -3:]) > MAX_FIELD).any(axis=1))
    if strong.size:
        raise UserError(
            f"{path}: {rows_named(strong, lines)}: a field above {MAX_FIELD:g} T; fields are in T"
            " (mT?)"
        )
    typical = float(np.median(np.linalg.norm(table[:, -3:], axis=1)))  # a glitch may read anything
    current = float(np.sqrt(np.mean(np.sum(table[:, 3:-3] ** 2, axis=1))))
    if typical > MAX_UNIT_FIELD * current > 0:
        raise UserError(
            f"{path}: {typical / current:.2g} T/A; coils make less than {MAX_UNIT_FIELD:g};"
            " fields are in T, currents in A (mT? kA?)"
        )
