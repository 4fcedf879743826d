"""What the configurations of all devices share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from mmdtwin.config.base import Config


def bounded(least: float, most: float, unit: str, *slips: tuple[float, str]) -> AfterValidator:
    """Return a validator of a range; `slips` are what wrong units are off by, and their names."""

    def check(value: float) -> float:
        if least <= value <= most:
            return value
        meant = [(f, name) for f, name in slips if least <= value * f <= most]
        hint = f"; is it in {meant[0][1]}? then write {value * meant[0][0]:g}" if meant else ""
        raise ValueError(f"allowed is {least:g} to {most:g} {unit}{hint}")

    return AfterValidator(check)


# Ranges of miniature devices; what lies outside is most likely another unit.
Length = Annotated[float, bounded(1e-6, 50e-3, "m", (1e-3, "mm"))]
Density = Annotated[float, bounded(100.0, 25e3, "kg/m3", (1e3, "g/cm3"))]
Modulus = Annotated[float, bounded(100.0, 1e12, "Pa", (1e3, "kPa"))]
Magnetisation = Annotated[float, bounded(100.0, 2.5e6, "A/m", (1e3, "kA/m"), (1e-3, "mA/m"))]


class BaseDeviceConfig(Config):
    """A device: where its figures come from, and what it is made of for X-ray."""

    source: str
    material: str  # name of an X-ray material
