"""YAML presets: coils, devices, phantoms, imagers, scenarios, rigs, randomisation."""
