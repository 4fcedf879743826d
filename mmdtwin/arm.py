"""Kinematics of a robot arm that holds a magnet: joints to pose, and pose to joints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, unit

POSITION_TOLERANCE = 1e-6  # m and
ANGLE_TOLERANCE = 1e-6  # rad: a pose this near counts as reached
SETTLED = 1e-2  # of the tolerances, where the search stops
LENGTH = 0.3  # m that weighs as much as 1 rad in the search; about a forearm
MAX_ITERATIONS = 60
STALL, STALLED = 8, 0.9  # iterations in which the error must fall below this part of itself
MAX_STEP = 0.5  # rad per iteration, largest joint
MAX_DAMPING = 0.1  # of the same
DAMPING = 1e-9  # least square of the damping, beside that by the error
N_SAMPLES = 4000  # arm postures that restarts begin from
N_RESTARTS = 16
CENTRING_ROUNDS = 20
CENTRING_STEP = 0.5  # rad, longest step of the joints per round


@dataclass(frozen=True, eq=False)
class Arm:
    """A serial arm of revolute joints in modified Denavit-Hartenberg form (Craig).

    Frame i is reached from frame i-1 by Rot_x(alpha_i) Trans_x(a_i) Rot_z(q_i) Trans_z(d_i).

    Parameters
    ----------
    a, d, alpha : (n,) array
        m, m, rad.
    lower, upper : (n,) array
        Joint limits, rad.
    max_speed : (n,) array
        rad/s.
    flange_length : float
        m from the last joint's frame to the flange, along its z.
    T_world_base, T_flange_magnet : (4, 4) array
        Where the arm stands, and how it holds the magnet.

    Raises
    ------
    UserError
        If the arrays disagree in length, a number is not finite, or a range is empty.
    """

    a: Array
    d: Array
    alpha: Array
    lower: Array
    upper: Array
    max_speed: Array
    flange_length: float
    T_world_base: Array
    T_flange_magnet: Array

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not np.isfinite(value).all():
                raise UserError(f"arm.{name}: holds a value that is not a finite number")
        shapes = {np.shape(getattr(self, k)) for k in ("a", "d", "alpha", "lower", "upper")}
        if shapes != {(self.n_joints,)} or self.max_speed.shape != (self.n_joints,):
            raise UserError("arm: a, d, alpha, lower, upper and max_speed need one value per joint")
        if not (self.lower < self.upper).all() or not (self.max_speed > 0).all():
            raise UserError("arm: each joint needs lower < upper and a positive max_speed")

    @property
    def n_joints(self) -> int:
        """Number of joints."""
        return len(self.a)

    @property
    def middle(self) -> Array:
        """Joints in the middle of their ranges (n,) rad."""
        return (self.lower + self.upper) / 2

    def forward(self, q: ArrayLike) -> Array:
        """Return T_world_magnet (..., 4, 4) of joints q (..., n) rad; limits are not looked at."""
        return self._frames(q)[-1]

    def jacobian(self, q: ArrayLike) -> Array:
        """Return the magnet's velocity per joint speed (6, n) in the world: m/rad, then rad/rad."""
        return self._jacobian(self._frames(q))

    def manipulability(self, q: ArrayLike) -> float:
        """Return sqrt(det(J J^T)), m^3; 0 at a singular posture.

        Yoshikawa, Int. J. Robotics Research 4(2), 3-9 (1985).
        """
        j = self.jacobian(q)
        return float(np.sqrt(max(np.linalg.det(j @ j.T), 0.0)))

    def approach(self, T: ArrayLike, q: ArrayLike, spin_free: ArrayLike | None = None) -> Array:
        """Return the joints (n,) that a search from joints `q` ends at; see `reached`.

        The least joint motion, without restarts or centring: small steps of the pose are small
        steps of the joints, and that is what a moving arm needs.
        """
        return self._search(_pose(T), self._joints(q), _axis(spin_free))

    def reached(self, T: ArrayLike, q: ArrayLike, spin_free: ArrayLike | None = None) -> bool:
        """Return whether joints bring the magnet to a pose, to 1e-6 m and 1e-6 rad."""
        error = _error(_pose(T), self.forward(q), _axis(spin_free))
        return _within(error, 1.0)

    def shortfall(self, T: ArrayLike, q: ArrayLike, spin_free: ArrayLike | None = None) -> str:
        """Return in words how far joints are from a pose, and which are at their ends."""
        target, joints = _pose(T), self._joints(q)
        position, angle = _sizes(_error(target, self.forward(joints), _axis(spin_free)))
        gap = np.minimum(joints - self.lower, self.upper - joints)
        at_end = np.flatnonzero(gap < 1e-6 * (self.upper - self.lower))
        ends = f"; joints at their ends: {', '.join(str(k + 1) for k in at_end)}"
        x, y, z = target[:3, 3]
        return (
            f"pose at ({x:.3f}, {y:.3f}, {z:.3f}) m is out of the arm's reach, short of it by"
            f" {position * 1e3:.2f} mm and {np.degrees(angle):.2f} deg{ends if len(at_end) else ''}"
        )

    def inverse(
        self, T: ArrayLike, start: ArrayLike | None = None, spin_free: ArrayLike | None = None
    ) -> Array:
        """Return joints (n,) rad within their limits that bring the magnet to a pose.

        Damped least squares with the damping set by the error (Sugihara, IEEE Trans. Robotics
        27(5), 984-991 (2011)); joints at a limit are held there while they push outwards. From
        `start` first; then, or without it, from the nearest of a fixed set of postures, after
        which the free motion of the elbow brings the joints towards the middle of their ranges.

        Parameters
        ----------
        T : (4, 4) array
            T_world_magnet.
        start : (n,) array, optional
            Joints to begin from, rad; a solution near them is kept as it is.
        spin_free : (3,) array, optional
            Axis in the magnet's frame that a spindle turns the magnet about: any angle about it
            will do, and `spin_angle` tells which is left to the spindle.

        Raises
        ------
        UserError
            If no posture is found that reaches the pose to 1e-6 m and 1e-6 rad.
        """
        target, axis = _pose(T), _axis(spin_free)
        if start is not None:
            near = self.approach(target, start, axis)
            if self.reached(target, near, axis):
                return near
        q = self.nearest(target, axis)
        if not self.reached(target, q, axis):
            raise UserError(self.shortfall(target, q, axis))
        return self._centre(target, q, axis)

    def nearest(
        self, T: ArrayLike, spin_free: ArrayLike | None = None, restarts: int = N_RESTARTS
    ) -> Array:
        """Return joints (n,) within their limits that come nearest to a pose, reached or not."""
        target, axis = _pose(T), _axis(spin_free)
        best, least = self.middle, np.inf
        for start in self._starts(target, axis)[:restarts]:
            q = self._search(target, start, axis)
            if self.reached(target, q, axis):
                return q
            position, angle = _sizes(_error(target, self.forward(q), axis))
            if position / LENGTH + angle < least:
                best, least = q, position / LENGTH + angle
        return best

    def reaches(self, T: ArrayLike, spin_free: ArrayLike | None = None) -> bool:
        """Return whether `inverse` finds joints for a pose."""
        return self.reached(T, self.nearest(T, spin_free), spin_free)

    def spin_angle(self, q: ArrayLike, T: ArrayLike, spin_axis: ArrayLike) -> float:
        """Return the angle in rad about the spindle that is left from joints q to a pose."""
        axis = unit(spin_axis)
        across = unit(np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))]))
        turned = (self.forward(q)[:3, :3].T @ _pose(T)[:3, :3]) @ across
        return float(np.arctan2(np.cross(axis, across) @ turned, across @ turned))

    def _frames(self, q: ArrayLike) -> list[Array]:
        """Return the joints' frames and the magnet's in the world, each (..., 4, 4)."""
        joints = np.asarray(q, float)
        if joints.shape[-1:] != (self.n_joints,):
            raise UserError(f"joints: shape {joints.shape}; allowed is (..., {self.n_joints})")
        cos, sin = np.cos(joints), np.sin(joints)
        links = np.zeros((*joints.shape, 4, 4))
        ca, sa = np.cos(self.alpha), np.sin(self.alpha)
        links[..., 0, 0], links[..., 0, 1], links[..., 0, 3] = cos, -sin, self.a
        links[..., 1, 0], links[..., 1, 1] = sin * ca, cos * ca
        links[..., 1, 2], links[..., 1, 3] = -sa, -self.d * sa
        links[..., 2, 0], links[..., 2, 1] = sin * sa, cos * sa
        links[..., 2, 2], links[..., 2, 3] = ca, self.d * ca
        links[..., 3, 3] = 1.0
        frames = [self.T_world_base]
        for k in range(self.n_joints):
            frames.append(frames[-1] @ links[..., k, :, :])
        return [*frames[1:], frames[-1] @ self._T_last_magnet]

    @cached_property
    def _T_last_magnet(self) -> Array:
        flange = np.eye(4)
        flange[2, 3] = self.flange_length
        return flange @ self.T_flange_magnet

    def _jacobian(self, frames: list[Array]) -> Array:
        joints = np.array(frames[:-1])
        axes, arms = joints[:, :3, 2], frames[-1][:3, 3] - joints[:, :3, 3]
        return np.concatenate([np.cross(axes, arms), axes], axis=1).T

    def _task_jacobian(self, frames: list[Array], axis: Array | None) -> Array:
        """Return the Jacobian without the turn about the spindle, which is not the arm's task."""
        jacobian = self._jacobian(frames)
        if axis is not None:
            spindle = frames[-1][:3, :3] @ axis
            jacobian[3:] -= np.outer(spindle, spindle @ jacobian[3:])
        return jacobian

    @cached_property
    def _samples(self) -> tuple[Array, Array]:
        """Postures (k, n) spread over the joints' ranges, and their poses (k, 4, 4)."""
        q = np.random.default_rng(0).uniform(self.lower, self.upper, (N_SAMPLES, self.n_joints))
        return q, self.forward(q)

    def _starts(self, target: Array, axis: Array | None) -> Array:
        q, poses = self._samples
        far = np.linalg.norm(poses[:, :3, 3] - target[:3, 3], axis=1) / LENGTH
        if axis is None:
            trace = np.einsum("nij,ij->n", poses[:, :3, :3], target[:3, :3])
            cosine = (trace - 1) / 2
        else:
            cosine = (poses[:, :3, :3] @ axis) @ (target[:3, :3] @ axis)
        far += np.arccos(np.clip(cosine, -1.0, 1.0))
        return q[np.argsort(far, kind="stable")[:N_RESTARTS]]

    def _search(self, target: Array, start: Array, axis: Array | None) -> Array:
        q = np.clip(start, self.lower, self.upper)
        before = np.inf
        for k in range(MAX_ITERATIONS):
            frames = self._frames(q)
            error = _error(target, frames[-1], axis)
            if _within(error, SETTLED):
                break
            jacobian = self._task_jacobian(frames, axis)
            error[:3] /= LENGTH
            jacobian[:3] /= LENGTH
            if k % STALL == 0:
                size = float(np.linalg.norm(error))
                if size > STALLED * before:
                    break
                before = size
            step = self._step(q, jacobian, error)
            if np.max(np.abs(step)) < 1e-12:
                break
            q = np.clip(q + step, self.lower, self.upper)
        return q

    def _step(self, q: Array, jacobian: Array, error: Array) -> Array:
        """Return the damped step; joints that it would push out of their range stay put."""
        free = np.ones(self.n_joints, bool)
        damping = (min(0.5 * float(error @ error), MAX_DAMPING) + DAMPING) * np.eye(6)
        step = np.zeros(self.n_joints)
        for _ in range(self.n_joints):
            j = jacobian[:, free]
            step[:] = 0.0
            step[free] = j.T @ np.linalg.solve(j @ j.T + damping, error)
            outwards = ((q <= self.lower) & (step < 0)) | ((q >= self.upper) & (step > 0))
            if not outwards.any():
                break
            free &= ~outwards
        return step * min(1.0, MAX_STEP / max(float(np.max(np.abs(step))), 1e-300))

    def _centre(self, target: Array, q: Array, axis: Array | None) -> Array:
        """Move along the postures that reach the pose towards the middle of the joints' ranges.

        Each round goes where the squared distance from the middle, in half ranges, is least on
        the tangent of those postures, and back onto them.
        """
        weight = 4 / (self.upper - self.lower) ** 2
        cost = float(weight @ (q - self.middle) ** 2)
        longest = CENTRING_STEP
        for _ in range(CENTRING_ROUNDS):
            jacobian = self._task_jacobian(self._frames(q), axis)
            free = np.linalg.svd(jacobian)[2][6 if axis is None else 5 :].T
            normal, slope = free.T * weight @ free, free.T @ (weight * (q - self.middle))
            step = free @ np.linalg.solve(normal, -slope)
            step *= min(1.0, longest / max(float(np.linalg.norm(step)), 1e-300))
            trial = self._search(target, q + step, axis)
            value = float(weight @ (trial - self.middle) ** 2)
            if value < cost and self.reached(target, trial, axis):
                settled = cost - value < 1e-6
                q, cost = trial, value
                if settled:
                    break
            else:
                longest /= 4
        return q

    def _joints(self, q: ArrayLike) -> Array:
        joints = np.array(q, float)
        if joints.shape != (self.n_joints,) or not np.isfinite(joints).all():
            raise UserError(f"joints: needs {self.n_joints} finite numbers of rad")
        return joints


