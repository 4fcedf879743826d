"""Arm of the twin: delay, pose loop, speed limits, retreat when no command is in force."""

from __future__ import annotations

import math

import numpy as np

from mmdtwin.actuation import Actuation, MagnetPose
from mmdtwin.config import MagnetTwinRigConfig
from mmdtwin.geometry import Array
from mmdtwin.hardware.twin.commands import Commands
from mmdtwin.magnet_limits import MagnetLimits, step_towards
from mmdtwin.pose import pose_vector


class ArmDrive:
    """Turns accepted commands into the pose of the magnet.

    A command acts `actuation_delay` after it is sent and for `valid_for`; then the magnet goes to
    its retreat pose, for it cannot be switched off. It follows its set-point as a first-order lag
    with `arm_time_constant`, on the straight way, turning evenly, within the limits of speed, turn
    rate and spin rate.

    Attributes
    ----------
    pose : (4, 4) array
        T_world_magnet, where the arm is; at first the retreat pose.
    """

    def __init__(self, rig: MagnetTwinRigConfig, limits: MagnetLimits) -> None:
        self._rig = rig
        self._limits = limits
        self.pose: Array = limits.T_world_retreat
        self._commands: Commands[MagnetPose] = Commands(rig.actuation_delay)
        self._retreating = False

    @property
    def currents(self) -> Array:
        """There are none."""
        return np.empty(0)

    @property
    def temperatures(self) -> Array:
        """There are none."""
        return np.empty(0)

    @property
    def faults(self) -> tuple[str, ...]:
        """Whether the magnet retreats because no command is in force."""
        return ("no command in force: the magnet retreats",) if self._retreating else ()

    def send(self, command: Actuation, now: float) -> None:
        """Take a command at time `now`, s."""
        assert isinstance(command, MagnetPose)
        self._commands.send(command, now)

    def zero(self) -> None:
        """Drop every command: the magnet retreats."""
        self._commands.drop()

    def acting_for(self, t: float) -> float:
        """Seconds since the first command took effect; negative if none has."""
        return self._commands.acting_for(t)

    def set_point(self, t: float) -> Array:
        """Pose (4, 4) asked for at time t, s."""
        in_force = self._commands.at(t)
        return self._limits.T_world_retreat if in_force is None else in_force[1].T_world_magnet

    def advance(self, t: float, dt: float) -> Array:
        """Advance from t by dt s and return the pose of the magnet as a field model takes it."""
        target = self.set_point(t)
        self._retreating = self._commands.expired
        part = -math.expm1(-dt / self._rig.arm_time_constant)
        for size, rate in self._limits.sizes(self.pose, target).values():
            if part * size > rate * dt:
                part = rate * dt / size
        self.pose = step_towards(self.pose, target, part)
        return pose_vector(self.pose)
