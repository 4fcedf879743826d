"""Field models by name or file, whatever they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmdtwin.config.base import names, read
from mmdtwin.errors import ConfigError
from mmdtwin.field import FieldModel
from mmdtwin.sim.magnetics.calibration.calibration import FORMAT, Calibration
from mmdtwin.sim.magnetics.coil_system import CoilSystem
from mmdtwin.sim.magnetics.magnet import Magnet


def load_field(
    name_or_path: str | Path, beyond: Literal["refuse", "magpylib"] = "refuse"
) -> FieldModel:
    """Return the coil system, magnet or calibration of a name or a YAML file.

    Parameters
    ----------
    name_or_path : str or Path
        A name in configs/coils or configs/magnets, or the path of such a file or a calibration.
    beyond : "refuse" or "magpylib"
        What a coil system does outside its workspace; see `CoilSystem`.

    Raises
    ------
    ConfigError
        If there is nothing of that name, or the file is none of these.
    """
    name = str(name_or_path)
    if name in names("magnets"):
        return Magnet.load(name)
    if not name.endswith((".yaml", ".yml")) and "/" not in name:
        if name not in names("coils"):
            known = ", ".join([*names("coils"), *names("magnets")])
            raise ConfigError(f"field: unknown name '{name}'; known: {known}, or a YAML file")
        return CoilSystem.load(name, beyond)
    data, where = read("coils", name)
    if data.get("format") == FORMAT:
        return Calibration.load(name).model
    if "remanence" in data:
        return Magnet.load(name)
    if "Coil_List" in data:
        raise ConfigError(f"{where}: an MPEM calibration; `mmdtwin field import` takes it over")
    return CoilSystem.load(name, beyond)
