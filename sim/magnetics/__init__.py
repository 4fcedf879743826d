"""Magnetic fields of coil systems: Magpylib describes them, solid harmonics evaluate them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdtwin.sim.magnetics.coil_system import CoilSystem

__all__ = ["CoilSystem"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the coil system brings in numba.
    if name in __all__:
        from mmdtwin.sim.magnetics.coil_system import CoilSystem

        return CoilSystem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
