"""X-ray physics, backgrounds and composition: what the fluoroscope of the twin sees."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdtwin.synth.background.bank import Bank
    from mmdtwin.synth.background.generator import BackgroundGenerator
    from mmdtwin.synth.compositor.compositor import Compositor
    from mmdtwin.synth.dataset.write import Order, write_dataset
    from mmdtwin.synth.xray.imager import Imager

# Imported on first use: OpenCV and numba would slow the start of the command line.
_HOMES = {
    "BackgroundGenerator": "background.generator",
    "Bank": "background.bank",
    "Compositor": "compositor.compositor",
    "Imager": "xray.imager",
    "Order": "dataset.write",
    "write_dataset": "dataset.write",
}

__all__ = ["BackgroundGenerator", "Bank", "Compositor", "Imager", "Order", "write_dataset"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
