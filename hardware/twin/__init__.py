"""The twin as a rig."""
