"""Drawing from ranges and choices of a randomisation."""

from __future__ import annotations

import numpy as np

from mmdtwin.config.randomisation import CellsConfig, ChoiceConfig, RangeConfig

Cell = tuple[int, int, int]  # of contrast, size and share hidden


def from_range(rng: np.random.Generator, within: RangeConfig) -> float:
    """Return a value between the limits."""
    if within.log:
        return float(np.exp(rng.uniform(np.log(within.low), np.log(within.high))))
    return float(rng.uniform(within.low, within.high))


def from_choice(rng: np.random.Generator, choice: ChoiceConfig) -> str:
    """Return one of the names, by weight."""
    weights = np.array(list(choice.weights.values()))
    return list(choice.weights)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def draw_cell(rng: np.random.Generator, cells: CellsConfig) -> Cell:
    """Return a cell of the grid; all are as likely."""
    i, j, k = (int(rng.integers(len(e) - 1)) for e in (cells.contrast, cells.size, cells.occluded))
    return i, j, k


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a value between two limits above 0, evenly in the logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def cell_of(edges: tuple[float, ...], value: float) -> int:
    """Return the number of the cell of a value; the first or last of what lies beyond."""
    return int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(edges) - 2))
