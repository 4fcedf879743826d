"""Rigid bodies in PyBullet under stiff loads, taken at the end of each substep.

    (M + h C + h^2 K) a = f(q + h v, v),      applied force and torque = M a

with M the mass, C the resistance of the fluid and K the magnetic alignment; see `chain` for the
idea. The contact force that a body rests on is expected in f, as the whole load would not arrive
at the wall otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numba as nb
import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin import units
from mmdtwin.errors import PhysicsError
from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.device import Ambient, ConfigT, Device, Medium
from mmdtwin.sim.bodies.lumen import Lumen, Nearby

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

CONTACT_MEMORY = 0.02  # s, smoothing of the expected contact force; damps its chatter
SUBSTEP_TRAVEL = 0.25  # of the smallest size: the farthest that a point moves in a substep
WALL_ENTRY = 5e-3  # mm that a body may enter the wall in a substep
WALL_LOSS = 40e-3  # mm, the same if PyBullet misses the contact; under its weight alone: 3 ms
SMALLEST_SUBSTEP = 1 / 32  # of the nominal step


CREEP = 10e-3  # mm/s of slip below which the friction of `Loads` is viscous, for the solver's sake
SWEEPS = 20  # over the frictions, each held at what the others are
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


@nb.njit(cache=True)
def rotation_matrix(quaternion: Array) -> Array:
    """Return the (3, 3) rotation of a unit quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@nb.njit(cache=True)
def turned(rotation: Array, values: Array) -> Array:
    """Return the matrix (3, 3) with `values` (3,) along the columns of a rotation."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += rotation[i, k] * values[k] * rotation[j, k]
    return out


@nb.njit(cache=True)
def expected_contact(
    contact: Array,
    applied: Array,
    before: Array,
    matrix: Array,
    h: float,
    now: Array,
    rotation: Array,
    bullet: Array,
) -> Array:
    """Return the contact force and torque (6,) smoothed over the past, one substep h later.

    What the wall did in it follows from the change of velocity and the wrench `applied`. Of a
    change of the force it feels only M (M + h C)^-1; `matrix` (3, 3) is the one in brackets.
    """
    change = (now - before) / h
    missed = -applied - contact
    missed[:3] += bullet[0] * change[:3]
    missed[3:] += turned(rotation, bullet[1:]) @ change[3:]
    share = 1.0 - np.exp(-h / CONTACT_MEMORY)
    out = contact + share * missed
    whole = matrix @ missed[:3] / bullet[0]
    size = np.sqrt(np.dot(whole, whole))
    if size > 0.0:  # never more than what was missed, lest a lost contact pulls
        share = min(share, np.sqrt(np.dot(missed[:3], missed[:3])) / size)
    out[:3] = contact[:3] + share * whole
    return out


@nb.njit(cache=True)
def coulomb(slip: Array, yielding: Array, largest: Array) -> Array:
    """Return the friction forces (k,) that a step ends with.

    `slip` (k,) are the speeds that it would end with without them, `yielding` (k, k) how much a
    force changes them; each force is `largest` (k,) against the slip, less below CREEP.
    """
    force = np.zeros(len(slip))
    for _ in range(SWEEPS):
        for k in range(len(slip)):
            others = slip[k] + np.dot(yielding[k], force) - yielding[k, k] * force[k]
            # Where nothing presses there is nothing to hold.
            soft = CREEP / max(largest[k], 1e-12)
            wanted = -others / (soft + yielding[k, k])
            force[k] = min(max(wanted, -largest[k]), largest[k])
    return force


@nb.njit(cache=True)
def implicit_wrench(
    h: float,
    velocity: Array,
    rotation: Array,
    mass: Array,
    bullet: Array,
    resistance: Array,
    force: Array,
    moments: Array,
    fields: Array,
    ways: Array,
    friction: Array,
    contact: Array,
) -> tuple[Array, Array, Array]:
    """Return force and torque (6,) to apply for a step h, the velocity (6,) expected after it, and
    M + h C (3, 3).

    `mass` (3,) is the mass along the body's axes; `bullet` (4,) what PyBullet has: mass and
    principal inertia.
    """
    matrix = h * resistance
    inertia = turned(rotation, bullet[1:])
    matrix[:3, :3] += turned(rotation, mass)
    matrix[3:, 3:] += inertia
    load = force - resistance @ velocity
    for i in range(len(moments)):
        m, b = moments[i], fields[i]
        load[3] += m[1] * b[2] - m[2] * b[1]
        load[4] += m[2] * b[0] - m[0] * b[2]
        load[5] += m[0] * b[1] - m[1] * b[0]
        alignment = np.dot(m, b)
        if alignment > 0.0:
            stiffness = alignment * (np.eye(3) - np.outer(b, b) / np.dot(b, b))
            matrix[3:, 3:] += h * h * stiffness
            load[3:] -= h * (stiffness @ velocity[3:])
    acceleration = np.linalg.solve(matrix, load + contact)
    if len(friction) > 0:
        answer = np.linalg.solve(matrix, np.ascontiguousarray(ways.T))
        acceleration += answer @ coulomb(ways @ (velocity + h * acceleration), h * ways @ answer, friction)
    wrench = -contact
    wrench[:3] += bullet[0] * acceleration[:3]
    wrench[3:] += inertia @ acceleration[3:]
    return wrench, velocity + h * acceleration, matrix[:3, :3].copy()


@nb.njit(cache=True)
def away_from_wall(velocity: Array, normal: Array, arm: Array) -> float:
    """Speed along the wall's normal of the point of a body (6 velocities) at an arm (3,)."""
    v, w = velocity[:3], velocity[3:]
    x = v[0] + w[1] * arm[2] - w[2] * arm[1]
    y = v[1] + w[2] * arm[0] - w[0] * arm[2]
    z = v[2] + w[0] * arm[1] - w[1] * arm[0]
    return float(x * normal[0] + y * normal[1] + z * normal[2])


