"""Path planning, controllers, and allocation of fields and forces to actuators."""
