"""Limits of an arm-held magnet, and the gate in front of the arm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from mmdtwin.actuation import Actuation, MagnetPose
from mmdtwin.arm import Arm
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, transform, unit
from mmdtwin.keep_out import Volume, least_distance
from mmdtwin.safety import MAX_INTERVAL, MAX_VALID_FOR

MAX_POSITION = 10.0  # m from the world's origin; farther is a wrong unit
TOUCH = 1e-9  # m of clearance that rounding may take
MAX_SHORTENINGS = 5  # tries to shorten a step until the joints can follow
PROPER = 1e-6  # entries of R^T R - 1 in a proper rotation
JOINT_ROUNDING = 1e-5  # rad that joints may differ by where the pose stays


@dataclass(frozen=True, eq=False)
class MagnetLimits:
    """What an arm-held magnet may do. Every number is positive and finite.

    An arm-held magnet cannot be switched off. When a command expires the driver takes it to
    `T_world_retreat` in a straight line; the gate lets it go only where that line is free.

    Parameters
    ----------
    max_speed : float
        m/s of the magnet's centre.
    max_turn_rate : float
        rad/s of the magnet; about a spindle's axis `max_spin_rate` counts instead.
    max_spin_rate : float
        rad/s about the spindle's axis, which makes a field rotate.
    magnet_radius : float
        m of the sphere about the magnet's centre that holds it.
    clearance : float
        m between that sphere and any volume kept out of.
    T_world_retreat : (4, 4) array
        Where the magnet goes when no command is in force: far from the device.
    keep_out : tuple of volumes
        In the world.
    arm : Arm, optional
        With it, a pose is let through only if the arm reaches it.
    spin_axis : (3,) array, optional
        Of the spindle in the magnet's frame; the arm need not provide the angle about it.

    Raises
    ------
    UserError
        If a limit is missing or not positive and finite, or the retreat pose breaks one.
    """

    max_speed: float
    max_turn_rate: float
    max_spin_rate: float
    magnet_radius: float
    clearance: float
    T_world_retreat: Array
    keep_out: tuple[Volume, ...] = ()
    arm: Arm | None = None
    spin_axis: Array | None = None

    def __post_init__(self) -> None:
        # A retreat that its caller could still move would be none.
        object.__setattr__(self, "T_world_retreat", _frozen(self.T_world_retreat))
        for name in ("max_speed", "max_turn_rate", "max_spin_rate", "magnet_radius", "clearance"):
            value = getattr(self, name)
            if value is None or not (np.isfinite(value) and value > 0):
                raise UserError(f"limits.{name}: must be a positive finite number (got {value})")
        fault = pose_fault(self.T_world_retreat)
        if fault:
            raise UserError(f"limits.T_world_retreat: {fault}")
        centre = self.T_world_retreat[:3, 3]
        blocked = self.blocked(centre, centre)
        if blocked:
            raise UserError(f"limits.T_world_retreat: too near to {blocked}")
        if self.arm is not None and not self.arm.reaches(self.T_world_retreat, self.spin_axis):
            raise UserError("limits.T_world_retreat: out of the arm's reach")

    @property
    def distance(self) -> float:
        """Least distance in m from the magnet's centre to any volume."""
        return self.magnet_radius + self.clearance

    def sizes(self, start: Array, target: Array) -> dict[str, tuple[float, float]]:
        """Return how far a step between poses (4, 4) goes, and the limit of its rate, by name.

        Turning evenly, the magnet turns about one axis, which keeps its angle to the spindle's: so
        much of the turn is spin, and the rest, at a right angle, turns the spindle.
        """
        move = float(np.linalg.norm(target[:3, 3] - start[:3, 3]))
        turn = Rotation.from_matrix(start[:3, :3].T @ target[:3, :3])
        result = {"speed": (move, self.max_speed)}
        if self.spin_axis is None:
            return result | {"turn rate": (float(turn.magnitude()), self.max_turn_rate)}
        vector, axis = turn.as_rotvec(), unit(self.spin_axis)
        spin = float(vector @ axis)
        return result | {
            "turn rate": (float(np.linalg.norm(vector - spin * axis)), self.max_turn_rate),
            "spin rate": (abs(spin), self.max_spin_rate),
        }

    def blocked(self, start: Array, end: Array) -> str:
        """Return the name of a volume that the magnet would come too near to on a straight path.

        '' where there is none. `start` and `end` (3,) m are positions of its centre.
        """
        for volume in self.keep_out:
            if least_distance(volume, start, end) < self.distance - TOUCH:
                return volume.name
        return ""


@dataclass(frozen=True, eq=False)
class PoseState:
    """What the gate remembers between commands."""

    T: Array  # pose in force, T_world_magnet (4, 4)
    time: float  # when it was accepted, s
    seq: int = -1  # of the newest accepted command
    armed: bool = False
    joints: Array | None = None  # of the arm at T, rad; found by the gate where it is None
    # s; from then on the magnet is on its way to the retreat: give T and joints as measured.
    expires: float = np.inf


def pose_fault(T: ArrayLike) -> str:
    """Return what is wrong with a pose, or ''."""
    pose = np.asarray(T, float)
    if pose.shape != (4, 4):
        return f"expected a (4, 4) rigid transform, got shape {pose.shape}"
    if not np.isfinite(pose).all():
        return "a number of the pose is not finite"
    rotation = pose[:3, :3]
    if np.abs(rotation).max() > 2 or np.abs(rotation.T @ rotation - np.eye(3)).max() > PROPER:
        return "the pose's rotation is not orthonormal"
    if np.linalg.det(rotation) < 0 or not np.array_equal(pose[3], (0.0, 0.0, 0.0, 1.0)):
        return "the pose is not a proper rigid transform"
    if np.abs(pose[:3, 3]).max() > MAX_POSITION:
        return f"a position above {MAX_POSITION:g} m: is it in m?"
    return ""


