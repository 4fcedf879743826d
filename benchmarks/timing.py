"""How the benchmarks take time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

WARM_UP = 3


def per_call(action: Callable[[], object], repeats: int) -> float:
    """Median seconds of one call."""
    for _ in range(WARM_UP):
        action()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return float(np.median(times))
