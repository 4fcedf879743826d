"""Configuration: one pydantic model per YAML kind."""

from mmdtwin.config.arm import ArmConfig, JointConfig, PlacementConfig
from mmdtwin.config.base import KINDS, Config, load, names, override, parse, read
from mmdtwin.config.coils import CoilConfig, CoilsConfig
from mmdtwin.config.devices import BaseDeviceConfig, DeviceConfig, SheetConfig
from mmdtwin.config.flow import FlowConfig
from mmdtwin.config.imager import BackgroundConfig, DetectorConfig, ImagerConfig
from mmdtwin.config.magnet import MagnetConfig
from mmdtwin.config.phantom import CtConfig, PhantomConfig, ProceduralConfig
from mmdtwin.config.rig import (
    MagnetTwinRigConfig,
    RegistrationErrorConfig,
    RigConfig,
    TwinRigConfig,
)
from mmdtwin.config.scenario import ScenarioConfig, TaskConfig, load_scenario

__all__ = [
    "KINDS", "ArmConfig", "BackgroundConfig", "BaseDeviceConfig", "CoilConfig", "CoilsConfig",
    "Config", "CtConfig",
    "DetectorConfig", "DeviceConfig", "FlowConfig", "ImagerConfig", "JointConfig", "MagnetConfig",
    "MagnetTwinRigConfig", "PhantomConfig", "PlacementConfig", "ProceduralConfig",
    "RegistrationErrorConfig", "RigConfig", "ScenarioConfig", "SheetConfig", "TaskConfig",
    "TwinRigConfig", "load", "load_scenario", "names", "override", "parse", "read",
]  # fmt: skip