def _error(target: Array, pose: Array, axis: Array | None) -> Array:
    """Return what a pose lacks to the target (6,), in the world: m, then a rotation vector."""
    error = np.empty(6)
    error[:3] = target[:3, 3] - pose[:3, 3]
    if axis is None:
        error[3:] = Rotation.from_matrix(target[:3, :3] @ pose[:3, :3].T).as_rotvec()
        return error
    here, there = pose[:3, :3] @ axis, target[:3, :3] @ axis
    normal = np.cross(here, there)
    sine, cosine = float(np.linalg.norm(normal)), float(here @ there)
    if sine < 1e-12 and cosine < 0:  # opposite: any axis across will do
        normal = np.cross(here, np.eye(3)[np.argmin(np.abs(here))])
    error[3:] = np.arctan2(sine, cosine) * unit(normal)
    return error


def _sizes(error: Array) -> tuple[float, float]:
    return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))


def _within(error: Array, fraction: float) -> bool:
    position, angle = _sizes(error)
    return position <= fraction * POSITION_TOLERANCE and angle <= fraction * ANGLE_TOLERANCE


def _pose(T: ArrayLike) -> Array:
    pose = np.asarray(T, float)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise UserError("pose: needs a (4, 4) rigid transform of finite numbers")
    return pose


def _axis(spin_free: ArrayLike | None) -> Array | None:
    return None if spin_free is None else unit(spin_free)
