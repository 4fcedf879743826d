"""TwinRig: simulated coils, vessel, device and fluoroscope behind the Rig contract."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from mmdtwin.actuation import Actuation, CoilCurrents, MagnetPose, Waveform
from mmdtwin.clock import SimClock
from mmdtwin.config import MagnetTwinRigConfig, ScenarioConfig, TwinRigConfig
from mmdtwin.errors import RigError
from mmdtwin.field import FieldModel
from mmdtwin.frame import Frame, Stale
from mmdtwin.geometry import Array, random_offset
from mmdtwin.hardware.twin.arm_drive import ArmDrive
from mmdtwin.hardware.twin.drive import CoilDrive
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.rig import Registration, Rig, RigDescription, RigState, Start
from mmdtwin.seeding import stream
from mmdtwin.sim.state import Snapshot, WorldState
from mmdtwin.sim.world import World
from mmdtwin.synth.xray import Imager

EPSILON = 1e-9  # s; event times closer than this are one
REMEMBERED_TRUTHS = 64  # frames
MEASURED = ("currents", "temperatures", "dose", "pose", "ecg_phase", "respiratory_phase")


@dataclass(frozen=True, eq=False)
class Truth:
    """What no laboratory knows: for rewards and reports only.

    `world` is the device's state in the world frame; `position` (3,) and `direction` (3,) are in
    the vessel's frame, m; `pixel` (2,) is where the centre truly projects, px, and `pixel_size`
    what a pixel measures there, m; `field` (3,) T at the device; the true placements.
    """

    world: WorldState
    position: Array
    direction: Array
    pixel: Array
    pixel_size: float
    field: Array
    T_world_vessel: Array
    T_world_coils: Array
    T_world_imager: Array


class TwinRig(Rig):
    """The twin in lockstep: physics waits for the controller, but latency is real.

    A frame is delivered `imager.latency` after its exposure, with several in flight; a command
    acts `actuation_delay` after it is applied; and the time a controller takes to compute
    (configured or measured) passes between the delivery of a frame and the command.

    The device is held at its start, as by the catheter that brought it, until the first accepted
    command has acted for `release_delay`: coils are switched on before a device is let go.

    Parameters
    ----------
    scenario : ScenarioConfig
        What to simulate.
    """

    clock: SimClock

    def __init__(self, scenario: ScenarioConfig) -> None:
        super().__init__(SimClock())
        self.scenario = scenario
        self._world: World | None = None
        self._seed = 0
        self._prepared = False
        self._T_world_imager = np.eye(4)

    @property
    def world(self) -> World:
        """The simulated world; for pictures and tests, never for a controller."""
        if self._world is None:
            raise RigError("the twin is not connected")
        return self._world

    def last_good(self) -> Snapshot | None:
        """Return where the physics was last found in its range, to look into what went wrong."""
        return self.world.last_good

    def describe(self) -> RigDescription:
        world, scenario = self.world, self.scenario
        return RigDescription(
            name="twin",
            mode="twin lockstep",
            actuations=(MagnetPose,) if scenario.coils is None else (CoilCurrents, Waveform),
            field=self._field,
            limits=self._limits,
            frame_rate=scenario.imager.frame_rate,
            image_delay=scenario.imager.latency,
            actuation_delay=scenario.rig.actuation_delay + scenario.rig.lag,
            T_world_coils=self._registration("coils"),
            T_world_imager=self._registration("imager"),
            T_world_vessel=self._registration("vessel"),
            vessel=world.flow.map,
            device=world.facts,
            calibration=self._calibration,
        )

    def _registration(self, what: str) -> Registration:
        error = self.scenario.rig.registration_error
        variance = np.repeat([error.translation**2 / 3, error.rotation**2 / 3], 3)
        return Registration(
            T=np.eye(4),
            id=f"twin-{what}-{self._seed}",
            date="1970-01-01",  # a twin has no calendar; a fixed date keeps outputs reproducible
            covariance=np.diag(variance),
        )

    def truth(self, seq: int | None = None) -> Truth:
        """Return the true state now, or at the exposure of a recent frame by its `seq`.

        Nothing that must also run in a laboratory may call this.
        """
        self._require_prepared()
        if seq is not None:
            return self._truths[seq]
        world = self.world
        state, projection = world.state(), self._imager.projection
        depth = float(projection.depth(state.position))
        return Truth(
            world=state,
            position=world.device.centre(),
            direction=world.device.direction,
            pixel=projection.project(state.position),
            pixel_size=projection.pitch * depth / projection.sid,
            field=world.field_at_device(),
            T_world_vessel=world.T_world_vessel,
            T_world_coils=world.T_world_coils,
            T_world_imager=self._T_world_imager,
        )

    def _connect(self) -> None:
        self._limits = self.scenario.limits()
        self._world = World(self.scenario)
        self._field, self._calibration = self._calibrated()

    def _calibrated(self) -> tuple[FieldModel, str | None]:
        """Return the model that the rig goes by, and the id of its calibration if it is one."""
        from mmdtwin.sim.magnetics.calibration.calibration import Calibration

        rig = self.scenario.rig
        if not isinstance(rig, TwinRigConfig) or rig.calibration is None:
            return self.world.field_model, None
        calibration = Calibration.load(rig.calibration)
        calibration.check_matches(len(self.scenario.rest_inputs))
        return calibration.model, calibration.id

    def _make_drive(self, seed: int) -> CoilDrive | ArmDrive:
        rig, coils = self.scenario.rig, self.scenario.coils
        if isinstance(rig, MagnetTwinRigConfig):
            assert isinstance(self._limits, MagnetLimits)
            return ArmDrive(rig, self._limits)
        assert coils is not None
        return CoilDrive(rig, coils, stream(seed, "drive"))

    def _prepare(self, start: Start, seed: int) -> None:
        world, scenario = self.world, self.scenario
        self._seed = seed
        self.clock = SimClock()  # time starts at 0, so that a seed gives the same run every time
        placement = stream(seed, "registration")
        error = scenario.rig.registration_error
        world.T_world_rest, world.T_world_coils, self._T_world_imager = (
            random_offset(placement, error.translation, error.rotation) for _ in range(3)
        )
        self._imager = Imager(
            scenario.imager,
            stream(seed, "background"),
            stream(seed, "imaging"),
            T_world_imager=self._T_world_imager,
        )
        self._drive = self._make_drive(seed)
        self._prepared = False  # until the world has taken the start
        world.reset(start.position, start.direction, seed)
        self._exposed = 0
        self._truths: dict[int, Truth] = {}
        self._dose = 0.0
        self._in_flight: deque[Frame] = deque()
        self._latest: Frame | None = None
        self._charged = True
        self._delivered_wall = 0.0
        self._prepared = True

    def next_frame(self, timeout: float, source: str | None = None) -> Frame | Stale:
        self._require_prepared()
        if source not in (None, "main"):
            raise RigError(f"next_frame: no source '{source}'; this rig has main")
        deadline = self.clock.now() + timeout
        while not self._in_flight and self._next_exposure() <= deadline + EPSILON:
            self._advance(self._next_exposure())
        if not self._in_flight or self._in_flight[0].t_received > deadline + EPSILON:
            self._advance(deadline)
            return Stale("no frame within the timeout", self._age())
        frame = self._in_flight[0]
        self._advance(frame.t_received)
        self._charged = False
        self._delivered_wall = time.perf_counter()
        return frame

    def read_latest(self, max_age: float) -> Frame | Stale:
        self._require_prepared()
        if self._latest is None:
            return Stale("no frame yet", float("inf"))
        if self._age() > max_age:
            return Stale(f"the newest frame is older than {max_age} s", self._age())
        return self._latest

    def telemetry(self) -> RigState:
        self._require_prepared()
        now = self.clock.now()
        motion = self.world.motion
        return RigState(
            state=self._state,
            time=now,
            currents=self._drive.currents.copy(),
            temperatures=self._drive.temperatures.copy(),
            dose=self._dose,
            faults=self._drive.faults,
            pose=None if self._drive.pose is None else self._drive.pose.copy(),
            ecg_phase=motion.ecg_phase(now),
            respiratory_phase=motion.respiratory_phase(now),
            times=dict.fromkeys(MEASURED, now),
        )

    def _send(self, command: Actuation) -> None:
        self._drive.send(command, self.clock.now())

    def _safe(self, reason: str) -> None:
        del reason
        if self._prepared:
            self._drive.zero()

    def _disconnect(self) -> None:
        self.world.close()
        self._world = None
        self._prepared = False

    def _temperatures(self) -> Array:
        self._require_prepared()
        return self._drive.temperatures

    def _before_apply(self) -> None:
        """Let the controller's compute time pass, once for each delivered frame."""
        if self._charged:
            return
        self._charged = True
        compute = self.scenario.rig.compute_time
        if compute == "measured":
            compute = time.perf_counter() - self._delivered_wall
        self._advance(self.clock.now() + float(compute))

    def _require_prepared(self) -> None:
        if not self._prepared:
            raise RigError("prepare the rig first")

    def _next_exposure(self) -> float:
        return self._exposed / self.scenario.imager.frame_rate

    def _age(self) -> float:
        return self.clock.now() - self._latest.t_exposure if self._latest else float("inf")

    def _advance(self, t: float) -> None:
        """Run physics to time t, exposing frames on the way; deliver those that are due."""
        world = self.world
        while True:
            if self._next_exposure() <= world.time + EPSILON:
                self._expose()
            if t - world.time <= EPSILON:
                break
            dt = min(
                world.max_step,
                t - world.time,
                max(self._next_exposure() - world.time, EPSILON),
            )
            world.inputs = self._drive.advance(world.time, dt)
            world.held = self._drive.acting_for(world.time) < self.scenario.rig.release_delay
            world.step(dt)
        self.clock.wait_until(t)
        while self._in_flight and self._in_flight[0].t_received <= t + EPSILON:
            self._latest = self._in_flight.popleft()

    def _expose(self) -> None:
        frame = self._imager.render(self.world, seq=self._exposed)
        t = self._next_exposure()
        self._in_flight.append(
            replace(frame, t_exposure=t, t_received=t + self.scenario.imager.latency)
        )
        self._truths[self._exposed] = self.truth()
        self._truths.pop(self._exposed - REMEMBERED_TRUTHS, None)
        self._exposed += 1
        self._dose += frame.dose
