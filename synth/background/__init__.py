"""Backgrounds drawn by diffusion from a prompt and a mask."""
