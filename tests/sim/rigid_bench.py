"""A bench for rigid devices: fluids, walls with exact distances, and a loop without a world."""

import numpy as np

from mmdtwin.config import CapsuleConfig, DeviceConfig, FlowConfig, load
from mmdtwin.sim.bodies import Ambient, Medium
from mmdtwin.sim.bodies.bead import Bead

WATER = FlowConfig(inlet="a", viscosity=1e-3, density=1000.0)
BLOOD = FlowConfig(inlet="a", viscosity=4e-3, density=1060.0)
SYRUP = FlowConfig(inlet="a", viscosity=2.0, density=1000.0)  # no inertia to speak of
BEADS = {n: load(DeviceConfig, "devices", n) for n in ("bead-ndfeb", "bead-iron")}
NDFEB = BEADS["bead-ndfeb"]
CAPSULE = load(CapsuleConfig, "devices", "capsule-ndfeb")


class PlaneWall:
    """The half space z > 0."""

    def sdf(self, points):
        return np.atleast_2d(points)[:, 2].copy()

    def sdf_gradient(self, points):
        return self.sdf(points), np.tile([0.0, 0.0, 1.0], (len(np.atleast_2d(points)), 1))

    def tube(self, _):
        return np.array([1.0, 0.0, 0.0]), np.inf


class TubeWall:
    """A round tube along x, radius in m."""

    def __init__(self, radius):
        self.radius = radius

    def sdf(self, points):
        return self.radius - np.linalg.norm(np.atleast_2d(points)[:, 1:], axis=1)

    def sdf_gradient(self, points):
        p = np.atleast_2d(points)
        r = np.linalg.norm(p[:, 1:], axis=1, keepdims=True)
        inward = np.zeros_like(p)
        inward[:, 1:] = -p[:, 1:] / np.where(r > 0, r, 1.0)
        return self.sdf(p), inward

    def tube(self, _):
        return np.array([1.0, 0.0, 0.0]), self.radius

    def flow(self, axial):
        """Return Poiseuille's flow as a function of position."""

        def at(point):
            y, z = point[1:]
            r2 = self.radius**2
            gradient = np.zeros((3, 3))
            gradient[0, 1:] = -2 * axial * y / r2, -2 * axial * z / r2
            speed = axial * (1 - (y * y + z * z) / r2)
            return np.array([speed, 0, 0]), gradient, np.array([-4 * axial / r2, 0, 0])

        return at


def still(_):
    """Fluid at rest."""
    return np.zeros(3), np.zeros((3, 3)), np.zeros(3)


def linear(gradient):
    """Return the flow with a velocity gradient (3, 3), at rest in the origin."""
    return lambda point: (gradient @ point, gradient, np.zeros(3))


def make(client, config=NDFEB, fluid=WATER, gravity=(0, 0, 0), wall=None, friction=0.0, **changes):
    """Return a bead or a capsule at the origin."""
    medium = Medium(fluid, np.array(gravity, float), friction, wall)
    return Bead(client, config.model_copy(update=changes), medium)


def run(client, bead, duration, step=1e-3, flow=still, field=(0, 0, 0), gradient=None):
    """Advance; `flow` is a function of position, `field` a vector or a function of time."""
    t = 0.0
    db = np.zeros((3, 3)) if gradient is None else gradient
    while t < duration - 1e-12:
        u, g, lap = flow(bead.centre())
        b = np.asarray(field(t) if callable(field) else field, float)
        ambient = Ambient(b[None], db[None], u[None], g[None], lap[None], (g @ u)[None])
        h = bead.push(min(step, duration - t), ambient)
        client.setTimeStep(h)
        client.stepSimulation()
        bead.read()
        t += h
    return ambient


def volume(bead):
    """Volume of a ball's configuration, m3."""
    return np.pi / 6 * bead.diameter**3