@nb.njit(cache=True)
def substep(
    step: float,
    velocity: Array,
    rotation: Array,
    mass: Array,
    bullet: Array,
    resistance: Array,
    force: Array,
    moments: Array,
    fields: Array,
    ways: Array,
    friction: Array,
    contact: Array,
    travel: float,
    reach: float,
    gap: float,
    normal: Array,
    arm: Array,
) -> tuple[float, Array, Array, Array]:
    """Return the length of the next substep, `step` halved until short enough.

    Short enough: no point moves farther than `travel`, and the point nearest to the wall, at
    `arm`, does not enter it by more than WALL_ENTRY, or WALL_LOSS if an expected contact fails. A contact force is expected only where the
    body is at the wall and not about to leave it: else it would be pulled where nothing pushes.

    Returns
    -------
    h : float
    wrench : (6,) array
    contact : (6,) array
        What was expected.
    matrix : (3, 3) array
        See `implicit_wrench`.
    """
    h = step
    leaving = away_from_wall(velocity, normal, arm)
    while True:
        expected = contact if gap + h * leaving <= WALL_ENTRY else np.zeros(6)
        wrench, end, matrix = implicit_wrench(
            h, velocity, rotation, mass, bullet, resistance, force, moments, fields, ways, friction,
            expected,
        )  # fmt: skip
        speed = np.sqrt(np.dot(end[:3], end[:3])) + reach * np.sqrt(np.dot(end[3:], end[3:]))
        room = max(gap, 0.0)
        entry = -h * away_from_wall(end, normal, arm) - room
        unhindered = -h * (leaving + h / bullet[0] * np.dot(wrench[:3], normal)) - room
        held = entry <= WALL_ENTRY and unhindered <= WALL_LOSS
        if h <= step * SMALLEST_SUBSTEP or (speed * h <= travel and held):
            return h, wrench, expected, matrix
        h /= 2


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
        self._bullet = np.array([mass.mass.mean(), *mass.inertia])
        self._reach = float(np.linalg.norm(spheres.centres, axis=1).max() + spheres.radius)
        self._travel = SUBSTEP_TRAVEL * smallest * units.LENGTH
        self._lumen = Lumen(medium.wall)
        # Looked up once: every look-up in a BulletClient costs as much as a small kernel.
        self._apply_force, self._apply_torque = client.applyExternalForce, client.applyExternalTorque
        self._get_pose, self._get_velocity = client.getBasePositionAndOrientation, client.getBaseVelocity
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
        near = self._lumen.near(*self.surface())
        h, wrench, self._contact, matrix = substep(
            step, self._velocity, self._rotation, self._mass.mass, self._bullet,
            *self._loads(ambient, near), self._contact, self._travel, self._reach, near.gap,
            near.normal, near.place * units.LENGTH - self._position,
        )  # fmt: skip
        self._apply_force(self.body, -1, wrench[:3].tolist(), self._place, self._p.WORLD_FRAME)
        self._apply_torque(self.body, -1, wrench[3:].tolist(), self._p.WORLD_FRAME)
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
        centres, radius = self._spheres
        placed = (self._position + centres @ self._rotation.T) / units.LENGTH
        return placed, np.full(len(centres), radius / units.LENGTH)

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
