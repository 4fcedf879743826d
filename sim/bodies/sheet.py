"""The magnetic soft sheet: an articulated PyBullet body in a vessel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmdtwin import units
from mmdtwin.config import FlowConfig, SheetConfig
from mmdtwin.errors import PhysicsError
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies.chain import jacobians, kinematics
from mmdtwin.sim.bodies.device import Ambient, Device, Medium
from mmdtwin.sim.bodies.loads import implicit_force
from mmdtwin.sim.shapes import Solids

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

DISC_BROADSIDE = 16.0  # F = 16 mu a U, Lamb, Hydrodynamics, art. 339
DISC_EDGEWISE = 32.0 / 3.0  # F = 32/3 mu a U, ibid.
PLATE_PRESSURE = 1.12  # drag coefficient of a disc or short plate broadside, Hoerner 1965
BLASIUS = 1.328  # friction coefficient of one side of a plate is 1.328 / sqrt(Re_L)
CONTACT_MEMORY = 0.02  # s, smoothing of the expected contact force; damps its chatter
SUBSTEP_TRAVEL = 0.25  # of the thickness: a link may not move further in one substep
SMALLEST_SUBSTEP = 1 / 16  # of the nominal step
MAX_REYNOLDS = 1000.0  # of the disc drag law: within 20 % of Clift, Grace and Weber to there
FACTS_SPEED = 10e-3  # m/s at which the facts state the drag
SPHERES_ACROSS = 3  # collision spheres over the width of a link
FIRST_MODE = 1.8751040687  # root of cos x cosh x = -1: first bending mode of a cantilever


def drag_along(config: SheetConfig, fluid: FlowConfig, speed: float) -> float:
    """Force per speed, N s/m, of fluid that flows at `speed`, m/s, along a straight sheet."""
    linear, _, blasius, _ = _drag_of_link(config, fluid)
    per_link = linear + blasius * np.sqrt(speed * units.SPEED)
    return float(config.links * per_link * units.SPEED / units.FORCE)


def _disc_radius(config: SheetConfig) -> float:
    return float(np.sqrt(config.length * config.width / np.pi))


def _drag_of_link(config: SheetConfig, fluid: FlowConfig) -> list[float]:
    """Coefficients of `loads.drag_coefficients` for one link, mm, g and s."""
    share = 1 / config.links
    area = config.length * config.width
    kinematic = fluid.viscosity / fluid.density
    radius_mm, viscosity = _disc_radius(config) * units.LENGTH, fluid.viscosity * units.VISCOSITY
    friction = fluid.density * BLASIUS * np.sqrt(kinematic / config.length) * area * share
    pressure = 0.5 * fluid.density * PLATE_PRESSURE * area * share
    return [
        DISC_EDGEWISE * viscosity * radius_mm * share,
        DISC_BROADSIDE * viscosity * radius_mm * share,
        float(friction) * units.FORCE / units.SPEED**1.5,
        pressure * units.FORCE / units.SPEED**2,
    ]


class SoftSheet(Device[SheetConfig]):
    """A chain of rigid links joined by elastic hinges.

    Parameters
    ----------
    client, config, medium
        As for every `Device`.
    clamped : bool
        Hold the first half cell fixed at the origin along x, as a cantilever of the full length:
        for validation against the elastica.
    """

    def __init__(
        self, client: BulletClient, config: SheetConfig, medium: Medium, clamped: bool = False
    ) -> None:
        super().__init__(client, config, medium)
        fluid, gravity = medium.fluid, medium.gravity
        self._clamped = clamped
        n = config.links
        # Hinges sit at the middle of cells; a clamp takes half a cell off the first link.
        self.link_length = config.length / (n - 0.5 if clamped else n)
        self._set_link_constants(fluid, gravity)
        self.body = self._create(medium.friction)
        self._joints = list(range(n - 1))
        self._centre, self._axis_x, self._axis_z, self._joint = (np.zeros((n, 3)) for _ in range(4))
        self._axis_y = np.array([0.0, 1.0, 0.0])
        self._offsets = np.full((n, 2), self.link_length * units.LENGTH / 2)
        self._linear = np.zeros((n, 3, 5 + n))
        self._angular = np.zeros((n, 3, 5 + n))
        self._velocity = np.zeros(5 + n)
        self._angles = np.zeros(n - 1)
        self._forget_contact()
        self.read()

    def _set_link_constants(self, fluid: FlowConfig, gravity: Array) -> None:
        c, n = self.config, self.config.links
        length, width, thickness = (
            v * units.LENGTH for v in (self.link_length, c.width, c.thickness)
        )
        volume = length * width * thickness
        mass = c.density * units.DENSITY * volume
        self._mass = np.full(n, mass)
        added = c.added_inertia * units.MASS * units.LENGTH * length
        self._inertia = np.tile(
            [
                mass * (width**2 + thickness**2) / 12,
                mass * (length**2 + thickness**2) / 12 + added,
                mass * (length**2 + width**2) / 12,
            ],
            (n, 1),
        )
        self._extent2 = np.tile([length**2 / 12, width**2 / 12], (n, 1))
        excess = (c.density - fluid.density) * units.DENSITY * volume
        self._weight = np.tile(excess * np.asarray(gravity) * units.ACCELERATION, (n, 1))
        self._moment = self.magnetisation_profile() * (
            c.magnetisation * self.link_length * c.width * c.thickness * units.MOMENT
        )
        bending = c.youngs_modulus * c.width * c.thickness**3 / 12 * units.BENDING_STIFFNESS
        self._hinge_stiffness = bending / length
        # Stiffness-proportional damping that gives the first bending mode its damping ratio.
        line_density = c.density * c.width * c.thickness
        mode = (FIRST_MODE / c.length) ** 2 * np.sqrt(
            bending / units.BENDING_STIFFNESS / line_density
        )
        self._hinge_damping = 2 * c.damping_ratio / mode * self._hinge_stiffness
        self._drag = np.tile(_drag_of_link(c, fluid), (n, 1))
        self._speed_limit = (
            MAX_REYNOLDS * fluid.viscosity / (fluid.density * 2 * self.disc_radius) * units.SPEED
        )

    @classmethod
    def facts(cls, config: SheetConfig, fluid: FlowConfig) -> DeviceFacts:
        volume = config.length * config.width * config.thickness
        return DeviceFacts(
            length=config.length,
            width=config.width,
            thickness=config.thickness,
            moment=config.magnetisation * volume if config.profile == "uniform" else 0.0,
            weight=(config.density - fluid.density) * volume * units.GRAVITY,
            drag=drag_along(config, fluid, speed=FACTS_SPEED),
        )

    @property
    def bodies(self) -> tuple[int, ...]:
        return (self.body,)

    @property
    def points(self) -> Array:
        return self.nodes()

    @property
    def disc_radius(self) -> float:
        """Radius of the disc with the sheet's area, m."""
        return _disc_radius(self.config)

    @property
    def direction(self) -> Array:
        return np.asarray(self._axis_x[self.config.links // 2])

    @property
    def moment(self) -> Array:
        """Magnetic moment (3,) A m2 in the vessel's frame, in the present shape."""
        m = self._moment[:, :1] * self._axis_x + self._moment[:, 1:] * self._axis_z
        return np.asarray(m.sum(axis=0) / units.MOMENT)

    def magnetisation_profile(self) -> Array:
        """Direction of the magnetisation of each link in its x-z plane, (n, 2)."""
        n = self.config.links
        if self.config.profile == "uniform":
            return np.tile([1.0, 0.0], (n, 1))
        # One wavelength along the body (Hu et al. 2018), averaged over each link.
        edges = 2 * np.pi * np.arange(n + 1) / n
        step = 2 * np.pi / n
        return np.stack([np.diff(np.sin(edges)), -np.diff(np.cos(edges))], axis=1) / step

    def _create(self, friction: float) -> int:
        p, n = self._p, self.config.links
        half = self.link_length * units.LENGTH / 2
        children = n - 1
        body = p.createMultiBody(
            0.0 if self._clamped else self._mass[0],
            -1 if self._clamped else self._collision_shape(0.0),
            -1,
            [0, 0, 0],
            [0, 0, 0, 1],
            linkMasses=self._mass[1:].tolist(),
            linkCollisionShapeIndices=[-1 if self._clamped else self._collision_shape(half)]
            * children,
            linkVisualShapeIndices=[-1] * children,
            linkPositions=[[half, 0, 0]] + [[2 * half, 0, 0]] * (children - 1),
            linkOrientations=[[0, 0, 0, 1]] * children,
            linkInertialFramePositions=[[half, 0, 0]] * children,
            linkInertialFrameOrientations=[[0, 0, 0, 1]] * children,
            linkParentIndices=list(range(children)),
            linkJointTypes=[p.JOINT_REVOLUTE] * children,
            linkJointAxis=[[0, 1, 0]] * children,
        )
        # Inertia in a call of its own: together with other options PyBullet drops it.
        for link in range(0 if self._clamped else -1, children):
            p.changeDynamics(body, link, localInertiaDiagonal=self._inertia[link + 1].tolist())
        for link in range(-1, children):
            p.changeDynamics(body, link, lateralFriction=friction, restitution=0.0)
        p.changeDynamics(
            body,
            -1,
            linearDamping=0.0,
            angularDamping=0.0,
            jointDamping=0.0,
            maxJointVelocity=1e6,  # the default of 100 would cap speeds at 0.1 m/s
            activationState=p.ACTIVATION_STATE_DISABLE_SLEEPING,
        )
        p.setJointMotorControlArray(
            body, list(range(children)), p.VELOCITY_CONTROL, forces=[0.0] * children
        )
        for link in range(children):
            kept = p.getDynamicsInfo(body, link)[2]
            if not np.allclose(kept, self._inertia[link + 1], rtol=1e-9):
                raise RuntimeError(f"PyBullet did not keep the inertia of link {link}: {kept}")
        return int(body)

    def _collision_shape(self, along: float) -> int:
        radius = self.config.thickness * units.LENGTH / 2
        side = self.config.width * units.LENGTH / 2 - radius
        across = np.linspace(-side, side, SPHERES_ACROSS)
        return int(
            self._p.createCollisionShapeArray(
                shapeTypes=[self._p.GEOM_SPHERE] * SPHERES_ACROSS,
                radii=[radius] * SPHERES_ACROSS,
                collisionFramePositions=[[along, y, 0.0] for y in across],
            )
        )

    def place(self, centre: Array, rotation: Array) -> None:
        """Put the straight sheet at rest; the axes are its length, width and normal."""
        from scipy.spatial.transform import Rotation

        first = np.asarray(centre) - rotation[:, 0] * self.link_length * (self.config.links - 1) / 2
        quaternion = Rotation.from_matrix(rotation).as_quat()
        self._p.resetBasePositionAndOrientation(
            self.body, (first * units.LENGTH).tolist(), quaternion.tolist()
        )
        self._p.resetBaseVelocity(self.body, [0, 0, 0], [0, 0, 0])
        for joint in self._joints:
            self._p.resetJointState(self.body, joint, 0.0, 0.0)
        self._forget_contact()
        self.read()

    def _forget_contact(self) -> None:
        dofs = 5 + self.config.links
        self._contact = np.zeros(dofs)
        self._last: tuple[Array, Array, Array, float] | None = None

    def read(self) -> None:
        """Take the state of the links from PyBullet."""
        p = self._p
        position, quaternion = p.getBasePositionAndOrientation(self.body)
        linear, angular = p.getBaseVelocity(self.body)
        states = p.getJointStates(self.body, self._joints)
        self._base_position = position
        self._angles = np.array([s[0] for s in states])
        self._velocity = np.array([*linear, *angular, *[s[1] for s in states]])
        self._axis_y = kinematics(
            np.array(position),
            np.array(quaternion),
            self._angles,
            self._offsets,
            self._centre,
            self._axis_x,
            self._axis_z,
            self._joint,
        )

    def push(self, step: float, ambient: Ambient) -> float:
        """Apply the loads for one substep and return its length, s (<= `step`).

        The substep is halved until no link moves further than a quarter of the thickness.
        """
        self._expect_contact()
        travel = SUBSTEP_TRAVEL * self.config.thickness * units.LENGTH
        h = step
        while True:
            force, speed, mass_matrix = implicit_force(
                h,
                self._centre,
                self._joint,
                self._axis_x,
                self._axis_y,
                self._axis_z,
                self._velocity,
                self._angles,
                self._mass,
                self._inertia,
                self._extent2,
                self._weight,
                self._moment,
                self._hinge_stiffness,
                self._hinge_damping,
                self._drag,
                ambient.field,
                ambient.gradient * units.FIELD_GRADIENT,
                ambient.flow * units.SPEED,
                self._contact,
                self._clamped,
                self._linear,
                self._angular,
            )
            if speed * h <= travel or h <= step * SMALLEST_SUBSTEP:
                break
            h /= 2
        p = self._p
        if not self._clamped:
            world = p.WORLD_FRAME
            p.applyExternalForce(self.body, -1, force[:3], self._base_position, world)
            p.applyExternalTorque(self.body, -1, force[3:6], world)
        p.setJointMotorControlArray(self.body, self._joints, p.TORQUE_CONTROL, forces=force[6:])
        self._last = (mass_matrix, force, self._velocity, h)
        return h

    def _expect_contact(self) -> None:
        if self._last is None or self._clamped:
            return
        mass_matrix, applied, velocity, h = self._last
        felt = mass_matrix @ (self._velocity - velocity) / h - applied
        self._contact += (1 - np.exp(-h / CONTACT_MEMORY)) * (felt - self._contact)

    def nodes(self) -> Array:
        """Centres of the links, (n, 3) m, in the vessel's frame."""
        return self._centre / units.LENGTH

    def axes(self) -> Array:
        """Link axes as columns (length, width, normal), (n, 3, 3), in the vessel's frame."""
        y = np.broadcast_to(self._axis_y, self._axis_x.shape)
        return np.stack([self._axis_x, y, self._axis_z], axis=2)

    def solids(self) -> Solids:
        c = self.config
        half = np.array([self.link_length, c.width, c.thickness]) / 2
        return Solids(self.nodes(), self.axes(), np.tile(half, (c.links, 1)), c.material)

    def surface(self) -> tuple[Array, Array]:
        side = self.config.width / 2 - self.config.thickness / 2
        across = np.linspace(-side, side, SPHERES_ACROSS)
        centres = (self.nodes()[:, None] + across[:, None] * self._axis_y).reshape(-1, 3)
        return centres, np.full(len(centres), self.config.thickness / 2)

    def centre(self) -> Array:
        """Centre of mass (3,) m, in the vessel's frame."""
        return np.asarray(self._centre.mean(axis=0) / units.LENGTH)

    def velocity(self) -> Array:
        """Velocity (3,) m/s of the centre of mass, in the vessel's frame."""
        return np.asarray(self._link_velocities().mean(axis=0) / units.SPEED)

    def tip_angle(self) -> float:
        """Angle in rad by which the last link is turned against the first, about the y axis."""
        return float(self._angles.sum())

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number of the fastest link against the fluid, on the disc's diameter."""
        relative = self._link_velocities() - ambient.flow * units.SPEED
        return float(MAX_REYNOLDS * np.sqrt((relative**2).sum(axis=1)).max() / self._speed_limit)

    def check(self, ambient: Ambient) -> None:
        reynolds = self.reynolds(ambient)
        if reynolds > MAX_REYNOLDS:
            raise PhysicsError(f"Re = {reynolds:.0f} is above {MAX_REYNOLDS:.0f}, the drag's range")

    def _link_velocities(self) -> Array:
        """Velocities (n, 3) of the link centres, mm/s."""
        jacobians(self._centre, self._joint, self._axis_y, self._linear, self._angular)
        return np.asarray(self._linear @ self._velocity)
