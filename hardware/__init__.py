"""Rigs: the twin, and adapters for real coils, magnets and fluoroscopes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdtwin.config import ScenarioConfig
    from mmdtwin.rig import Rig


def open_rig(
    rig: str | None = None, scenario: str | ScenarioConfig = "soft-sheet-bifurcation"
) -> Rig:
    """Open a rig by the name of a preset in configs/rigs or the path of a YAML file.

    Parameters
    ----------
    rig : str, optional
        "twin", another preset, or a path; by default the scenario's own, and ignored when
        `scenario` is already resolved.
    scenario : str or ScenarioConfig
        What the rig drives: a name, a path, or a resolved configuration.

    Raises
    ------
    ConfigError
        If a name is unknown or a file is wrong.
    """
    from mmdtwin.config import load_scenario
    from mmdtwin.hardware.twin.rig import TwinRig

    resolved = load_scenario(scenario, rig=rig) if isinstance(scenario, str) else scenario
    return TwinRig(resolved)
