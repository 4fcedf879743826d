"""Checks of what a system makes of raw images before it shows them; `detector` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmdtwin.config.imager import DisplayConfig
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.display import Display


def checks(seed: int) -> Iterator[Check]:
    """Run the checks of the display."""
    yield _curves(seed)
    yield _recursion(seed)


def _curves(seed: int) -> Check:
    rng, holds, drawn = np.random.default_rng(seed), True, []
    for bits in (8, 12, 14, 16):
        top = 2**bits - 1
        greys = np.arange(top + 1, dtype=np.uint16)[None]
        for config in (
            DisplayConfig(),
            DisplayConfig(curve="log"),
            DisplayConfig(curve="gamma"),
            DisplayConfig(curve="gamma", gamma=float(rng.uniform(0.3, 3.0))),
        ):
            shown = Display(config, top)(greys)[0].astype(int)
            holds &= bool((np.diff(shown) >= 0).all() and shown[0] == 0 and shown[-1] == top)
            drawn.append((greys[0] / top, shown / top))
        noise = rng.integers(0, top + 1, (64, 64), dtype=np.uint16)
        sharp = Display(DisplayConfig(edge_enhancement=5.0), top)(noise)
        holds &= int(sharp.max()) == top and int(sharp.min()) == 0

    def draw(axes: Any) -> None:
        for raw, shown in drawn[4:8]:
            axes.plot(raw, shown)
        axes.set(xlabel="raw, of full scale", ylabel="shown, of full scale")

    return Check(
        "display curves rise over the full range; edge enhancement saturates within it",
        "0 stays 0, full scale stays full scale",
        "every grey of 8, 12, 14 and 16 bits",
        "all do" if holds else "one does not",
        holds,
        "linear, log, gamma 0.5 and one drawn",
        draw=draw,
    )


def _recursion(seed: int) -> Check:
    rng, worst = np.random.default_rng(seed), 0.0
    for share in (0.3, 0.6):
        display = Display(DisplayConfig(recursion=share), 2**16 - 1)
        frames = (rng.normal(3e4, 500.0, (128, 128)).astype(np.uint16) for _ in range(40))
        *_, last = (display(frame) for frame in frames)
        worst = max(worst, abs(last.var() / 500.0**2 / ((1 - share) / (1 + share)) - 1))
    return Check(
        "a recursive filter r lowers the variance of noise to (1 - r)/(1 + r)",
        "sum of the squares of its impulse response (1 - r) r^k",
        "6 %: five standard errors of the variance of 16384 pixels",
        f"largest difference {100 * worst:.1f} %",
        worst <= 0.06,
        "r 0.3 and 0.6, 40 frames",
    )
