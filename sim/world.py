"""The physical world of the twin: a device in a vessel, in a magnetic field, in flowing fluid.

PyBullet runs in the vessel's frame, in mm, g and s. Between `reset` and the end of an episode
nothing moves the device but forces and torques.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from mmdtwin import units
from mmdtwin.config import ScenarioConfig
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.field import Evaluation, FieldModel
from mmdtwin.geometry import Array, aligning_rotation, apply, invert, rotate
from mmdtwin.rig import DeviceFacts
from mmdtwin.sim.bodies import Ambient, Device, Medium, device_class
from mmdtwin.sim.client import add_wall, connect
from mmdtwin.sim.flow import Flow
from mmdtwin.sim.magnetics import CoilSystem, Magnet
from mmdtwin.sim.patient import Motion
from mmdtwin.sim.phantoms import Vessel, build_vessel
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Solids
from mmdtwin.sim.state import Snapshot, WorldState
from mmdtwin.sim.surroundings import Surroundings

if TYPE_CHECKING:
    from pybullet_utils.bullet_client import BulletClient

SNAPSHOT_PERIOD = 20e-3  # s between snapshots to go back to
CHECK_PERIOD = 5e-3  # s between checks that the physics is within its validated range
MAX_PENETRATION = 0.1e-3  # m that a collision sphere is inside the wall: the wall is lost
RECONNECT = 500  # resets after which the client is made anew: PyBullet keeps 30 kB of each
PLACES = 6  # tried between a start and the centreline
GRAVITY_WORLD = np.array([0.0, 0.0, -units.GRAVITY])


def field_model_of(scenario: ScenarioConfig) -> FieldModel:
    """Return the field model of a scenario's coils or magnet."""
    if scenario.coils is not None:
        return CoilSystem(scenario.coils)
    assert scenario.magnet is not None  # a scenario has one of the two
    return Magnet(scenario.magnet)


def device_facts(scenario: ScenarioConfig) -> DeviceFacts:
    """Return what a laboratory knows of a scenario's device."""
    kind, config, fluid = device_class(scenario.device), scenario.device, scenario.phantom.flow
    facts = kind.facts(config, fluid)
    if not kind.pulled:
        return facts
    return replace(facts, worst_drag=partial(kind.worst_drag, config, fluid))


