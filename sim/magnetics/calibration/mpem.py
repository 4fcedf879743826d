"""Import of multipole electromagnet calibrations (MPEM) as ETH's programs write them.

The layout, as read by `ElectromagnetCalibration::loadCalibration` of Tesla and mag_manip (ETH
Zurich, Multi-Scale Robotics Lab):

    System_Name: ...
    Workspace_Dimensions: [[xmin, xmax], [ymin, ymax], [zmin, zmax]]      # m
    Coil_List: [Coil_0, Coil_1, Offset]
    Coil_0:
      Source_List: [Src_0]
      Src_0:
        A_Coeff: ~                     # growing terms, order 1 first; ~ or [] for none
        B_Coeff: [1.0e-6, -2.0e-9]     # decaying terms, order 1 first
        Source_Direction: [0, 0, 1]
        Source_Position: [0, 0, -0.1]  # m

A number may stand in a list of its own, as some versions write vectors. A coil whose name contains
"Offset" is the field at zero current, which coils do not make: it is kept beside them. Other
top-level keys are notes and are left alone; unknown keys inside a coil or a source are refused,
since a misspelt name would silently drop coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import ConfigError, UserError
from mmdtwin.geometry import Array, unit
from mmdtwin.sim.magnetics.calibration.multipoles import MultipoleModel, Region, Sources
from mmdtwin.sim.magnetics.calibration.reading import (
    check_columns,
    check_finite,
    read_mapping,
    read_table,
)

# The sources are devices of a fit, not windings, and lie as near as the fit put them. A dipole's
# field at this share of its distance is (1 - 0.6)^-3 = 16 times that at the centre; closer to it
# its own field, which no measurement checked, outgrows the sum that was fitted.
REACH = 0.6
SOURCE_KEYS = ("A_Coeff", "B_Coeff", "Source_Direction", "Source_Position")


@dataclass(frozen=True, eq=False)
class Imported:
    """An MPEM file.

    Parameters
    ----------
    name : str
        The system's name.
    model : MultipoleModel
        The coils, within the region of validity.
    coil_names : list of str
        As in the file.
    background : Sources or None
        The field at zero current ("Offset"), T.
    nearest : tuple of (float, str)
        Distance in m from the region's centre to the nearest source, and that source.
    """

    name: str
    model: MultipoleModel
    coil_names: list[str]
    background: Sources | None
    nearest: tuple[float, str]


def read_mpem(path: str | Path, box: tuple[Array, Array] | None = None) -> Imported:
    """Read an MPEM calibration.

    Parameters
    ----------
    path : path
        YAML file.
    box : pair of (3,) arrays
        Corners in m of the box that was measured, which is then the region of validity. Without
        it, that is the file's workspace, cut to a ball of 0.6 of the nearest source's distance.

    Raises
    ------
    ConfigError
        If something is missing or wrong: file, coil, source and key are named.
    """
    data, where = read_mapping(path, "an MPEM calibration"), str(path)
    if "Coil_List" not in data:
        raise ConfigError(f"{where}: Coil_List is missing; expected an MPEM calibration")
    names = _names(data, "Coil_List", where)
    _check_all_listed(data, names, where)
    coils = {name: _coil(data, name, where) for name in names}
    background = [name for name in names if "Offset" in name]
    if len(background) > 1:
        raise ConfigError(f"{where}: Coil_List: several offsets ({', '.join(background)})")
    if len(background) == len(names):
        raise ConfigError(f"{where}: Coil_List: an offset, but no coil")
    low, high = box if box is not None else _workspace(data, where)
    nearest = _nearest(data, coils, (low + high) / 2)
    radius = np.inf if box is not None else REACH * nearest[0]
    if not radius > 0:
        raise ConfigError(f"{where}: {nearest[1]}: Source_Position: in the middle of the workspace")
    region = Region(low, high, radius)
    if box is not None:
        _check_no_source_inside(coils, region, where)
    made = [name for name in names if name not in background]
    return Imported(
        name=str(data.get("System_Name", Path(path).stem)),
        model=MultipoleModel([coils[name] for name in made], region),
        coil_names=made,
        background=coils[background[0]] if background else None,
        nearest=nearest,
    )


@dataclass(frozen=True, eq=False)
class Nodes:
    """Unit fields measured at points.

    Parameters
    ----------
    coil : (n,) int array
        From 0.
    positions : (n, 3) array
        m.
    fields : (n, 3) array
        T/A.
    path : str
        The file.
    """

    coil: NDArray[np.int64]
    positions: Array
    fields: Array
    path: str

    @property
    def box(self) -> tuple[Array, Array]:
        """Corners of the box of the nodes, m."""
        return self.positions.min(axis=0), self.positions.max(axis=0)


def read_nodes(path: str | Path) -> Nodes:
    """Read unit fields at nodes from a CSV file with columns coil,x,y,z (m),bx,by,bz (T/A).

    Raises
    ------
    UserError
        If a column or a number is not as it must be, or the nodes span no box.
    """
    header, table, lines = read_table(path)
    expected = ["coil", *"xyz", "bx", "by", "bz"]
    check_columns(path, header, expected)
    check_finite(path, table, lines)
    table = table[:, [header.index(name) for name in expected]]
    coil = table[:, 0].astype(np.int64)
    if (coil != table[:, 0]).any() or coil.min() < 0:
        raise UserError(f"{path}: coil: expected whole numbers from 0")
    nodes = Nodes(coil, table[:, 1:4], table[:, 4:], str(path))
    if not (nodes.box[0] < nodes.box[1]).all():
        raise UserError(f"{path}: the nodes span no box; they must differ in x, y and z")
    return nodes


def errors_at(model: MultipoleModel, nodes: Nodes) -> Array:
    """Return each coil's largest error at its nodes, of any component, (c,) T/A.

    Raises
    ------
    UserError
        If the nodes are not of these coils.
    """
    if set(nodes.coil.tolist()) != set(range(model.n_coils)):
        raise UserError(
            f"{nodes.path}: nodes of coils {sorted(set(nodes.coil.tolist()))};"
            f" the calibration has 0..{model.n_coils - 1}"
        )
    made = model.unit_field(nodes.positions)[np.arange(len(nodes.coil)), nodes.coil]
    errors = np.abs(made - nodes.fields).max(axis=1)
    return np.array([errors[nodes.coil == k].max() for k in range(model.n_coils)])


def _names(parent: dict[str, Any], key: str, where: str) -> list[str]:
    listed = parent.get(key)
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{where}: {key}: expected a list of names, at least one")
    names = [str(name) for name in listed]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {key}: {name} is listed twice")
        if not isinstance(parent.get(name), dict):
            raise ConfigError(f"{where}: {name} is in {key}, but its section is missing")
    return names


def _check_all_listed(data: dict[str, Any], names: list[str], where: str) -> None:
    for key, value in data.items():
        if isinstance(value, dict) and "Source_List" in value and key not in names:
            raise ConfigError(f"{where}: {key} has sources, but is not in Coil_List")


def _coil(data: dict[str, Any], name: str, where: str) -> Sources:
    coil, where = data[name], f"{where}: {name}"
    sources = _names(coil, "Source_List", where)
    _no_others(coil, ["Source_List", *sources], where, "Source_List and what it names")
    return Sources.joined([_source(coil[source], f"{where}: {source}") for source in sources])


def _source(source: dict[str, Any], where: str) -> Sources:
    _no_others(source, SOURCE_KEYS, where, ", ".join(SOURCE_KEYS))
    for key in SOURCE_KEYS:
        if key not in source:
            empty = "; write ~ for none" if key.endswith("Coeff") else ""
            raise ConfigError(f"{where}: {key} is missing{empty}")
    growing, decaying = (_numbers(source, key, where) for key in SOURCE_KEYS[:2])
    direction, position = (_vector(source, key, where) for key in SOURCE_KEYS[2:])
    orders = max(growing.size, decaying.size)
    if orders == 0:
        raise ConfigError(f"{where}: A_Coeff and B_Coeff: no coefficient in either")
    if not np.linalg.norm(direction) > 0:
        raise ConfigError(f"{where}: Source_Direction: length 0; expected an axis")
    return Sources(
        position=position[None],
        axis=unit(direction)[None],
        growing=np.pad(growing, (0, orders - growing.size))[None],
        decaying=np.pad(decaying, (0, orders - decaying.size))[None],
    )


def _no_others(section: dict[str, Any], known: Any, where: str, allowed: str) -> None:
    for key in section:
        if key not in known:
            raise ConfigError(f"{where}: {key}: unknown key; allowed: {allowed}")


def _numbers(section: dict[str, Any], key: str, where: str) -> Array:
    value = section[key]
    if value is None:
        return np.zeros(0)
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {key}: expected a list of numbers")
    flat = [x[0] if isinstance(x, list) and len(x) == 1 else x for x in value]
    try:
        if any(isinstance(x, bool) for x in flat):
            raise TypeError
        numbers = np.array([float(x) for x in flat])  # float also reads "1e-7", which YAML does not
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: {key}: expected numbers") from None
    if not np.isfinite(numbers).all():
        raise ConfigError(f"{where}: {key}: a value is not finite")
    return numbers


def _vector(section: dict[str, Any], key: str, where: str) -> Array:
    numbers = _numbers(section, key, where)
    if numbers.size != 3:
        raise ConfigError(f"{where}: {key}: {numbers.size} numbers; expected 3")
    return numbers


def _workspace(data: dict[str, Any], where: str) -> tuple[Array, Array]:
    rows = data.get("Workspace_Dimensions")
    key = "Workspace_Dimensions"
    if not isinstance(rows, list) or len(rows) != 3:
        raise ConfigError(f"{where}: {key}: expected three pairs [from, to], in m")
    pairs = [_numbers({key: row}, key, where) for row in rows]
    if any(pair.size != 2 or not pair[0] < pair[1] for pair in pairs):
        raise ConfigError(f"{where}: {key}: expected three pairs [from, to], from < to, in m")
    bounds = np.array(pairs)
    return bounds[:, 0], bounds[:, 1]


def _nearest(data: dict[str, Any], coils: dict[str, Sources], centre: Array) -> tuple[float, str]:
    """Return distance and name of the nearest source with a decaying term, which is singular."""
    distances = [
        (float(distance), f"{name}: {data[name]['Source_List'][k]}")
        for name, coil in coils.items()
        for k, distance in enumerate(np.linalg.norm(coil.position - centre, axis=1))
        if coil.decaying[k].any()
    ]
    return min(distances, default=(np.inf, "none"))


def _check_no_source_inside(coils: dict[str, Sources], region: Region, where: str) -> None:
    for name, coil in coils.items():
        singular = coil.position[coil.decaying.any(axis=1)]
        if ((singular >= region.low) & (singular <= region.high)).all(axis=1).any():
            raise ConfigError(f"{where}: {name}: a source lies in the box of the nodes, {region}")
