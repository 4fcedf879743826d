"""Labelled sets of images: written in shards, read by anyone."""
