"""A droplet of ferrofluid: particles in PyBullet under the energy of the pieces they are in."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin import units
from mmdtwin.config import DropletConfig, FlowConfig
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.geometry import Array
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies.device import FACTS_FIELD, FACTS_SPEED, Ambient, Device, Medium
from mmdtwin.sim.bodies.droplet_ellipsoid import LEAST_ELLIPSOID, volume
from mmdtwin.sim.bodies.droplet_energy import relaxed_ball
from mmdtwin.sim.bodies.droplet_forces import (
    Memory,
    Surroundings,
    drag,
    forces,
    largest_step,
    safe_step,
)
from mmdtwin.sim.bodies.droplet_liquid import liquid_of, radius_of
from mmdtwin.sim.bodies.droplet_magnetisation import magnetisation
from mmdtwin.sim.bodies.droplet_topology import (
    describe,
    find_lobes,
    merge,
    renumber,
    split,
    wall_reach,
)
from mmdtwin.sim.shapes import Solids

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

SMALLEST_SUBSTEP = 1 / 16  # of the nominal step, which has to be short enough for it
SUBSTEP_TRAVEL = 0.25  # of a particle's size: it may not move further in one substep
MAX_REYNOLDS = 500.0  # of the drag law, Rivkind and Ryskin's range
MAX_STRAIN = 0.05  # of a piece's volume
# Longest over shortest semi-axis of a piece: the balance is checked to there. What the fluid
# resists to drawing out is a nearly round drop's, so that a sudden strong field draws too far.
MAX_ASPECT = 15.0
NO_WALL = 1e6  # mm
# Size of a particle as seen over that of its share of the volume: particles of this size overlap
# and fill their piece, whose volume they cover to 2 % (30 to 200 particles).
COVERING = 1.058


@lru_cache(maxsize=16)
def unit_ball(count: int) -> Array:
    """Centres (n, 3) of particles spread evenly in a ball of radius 1."""
    ball = relaxed_ball(count)
    ball.flags.writeable = False
    return ball


class Droplet(Device[DropletConfig]):
    """A liquid body; see docs/bodies/droplet.md.

    Parameters
    ----------
    client, config, medium
        As for every `Device`. The wall is met through its signed distance.
    """

    def __init__(self, client: BulletClient, config: DropletConfig, medium: Medium) -> None:
        super().__init__(client, config, medium)
        self.liquid = liquid_of(config, medium)
        self._particle_radius = radius_of(1, self.liquid)
        self._bodies = tuple(self._particle() for _ in range(config.particles))
        self.place(np.zeros(3), np.eye(3))

    def _particle(self) -> int:
        p = self._p
        body = p.createMultiBody(self.liquid.particle_mass, -1, -1, [0, 0, 0])
        p.changeDynamics(
            body,
            -1,
            linearDamping=0.0,
            angularDamping=0.0,
            maxJointVelocity=1e6,  # the default of 100 would cap speeds at 0.1 m/s
            activationState=p.ACTIVATION_STATE_DISABLE_SLEEPING,
        )
        return int(body)

    @classmethod
    def check_step(cls, config: DropletConfig, fluid: FlowConfig, step: float) -> None:
        limit = safe_step(liquid_of(config, Medium(fluid, np.zeros(3)))) / SMALLEST_SUBSTEP
        if step > limit:
            raise UserError(
                f"rig.physics_step: {step:g} s is too long for a droplet with device.radius "
                f"{config.radius:g} m; allowed is up to {limit:.2g} s"
            )

    @classmethod
    def worst_drag(cls, config: DropletConfig, fluid: FlowConfig, speed: float) -> float:
        liquid = liquid_of(config, Medium(fluid, np.zeros(3)))
        resistance = drag(config.radius * units.LENGTH, speed * units.SPEED, liquid)
        return resistance * units.SPEED / units.FORCE * speed

    @classmethod
    def facts(cls, config: DropletConfig, fluid: FlowConfig) -> DeviceFacts:
        liquid = liquid_of(config, Medium(fluid, np.zeros(3)))
        size, mm = 2 * config.radius, units.LENGTH
        field = np.array([FACTS_FIELD, 0.0, 0.0])
        magnetised = magnetisation(
            field, np.full(3, 1 / 3), config.susceptibility, config.saturation
        )
        resistance = drag(config.radius * mm, FACTS_SPEED * units.SPEED, liquid)
        return DeviceFacts(
            length=size,
            width=size,
            thickness=size,
            moment=float(magnetised[0]) * config.volume,
            weight=(config.density - fluid.density) * config.volume * units.GRAVITY,
            drag=resistance * units.SPEED / units.FORCE,
        )

    @property
    def bodies(self) -> tuple[int, ...]:
        return self._bodies

    def place(self, centre: Array, rotation: Array) -> None:
        """Put it at rest, in one piece, as a ball."""
        ball = unit_ball(self.config.particles) * self.config.radius
        points = (np.asarray(centre) + ball @ np.asarray(rotation).T) * units.LENGTH
        count = len(points)
        label = np.zeros(count, int)
        whole = self.liquid.particle_volume * count
        self._set(points, np.zeros((count, 3)), label, np.array([whole]))

    def _set(self, points: Array, velocities: Array, label: NDArray, rest_volumes: Array) -> None:
        """Move the particles; between runs only."""
        places = zip(self._bodies, points.tolist(), velocities.tolist(), strict=True)
        for body, position, velocity in places:
            self._p.resetBasePositionAndOrientation(body, position, [0, 0, 0, 1])
            self._p.resetBaseVelocity(body, velocity, [0, 0, 0])
        self._magnetised, self._normal = np.zeros((2, len(points), 3))
        self._points, self._velocities = points, velocities
        self._fastest = float(np.sqrt((velocities * velocities).sum(axis=1).max()))
        self._shapes = describe(points, label, self._particle_radius)
        self._rest_volumes = rest_volumes
        self._swelling = np.ones(len(self._shapes.number))
        self._memory = Memory(self._laplace(self._shapes.number), np.zeros((len(points), 3)))

    def _laplace(self, count: NDArray) -> Array:
        """Laplace's pressure times volume of pieces by their numbers of particles."""
        volumes = count * self.liquid.particle_volume
        return np.asarray(2 * self.liquid.tension * volumes ** (2 / 3) * (4 * np.pi / 3) ** (1 / 3))

    def snapshot(self) -> dict[str, Any]:
        return {
            "points": self._points.tolist(),
            "velocities": self._velocities.tolist(),
            "label": self._shapes.label.tolist(),
            "rest_volumes": self._rest_volumes.tolist(),
            "swelling": self._swelling.tolist(),
            "push": self._memory.push.tolist(),
            "wall": self._memory.wall.tolist(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        label = np.array(snapshot["label"], int)
        points, velocities, rest = (
            np.array(snapshot[key], float) for key in ("points", "velocities", "rest_volumes")
        )
        self._set(points, velocities, label, rest)
        self._swelling, push, wall = (
            np.array(snapshot[key], float) for key in ("swelling", "push", "wall")
        )
        self._memory = Memory(push, wall)

    @property
    def points(self) -> Array:
        return self.nodes()

    def push(self, step: float, ambient: Ambient) -> float:
        """Apply the loads for one substep and return its length, s (<= `step`).

        The substep is halved until the stiffest mode and the fastest particle allow it.
        """
        h, largest = step, largest_step(self._shapes, ambient.field, self.liquid)
        while h > largest:
            h /= 2
        around = self._surroundings(ambient)
        travel = SUBSTEP_TRAVEL * 2 * self._particle_radius
        while h * self._fastest > travel and h > step * SMALLEST_SUBSTEP:
            h /= 2
        while True:
            memory = Memory(self._memory.push.copy(), self._memory.wall.copy())
            force, self._magnetised = forces(
                h,
                self._points,
                self._velocities,
                self._shapes,
                self._rest_volumes,
                around,
                self.liquid,
                memory,
            )
            end = self._velocities + force * (h / self.liquid.particle_mass)
            self._fastest = float(np.sqrt((end * end).sum(axis=1).max()))
            if self._fastest * h <= travel or h <= step * SMALLEST_SUBSTEP:
                break
            h /= 2
        self._memory = memory
        apply, frame, origin = self._p.applyExternalForce, self._p.LINK_FRAME, [0.0, 0.0, 0.0]
        for body, load in zip(self._bodies, force.tolist(), strict=True):
            apply(body, -1, load, origin, frame)
        self._relax_volumes(h)
        self._step = h
        return h

    def _surroundings(self, ambient: Ambient) -> Surroundings:
        gap, self._normal = self._wall(self._points)
        return Surroundings(
            field=ambient.field,
            gradient=ambient.gradient * units.FIELD_GRADIENT,
            flow=ambient.flow * units.SPEED,
            flow_laplacian=ambient.flow_laplacian * units.SPEED_LAPLACIAN,
            flow_acceleration=ambient.flow_acceleration * units.ACCELERATION,
            gap=gap,
            normal=self._normal,
        )

    def _relax_volumes(self, h: float) -> None:
        """Let the volumes that the ellipsoids keep follow the liquid's in a capillary time."""
        density = self.liquid.particle_mass / self.liquid.particle_volume
        own = self._shapes.number * self.liquid.particle_volume
        times = np.sqrt(density * own * (0.75 / np.pi) / self.liquid.tension)
        wanted = own * self._swelling
        self._rest_volumes += (wanted - self._rest_volumes) * (1 - np.exp(-h / times))

    def _wall(self, points: Array) -> tuple[Array, Array]:
        """Distances (n,) mm of the wall from points (n, 3) mm and unit vectors away from it."""
        if self.medium.wall is None:
            return np.full(len(points), NO_WALL), np.zeros_like(points)
        distance, normal = self.medium.wall.sdf_gradient(points / units.LENGTH)
        return distance * units.LENGTH, normal

    def read(self) -> None:
        """Take the particles from PyBullet after a step, and see which belong together."""
        # The client looks a function up anew at each use: that costs as much as the call.
        pose = self._p.getBasePositionAndOrientation
        points = np.array([pose(body)[0] for body in self._bodies])
        if not np.isfinite(points).all():
            raise PhysicsError("a particle's position is not finite")
        # PyBullet moves a body that does not turn by its velocity times the step, no more.
        self._velocities = (points - self._points) / self._step
        self._points = points
        before, radius = self._shapes.label, self._particle_radius
        shapes = describe(points, before, radius)
        on_wall = (self._memory.wall != 0.0).any(axis=1)
        lobes = find_lobes(points, shapes, radius, on_wall)
        label = split(points, shapes, lobes)
        if label.max() > 0:
            label = renumber(merge(points, describe(points, label, radius)))
        if not np.array_equal(label, before):
            shapes = describe(points, label, radius)
            lobes = find_lobes(points, shapes, radius, on_wall)
            self._rest_volumes = self._inherited(before, label, shapes.square)
            self._memory = Memory(self._laplace(shapes.number), self._memory.wall)
        self._shapes, self._swelling = shapes, lobes.swelling

    def _inherited(self, before: NDArray, label: NDArray, square: Array) -> Array:
        """Rest volumes of the pieces after a change: a new piece begins with its own volume."""
        rest = np.array([volume(g) for g in square])
        for piece in range(len(rest)):
            old = before[label == piece]
            if (old == old[0]).all() and (before == old[0]).sum() == len(old):
                rest[piece] = self._rest_volumes[old[0]]
        return rest

    def nodes(self) -> Array:
        """Centres of the particles, (n, 3) m, in the vessel's frame."""
        return self._points / units.LENGTH

    def velocities(self) -> Array:
        """Velocities of the particles, (n, 3) m/s."""
        return self._velocities / units.SPEED

    @property
    def pieces(self) -> int:
        return len(self._shapes.number)

    @property
    def piece_of(self) -> NDArray:
        """Which piece each particle is in, (n,) from 0."""
        return self._shapes.label.copy()

    def semi_axes(self) -> Array:
        """Semi-axes (p, 3) m of the pieces' ellipsoids, ascending."""
        return np.sqrt(self._shapes.square) / units.LENGTH

    def volume(self) -> float:
        """Volume of the pieces, m3: of their ellipsoids, or of the lobes of necked ones."""
        held = [volume(g) for g in self._shapes.square] / self._swelling
        return float(held.sum() / units.LENGTH**3)

    def deformation(self) -> float:
        """(L - B) / (L + B) of the largest piece, by its longest and shortest axes."""
        axes = self.semi_axes()[int(np.argmax(self._shapes.number))]
        return float((axes[2] - axes[0]) / (axes[2] + axes[0]))

    def surface(self) -> tuple[Array, Array]:
        """Centres of the particles and how far they reach towards the wall."""
        _, normal = self._wall(self._points)
        return self.nodes(), self._reach(normal) / units.LENGTH

    def wall_distances(self) -> Array:
        gap, normal = self._wall(self._points)
        return ((gap - self._reach(normal)) / units.LENGTH)[self._normal_forces() > 0.0]

    def _reach(self, direction: Array) -> Array:
        s = self._shapes
        return np.array(
            [
                wall_reach(u, s.square[k], s.axes[k], s.number[k])
                for u, k in zip(direction, s.label, strict=True)
            ]
        )

    def solids(self) -> Solids:
        """Overlapping ellipsoids similar to their piece's, which together have its volume."""
        s = self._shapes
        half = COVERING * np.sqrt(s.square) * s.number[:, None] ** (-1 / 3) / units.LENGTH
        return Solids(
            self.nodes(), s.axes[s.label], half[s.label], self.config.material, "ellipsoid"
        )

    def centre(self) -> Array:
        return np.asarray(self._points.mean(axis=0) / units.LENGTH)

    def velocity(self) -> Array:
        return np.asarray(self._velocities.mean(axis=0) / units.SPEED)

    @property
    def direction(self) -> Array:
        """Along the longest axis of the largest piece."""
        return np.asarray(self._shapes.axes[int(np.argmax(self._shapes.number))][:, 2])

    @property
    def moment(self) -> Array:
        share = self.liquid.particle_volume / units.LENGTH**3
        return np.asarray(self._magnetised.sum(axis=0) * share)

    def contacts(self) -> int:
        """Number of particles that the wall bears."""
        return int((self._normal_forces() > 0.0).sum())

    def contact_force(self) -> float:
        return float(self._normal_forces().sum() / units.FORCE)

    def _normal_forces(self) -> Array:
        return np.asarray((self._memory.wall * self._normal).sum(axis=1))

    def reynolds(self, ambient: Ambient) -> float:
        """Reynolds number of the fastest piece against the mean flow, on its ball's diameter."""
        largest = 0.0
        for piece, count in enumerate(self._shapes.number):
            own = self._shapes.label == piece
            slip = self._velocities[own].mean(axis=0) / units.SPEED - ambient.flow[own].mean(axis=0)
            size = 2 * radius_of(count, self.liquid) / units.LENGTH
            largest = max(largest, float(np.linalg.norm(slip)) * size)
        return largest * self.medium.fluid.density / self.medium.fluid.viscosity

    def check(self, ambient: Ambient) -> None:
        reynolds = self.reynolds(ambient)
        if reynolds > MAX_REYNOLDS:
            raise PhysicsError(f"Re = {reynolds:.0f} is above {MAX_REYNOLDS:.0f}, the drag's range")
        shapes = self._shapes
        square = shapes.square[shapes.number >= LEAST_ELLIPSOID]
        aspect = np.sqrt((square[:, 2] / square[:, 0]).max(initial=1.0))
        if aspect > MAX_ASPECT:
            raise PhysicsError(
                f"a piece's aspect ratio of {aspect:.0f} is above {MAX_ASPECT:g}, to which its "
                "balance is checked; the field is too strong, or rises too fast"
            )
        held = np.array([volume(g) for g in shapes.square]) / self._rest_volumes
        if np.abs(held - 1).max() > MAX_STRAIN:
            worst = held[np.abs(held - 1).argmax()] - 1
            raise PhysicsError(f"a piece's volume is off by {worst:.0%}")
