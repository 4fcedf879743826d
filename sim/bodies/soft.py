"""What soft sheets and rods are: a magnetic elastic chain of rigid links in PyBullet."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin import units
from mmdtwin.config.devices.soft import SoftConfig
from mmdtwin.errors import PhysicsError
from mmdtwin.geometry import Array
from mmdtwin.sim.bodies import chain
from mmdtwin.sim.bodies.device import CONTACT_MEMORY, Ambient, Device, Medium
from mmdtwin.sim.bodies.kinematics import observe
from mmdtwin.sim.bodies.links import Fluid, Links, Pose, held_inertia
from mmdtwin.sim.bodies.magnetisation import mean_directions
from mmdtwin.sim.bodies.multibody import create_chain

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

SUBSTEP_TRAVEL = 0.25  # of the thickness: a link may not move further in one substep
SMALLEST_SUBSTEP = 1 / 256  # of the nominal step; a sheet of 50 um asked for 1/64 at most
MAX_BEND = np.pi / 2  # rad of one joint; beyond, the links are too long for the curve
MAX_STRAIN = 0.5  # of the surface; beyond, a linear modulus is far off for rubber (assumed)
FIRST_MODE = 1.8751040687  # root of cos x cosh x = -1: first bending mode of a cantilever
NO_FORCE = np.zeros(3)

SoftT = TypeVar("SoftT", bound=SoftConfig)


def bending_damping_time(config: SoftConfig, stiffness: float, line_density: float) -> float:
    """Damping over stiffness, s, that gives the first bending mode its damping ratio.

    `stiffness` EI in N m2 and `line_density` in kg/m; the mode is the cantilever's in vacuum.
    """
    frequency = (FIRST_MODE / config.length) ** 2 * np.sqrt(stiffness / line_density)
    return float(2 * config.damping_ratio / frequency)


class SoftChain(Device[SoftT], Generic[SoftT]):
    """A chain of equal rigid links, joined by elastic hinges or balls.

    Parameters
    ----------
    client, config, medium
        As for every `Device`.
    clamped : bool
        Hold the first half cell fixed at the origin along x, as a cantilever of the full length:
        for validation against the elastica.
    """

    hinged: ClassVar[bool]  # hinges about the width, or balls

    def __init__(
        self, client: BulletClient, config: SoftT, medium: Medium, clamped: bool = False
    ) -> None:
        super().__init__(client, config, medium)
        self._clamped = clamped
        n = self.n_links
        # Joints sit at the middle of cells; a clamp takes half a cell off the first link.
        self.link_length = config.length / (n - 0.5 if clamped else n)
        self._links = self._make_links()
        self._held = held_inertia(self._links)
        spheres, self._sphere_radius = self._make_spheres()
        self._sphere_links = np.repeat(np.arange(n), [len(centres) for centres in spheres])
        self._local_spheres = np.concatenate(spheres)
        self._body = create_chain(
            client,
            n,
            self._links.half,
            self._held,
            [centres * units.LENGTH for centres in spheres],
            self._sphere_radius * units.LENGTH,
            hinged=self.hinged,
            clamped=clamped,
            friction=medium.friction,
            self_contact=config.self_contact,
        )
        self._pose = Pose.of(n, 1 if self.hinged else 3)
        self._forget_contact()
        self.read()

    @property
    @abstractmethod
    def n_links(self) -> int:
        """Number of links."""

    @property
    @abstractmethod
    def thickness(self) -> float:
        """Smallest size of the section, m."""

    @abstractmethod
    def _make_links(self) -> Links:
        """Return the constants of a link, in PyBullet's units."""

    @abstractmethod
    def _make_spheres(self) -> tuple[list[Array], float]:
        """Return each link's centres (k, 3) m, along its axes, and radius of colliding spheres."""

    def _rows(self, count: int) -> list[Array]:
        """Return where along each link its rows of spheres are, m from its centre.

        `count` a link, evenly; none passes an end of the body, and one is flush with each end.
        """
        length, radius, n = self.link_length, self.thickness / 2, self.n_links
        even = (np.arange(count) - (count - 1) / 2) * length / count
        rows = []
        for i in range(n):
            centre = (i + 0.5) * length
            ends = [0.0] * (i == 0) + [n * length] * (i == n - 1)
            along = np.clip([*(centre + even), *ends], radius, n * length - radius)
            rows.append(np.unique(along.round(12)) - centre)
        return rows

    def _moments(self, volume: float) -> Array:
        """Moments (n, 3) along the links' axes, PyBullet's units; `volume` of a link in m3."""
        edges = np.arange(self.n_links + 1) - (0.5 if self._clamped else 0.0)
        edges = np.clip(edges * self.link_length / self.config.length, 0.0, 1.0)
        moment = self.config.magnetisation * volume * units.MOMENT
        return moment * mean_directions(self.config.profile, edges)

    @property
    def bodies(self) -> tuple[int, ...]:
        return (self._body.body,)

    @property
    def points(self) -> Array:
        return self.nodes()

    @property
    def direction(self) -> Array:
        return self._pose.axes[self.n_links // 2, :, 0].copy()

    @property
    def moment(self) -> Array:
        """Magnetic moment (3,) A m2 in the vessel's frame, in the present shape."""
        total = np.einsum("nij,nj->i", self._pose.axes, self._links.moment)
        return np.asarray(total / units.MOMENT)

    def place(self, centre: Array, rotation: Array) -> None:
        """Put the straight body at rest; the axes are its length, width and normal."""
        first = np.asarray(centre) - rotation[:, 0] * self.link_length * (self.n_links - 1) / 2
        self._body.place(first * units.LENGTH, Rotation.from_matrix(rotation).as_quat())
        self._forget_contact()
        self.read()

    def _forget_contact(self) -> None:
        self._contact = np.zeros(3)
        self._wanted: tuple[float, Array, Array] | None = None

    def read(self) -> None:
        """Take the state of the links from PyBullet, and what the wall did to them."""
        position, quaternion, joints, velocity = self._body.state()
        if self._wanted is not None and not self._clamped:
            h, before, acceleration = self._wanted
            surplus = (velocity - before) / h - acceleration
            force = chain.bullets_force(self._pose, self._held, surplus, NO_FORCE, False)
            felt = self._contact + force[:3]
            self._contact += (1 - np.exp(-h / CONTACT_MEMORY)) * (felt - self._contact)
        self._wanted = None
        self._velocity = velocity
        observe(position, quaternion, joints, velocity, self._links.half, self._pose)

    def push(self, step: float, ambient: Ambient) -> float:
        """Apply the loads for one substep and return its length, s (<= `step`).

        The substep is halved until no link moves further than a quarter of the thickness.
        """
        fluid = Fluid(
            ambient.field,
            ambient.gradient * units.FIELD_GRADIENT,
            ambient.flow * units.SPEED,
            ambient.flow_gradient,
            ambient.flow_acceleration * units.ACCELERATION,
        )
        travel = SUBSTEP_TRAVEL * self.thickness * units.LENGTH
        h, force, acceleration = chain.advance(
            self._pose, self._velocity, self._links, self._held, fluid, self._contact,
            self._clamped, step, step * SMALLEST_SUBSTEP, travel,
        )  # fmt: skip
        self._body.apply(force, self._pose.centre[0])
        self._wanted = (h, self._velocity, acceleration)
        return h

    def snapshot(self) -> dict[str, Any]:
        return super().snapshot() | {"contact": self._contact.tolist()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._forget_contact()
        super().restore(snapshot)
        self._contact = np.array(snapshot["contact"])

    def nodes(self) -> Array:
        """Centres of the links, (n, 3) m, in the vessel's frame."""
        return self._pose.centre / units.LENGTH

    def axes(self) -> Array:
        """Link axes as columns (length, width, normal), (n, 3, 3), in the vessel's frame."""
        return self._pose.axes.copy()

    def tip(self) -> tuple[Array, Array]:
        """End of the last link (3,) m and its direction (3,), in the vessel's frame."""
        direction = self._pose.axes[-1, :, 0].copy()
        return self.nodes()[-1] + self.link_length / 2 * direction, direction

    def surface(self) -> tuple[Array, Array]:
        links = self._sphere_links
        local = (self._pose.axes[links] @ self._local_spheres[:, :, None])[:, :, 0]
        return self.nodes()[links] + local, np.full(len(links), self._sphere_radius)

    def centre(self) -> Array:
        """Centre of mass (3,) m, in the vessel's frame."""
        return np.asarray(self._pose.centre.mean(axis=0) / units.LENGTH)

    def velocity(self) -> Array:
        """Velocity (3,) m/s of the centre of mass, in the vessel's frame."""
        return np.asarray(self._pose.velocity.mean(axis=0) / units.SPEED)

    def speed_through(self, ambient: Ambient) -> float:
        """Largest speed of a link through the fluid, m/s."""
        relative = self._pose.velocity / units.SPEED - ambient.flow
        return float(np.sqrt((relative**2).sum(axis=1)).max())

    def energy(self) -> float:
        """Kinetic energy, that of the fluid carried along at rest included, plus elastic and
        potential energy (of weight less buoyancy), J."""
        pose, links = self._pose, self._links
        along, turning = (np.einsum("nji,nj->ni", pose.axes, v) for v in (pose.velocity, pose.spin))
        kinetic = ((links.mass + links.added_mass) * along**2).sum()
        kinetic += ((links.inertia + links.added_inertia) * turning**2).sum()
        elastic = (links.stiffness * pose.bend**2).sum()
        potential = -(pose.centre @ links.weight).sum()
        return float((0.5 * (kinetic + elastic) + potential) / (units.FORCE * units.LENGTH))

    def check(self, ambient: Ambient) -> None:
        bend = float(np.sqrt((self._pose.bend**2).sum(axis=1)).max())
        strain = 0.5 * self.thickness * bend / self.link_length
        if not np.isfinite(bend) or bend > MAX_BEND:
            raise PhysicsError(
                f"a joint is bent by {np.degrees(bend):.0f} deg, above {np.degrees(MAX_BEND):.0f}: "
                f"{self.n_links} links are too few for such a curve"
            )
        if strain > MAX_STRAIN:
            raise PhysicsError(f"the strain is {strain:.2f}, above {MAX_STRAIN}: rubber's modulus")
        self._check_reynolds(self.reynolds(ambient))

    @abstractmethod
    def _check_reynolds(self, reynolds: float) -> None:
        """Raise PhysicsError beyond the range of the drag law."""
