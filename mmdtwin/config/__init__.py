"""Configuration: one pydantic model per YAML kind."""

from mmdtwin.config.arm import ArmConfig, JointConfig, PlacementConfig
from mmdtwin.config.base import KINDS, Config, load, names, override, parse, read
from mmdtwin.config.coils import CoilConfig, CoilsConfig
from mmdtwin.config.devices import (
    BaseDeviceConfig,
    BeadConfig,
    CapsuleConfig,
    DeviceConfig,
    DropletConfig,
    GelConfig,
    HelixConfig,
    RodConfig,
    SheetConfig,
)
from mmdtwin.config.flow import FlowConfig
from mmdtwin.config.imager import BackgroundConfig, DetectorConfig, ImagerConfig
from mmdtwin.config.instruments import (
    CatheterConfig,
    ClipConfig,
    EcgLeadConfig,
    GuidewireConfig,
    InstrumentConfig,
    RulerConfig,
    StentConfig,
)
from mmdtwin.config.magnet import MagnetConfig
from mmdtwin.config.patient import PatientConfig
from mmdtwin.config.phantom import CtConfig, PhantomConfig, ProceduralConfig
from mmdtwin.config.rig import (
    MagnetTwinRigConfig,
    RegistrationErrorConfig,
    RigConfig,
    TwinRigConfig,
)
from mmdtwin.config.scenario import ScenarioConfig, TaskConfig, load_scenario

__all__ = [
    "KINDS", "ArmConfig", "BackgroundConfig", "BaseDeviceConfig", "BeadConfig", "CapsuleConfig",
    "CatheterConfig", "ClipConfig", "CoilConfig", "CoilsConfig", "Config", "CtConfig",
    "DetectorConfig", "DeviceConfig", "DropletConfig", "EcgLeadConfig", "FlowConfig",
    "GelConfig", "GuidewireConfig", "HelixConfig", "ImagerConfig", "InstrumentConfig",
    "JointConfig", "MagnetConfig", "MagnetTwinRigConfig", "PatientConfig", "PhantomConfig",
    "PlacementConfig", "ProceduralConfig", "RegistrationErrorConfig", "RigConfig", "RodConfig",
    "RulerConfig", "ScenarioConfig", "SheetConfig", "StentConfig", "TaskConfig",
    "TwinRigConfig", "load", "load_scenario", "names", "override", "parse", "read",
]  # fmt: skip
