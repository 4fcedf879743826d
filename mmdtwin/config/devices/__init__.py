"""Configuration of devices: one model per kind."""

from typing import Annotated

from pydantic import Field

from mmdtwin.config.devices.base import BaseDeviceConfig, Length
from mmdtwin.config.devices.bead import BeadConfig, CapsuleConfig
from mmdtwin.config.devices.droplet import DropletConfig
from mmdtwin.config.devices.gel import GelConfig
from mmdtwin.config.devices.helix import HelixConfig
from mmdtwin.config.devices.rod import RodConfig
from mmdtwin.config.devices.sheet import SheetConfig

DeviceConfig = Annotated[
    BeadConfig | CapsuleConfig | DropletConfig | GelConfig | HelixConfig | RodConfig | SheetConfig,
    Field(discriminator="kind"),
]

__all__ = [
    "BaseDeviceConfig", "BeadConfig", "CapsuleConfig", "DeviceConfig", "DropletConfig", "GelConfig",
    "HelixConfig", "Length", "RodConfig", "SheetConfig",
]  # fmt: skip
