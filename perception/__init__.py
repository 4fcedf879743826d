"""Finding and following the device in fluoroscopy frames."""
