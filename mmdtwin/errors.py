"""Errors that a user can act on: one line, what is wrong, where, and what is allowed."""


class UserError(Exception):
    """Bad input. The command line prints it on one line and exits with code 2."""


class ConfigError(UserError):
    """A configuration file, key or value is wrong."""


class OutOfWorkspaceError(UserError):
    """A field was asked for at a point outside the region where the model is valid."""


class PhysicsError(RuntimeError):
    """The simulation left its validated range (speed, penetration, Reynolds number, not finite)."""


class RigError(RuntimeError):
    """A rig refused an operation: wrong state, fault, or a device that did not answer."""
