"""Configuration of devices: one model per kind."""

from mmdtwin.config.devices.base import BaseDeviceConfig, Length
from mmdtwin.config.devices.sheet import SheetConfig

DeviceConfig = SheetConfig

__all__ = ["BaseDeviceConfig", "DeviceConfig", "Length", "SheetConfig"]
