"""The deformable gel: PyBullet's soft body under magnetic, fluid and wall forces on its nodes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin import units
from mmdtwin.config import FlowConfig, GelConfig
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies import gel_elastic as elastic
from mmdtwin.sim.bodies.device import FACTS_SPEED, Ambient, Device, Medium, Wall
from mmdtwin.sim.bodies.ellipsoid import ellipsoid_added_mass, ellipsoid_friction
from mmdtwin.sim.bodies.gel_body import AnchoredBody
from mmdtwin.sim.bodies.gel_loads import carry_fluid, drag, hold_off
from mmdtwin.sim.bodies.gel_mesh import TetMesh, block, ellipsoid
from mmdtwin.sim.bodies.sphere_drag import MAX_REYNOLDS, inertial_excess
from mmdtwin.sim.shapes import Solids

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

SKIN = 10e-6  # m, at which a node meets the wall
MAX_STRAIN = 0.5  # Green's, of an element


# PyBullet gives the material of the first soft body in a client to all later ones.
_materials: WeakKeyDictionary[BulletClient, tuple[float, float]] = WeakKeyDictionary()


class Solid(NamedTuple):
    """A gel at rest, in mm, g and s."""

    mesh: TetMesh
    masses: Array  # (n,)
    charges: Array  # (n,) uN/T: force on a node = charge B
    relaxation: float  # s: viscosity over mu
    largest_step: float  # s


@lru_cache(maxsize=16)
def solid_of(config: GelConfig) -> Solid:
    """Return the solid that a configuration describes."""
    size = np.array([config.length, config.width, config.thickness]) * units.LENGTH
    is_block = config.shape == "block"
    mesh = block(size, config.cells) if is_block else ellipsoid(size / 2, config.layers)
    masses = config.density * units.DENSITY * mesh.volumes.sum() * mesh.shares
    # The energy of a magnetisation carried along by the material, -V (F M0) . B, is that of a
    # charge V M0 . grad N at each node: zero but at the surface, and zero in sum. It gives the
    # torque m x B, the force (m . grad) B, and the stress of Zhao et al., J. Mech. Phys. Solids
    # 124 (2019) 244.
    per_corner = mesh.volumes[:, None] * mesh.gradients[:, :, 0]  # mm2
    sums = np.bincount(mesh.tets.ravel(), per_corner.ravel(), len(mesh.points))
    charges = np.asarray(sums * config.magnetisation * units.MOMENT / units.LENGTH**3)
    mu, lam = elastic.lame(config.youngs_modulus, config.poisson_ratio)
    lowest, highest = elastic.angular_frequencies(mesh, masses, mu, lam)
    _, in_shear = elastic.angular_frequencies(mesh, masses, mu, 0.0)
    relaxation = 2 * config.damping_ratio / lowest
    largest_step = elastic.largest_step(highest, in_shear, relaxation)
    return Solid(mesh, masses, charges, relaxation, largest_step)


def equivalent_semi_axes(config: GelConfig) -> Array:
    """Semi-axes (3,) m of the ellipsoid with the gel's volume and proportions."""
    size = np.array([config.length, config.width, config.thickness])
    return size * (6 / np.pi) ** (1 / 3) / 2 if config.shape == "block" else size / 2


