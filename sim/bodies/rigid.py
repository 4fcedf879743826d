"""Rigid devices in PyBullet: what they share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin import units
from mmdtwin.errors import PhysicsError
from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.device import Ambient, ConfigT, Device, Medium
from mmdtwin.sim.bodies.lumen import Lumen, Nearby
from mmdtwin.sim.bodies.rigid_step import (
    LOSS_SHARE,
    WALL_LOSS,
    expected_contact,
    rotation_matrix,
    substep,
)

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

SUBSTEP_TRAVEL = 0.25  # of the smallest size: the farthest that a point moves in a substep
SPACING = 1.0  # radii between spheres in a row: it is 13 % thinner in between
MOST_SPHERES = 16  # that PyBullet takes for a body; it drops the others without a word
SOLVER_ITERATIONS = 10  # of PyBullet over contacts; one body has few (its default is 50)
NO_WAYS, NO_FRICTION = np.zeros((0, 6)), np.zeros(0)


class Mass(NamedTuple):
    """Mass and inertia of a rigid body along its own axes, in PyBullet's units.

    Parameters
    ----------
    mass : (3,) array
        g, with the fluid that it carries along.
    inertia : (3,) array
        g mm2.
    """

    mass: Array
    inertia: Array


class Spheres(NamedTuple):
    """Spheres that meet the wall: centres (k, 3) in the body's frame, mm, and one radius, mm."""

    centres: Array
    radius: float


def row_of_spheres(low: float, high: float, radius: float) -> Spheres:
    """Return spheres along x with centres from `low` to `high`, all in mm."""
    count = min(1 + int(np.ceil((high - low) / (SPACING * radius))), MOST_SPHERES)
    x = np.linspace(low, high, count)
    return Spheres(np.stack([x, 0 * x, 0 * x], axis=1), radius)


class Loads(NamedTuple):
    """Loads on a rigid body, in PyBullet's units and the vessel's frame.

    Parameters
    ----------
    resistance : (6, 6) array
        Force and torque over velocity and angular velocity.
    force : (6,) array
        What does not depend on the velocity, without the torque of the field.
    moments, fields : (m, 3) array
        Moments that fields turn, and those fields: nN m/T and T, or any of that product.
    ways : (k, 6) array
        Slip speeds as combinations of velocity and angular velocity, mm/s, that friction resists
        beyond PyBullet's contacts.
    friction : (k,) array
        Largest force of each, uN.
    """

    resistance: Array
    force: Array
    moments: Array
    fields: Array
    ways: Array = NO_WAYS
    friction: Array = NO_FRICTION


