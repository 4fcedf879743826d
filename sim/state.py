"""States of a world: what is known of it now, and all that it needs to go on from a moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.files import write_json
from mmdtwin.geometry import Array

PLAIN = {"time": float, "device": dict, "config_hash": str, "seed": int}
ARRAYS = ("inputs", "T_world_rest", "T_world_coils")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a world needs to go on from a moment: `World.snapshot`, `World.restore`.

    Attributes
    ----------
    time : float
        s since `reset`.
    inputs : (n_inputs,) array
        Currents, A, or the magnet's pose.
    device : dict
        `Device.snapshot`.
    config_hash : str
        Of the scenario.
    seed : int
        Of the patient's motion.
    T_world_rest, T_world_coils : (4, 4) array
        Placements of the vessel at rest and of the coils.
    """

    time: float
    inputs: Array
    device: dict[str, Any]
    config_hash: str
    seed: int
    T_world_rest: Array
    T_world_coils: Array

    def write(self, path: Path, **more: Any) -> None:
        """Write it as JSON, with `more` to say where it comes from."""
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        plain = {name: getattr(self, name) for name in PLAIN}
        write_json(path, {**plain, **arrays, **more})

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """Read what `write` wrote.

        Raises
        ------
        UserError
            If the file is none of those.
        """
        try:
            data = json.loads(path.read_text())
            arrays: dict[str, Any] = {name: np.array(data[name], float) for name in ARRAYS}
            plain: dict[str, Any] = {name: kind(data[name]) for name, kind in PLAIN.items()}
            return cls(**plain, **arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a snapshot of a world") from error


@dataclass(frozen=True, eq=False)
class WorldState:
    """State of the device in the world frame, SI."""

    time: float
    position: Array  # (3,) centre of mass
    velocity: Array  # (3,)
    direction: Array  # (3,) unit vector along the magnetic moment
    nodes: Array  # (n, 3) points along the body
    pieces: int  # one, but for liquids
    wall_contacts: int
    contact_force: float  # N, sum of the wall's normal forces
    clearance: float  # m from the nearest collision sphere to the wall; negative inside it
