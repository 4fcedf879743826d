"""Gymnasium environments over any rig."""
