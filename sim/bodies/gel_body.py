"""PyBullet's soft body with a proxy anchored to every node.

PyBullet takes no forces on a soft body's nodes (`applyExternalForce` does nothing, silently) and
gives all nodes the same mass. So to each a small body without shape is anchored: it carries the
forces on the node, and the rest of its mass. The anchor shares momentum between the two exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.geometry import Array
from mmdtwin.sim.client import quiet

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

NODE_SHARE = 0.5  # of the lightest node's mass, that every node of the soft body has


class AnchoredBody:
    """A neo-Hookean soft body at rest, in PyBullet's units.

    Parameters
    ----------
    client : BulletClient
        With a deformable world.
    path : str
        Mesh, VTK.
    masses : (n,) array
        Of the nodes.
    constants : (float, float)
        Bullet's mu and lambda.
    centre : (3,) array-like
        Where the mesh's origin is.
    quaternion : (4,) array-like
        How it is turned, (x, y, z, w).

    Attributes
    ----------
    bodies : tuple of int
        PyBullet's numbers of the proxies and, last, of the soft body.
    position, velocity : (n, 3) array
        Of the nodes.
    """

    def __init__(
        self,
        client: BulletClient,
        path: str,
        masses: Array,
        constants: tuple[float, float],
        centre: ArrayLike,
        quaternion: ArrayLike,
    ) -> None:
        self._p = client
        self._masses = masses
        node_mass = NODE_SHARE * masses.min()
        self._proxy_masses = masses - node_mass
        with quiet():  # PyBullet counts nodes on standard output
            self._soft = client.loadSoftBody(
                path,
                basePosition=np.asarray(centre).tolist(),
                baseOrientation=np.asarray(quaternion).tolist(),
                mass=node_mass * len(masses),
                useNeoHookean=1,
                NeoHookeanMu=constants[0],
                NeoHookeanLambda=constants[1],
                NeoHookeanDamping=0.0,  # does nothing to anchored nodes
                useFaceContact=0,
                useSelfCollision=0,
            )
        awake = client.ACTIVATION_STATE_DISABLE_SLEEPING
        client.changeDynamics(self._soft, -1, activationState=awake)
        self.position = self._read()
        self.velocity = np.zeros_like(self.position)
        self._proxies = [
            self._anchor(node, mass, where, awake)
            for node, (mass, where) in enumerate(
                zip(self._proxy_masses, self.position.tolist(), strict=True)
            )
        ]
        self.bodies = (*self._proxies, self._soft)
        self._apply = client.applyExternalForce  # looked up once

    def _anchor(self, node: int, mass: float, where: list[float], awake: int) -> int:
        p = self._p
        proxy = p.createMultiBody(mass, -1, -1, where)
        p.changeDynamics(proxy, -1, localInertiaDiagonal=[mass] * 3)
        p.changeDynamics(
            proxy,
            -1,
            linearDamping=0.0,
            angularDamping=0.0,
            maxJointVelocity=1e6,  # the default of 100 would cap speeds at 0.1 m/s
            activationState=awake,
        )
        p.createSoftBodyAnchor(self._soft, node, proxy, -1)
        return int(proxy)

    def _read(self) -> Array:
        flag = self._p.MESH_DATA_SIMULATION_MESH
        return np.array(self._p.getMeshData(self._soft, -1, flags=flag)[1])

    def push(self, forces: Array) -> None:
        """Apply forces (n, 3) to the nodes for the next step."""
        # In a proxy's own frame, which never turns: nothing acts on it off its centre.
        frame = self._p.LINK_FRAME
        for proxy, force in zip(self._proxies, forces.tolist(), strict=True):
            self._apply(proxy, -1, force, (0.0, 0.0, 0.0), frame)

    def read(self, h: float) -> None:
        """Take the positions after a step h, and the velocities, which moved the nodes in it."""
        before, self.position = self.position, self._read()
        self.velocity = (self.position - before) / h

    def resume(self, position: Array, velocity: Array) -> None:
        """Take up positions and velocities (n, 3) of another time, between steps."""
        # The nodes keep their velocities, which cannot be set; the proxies get those that node
        # and proxy, sharing their momentum in the next step, need to have the right one.
        kept = (self._masses - self._proxy_masses)[:, None] * self.velocity
        proxies = (self._masses[:, None] * velocity - kept) / self._proxy_masses[:, None]
        p = self._p
        p.resetMeshData(self._soft, position.tolist())
        for proxy, where, speed in zip(
            self._proxies, position.tolist(), proxies.tolist(), strict=True
        ):
            p.resetBasePositionAndOrientation(proxy, where, [0, 0, 0, 1])
            p.resetBaseVelocity(proxy, speed, [0, 0, 0])
        self.position, self.velocity = position, velocity
