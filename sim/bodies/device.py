"""What every device is to the world: one abstract class, what it is put in, what it feels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin import units
from mmdtwin.config import BaseDeviceConfig, FlowConfig
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.shapes import Solids

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient


NO_GRADIENT = np.zeros((3, 3))
CONTACT_MEMORY = 0.02  # s, smoothing of the expected contact force; damps its chatter
FACTS_SPEED = 10e-3  # m/s at which the facts state the drag
FACTS_FIELD = 10e-3  # T, along the body, in which they state an induced moment
ConfigT = TypeVar("ConfigT", bound=BaseDeviceConfig)


class Wall(Protocol):
    """Signed distances to the wall; `Vessel` is one."""

    def sdf(self, points: ArrayLike) -> Array:
        """Return the distance (n,) m of points (n, 3) m from the wall, positive in the lumen."""

    def sdf_gradient(self, points: ArrayLike) -> tuple[Array, Array]:
        """Return the distances, and the unit vectors (n, 3) away from the wall."""

    def tube(self, point: ArrayLike) -> tuple[Array, float]:
        """Return the direction (3,) and the radius m, infinite for a plane, of the vessel there."""


@dataclass(frozen=True, eq=False)
class Medium:
    """What a device is put in.

    Parameters
    ----------
    fluid : FlowConfig
        Density and viscosity of what it swims in, SI.
    gravity : (3,) array
        Acceleration in the vessel's frame, m/s2.
    friction : float
        Coulomb's coefficient against the wall.
    wall : Wall, optional
        Distances to the wall; None where there is none.
    """

    fluid: FlowConfig
    gravity: Array
    friction: float = 0.0
    wall: Wall | None = None


class Ambient(NamedTuple):
    """What surrounds a device at its `points`, in the vessel's frame.

    Parameters
    ----------
    field : (n, 3) array
        T.
    gradient : (n, 3, 3) array
        dB_i/dx_j, T/m.
    flow : (n, 3) array
        Velocity that the fluid would have without the device, m/s.
    flow_gradient : (n, 3, 3) array
        dv_i/dx_j, 1/s.
    flow_laplacian : (n, 3) array
        Laplacian of the velocity, 1/(m s).
    flow_acceleration : (n, 3) array
        Of the fluid, du/dt + u . grad u, m/s2.
    """

    field: Array
    gradient: Array
    flow: Array
    flow_gradient: Array
    flow_laplacian: Array
    flow_acceleration: Array

    @classmethod
    def uniform(
        cls,
        n: int,
        field: ArrayLike = (0.0, 0.0, 0.0),
        gradient: ArrayLike = NO_GRADIENT,
        flow: ArrayLike = (0.0, 0.0, 0.0),
    ) -> Ambient:
        """Return the same field (3,), field gradient (3, 3) and flow (3,) at n points."""
        return cls(
            field=np.tile(np.asarray(field, float), (n, 1)),
            gradient=np.tile(np.asarray(gradient, float), (n, 1, 1)),
            flow=np.tile(np.asarray(flow, float), (n, 1)),
            flow_gradient=np.zeros((n, 3, 3)),
            flow_laplacian=np.zeros((n, 3)),
            flow_acceleration=np.zeros((n, 3)),
        )


class Device(ABC, Generic[ConfigT]):
    """A body in PyBullet under magnetic, fluid and elastic forces, in the vessel's frame.

    A substep is `push` (forces for it), PyBullet's step, `read`. Nothing else moves it.

    Parameters
    ----------
    client : BulletClient
        Physics client, in mm, g, s, without gravity: weight and buoyancy are the device's loads.
    config : a device's config model
        Geometry and material, SI.
    medium : Medium
        Fluid, gravity, wall.
    """

    deformable: ClassVar[bool] = False  # needs the deformable world, and no mesh for a wall
    pulled: ClassVar[bool] = True  # by field gradients; False: it swims
    max_step: ClassVar[float] = 1e-3  # s, longest substep in which contact and loads hold

    def __init__(self, client: BulletClient, config: ConfigT, medium: Medium) -> None:
        self._p = client
        self.config = config
        self.medium = medium

    @classmethod
    def check_step(cls, config: ConfigT, fluid: FlowConfig, step: float) -> None:
        """Raise UserError if its stiffest mode cannot take a world's step in s.

        Any device can, that refuses nothing here: by `max_step`, or by cutting the step itself.
        """

    @classmethod
    @abstractmethod
    def facts(cls, config: ConfigT, fluid: FlowConfig) -> DeviceFacts:
        """Return what a laboratory knows of such a device from the bench."""

    @classmethod
    @abstractmethod
    def worst_drag(cls, config: ConfigT, fluid: FlowConfig, speed: float) -> float:
        """Return the fluid's force in N at a speed in m/s, in the attitude that drags most."""

    @property
    @abstractmethod
    def bodies(self) -> tuple[int, ...]:
        """PyBullet's numbers of the bodies that it is made of."""

    @abstractmethod
    def place(self, centre: Array, rotation: Array) -> None:
        """Put it at rest with its middle at `centre` (3,) m; columns of `rotation` are its axes."""

    @property
    @abstractmethod
    def points(self) -> Array:
        """Where it feels field and flow, (n, 3) m."""

    @abstractmethod
    def push(self, step: float, ambient: Ambient) -> float:
        """Apply the loads for one substep and return its length, s (<= `step`)."""

    @abstractmethod
    def read(self) -> None:
        """Take the state from PyBullet after a step."""

    @abstractmethod
    def check(self, ambient: Ambient) -> None:
        """Raise PhysicsError if the state is outside the range in which the model is valid."""

    @abstractmethod
    def surface(self) -> tuple[Array, Array]:
        """Centres (k, 3) m and radii (k,) m of spheres that meet the wall."""

    @abstractmethod
    def solids(self) -> Solids:
        """What an imager sees, in the vessel's frame."""

    @abstractmethod
    def nodes(self) -> Array:
        """Material points along the body, (n, 3) m."""

    @abstractmethod
    def centre(self) -> Array:
        """Centre of mass (3,) m."""

    @abstractmethod
    def velocity(self) -> Array:
        """Velocity (3,) m/s of the centre of mass."""

    @property
    @abstractmethod
    def direction(self) -> Array:
        """Unit vector (3,) along its length, or along its moment where it has no length."""

    @property
    @abstractmethod
    def moment(self) -> Array:
        """Magnetic moment (3,) A m2 now."""

    @property
    def pieces(self) -> int:
        """Number of separate pieces: one, but for liquids."""
        return 1

    @abstractmethod
    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number against the fluid now, in the sense of its drag law."""

    def wall_distances(self) -> Array:
        """Distances (k,) m of contacts that carry a force from the facets; negative inside."""
        return np.array([c[8] for c in self._wall_contacts()]) / units.LENGTH

    def contacts(self) -> int:
        """Number of contact points with the wall that carry a force."""
        return len(self._wall_contacts())

    def contact_force(self) -> float:
        """Sum of the normal forces of the wall, N, in the last substep."""
        return float(sum(c[9] for c in self._wall_contacts()) / units.FORCE)

    def _wall_contacts(self) -> list[tuple]:
        """Contact points that carry a force, as PyBullet has them, without those with itself."""
        own = set(self.bodies)
        found = [c for body in self.bodies for c in self._p.getContactPoints(body) or ()]
        return [c for c in found if c[9] > 0.0 and not {c[1], c[2]} <= own]

    def snapshot(self) -> dict[str, Any]:
        """Return the state that `restore` takes, in PyBullet's units, as plain lists and numbers.

        A device that remembers more than its bodies' positions and velocities adds it here.
        """
        return {"bodies": [self._body_state(body) for body in self.bodies]}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Take up the state of a snapshot, between steps."""
        for body, state in zip(self.bodies, snapshot["bodies"], strict=True):
            self._p.resetBasePositionAndOrientation(body, *state["pose"])
            self._p.resetBaseVelocity(body, *state["velocity"])
            for joint, (position, rate) in enumerate(state["joints"]):
                self._p.resetJointStateMultiDof(body, joint, position, rate)
        self.read()

    def _body_state(self, body: int) -> dict[str, Any]:
        p = self._p
        joints = range(p.getNumJoints(body))
        return {
            "pose": [list(v) for v in p.getBasePositionAndOrientation(body)],
            "velocity": [list(v) for v in p.getBaseVelocity(body)],
            "joints": [
                [list(v) for v in p.getJointStateMultiDof(body, joint)[:2]] for joint in joints
            ],
        }

    def remove(self) -> None:
        """Take it out of the physics client."""
        for body in self.bodies:
            self._p.removeBody(body)
