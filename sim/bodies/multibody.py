"""Chains of links as PyBullet multibodies: made, placed, read and pushed. In mm, g, s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.links import Held

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

UNLIMITED = 1e6  # PyBullet's default of 100 would cap speeds at 0.1 m/s


def create_chain(
    p: BulletClient,
    count: int,
    half: float,
    held: Held,
    spheres: Sequence[Array],
    radius: float,
    *,
    hinged: bool,
    clamped: bool,
    friction: float,
    self_contact: bool,
) -> Multibody:
    """Create a straight chain of `count` links along x, its first link's centre at the origin.

    Each link collides by its spheres (k, 3) about its centre, a clamped chain by none. Joints are
    hinges about y or balls, without motors.
    """

    def shape(own: Array, along: float) -> int:
        if clamped:
            return -1
        return int(
            p.createCollisionShapeArray(
                shapeTypes=[p.GEOM_SPHERE] * len(own),
                radii=[radius] * len(own),
                collisionFramePositions=(own + np.array([along, 0.0, 0.0])).tolist(),
            )
        )

    children = count - 1
    body = p.createMultiBody(
        0.0 if clamped else held.mass,
        shape(spheres[0], 0.0),
        -1,
        [0, 0, 0],
        [0, 0, 0, 1],
        linkMasses=[held.mass] * children,
        linkCollisionShapeIndices=[shape(own, half) for own in spheres[1:]],
        linkVisualShapeIndices=[-1] * children,
        linkPositions=[[half, 0, 0]] + [[2 * half, 0, 0]] * (children - 1),
        linkOrientations=[[0, 0, 0, 1]] * children,
        linkInertialFramePositions=[[half, 0, 0]] * children,
        linkInertialFrameOrientations=[[0, 0, 0, 1]] * children,
        linkParentIndices=list(range(children)),
        linkJointTypes=[p.JOINT_REVOLUTE if hinged else p.JOINT_SPHERICAL] * children,
        linkJointAxis=[[0, 1, 0]] * children,
        flags=p.URDF_USE_SELF_COLLISION if self_contact else 0,
    )
    _set_dynamics(p, body, held, clamped, friction)
    _remove_motors(p, body, children, hinged)
    return Multibody(p, int(body), children, clamped)


def _set_dynamics(p: BulletClient, body: int, held: Held, clamped: bool, friction: float) -> None:
    inertia = held.inertia.tolist()
    children = range(p.getNumJoints(body))
    # Inertia in a call of its own: together with other options PyBullet drops it.
    for link in children if clamped else (-1, *children):
        p.changeDynamics(body, link, localInertiaDiagonal=inertia)
        kept = p.getDynamicsInfo(body, link)[2]
        if not np.allclose(kept, inertia, rtol=1e-9):
            raise RuntimeError(f"PyBullet did not keep the inertia of link {link}: {kept}")
    for link in (-1, *children):
        p.changeDynamics(body, link, lateralFriction=friction, restitution=0.0)
    p.changeDynamics(
        body,
        -1,
        linearDamping=0.0,
        angularDamping=0.0,
        jointDamping=0.0,
        maxJointVelocity=UNLIMITED,
        activationState=p.ACTIVATION_STATE_DISABLE_SLEEPING,
    )


def _remove_motors(p: BulletClient, body: int, children: int, hinged: bool) -> None:
    if hinged:
        p.setJointMotorControlArray(
            body, list(range(children)), p.VELOCITY_CONTROL, forces=[0.0] * children
        )
        return
    for joint in range(children):
        p.setJointMotorControlMultiDof(
            body, joint, p.POSITION_CONTROL, targetPosition=[0, 0, 0, 1], positionGain=0,
            velocityGain=0, force=[0, 0, 0],
        )  # fmt: skip


class Multibody:
    """A chain in PyBullet: its coordinates, velocities and forces as arrays.

    Parameters
    ----------
    p : BulletClient
        Physics client.
    body, joints : int
        The chain's number and that of its joints, all hinges or all balls.
    clamped : bool
        Whether the base is fixed.
    """

    def __init__(self, p: BulletClient, body: int, joints: int, clamped: bool) -> None:
        self.body = body
        self._p = p
        self._joints = list(range(joints))
        self._hinged = p.getJointInfo(body, 0)[2] == p.JOINT_REVOLUTE
        self._clamped = clamped
        # The client binds its number to a function at each look-up, which costs as much as a call.
        self._base_pose, self._base_velocity = p.getBasePositionAndOrientation, p.getBaseVelocity
        self._states = p.getJointStates if self._hinged else p.getJointStatesMultiDof
        self._push, self._turn = p.applyExternalForce, p.applyExternalTorque
        self._drive = (
            p.setJointMotorControlArray if self._hinged else p.setJointMotorControlMultiDofArray
        )
        self._world, self._torque = p.WORLD_FRAME, p.TORQUE_CONTROL

    def place(self, position: Array, quaternion: Array) -> None:
        """Put the straight chain at rest with its base at a position (3,) and attitude (4,)."""
        p = self._p
        p.resetBasePositionAndOrientation(self.body, position.tolist(), quaternion.tolist())
        p.resetBaseVelocity(self.body, [0, 0, 0], [0, 0, 0])
        for joint in self._joints:
            if self._hinged:
                p.resetJointState(self.body, joint, 0.0, 0.0)
            else:
                p.resetJointStateMultiDof(self.body, joint, [0, 0, 0, 1], [0, 0, 0])

    def state(self) -> tuple[Array, Array, Array, Array]:
        """Return base position (3,) and quaternion (4,), joint coordinates, generalised velocity.

        Joint coordinates are (n - 1, 1) angles or (n - 1, 4) quaternions (x, y, z, w).
        """
        position, quaternion = self._base_pose(self.body)
        linear, angular = self._base_velocity(self.body)
        found = self._states(self.body, self._joints)
        if self._hinged:
            coordinates = np.array([s[:1] for s in found])
            rates = [s[1] for s in found]
        else:
            coordinates = np.array([s[0] for s in found])
            rates = [rate for s in found for rate in s[1]]
        velocity = np.array([*linear, *angular, *rates])
        return np.array(position), np.array(quaternion), coordinates, velocity

    def apply(self, force: Array, position: Array) -> None:
        """Apply a generalised force for a step; `position` (3,) is that of the base's centre."""
        loads = force.tolist()
        if not self._clamped:
            self._push(self.body, -1, loads[:3], position.tolist(), self._world)
            self._turn(self.body, -1, loads[3:6], self._world)
        joints = loads[6:] if self._hinged else force[6:].reshape(-1, 3).tolist()
        self._drive(self.body, self._joints, self._torque, forces=joints)
