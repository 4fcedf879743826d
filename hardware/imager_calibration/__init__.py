"""Calibration of fluoroscopes with a phantom of beads."""
