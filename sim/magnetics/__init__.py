"""Magnetic fields of coils and magnets: described and checked with Magpylib, evaluated faster."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdtwin.sim.magnetics.coil_system import CoilSystem
    from mmdtwin.sim.magnetics.magnet import Magnet

_HOMES = {"CoilSystem": "coil_system", "Magnet": "magnet"}
__all__ = ["CoilSystem", "Magnet"]


def __getattr__(name: str) -> Any:
    # Imported on first use: numba and scipy take their time.
    if name in _HOMES:
        return getattr(import_module(f"mmdtwin.sim.magnetics.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
