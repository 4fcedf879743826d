"""Coils as measured: fits to samples, imported calibrations, and the files that keep them."""
