"""Vessel phantoms: drawn from tubes, or taken from the arteries of a CT."""

from mmdtwin.sim.phantoms.build import build_vessel
from mmdtwin.sim.phantoms.vessel import Vessel

__all__ = ["Vessel", "build_vessel"]
