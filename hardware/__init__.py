"""Rigs: the twin, and adapters for real coils, magnets and fluoroscopes."""
