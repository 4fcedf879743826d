"""Checks of the X-ray physics, as `mmdtwin xray check` and the tests run them."""

from mmdtwin.synth.xray.checks.check import AREAS, Check, run_checks

__all__ = ["AREAS", "Check", "run_checks"]
