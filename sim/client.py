"""The physics client: PyBullet without a window, and the wall of a vessel in it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmdtwin import units
from mmdtwin.sim.phantoms import Vessel

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient


def connect(deformable: bool = False) -> BulletClient:
    """Return a client of its own, in mm, g and s, without gravity; `deformable` for soft bodies."""
    with quiet():
        import pybullet
        from pybullet_utils.bullet_client import BulletClient

        client = BulletClient(connection_mode=pybullet.DIRECT)
    if deformable:
        client.resetSimulation(client.RESET_USE_DEFORMABLE_WORLD)
    client.setGravity(0, 0, 0)  # weight and buoyancy are loads on the device
    client.setPhysicsEngineParameter(numSubSteps=0, deterministicOverlappingPairs=1)
    return client


def add_wall(client: BulletClient, vessel: Vessel, friction: float) -> None:
    """Put the vessel's wall into the client, as a mesh that is hit from inside."""
    shape = client.createCollisionShape(
        client.GEOM_MESH,
        vertices=(vessel.vertices * units.LENGTH).tolist(),
        indices=vessel.faces.ravel().tolist(),
        flags=client.GEOM_FORCE_CONCAVE_TRIMESH,
    )
    wall = client.createMultiBody(0, shape)
    client.changeDynamics(wall, -1, lateralFriction=friction, restitution=0.0)


@contextmanager
def quiet() -> Iterator[None]:
    """PyBullet greets and counts on standard output and error, where reports belong."""
    streams = {1: sys.stdout, 2: sys.stderr}
    for stream in streams.values():
        stream.flush()
    kept = {number: os.dup(number) for number in streams}
    with open(os.devnull, "w") as nowhere:
        for number in streams:
            os.dup2(nowhere.fileno(), number)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # else C's buffer keeps the greeting and prints it later
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
