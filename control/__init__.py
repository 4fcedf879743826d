"""Path planning, controllers, and allocation of fields and forces to actuators."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdtwin.control.allocation import Allocation, Target, allocate, allocate_many

__all__ = ["Allocation", "Target", "allocate", "allocate_many"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mmdtwin.control import allocation

        return getattr(allocation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
