"""Allocation for an arm-held magnet: the pose that makes a wanted field and force at a point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mmdtwin.control.allocation import vector
from mmdtwin.control.pose_problem import ArmHolder, FreeHolder, Goal, Holder
from mmdtwin.errors import UserError
from mmdtwin.field import FieldModel
from mmdtwin.geometry import Array, transform, unit
from mmdtwin.magnet_limits import TOUCH, MagnetLimits
from mmdtwin.pose import pose_matrix, pose_vector
from mmdtwin.units import MU0

SOLVED = 1e-4  # residual that ends the search: 0.1 uT and 0.1 nN
MISSED = 1e-3  # residual above which a limit that touches is to blame
MAX_STARTS = 6
MAX_EVALUATIONS = 80  # of the model from one start
BINDING = 1e-4  # m from a volume, or rad from a joint's end, that counts as touching
FAR = 0.5  # m at which a magnet of a few centimetres is a dipole
MU0_4PI = MU0 / (4 * np.pi)  # T m/A


@dataclass(frozen=True, eq=False)
class PoseAllocation:
    """Result of `allocate_pose`; what is achieved is what the field model predicts.

    Parameters
    ----------
    inputs : (6,) array
        Pose of the magnet: position m, rotation vector rad.
    field : (3,) array
        Field at the point, T.
    force : (3,) array or None
        Force on the moment, N; None without a moment.
    residual : float
        Length of the miss in field and force, in units of 1 mT and 1 uN.
    direction_error : float or None
        Angle between the wanted field and the one achieved, rad; None without a wanted field.
    binding : tuple of str
        Limits that the pose touches: names of volumes, or "joint 4".
    limited : bool
        True if the wanted is missed and a limit is touched.
    joints : (n,) array or None
        Of the arm, rad; None without one.
    spin : float or None
        Angle of the spindle from the arm's `forward` pose, rad; None without arm or spindle.
    """

    inputs: Array
    field: Array
    force: Array | None
    residual: float
    direction_error: float | None
    binding: tuple[str, ...]
    limited: bool
    joints: Array | None = None
    spin: float | None = None


def allocate_pose(
    field_model: FieldModel,
    point: ArrayLike,
    field: ArrayLike | None = None,
    force: ArrayLike | None = None,
    moment: ArrayLike | None = None,
    limits: MagnetLimits | None = None,
    start: ArrayLike | None = None,
    joints: ArrayLike | None = None,
) -> PoseAllocation:
    """Find a pose of the magnet whose field and force at a point come nearest to those wanted.

    Bounded nonlinear least squares (trust region, scipy) on the model's derivatives, from the
    present pose first and then from poses where a dipole would make the wanted field. With an
    arm the unknowns are its joints and the spindle's angle, so that every pose found is one that
    it reaches. Volumes kept out of are walls. The first start that meets the wanted ends the
    search; else the best of all is returned, and its residual says by how much it misses.

    Parameters
    ----------
    field_model : FieldModel
        Of a magnet: its input is a pose (6,).
    point : (3,) array
        In the model's frame, m. Limits are taken to be in that frame as well.
    field : (3,) array, optional
        T.
    force : (3,) array, optional
        N; needs `moment`.
    moment : (3,) array, optional
        Moment of the device, A m2.
    limits : MagnetLimits, optional
        Volumes to keep out of, the arm and the spindle.
    start : (6,) array, optional
        Present pose of the magnet.
    joints : (n,) array, optional
        Present joints of the arm, rad.

    Raises
    ------
    UserError
        If an argument has a wrong shape, is not finite or missing, or no start is free of the
        volumes.
    OutOfWorkspaceError
        If the point lies outside the model's workspace.
    """
    if field_model.n_inputs != 6:
        raise UserError("allocate_pose: the field model's input is no pose (6,)")
    if field is None and force is None:
        raise UserError("allocate_pose: give a field, a force or both")
    if force is not None and moment is None:
        raise UserError("allocate_pose: a force needs the device's moment, (3,) A m2")
    goal = Goal(
        field_model,
        vector("point", point),
        None if field is None else vector("field", field),
        None if force is None else vector("force", force),
        None if moment is None else vector("moment", moment),
        limits,
    )
    present = None if start is None else pose_matrix(_numbers("start", start, 6))
    best: PoseAllocation | None = None
    for holder, x in _starts(goal, present, joints):
        found = _solve(goal, holder, x)
        if found is not None and (best is None or found.residual < best.residual):
            best = found
        if best is not None and best.residual < SOLVED:
            break
    if best is None:
        raise UserError("allocate_pose: no pose was found that is clear of the volumes kept out of")
    return best


def _solve(goal: Goal, holder: Holder, x: Array) -> PoseAllocation | None:
    """Return what a search from one start ends at; None if that is not clear of the volumes."""
    low, high = holder.bounds
    inside = np.clip(x, low + 1e-9, high - 1e-9)  # the search starts off its bounds
    if not np.isfinite(goal.residuals(holder.pose(inside))).all():
        return None
    found = least_squares(
        lambda x: goal.residuals(holder.pose(x)),
        inside,
        jac=lambda x: goal.slopes(holder.pose(x)) @ holder.twist(x),
        bounds=holder.bounds,
        x_scale=holder.scale,
        max_nfev=MAX_EVALUATIONS,
        xtol=1e-10,
        ftol=1e-8,  # a miss that can be closed is closed quadratically; another need not be exact
        gtol=1e-12,
    ).x
    T = holder.pose(found)
    gaps = goal.gaps(T)
    if (gaps < -TOUCH).any():
        return None
    field, force = goal.achieved(T)
    residual = float(np.linalg.norm(goal.miss(field, force)))
    binding = [goal.volumes[k].name for k in np.flatnonzero(gaps < BINDING)]
    joints = spin = None
    if isinstance(holder, ArmHolder):
        joints = found[: holder.arm.n_joints]
        spin = None if holder.axis is None else float(found[-1])
        ends = np.minimum(joints - holder.arm.lower, holder.arm.upper - joints) < BINDING
        binding += [f"joint {k + 1}" for k in np.flatnonzero(ends)]
    return PoseAllocation(
        inputs=pose_vector(T),
        field=field,
        force=force,
        residual=residual,
        direction_error=None if goal.field is None else _angle(goal.field, field),
        binding=tuple(binding),
        limited=residual > MISSED and bool(binding),
        joints=joints,
        spin=spin,
    )


def _starts(
    goal: Goal, present: Array | None, joints: ArrayLike | None
) -> Iterator[tuple[Holder, Array]]:
    arm = None if goal.limits is None else goal.limits.arm
    if goal.limits is None or arm is None:
        for T in _start_poses(goal, present, np.eye(4)):
            yield FreeHolder(T), np.zeros(6)
        return
    holder = ArmHolder(arm, goal.limits.spin_axis)
    if joints is not None:
        q = _numbers("joints", joints, arm.n_joints)
        yield holder, holder.start(arm.forward(q) if present is None else present, q)
    for T in _start_poses(goal, present, arm.forward(arm.middle)):
        yield holder, holder.start(T, arm.nearest(T, holder.axis, restarts=1))


def _start_poses(goal: Goal, present: Array | None, default: Array) -> list[Array]:
    """Return the present pose and poses where a dipole would do, nearest first."""
    reference = default if present is None else present
    poses = [_dipole_pose(goal, reference, u) for u in _directions(goal, reference)]
    clear = [T for T in poses if (goal.gaps(T) >= 0).all()] or poses
    clear.sort(key=lambda T: float(np.linalg.norm(T[:3, 3] - reference[:3, 3])))
    return ([] if present is None else [present]) + clear[:MAX_STARTS]


def _directions(goal: Goal, reference: Array) -> Array:
    """Return unit vectors from magnet to point: as now, then to faces and corners of a cube."""
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    now = goal.point - reference[:3, 3]
    first = [now] if np.linalg.norm(now) > 0 else []
    return unit(np.array([*first, *np.eye(3), *-np.eye(3), *corners], float))


def _dipole_pose(goal: Goal, reference: Array, u: Array) -> Array:
    """Return the pose of a dipole that makes the wanted field from the direction -u of the point.

    B = mu0 |m| / (4 pi r^3) (3 u u^T - I) m^ is solved for m^ and r. Without a wanted field, the
    distance is that of the wanted force on the moment from the front, 6 mu0 m1 m2 / (4 pi r^4).
    """
    m = _dipole(goal)
    size = MU0_4PI * _length(m)
    wanted = goal.moment if goal.field is None else goal.field
    towards = np.array([0.0, 0.0, 1.0]) if wanted is None or not wanted.any() else unit(wanted)
    along = 1.5 * u * float(u @ towards) - towards
    r = FAR
    if goal.field is not None and goal.field.any():
        r = float(np.cbrt(size / _length(goal.field) / _length(along)))
    elif goal.force is not None and goal.moment is not None and goal.force.any():
        r = float((6 * size * _length(goal.moment) / _length(goal.force)) ** 0.25)
    now, then = reference[:3, :3] @ unit(m), unit(along)
    turn = Rotation.align_vectors(then[None], now[None])[0].as_matrix()
    return transform(turn @ reference[:3, :3], goal.point - min(r, FAR) * u)


def _dipole(goal: Goal) -> Array:
    """Return the magnet's moment in its own frame (3,) A m2, from its field far away."""
    pose = np.zeros(6)
    pose[:3] = goal.point - (0.0, 0.0, FAR)
    field = goal.model.field(goal.point[None], pose)[0]
    return FAR**3 / MU0_4PI * (np.array([0.0, 0.0, 1.5 * field[2]]) - field)


def _length(v: Array) -> float:
    return float(np.linalg.norm(v))


def _angle(a: Array, b: Array) -> float:
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def _numbers(name: str, value: ArrayLike, length: int) -> Array:
    v = np.asarray(value, dtype=np.float64)
    if v.shape != (length,):
        raise UserError(f"{name} has shape {v.shape}; allowed is ({length},)")
    if not np.isfinite(v).all():
        raise UserError(f"{name} holds a value that is not a finite number")
    return v
