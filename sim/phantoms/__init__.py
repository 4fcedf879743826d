"""Vessel phantoms: drawn as tubes, by hand or from a seed; taken from a CT or a user's mesh."""

from mmdtwin.sim.phantoms.build import build_vessel
from mmdtwin.sim.phantoms.vessel import Vessel

__all__ = ["Vessel", "build_vessel"]
