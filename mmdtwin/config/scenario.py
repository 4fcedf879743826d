"""A scenario names coils, device, phantom, imager, rig and task; resolved, it holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import PositiveFloat, model_validator

from mmdtwin.config.arm import ArmConfig
from mmdtwin.config.base import Config, override, parse, read
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.config.devices import DeviceConfig
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.config.instruments import InstrumentConfig
from mmdtwin.config.magnet import MagnetConfig
from mmdtwin.config.patient import PatientConfig
from mmdtwin.config.phantom import Branches, PhantomConfig
from mmdtwin.config.rig import MagnetTwinRigConfig, RigConfig, TwinRigConfig
from mmdtwin.errors import ConfigError
from mmdtwin.files import digest
from mmdtwin.geometry import Array
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.pose import pose_vector
from mmdtwin.safety import Limits

PARTS = {
    "coils": "coils",
    "magnet": "magnets",
    "arm": "arms",
    "device": "devices",
    "phantom": "phantoms",
    "patient": "patients",
    "imager": "imagers",
    "lateral": "imagers",
    "rig": "rigs",
}
INSTRUMENTS = "instruments"  # a list of parts, and the kind they are of


class TaskConfig(Config):
    """Reach a target in another branch."""

    kind: Literal["navigate"] = "navigate"
    # Where an episode may start, by default at the phantom's access ...
    starts: Branches | None = None
    # ... and where it may end, by default at the phantom's destinations.
    targets: Branches | None = None
    target: tuple[float, float, float] | None = None  # fixed target in the vessel's frame, m
    min_length: PositiveFloat = 20e-3  # m of centreline between start and target
    # A path passes a lumen of at most this many device widths: in a wide one there is no task.
    narrowest: PositiveFloat = 2.5
    tolerance: PositiveFloat = 1e-3  # m
    end_margin: PositiveFloat = 3e-3  # m kept from the ends of branches that are named only
    timeout: PositiveFloat = 90.0  # s


class ScenarioConfig(Config):
    """Everything that one run needs."""

    description: str
    # What makes the field: coils, or a magnet in the hand of an arm.
    coils: CoilsConfig | None = None
    magnet: MagnetConfig | None = None
    arm: ArmConfig | None = None
    device: DeviceConfig
    phantom: PhantomConfig
    patient: PatientConfig = PatientConfig(source="still: a bench phantom or tissue ex vivo")
    imager: ImagerConfig
    lateral: ImagerConfig | None = None  # second plane of a biplane, pulsing in turn with `imager`
    # What an X-ray shows besides: names of presets, or mappings; those with a key `preset` change
    # what they name.
    instruments: tuple[InstrumentConfig, ...] = ()
    rig: RigConfig
    task: TaskConfig

    @model_validator(mode="before")
    @classmethod
    def _take_branches_from_phantom(cls, data: Any) -> Any:
        phantom, task = (data.get(key) for key in ("phantom", "task"))
        if not (isinstance(phantom, dict) and isinstance(task, dict)):
            return data
        taken = {
            "starts": phantom.get("access"),
            "targets": phantom.get("destinations"),
        }
        given = {**taken, **{k: v for k, v in task.items() if v is not None}}
        return {**data, "task": {k: v for k, v in given.items() if v is not None}}

    @model_validator(mode="after")
    def _check_actuator(self) -> ScenarioConfig:
        if (self.coils is None) == (self.magnet is None):
            raise ValueError("name either coils or a magnet, and not both")
        if (self.magnet is None) != (self.arm is None):
            raise ValueError("a magnet needs an arm that holds it, and an arm a magnet")
        needed = TwinRigConfig if self.magnet is None else MagnetTwinRigConfig
        if not isinstance(self.rig, needed):
            what, kind = ("coils", "twin") if self.magnet is None else ("a magnet", "twin-magnet")
            raise ValueError(f"rig.kind: {what} needs a rig of kind {kind} (got {self.rig.kind})")
        return self

    @model_validator(mode="after")
    def _check_biplane(self) -> ScenarioConfig:
        main, lateral = self.imager, self.lateral
        if lateral is None:
            return self
        if lateral.frame_rate != main.frame_rate:
            raise ValueError(
                f"lateral.frame_rate: {lateral.frame_rate} Hz must be imager.frame_rate, "
                f"{main.frame_rate} Hz: the planes take turns"
            )
        if (main.pulse_width + lateral.pulse_width) * main.frame_rate > 1.0:
            raise ValueError("lateral.pulse_width: the pulses of the two planes must not overlap")
        return self

    @property
    def rest_inputs(self) -> Array:
        """Inputs of the field model while no command is in force: no current, or the retreat."""
        if self.coils is not None:
            return np.zeros(len(self.coils.coils))
        assert isinstance(self.rig, MagnetTwinRigConfig)
        return pose_vector(self.rig.retreat.T)

    def limits(self) -> Limits | MagnetLimits:
        """Return the actuator's limits, as the safety gate needs them.

        Raises
        ------
        UserError
            If the retreat pose of a magnet is out of reach or too near to what it keeps out of.
        """
        if self.coils is not None:
            return self.coils.limits
        assert isinstance(self.rig, MagnetTwinRigConfig) and self.magnet and self.arm
        return self.rig.limits(self.magnet, self.arm)

    @property
    def hash(self) -> str:
        """Short hash of the resolved configuration, written into every output."""
        return digest(self.model_dump(mode="json"))


def load_scenario(
    name: str | Path, assignments: Sequence[str] = (), **replacements: str | Path | None
) -> ScenarioConfig:
    """Read a scenario, put in replacement parts by name, resolve, override, validate.

    Parameters
    ----------
    name : str or Path
        A name in configs/scenarios or a path.
    assignments : sequence of str
        `a.b=value` overrides on the resolved configuration; `device=NAME` names another part.
    **replacements
        Another preset for coils, device, phantom, patient, imager, lateral or rig.

    Raises
    ------
    ConfigError
        One line: file, key, what is allowed.
    """
    data, where = read("scenarios", name)
    data.update({k: str(v) for k, v in replacements.items() if v is not None})
    parts = [a for a in assignments if a.partition("=")[0].strip() in (*PARTS, INSTRUMENTS)]
    data = override(data, parts)
    assignments = [a for a in assignments if a not in parts]
    resolved, sources = resolve(data, where)
    # A fault in a part's file names that file; what is left then comes from the scenario or --set.
    for key, model in ScenarioConfig.model_fields.items():
        if key in sources:
            # With the field itself, which knows the key that tells the parts of a union.
            kind: Any = Annotated[model.annotation, model]
            parse(kind, resolved[key], sources[key])
    for number, item in enumerate(resolved.get(INSTRUMENTS) or ()):
        if (key := f"{INSTRUMENTS}.{number}") in sources:
            union: Any = InstrumentConfig
            parse(union, item, sources[key])
    return parse(ScenarioConfig, override(resolved, assignments), where)


def resolve(data: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Replace the names of parts by their contents; also return where each part came from.

    `where` is the file that names them: their paths are relative to it, or to the folder one is in.
    """
    result, sources = dict(data), {}
    for key, kind in PARTS.items():
        if isinstance(name := result.get(key), str):
            result[key], sources[key] = _read_part(kind, name, where, key)
    items = result.get(INSTRUMENTS)
    if isinstance(items, str):
        items = [items]
    if isinstance(items, list):
        result[INSTRUMENTS] = list(items)
        for number, item in enumerate(items):
            changes = dict(item) if isinstance(item, dict) else {}
            name = changes.pop("preset", None) if changes else item
            if isinstance(name, str):
                key = f"{INSTRUMENTS}.{number}"
                preset, sources[key] = _read_part(INSTRUMENTS, name, where, key)
                result[INSTRUMENTS][number] = {**preset, **changes}
    return result, sources


def _read_part(kind: str, name: str, where: str, key: str) -> tuple[dict[str, Any], str]:
    beside = Path(where).parent / name
    try:
        return read(kind, beside if beside.is_file() else name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {key}: {error}") from error
