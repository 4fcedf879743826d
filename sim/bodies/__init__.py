"""Bodies of devices, in PyBullet, under magnetic, fluid and elastic forces."""

from __future__ import annotations

from importlib import import_module

from mmdtwin.config import DeviceConfig
from mmdtwin.sim.bodies.device import Ambient, Device, Medium

__all__ = ["Ambient", "Device", "Medium", "device_class"]

# kind: module in this package and class; imported when a scenario has such a device
KINDS = {
    "bead": ("bead", "Bead"),
    "capsule": ("bead", "Capsule"),
    "droplet": ("droplet", "Droplet"),
    "gel": ("gel", "Gel"),
    "helix": ("helix", "Helix"),
    "rod": ("rod", "SoftRod"),
    "sheet": ("sheet", "SoftSheet"),
}


def device_class(config: DeviceConfig) -> type[Device]:
    """Return the class of body that a device of this kind is."""
    module, name = KINDS[config.kind]
    found: type[Device] = getattr(import_module(f"mmdtwin.sim.bodies.{module}"), name)
    return found
