"""A figure of an evaluation: what was measured, what is asked of it, and whether it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A figure.

    Parameters
    ----------
    name : str
        What it is of.
    result : str
        The measured values.
    asked : str
        The bound; empty of what is printed for comparison.
    holds : bool or None
        Whether the bound is kept; None of what has none, or was skipped.
    values : dict
        The numbers, for JSON.
    """

    name: str
    result: str
    asked: str = ""
    holds: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)
