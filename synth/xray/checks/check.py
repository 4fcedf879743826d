"""What a check is, and where the checks are.

Each area is a module with a function `checks(seed)` that yields `Check`s. Whether one holds must
not depend on the seed: it is only there to draw noise and cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

NAMES = ("matter", "beam", "geometry", "detector", "paths", "thorax")
AREAS = {name: f"mmdtwin.synth.xray.checks.{name}" for name in NAMES}  # to modules


@dataclass(frozen=True)
class Check:
    """A claim, what it is compared with and what was found. Texts are short, with units.

    Parameters
    ----------
    claim : str
        What is said to hold.
    reference : str
        What it is compared with, and its source.
    acceptance : str
        Within what, and why that much.
    result : str
        What was found.
    holds : bool
        Whether it is within.
    parameters, limits : str
        What it was found for; where it is not valid.
    draw : callable, optional
        Fills matplotlib axes.
    skipped : str
        Why it could not be run here; empty if it was.
    """

    claim: str
    reference: str
    acceptance: str
    result: str
    holds: bool
    parameters: str = ""
    limits: str = ""
    draw: Callable[[Any], None] | None = None
    skipped: str = ""


def run_checks(areas: Mapping[str, str] = AREAS, seed: int = 0) -> Iterator[tuple[str, Check]]:
    """Run the checks of areas, given by name and module; yield area and check as they end."""
    for area, module in areas.items():
        for check in import_module(module).checks(seed):
            yield area, check