class World:
    """A device in a vessel under coils, or a magnet, and flow.

    Parameters
    ----------
    scenario : ScenarioConfig
        What is in the world.
    field_model : FieldModel, vessel : Vessel
        Built from the scenario when not given; several worlds may share them.

    Attributes
    ----------
    T_world_rest, T_world_coils : (4, 4) array
        True placements of the vessel at rest and of the coils; set them before `reset`.
    motion : Motion
        How the patient moves the vessel; new in each `reset`.
    facts : DeviceFacts
        What a laboratory knows of the device.
    max_step : float
        Longest substep, s: the device's, or `rig.physics_step` where that is shorter.
    inputs : (n_inputs,) array
        Currents that flow in the coils, A, or the pose of the magnet; set them between steps.
    last_good : Snapshot or None
        Where the physics was last found in its range; taken every 20 ms, and at `reset`.
    held : bool
        True while something else holds the device still; `reset` lets it go.
    time : float
        Seconds since `reset`.
    """

    def __init__(
        self,
        scenario: ScenarioConfig,
        field_model: FieldModel | None = None,
        vessel: Vessel | None = None,
    ) -> None:
        self.scenario = scenario
        self.field_model = field_model or field_model_of(scenario)
        self.vessel = vessel or build_vessel(scenario.phantom)
        self.facts = device_facts(scenario)
        kind = device_class(scenario.device)
        self.max_step = min(kind.max_step, scenario.rig.physics_step)
        kind.check_step(scenario.device, scenario.phantom.flow, self.max_step)
        self._check_fit()
        self.motion = Motion(scenario.patient, seed=0)
        self.flow = Flow(self.vessel.map, scenario.phantom.flow, self.motion.heart_rate)
        self.T_world_rest = np.eye(4)
        self.T_world_coils = np.eye(4)
        self.inputs = scenario.rest_inputs
        self.held = False
        self.time = 0.0
        self.last_good: Snapshot | None = None
        self._seed, self._resets = 0, 0
        self._place_coils(self.T_world_coils)
        self._evaluation: tuple[bytes, Evaluation] | None = None
        self._surroundings = Surroundings(scenario, self.vessel)
        self._client: BulletClient | None = None
        self._device: Device | None = None

    @classmethod
    def from_config(cls, scenario: ScenarioConfig) -> World:
        """Build a world and place the device at the middle of the branch at the flow's inlet."""
        world = cls(scenario)
        vessel = world.vessel.map
        branch = next(b for b in vessel.branches.values() if vessel.inlet in (b.start, b.end))
        middle = len(branch.points) // 2
        world.reset(branch.points[middle], branch.tangents[middle])
        return world

    @property
    def device(self) -> Device:
        """The device's body, in the vessel's frame."""
        if self._device is None:
            raise UserError("world: call reset before using the device")
        return self._device

    @property
    def T_world_vessel(self) -> Array:
        """Where the vessel is now, (4, 4)."""
        if not self.motion.moving:
            return self.T_world_rest
        return self.T_world_rest @ self.motion.transform(self.time)

    @property
    def _T_coils_vessel(self) -> Array:
        if not self.motion.moving:
            return self._T_coils_rest
        return self._T_coils_rest @ self.motion.transform(self.time)

    def reset(self, position: ArrayLike, direction: ArrayLike, seed: int = 0) -> None:
        """Start anew with the straight device at rest.

        Parameters
        ----------
        position, direction : (3,) array
            Its centre in m and the direction of its length, in the vessel's frame.
        seed : int
            Of the patient's motion.

        Raises
        ------
        UserError
            If the device fits nowhere between the position and the centreline, or an argument is
            no vector of finite numbers.
        """
        position, direction = _vector("position", position), _vector("direction", direction)
        if not direction.any():
            raise UserError("reset: the direction is zero; give that of the device's length")
        gravity = rotate(invert(self.T_world_rest), GRAVITY_WORLD)
        self._resets += 1
        if self._resets % RECONNECT == 0:
            self.close()
        phantom, config = self.scenario.phantom, self.scenario.device
        if self._client is None:
            deformable = device_class(config).deformable
            self._client = connect(deformable)
            if not deformable:  # a mesh holds no soft body well: it meets the distance field
                add_wall(self._client, self.vessel, phantom.friction)
        elif self._device is not None:
            self._device.remove()
        medium = Medium(phantom.flow, gravity, phantom.friction, self.vessel)
        self._device = device_class(config)(self._client, config, medium)
        up = -gravity / units.GRAVITY
        self._put(self._device, position, aligning_rotation(direction, up))
        self.inputs = self.scenario.rest_inputs
        self.held = False
        self.time = 0.0
        self._next_check = CHECK_PERIOD
        self.motion, self._seed = Motion(self.scenario.patient, seed), seed
        self._place_coils(self.T_world_coils)
        self.last_good = self.snapshot()

    def _put(self, device: Device, position: Array, rotation: Array) -> None:
        """Place the device at a position, or from there towards the centreline until it fits."""
        centre = self.vessel.map.points[int(self.vessel.map.nearest(position)[0])]
        for share in np.linspace(0.0, 1.0, PLACES):
            device.place(position + share * (centre - position), rotation)
            if self.clearance() >= 0:
                return
        where = np.round(position * 1e3, 2)
        raise UserError(f"start: the device does not fit in the lumen at {where} mm")

    def step(self, dt: float) -> None:
        """Advance by dt s with the present inputs, in substeps of at most `max_step`.

        Raises
        ------
        PhysicsError
            If the state leaves the range in which the model is validated. The world is then back
            at `last_good`.
        """
        if not 0.0 < dt < math.inf:
            raise UserError(f"step: dt is {dt}; allowed is a positive number of s")
        if self.held:
            self.time += dt
            return
        self.inputs = np.asarray(self.inputs, float)
        try:
            self._advance(dt)
        except PhysicsError:
            if self.last_good is not None:
                self.restore(self.last_good)
            raise

    def _advance(self, dt: float) -> None:
        device, client = self.device, self._client
        assert client is not None
        # Looked up once: every look-up in a BulletClient costs as much as a small kernel.
        set_step, simulate = client.setTimeStep, client.stepSimulation
        end = self.time + dt
        while end - self.time > 1e-9:
            ambient = self._ambient()
            h = device.push(min(end - self.time, self.max_step), ambient)
            set_step(h)
            simulate()
            device.read()
            self.time += h
            if not math.isfinite(float(device.points.sum())):
                raise PhysicsError("the device's position is not finite")
            if self.time >= self._next_check:
                self._next_check = self.time + CHECK_PERIOD
                device.check(ambient)
                self._check_wall()
                if self.last_good is None or self.time >= self.last_good.time + SNAPSHOT_PERIOD:
                    self.last_good = self.snapshot()
        self.time = end

    def snapshot(self) -> Snapshot:
        """Return all that is needed to go on from now."""
        return Snapshot(
            time=self.time,
            inputs=self.inputs.copy(),
            device=self.device.snapshot(),
            config_hash=self.scenario.hash,
            seed=self._seed,
            T_world_rest=self.T_world_rest.copy(),
            T_world_coils=self.T_world_coils.copy(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; `reset` first.

        Raises
        ------
        UserError
            If it is of another scenario, or the vessel lay otherwise than at `reset`.
        """
        if snapshot.config_hash != self.scenario.hash:
            raise UserError("snapshot: taken in another scenario (their hashes differ)")
        if not np.allclose(snapshot.T_world_rest, self.T_world_rest):
            raise UserError("snapshot: taken of a vessel placed otherwise; place it so, then reset")
        self.device.restore(snapshot.device)
        self._place_coils(snapshot.T_world_coils)
        self.motion, self._seed = Motion(self.scenario.patient, snapshot.seed), snapshot.seed
        self.time, self.inputs = snapshot.time, snapshot.inputs.copy()
        self._next_check = self.time + CHECK_PERIOD

    def _place_coils(self, T_world_coils: Array) -> None:
        self.T_world_coils = T_world_coils
        self._T_coils_rest = invert(T_world_coils) @ self.T_world_rest

    def state(self) -> WorldState:
        """Return the state in the world frame."""
        T = self.T_world_vessel
        device = self.device
        moment = device.moment
        norm = float(np.linalg.norm(moment))
        along = moment / norm if norm > 1e-12 else device.direction
        return WorldState(
            time=self.time,
            position=apply(T, device.centre()),
            velocity=rotate(T, device.velocity() + self.motion.velocity(self.time)),
            direction=rotate(T, along),
            nodes=apply(T, device.nodes()),
            pieces=device.pieces,
            wall_contacts=device.contacts(),
            contact_force=device.contact_force(),
            clearance=self.clearance(),
        )

    def solids(self) -> Solids:
        """The device as an imager needs it, in the world frame."""
        contents = self.scenario.phantom.contents
        return replace(self.device.solids().placed(self.T_world_vessel), displaces=contents)

    def scene(self) -> Scene:
        """What an X-ray meets now, in the world frame.

        Of the instruments and the lumen, what has not moved is the same object as before.
        """
        return Scene(
            self.time,
            device=(self.solids(),),
            instruments=self._surroundings.instruments(self.T_world_vessel),
            lumen=self._surroundings.lumen(self.T_world_rest),
            displacement=rotate(self.T_world_rest, self.motion.displacement(self.time)),
        )

    def clearance(self) -> float:
        """Smallest gap in m between the device's collision spheres and the wall."""
        centres, radii = self.device.surface()
        return float((self.vessel.sdf(centres) - radii).min())

    def field_at_device(self) -> Array:
        """Field (3,) T at the device's centre, in the world frame."""
        point = apply(self._T_coils_vessel, self.device.centre())[None]
        field, _ = self.field_model.field_and_gradient(point, self.inputs)
        return rotate(self.T_world_coils, field[0])

    def close(self) -> None:
        """Let go of the physics client."""
        if self._client is not None:
            self._client.disconnect()
            self._client = self._device = None

    def _ambient(self) -> Ambient:
        points = self.device.points
        T = self._T_coils_vessel
        field, gradient = self._field_at()(points @ T[:3, :3].T + T[:3, 3])
        turn_back(field, gradient, T)
        flow = self.flow.local(points, self.motion.cardiac_time(self.time))
        return Ambient(field, gradient, *flow)

    def _field_at(self) -> Evaluation:
        """Return the field of the present inputs, made anew only where they have changed."""
        inputs = self.inputs.tobytes()
        if self._evaluation is None or self._evaluation[0] != inputs:
            self._evaluation = inputs, self.field_model.at(self.inputs)
        return self._evaluation[1]

    def _check_wall(self) -> None:
        clearance = self.clearance()
        if clearance < -MAX_PENETRATION:
            raise PhysicsError(f"the device is {-clearance * 1e6:.0f} um inside the wall")

    def _check_fit(self) -> None:
        """Refuse a device that fits in no lumen where tasks may start."""
        inlet, branches = self.scenario.phantom.flow.inlet, self.vessel.map.branches
        starts = self.scenario.task.starts or {
            name: None for name, b in branches.items() if inlet in (b.start, b.end)
        }
        known = [branches[name] for name in starts if name in branches]  # a task names the others
        lumen = max((2 * float(b.radius.max()) for b in known), default=math.inf)
        width = self.facts.width
        if lumen <= width:
            raise UserError(
                f"device: {width * 1e3:.2f} mm wide, and the lumen where tasks start "
                f"({', '.join(starts)}) is {lumen * 1e3:.2f} mm at most; choose a wider phantom or "
                "a smaller device"
            )


def _vector(name: str, value: ArrayLike) -> Array:
    v = np.asarray(value, float)
    if v.shape != (3,) or not np.isfinite(v).all():
        raise UserError(f"reset: {name} is {v.tolist()}; allowed are three finite numbers")
    return v


@njit(cache=True)
def turn_back(field: Array, gradient: Array, T: Array) -> None:
    """Turn fields (n, 3) and gradients (n, 3, 3) in place from T's target frame to its source."""
    b, left, right = np.empty(3), np.empty((3, 3)), np.empty((3, 3))
    for n in range(len(field)):
        for i in range(3):
            b[i] = 0.0
            for k in range(3):
                b[i] += T[k, i] * field[n, k]
            for j in range(3):
                left[i, j] = 0.0
                for k in range(3):
                    left[i, j] += T[k, i] * gradient[n, k, j]
        for i in range(3):
            for j in range(3):
                right[i, j] = 0.0
                for k in range(3):
                    right[i, j] += left[i, k] * T[k, j]
        field[n], gradient[n] = b, right