def _frozen(T: ArrayLike) -> Array:
    kept = np.array(T, float)
    kept.flags.writeable = False
    return kept


def step_towards(start: Array, target: Array, fraction: float) -> Array:
    """Return the pose that part of the way from one to another: straight, turning evenly."""
    if fraction >= 1.0:
        return target
    turn = Rotation.from_matrix(target[:3, :3] @ start[:3, :3].T).as_rotvec()
    rotation = Rotation.from_rotvec(fraction * turn).as_matrix() @ start[:3, :3]
    return transform(rotation, start[:3, 3] + fraction * (target[:3, 3] - start[:3, 3]))


def gate_pose(
    command: Actuation, state: PoseState, limits: MagnetLimits, now: float
) -> tuple[MagnetPose | None, PoseState, tuple[str, ...]]:
    """Decide which pose reaches the arm.

    A step that is too fast is shortened along its own path. A step into a volume, out of reach,
    or to where the straight way to the retreat is not free, is replaced by the pose in force. A
    malformed command is dropped, and the one in force lives until it expires.

    Returns
    -------
    command : MagnetPose or None
        The pose to send; None when nothing may be sent.
    state : PoseState
        To pass in with the next command.
    reasons : tuple of str
        Why the command differs from the one asked for; empty when it does not.
    """
    if not isinstance(command, MagnetPose):
        return None, state, (f"{type(command).__name__} is not gated for a magnet",)
    if not state.armed:
        return None, state, ("not armed",)
    if command.seq <= state.seq:
        return None, state, (f"seq {command.seq} is not newer than {state.seq}",)
    fault = pose_fault(command.T_world_magnet)
    if fault:
        return None, state, (f"{fault}: dropped",)
    if not (np.isfinite(command.valid_for) and command.valid_for > 0):
        return None, state, ("valid_for is not a positive number: dropped",)
    reasons: list[str] = []
    valid_for = command.valid_for
    if valid_for > MAX_VALID_FOR:
        valid_for = MAX_VALID_FOR
        reasons.append(f"valid_for cut to {MAX_VALID_FOR} s")
    elapsed = min(max(now - state.time, 0.0), MAX_INTERVAL)
    fraction = _allowed_fraction(state.T, command.T_world_magnet, limits, elapsed, reasons)
    target, joints = step_towards(state.T, command.T_world_magnet, fraction), state.joints
    refused = ""
    if limits.arm is not None:
        step = _Step(state, command.T_world_magnet, fraction, elapsed)
        target, joints, refused = _follow(limits.arm, step, limits.spin_axis, reasons)
    refused = refused or _way_blocked(state.T, target, limits)
    if refused:
        reasons.append(f"{refused}: the pose in force is kept")
        target, joints = state.T, state.joints
    sent = MagnetPose(target, seq=command.seq, valid_for=valid_for)
    state = replace(
        state, T=sent.T_world_magnet, time=now, seq=command.seq, joints=joints,
        expires=now + valid_for,
    )  # fmt: skip
    return sent, state, tuple(reasons)


def _allowed_fraction(
    start: Array, target: Array, limits: MagnetLimits, elapsed: float, reasons: list[str]
) -> float:
    """Return the part of a step (<= 1) that keeps the magnet's speed and turn rate."""
    fraction = 1.0
    for name, (size, rate) in limits.sizes(start, target).items():
        if size > rate * elapsed:
            reasons.append(f"slowed to the limit of {name}")
            fraction = min(fraction, rate * elapsed / size)
    return fraction


def _way_blocked(start: Array, target: Array, limits: MagnetLimits) -> str:
    """Return what stands in the way of a step or of the retreat after it, or ''."""
    here, there = start[:3, 3], target[:3, 3]
    blocked = limits.blocked(here, there)
    if blocked:
        return f"the magnet would come within {limits.clearance * 1e3:g} mm of {blocked}"
    blocked = limits.blocked(there, limits.T_world_retreat[:3, 3])
    if blocked:
        return f"{blocked} would lie in the straight way to the retreat pose"
    return ""


@dataclass(frozen=True, eq=False)
class _Step:
    """Part of the way from the pose in force to a target, in a time."""

    state: PoseState
    target: Array
    fraction: float
    elapsed: float

    def pose(self, part: float) -> Array:
        return step_towards(self.state.T, self.target, self.fraction * part)


def _follow(
    arm: Arm, step: _Step, spin_axis: Array | None, reasons: list[str]
) -> tuple[Array, Array | None, str]:
    """Return the pose that the arm makes of a step, its joints, and why it is refused or ''.

    Near singular postures joints turn fast: the step is shortened until they can follow.
    """
    start = step.state.joints
    if start is None:
        try:
            start = arm.inverse(step.state.T, spin_free=spin_axis)
        except UserError as error:
            return step.state.T, None, f"the pose in force: {error}"
    allowed = arm.max_speed * step.elapsed + JOINT_ROUNDING
    part, slowest = 1.0, -1
    for _ in range(MAX_SHORTENINGS):
        pose = step.pose(part)
        joints = arm.approach(pose, start, spin_axis)
        if not arm.reached(pose, joints, spin_axis):
            return pose, None, arm.shortfall(pose, joints, spin_axis)
        over = np.abs(joints - start) / allowed
        if over.max() <= 1.0:
            if slowest >= 0:
                reasons.append(f"slowed to the speed of joint {slowest + 1}")
            return pose, joints, ""
        slowest = int(np.argmax(over))
        part *= 0.9 / float(over.max())
    return step.state.T, None, f"joint {slowest + 1} cannot turn fast enough"