class Gel(Device[GelConfig]):
    """A soft body of tetrahedra in PyBullet's deformable world, with its own time step.

    Parameters
    ----------
    client : BulletClient
        With a deformable world: `connect(deformable=True)`.
    config, medium
        As for every `Device`.

    Raises
    ------
    UserError
        If the step is more than the stiffest mode can take, or the client has had a gel of
        another material.
    """

    deformable = True

    def __init__(self, client: BulletClient, config: GelConfig, medium: Medium) -> None:
        super().__init__(client, config, medium)
        self._solid = solid_of(config)
        limit = self._solid.largest_step
        if config.step > limit:
            raise UserError(
                f"device.step: {config.step:g} s is more than the gel's stiffest mode can take; "
                f"allowed is up to {limit:.3g} s"
            )
        mesh, fluid = self._solid.mesh, medium.fluid
        self._path = str(mesh.write_vtk())
        self._area = mesh.surface_areas
        self._tets = mesh.tets.astype(np.int64)
        self._mass = float(self._solid.masses.sum())
        shares = self._solid.masses / self._mass
        volume = mesh.volumes.sum()
        excess = (config.density - fluid.density) * units.DENSITY * volume
        gravity = np.asarray(medium.gravity) * units.ACCELERATION
        self._weight = excess * shares[:, None] * gravity
        self._fit = shares[:, None] * mesh.points
        self._fit = self._fit @ np.linalg.inv(self._fit.T @ mesh.points)
        mu, lam = elastic.lame(config.youngs_modulus, config.poisson_ratio)
        self._constants = elastic.bullet_constants(mu, lam)
        if _materials.setdefault(client, self._constants) != self._constants:
            raise UserError(
                "device: this physics client has had a gel of another material, and would give it "
                "to this one too; put each material in a client of its own"
            )
        self._viscosity = mu * self._solid.relaxation
        self._set_fluid(fluid)
        self._h = config.step
        self._set_down(np.zeros(3), np.eye(3))

    def _set_fluid(self, fluid: FlowConfig) -> None:
        axes = equivalent_semi_axes(self.config)
        friction, turning = ellipsoid_friction(axes, fluid.viscosity)
        self._friction = friction * units.FORCE / units.SPEED
        self._turning = turning * units.TORQUE
        radius = float(axes.prod() ** (1 / 3))
        # traction of a sphere in a strain rate E: 5 mu E . n, Batchelor, J. Fluid Mech. 41 (1970)
        self._straining = 5 * fluid.viscosity * units.VISCOSITY / (radius * units.LENGTH)
        self._displaced = fluid.density * units.DENSITY * self._solid.mesh.volumes.sum()
        self._added_mass = ellipsoid_added_mass(axes, fluid.density) * units.MASS
        self._reynolds = 2 * radius * fluid.density / fluid.viscosity / units.SPEED  # s/mm

    @classmethod
    def worst_drag(cls, config: GelConfig, fluid: FlowConfig, speed: float) -> float:
        axes = equivalent_semi_axes(config)
        friction, _ = ellipsoid_friction(axes, fluid.viscosity)
        reynolds = 2 * axes.prod() ** (1 / 3) * fluid.density * speed / fluid.viscosity
        return float(friction.max() * (1 + inertial_excess(reynolds)) * speed)

    @classmethod
    def facts(cls, config: GelConfig, fluid: FlowConfig) -> DeviceFacts:
        axes = equivalent_semi_axes(config)
        volume = 4 / 3 * np.pi * axes.prod()
        friction, _ = ellipsoid_friction(axes, fluid.viscosity)
        reynolds = 2 * axes.prod() ** (1 / 3) * fluid.density * FACTS_SPEED / fluid.viscosity
        return DeviceFacts(
            length=config.length,
            width=config.width,
            thickness=config.thickness,
            moment=float(config.magnetisation * volume),
            weight=float((config.density - fluid.density) * volume * units.GRAVITY),
            drag=float(friction[0] * (1 + inertial_excess(reynolds))),
        )

    @property
    def bodies(self) -> tuple[int, ...]:
        """The proxies, one for each node, and the soft body."""
        return self._body.bodies

    def place(self, centre: Array, rotation: Array) -> None:
        """Put it at rest and unstrained; the axes are its length, width and thickness."""
        self.remove()
        self._set_down(np.asarray(centre), rotation)

    def _set_down(self, centre: Array, rotation: Array) -> None:
        self._body = AnchoredBody(
            self._p,
            self._path,
            self._solid.masses,
            self._constants,
            centre * units.LENGTH,
            Rotation.from_matrix(rotation).as_quat(),
        )
        n = len(self._solid.masses)
        self._slip, self._contact, self._elastic = (np.zeros((n, 3)) for _ in range(3))
        self._pressing = np.zeros(n)
        self._gap = np.full(n, np.inf)
        self._take()

    def _take(self) -> None:
        """Take nodes from the body; split the best affine map of the rest shape."""
        self._position, self._velocity = self._body.position, self._body.velocity
        affine = self._position.T @ self._fit
        self._axes = elastic.polar_rotation(affine)
        self._stretch = np.diag(self._axes.T @ affine)

    def read(self) -> None:
        """Take the state of the nodes from PyBullet."""
        self._body.read(self._h)
        self._take()

    def push(self, step: float, ambient: Ambient) -> float:
        """Apply the loads for one substep and return its length, s (<= `step`).

        Raises
        ------
        PhysicsError
            If an element is strained beyond the range of the model.
        """
        self._h = h = step / np.ceil(step / self.config.step - 1e-9)
        mesh, x, v = self._solid.mesh, self._position, self._velocity
        force = self._weight + self._solid.charges[:, None] * ambient.field
        strain = elastic.deform(
            x, v, self._tets, mesh.gradients, mesh.volumes, self._constants, self._viscosity,
            self._elastic, force,
        )  # fmt: skip
        if strain > MAX_STRAIN:
            raise PhysicsError(f"an element's strain of {strain:.2f} is above {MAX_STRAIN:g}")
        flow = ambient.flow * units.SPEED
        drag(
            x, v - flow, self._area, self._axes, self._friction, self._turning,
            self._straining, self._reynolds, force,
        )  # fmt: skip
        if self.medium.wall is not None:
            self._meet(self.medium.wall, h, force + self._elastic)
            force += self._contact
        carry_fluid(
            self._solid.masses, self._axes, self._added_mass, self._displaced,
            ambient.flow_acceleration * units.ACCELERATION, force,
        )  # fmt: skip
        self._body.push(force)
        return float(h)

    def _meet(self, wall: Wall, h: float, load: Array) -> None:
        distance, normal = wall.sdf_gradient(self._position / units.LENGTH)
        self._gap = distance - SKIN
        hold_off(
            self._gap * units.LENGTH, normal, self._velocity, self._solid.masses, load, h,
            self.medium.friction, self._slip, self._contact, self._pressing,
        )  # fmt: skip

    @property
    def points(self) -> Array:
        return self.nodes()

    def nodes(self) -> Array:
        """Nodes of the mesh, (n, 3) m, in the vessel's frame."""
        return self._position / units.LENGTH

    def centre(self) -> Array:
        return np.asarray(self._solid.masses @ self._position / self._mass / units.LENGTH)

    def velocity(self) -> Array:
        return np.asarray(self._solid.masses @ self._velocity / self._mass / units.SPEED)

    @property
    def direction(self) -> Array:
        return np.asarray(self._axes[:, 0])

    @property
    def moment(self) -> Array:
        """Magnetic moment (3,) A m2 in the vessel's frame, in the present shape."""
        moment = self._solid.charges @ (self._position - self._position[0])
        return np.asarray(moment / units.MOMENT)

    def solids(self) -> Solids:
        """One ellipsoid or box: the body's mean deformation."""
        c = self.config
        half = np.array([c.length, c.width, c.thickness]) / 2 * self._stretch
        shape: Literal["box", "ellipsoid"] = "box" if c.shape == "block" else "ellipsoid"
        return Solids(self.centre()[None], self._axes[None], half[None], c.material, shape)

    def surface(self) -> tuple[Array, Array]:
        outer = self.nodes()[self._area > 0]
        return outer, np.full(len(outer), SKIN)

    def contacts(self) -> int:
        return int((self._pressing > 0).sum())

    def contact_force(self) -> float:
        return float(self._pressing.sum() / units.FORCE)

    def wall_distances(self) -> Array:
        return self._gap[self._pressing > 0]

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number on the diameter of the ball with its volume."""
        relative = self._area @ (self._velocity - ambient.flow * units.SPEED) / self._area.sum()
        return float(self._reynolds * np.linalg.norm(relative))

    def check(self, ambient: Ambient) -> None:
        reynolds = self.reynolds(ambient)
        if reynolds > MAX_REYNOLDS:
            raise PhysicsError(f"Re = {reynolds:.0f} is above {MAX_REYNOLDS:.0f}, the drag's range")

    def snapshot(self) -> dict[str, Any]:
        return {
            "position": self._position.tolist(),
            "velocity": self._velocity.tolist(),
            "slip": self._slip.tolist(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        position, velocity = np.array(snapshot["position"]), np.array(snapshot["velocity"])
        self._body.resume(position, velocity)
        self._slip = np.array(snapshot["slip"])
        self._take()
