"""What the tests of the droplet share: making it, driving it, walls in closed form."""

import numpy as np

from mmdtwin.config import DropletConfig, FlowConfig, load
from mmdtwin.sim.bodies import Ambient, Medium
from mmdtwin.sim.bodies.droplet import Droplet

DROPLET = load(DropletConfig, "devices", "droplet-ferrofluid")
BLOOD = FlowConfig(inlet="a", viscosity=4e-3, density=1060.0)


def make(client, fluid=BLOOD, gravity=(0, 0, 0), wall=None, **changes):
    config = DROPLET.model_copy(update=changes)
    return Droplet(client, config, Medium(fluid, np.array(gravity, float), 0.2, wall))


def uniform(droplet, field=(0, 0, 0), gradient=None):
    g = np.zeros((3, 3)) if gradient is None else gradient
    return Ambient.uniform(droplet.config.particles, field, g)


def run(client, droplet, loads, duration, step=1e-3):
    """Advance it; `loads` are an Ambient or a function of the droplet that returns one."""
    for _ in range(round(duration / step)):
        left = step
        while left > 1e-9:
            ambient = loads(droplet) if callable(loads) else loads
            h = droplet.push(left, ambient)
            client.setTimeStep(h)
            client.stepSimulation()
            droplet.read()
            left -= h


def stretch(droplet, aspect):
    """Stretch it along z, at rest, to an aspect ratio at the same volume."""
    snapshot = droplet.snapshot()
    scale = np.array([aspect ** (-1 / 3), aspect ** (-1 / 3), aspect ** (2 / 3)])
    droplet.restore({**snapshot, "points": (np.array(snapshot["points"]) * scale).tolist()})


class Closed:
    """A wall by its signed distance in closed form; normals by central differences."""

    def sdf(self, points):
        return self.distance(np.atleast_2d(points))

    def sdf_gradient(self, points):
        p, step = np.atleast_2d(points), 1e-6
        slopes = [
            (self.distance(p + step * e) - self.distance(p - step * e)) / 2 for e in np.eye(3)
        ]
        normal = np.stack(slopes, axis=1)
        return self.sdf(p), normal / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)[:, None]


class Floor(Closed):
    """The plane z = 0."""

    def distance(self, p):
        return p[:, 2]


class Slit(Closed):
    """Two plates, `gap` apart in z and `length` thick along x, with rounded edges."""

    def __init__(self, gap, length, rounding):
        self.gap, self.length, self.rounding = gap, length, rounding

    def distance(self, p):
        x = np.abs(p[:, 0]) - (self.length / 2 - self.rounding)
        z = (self.gap / 2 + self.rounding) - np.abs(p[:, 2])
        outside = np.hypot(np.maximum(x, 0), np.maximum(z, 0))
        return outside + np.minimum(np.maximum(x, z), 0) - self.rounding


class Fork(Closed):
    """A channel 3.2 x 2.6 mm along x that a septum 0.8 mm thick divides from x = 0 on."""

    def distance(self, p):
        septum = np.hypot(np.minimum(p[:, 0], 0), p[:, 1]) - 0.4e-3
        return np.minimum(septum, np.minimum(1.6e-3 - np.abs(p[:, 1]), 1.3e-3 - np.abs(p[:, 2])))
