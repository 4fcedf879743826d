"""A scenario names coils, device, phantom, imager, rig and task; resolved, it holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveFloat, model_validator

from mmdtwin.config.base import Config, override, parse, read
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.config.device import DeviceConfig
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.config.phantom import Branches, PhantomConfig
from mmdtwin.config.rig import RigConfig
from mmdtwin.files import digest

PARTS = {
    "coils": "coils",
    "device": "devices",
    "phantom": "phantoms",
    "imager": "imagers",
    "rig": "rigs",
}


class TaskConfig(Config):
    """Reach a target in another branch."""

    kind: Literal["navigate"] = "navigate"
    # Where an episode may start, by default at the phantom's access ...
    starts: Branches | None = None
    # ... and where it may end, by default at the phantom's destinations.
    targets: Branches | None = None
    target: tuple[float, float, float] | None = None  # fixed target in the vessel's frame, m
    min_length: PositiveFloat = 20e-3  # m of centreline between start and target
    tolerance: PositiveFloat = 1e-3  # m
    end_margin: PositiveFloat = 3e-3  # m kept from the ends of branches that are named only
    timeout: PositiveFloat = 90.0  # s


class ScenarioConfig(Config):
    """Everything that one run needs."""

    description: str
    coils: CoilsConfig
    device: DeviceConfig
    phantom: PhantomConfig
    imager: ImagerConfig
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
        `a.b=value` overrides on the resolved configuration.
    **replacements
        Another preset for coils, device, phantom, imager or rig.

    Raises
    ------
    ConfigError
        One line: file, key, what is allowed.
    """
    data, where = read("scenarios", name)
    data.update({k: str(v) for k, v in replacements.items() if v is not None})
    resolved, sources = resolve(data)
    # A fault in a part's file names that file; what is left then comes from the scenario or --set.
    for key, model in ScenarioConfig.model_fields.items():
        if key in sources:
            parse(model.annotation, resolved[key], sources[key])  # type: ignore[arg-type]
    return parse(ScenarioConfig, override(resolved, assignments), where)


def resolve(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Replace the names of parts by their contents; also return where each part came from."""
    result, sources = dict(data), {}
    for key, kind in PARTS.items():
        if isinstance(result.get(key), str):
            result[key], sources[key] = read(kind, result[key])
    return result, sources
