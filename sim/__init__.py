"""Magnetic fields, soft bodies, vessels and flow: the physical world of the twin."""