class RigidBody(Device[ConfigT]):
    """A rigid device: what it is made of comes from its class, how it moves is here.

    Parameters
    ----------
    client, config, medium
        As for every `Device`.
    mass : Mass
        Of the body.
    spheres : Spheres
        Its collision shape.
    smallest : float
        Its smallest size, m, from which the length of substeps follows.
    """

    max_step = 2e-3

    def __init__(
        self,
        client: BulletClient,
        config: ConfigT,
        medium: Medium,
        mass: Mass,
        spheres: Spheres,
        smallest: float,
    ) -> None:
        super().__init__(client, config, medium)
        self._mass, self._spheres = mass, spheres
        self._radii = np.full(len(spheres.centres), spheres.radius / units.LENGTH)
        self._bullet = np.array([mass.mass.mean(), *mass.inertia])
        self._reach = float(np.linalg.norm(spheres.centres, axis=1).max() + spheres.radius)
        self._travel = SUBSTEP_TRAVEL * smallest * units.LENGTH
        self._loss = min(WALL_LOSS, LOSS_SHARE * spheres.radius)
        self._lumen = Lumen(medium.wall)
        # Looked up once: every look-up in a BulletClient costs as much as a small kernel.
        self._apply_force, self._apply_torque = (
            client.applyExternalForce,
            client.applyExternalTorque,
        )
        self._world_frame = client.WORLD_FRAME
        self._get_pose, self._get_velocity = (
            client.getBasePositionAndOrientation,
            client.getBaseVelocity,
        )
        self._create(self._wall_friction)
        self._forget()
        self.read()

    @property
    def _wall_friction(self) -> float:
        """Coefficient of PyBullet's contacts with the wall."""
        return self.medium.friction

    @abstractmethod
    def _loads(self, ambient: Ambient, near: Nearby) -> Loads:
        """Return the loads in the present state."""

    @property
    def bodies(self) -> tuple[int, ...]:
        return (self.body,)

    def _create(self, friction: float) -> None:
        p, (centres, radius) = self._p, self._spheres
        shape = p.createCollisionShapeArray(
            shapeTypes=[p.GEOM_SPHERE] * len(centres),
            radii=[radius] * len(centres),
            collisionFramePositions=centres.tolist(),
        )
        self.body = int(p.createMultiBody(self._bullet[0], shape))
        p.changeDynamics(self.body, -1, localInertiaDiagonal=self._mass.inertia.tolist())
        p.changeDynamics(self.body, -1, lateralFriction=friction, restitution=0.0)
        p.changeDynamics(
            self.body,
            -1,
            linearDamping=0.0,
            angularDamping=0.0,
            maxJointVelocity=1e6,  # the default of 100 would cap speeds at 0.1 m/s
            activationState=p.ACTIVATION_STATE_DISABLE_SLEEPING,
        )
        p.setPhysicsEngineParameter(numSolverIterations=SOLVER_ITERATIONS)
        taken = len(p.getCollisionShapeData(self.body, -1))
        if taken != len(centres):
            raise RuntimeError(f"PyBullet took {taken} of {len(centres)} collision spheres")
        kept = p.getDynamicsInfo(self.body, -1)[2]
        if not np.allclose(kept, self._mass.inertia, rtol=1e-9):
            raise RuntimeError(f"PyBullet did not keep the inertia: {kept}")

    def place(self, centre: Array, rotation: Array) -> None:
        """Put it at rest with its centre at `centre` (3,) m; columns of `rotation` are its axes."""
        quaternion = Rotation.from_matrix(rotation).as_quat()
        position = (np.asarray(centre) * units.LENGTH).tolist()
        self._p.resetBasePositionAndOrientation(self.body, position, quaternion.tolist())
        self._p.resetBaseVelocity(self.body, [0, 0, 0], [0, 0, 0])
        self._forget()
        self.read()

    def _forget(self) -> None:
        self._contact = np.zeros(6)
        self._applied: tuple[Array, Array, Array, float] | None = None
        self._lumen.forget()

    def read(self) -> None:
        position, quaternion = self._get_pose(self.body)
        linear, angular = self._get_velocity(self.body)
        self._place = position
        self._position, self._velocity = np.array(position), np.array(linear + angular)
        self._rotation = rotation_matrix(np.array(quaternion))
        self._direction = self._rotation[:, 0].copy()

    def push(self, step: float, ambient: Ambient) -> float:
        if self._applied is not None:
            self._contact = expected_contact(
                self._contact, *self._applied, self._velocity, self._rotation, self._bullet
            )
        centres, radii = self.surface()
        near = self._lumen.near(centres, radii)
        h, wrench, self._contact, matrix = substep(
            step, self._velocity, self._rotation, self._mass.mass, self._bullet,
            *self._loads(ambient, near), self._contact, self._travel, self._reach, self._loss,
            near.gaps, near.normals, centres * units.LENGTH - self._position,
        )  # fmt: skip
        fx, fy, fz, tx, ty, tz = wrench.tolist()
        self._apply_force(self.body, -1, (fx, fy, fz), self._place, self._world_frame)
        self._apply_torque(self.body, -1, (tx, ty, tz), self._world_frame)
        self._applied = wrench, self._velocity, matrix, h
        return h

    def snapshot(self) -> dict[str, Any]:
        applied = self._applied and [np.asarray(part).tolist() for part in self._applied]
        return {**super().snapshot(), "contact": self._contact.tolist(), "applied": applied}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._forget()
        self._contact = np.array(snapshot["contact"])
        if snapshot["applied"]:
            *arrays, h = snapshot["applied"]
            self._applied = (*map(np.array, arrays), h)

    @property
    def rotation(self) -> Array:
        """Its axes as columns (3, 3), in the vessel's frame."""
        return np.asarray(self._rotation)

    def angular_velocity(self) -> Array:
        """Angular velocity (3,) rad/s, in the vessel's frame."""
        return np.asarray(self._velocity[3:])

    def surface(self) -> tuple[Array, Array]:
        placed = self._position + self._spheres.centres @ self._rotation.T
        return placed / units.LENGTH, self._radii

    def centre(self) -> Array:
        return np.asarray(self._position / units.LENGTH)

    def velocity(self) -> Array:
        return np.asarray(self._velocity[:3] / units.SPEED)

    @property
    def direction(self) -> Array:
        return self._direction


def within(name: str, value: float, limit: float) -> None:
    """Raise PhysicsError if a Reynolds number is beyond the range of a law."""
    if value > limit:
        raise PhysicsError(f"{name} = {value:.3g} is above {limit:g}, the drag's range")
