"""What the configurations of all devices share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from mmdtwin.config.base import Config

SMALLEST, LARGEST = 1e-6, 50e-3  # m; a miniature device has no size outside


def _of_a_device(value: float) -> float:
    if SMALLEST <= value <= LARGEST:
        return value
    hint = ""
    if SMALLEST <= value * 1e-3 <= LARGEST:
        hint = f"; is it in mm? then write {value:g}e-3"
    raise ValueError(f"allowed is {SMALLEST:g} to {LARGEST:g} m{hint}")


Length = Annotated[float, AfterValidator(_of_a_device)]  # m


class BaseDeviceConfig(Config):
    """A device: where its figures come from, and what it is made of for X-ray."""

    source: str
    material: str  # name of an X-ray material
