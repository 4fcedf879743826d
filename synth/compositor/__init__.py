"""Devices fused into backgrounds, with labels: attenuation first, one pass of the imager last."""
