"""TwinRig: simulated coils, vessel, device and fluoroscope behind the Rig contract."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from mmdtwin.actuation import Actuation, CoilCurrents, MagnetPose, Waveform
from mmdtwin.clock import SimClock
from mmdtwin.config import ImagerConfig, MagnetTwinRigConfig, ScenarioConfig, TwinRigConfig
from mmdtwin.errors import RigError
from mmdtwin.field import FieldModel
from mmdtwin.frame import Frame, Stale
from mmdtwin.geometry import Array, random_offset
from mmdtwin.hardware.twin.arm_drive import ArmDrive
from mmdtwin.hardware.twin.drive import CoilDrive
from mmdtwin.hardware.twin.fluoroscope import EPSILON, Fluoroscope
from mmdtwin.hardware.twin.truth import Truth, true_state
from mmdtwin.magnet_limits import MagnetLimits
from mmdtwin.rig import MAIN, Registration, Rig, RigDescription, RigState, Start
from mmdtwin.seeding import stream
from mmdtwin.sim.state import Snapshot
from mmdtwin.sim.world import World
from mmdtwin.synth.xray import Imager

LATERAL = "lateral"  # source of the second plane of a biplane
REMEMBERED_TRUTHS = 64  # frames of each source
READINGS = (
    "currents", "temperatures", "dose", "reference_kerma", "dap", "tube_charge", "fluoroscopy",
    "pose", "ecg_phase", "respiratory_phase",
)  # fmt: skip


class TwinRig(Rig):
    """The twin in lockstep: physics waits for the controller, but latency is real.

    A frame is delivered `imager.latency` after the middle of its pulse, with several in flight; a
    command acts `actuation_delay` after it is applied; and the time a controller takes to compute
    (configured or measured) passes between the delivery of a frame and the command.

    With a `lateral` imager the planes of a biplane take turns: its pulses lie half a period after
    those of the main one. Each has its own registration error and numbers its frames; what one
    plane's beam scatters into the other's detector is neglected, since the other is not read then.

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
        self._scopes: dict[str, Fluoroscope] = {}

    @property
    def world(self) -> World:
        """The simulated world; for pictures and tests, never for a controller."""
        if self._world is None:
            raise RigError("the twin is not connected")
        return self._world

    def imager(self, source: str = MAIN) -> Imager:
        """The imager of a source; for pictures, speed and tests, never for a controller."""
        self._require_prepared()
        self._check_source(source)
        return self._scopes[source].imager

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
            image_delay=max(scenario.imager.latency, scenario.imager.pulse_width / 2),
            actuation_delay=scenario.rig.actuation_delay + scenario.rig.lag,
            T_world_coils=self._registration("coils"),
            T_world_imager=self._registration("imager"),
            T_world_vessel=self._registration("vessel"),
            vessel=world.flow.map,
            device=world.facts,
            calibration=self._calibration,
            sources=(MAIN,) if scenario.lateral is None else (MAIN, LATERAL),
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

    def truth(self, seq: int | None = None, source: str = MAIN) -> Truth:
        """Return the true state now, or at the exposure of a recent frame by its `seq`.

        Nothing that must also run in a laboratory may call this.
        """
        self._require_prepared()
        self._check_source(source)
        if seq is not None:
            return self._truths[source, seq]
        scope = self._scopes[source]
        return true_state(self.world, scope.imager.projection, scope.T_world_imager)

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
        world.T_world_rest, world.T_world_coils, T_world_imager = (
            random_offset(placement, error.translation, error.rotation) for _ in range(3)
        )
        self._scopes = {MAIN: self._make_scope(MAIN, scenario.imager, T_world_imager)}
        if scenario.lateral is not None:
            placement = stream(seed, "registration-lateral")
            T_world_lateral = random_offset(placement, error.translation, error.rotation)
            self._scopes[LATERAL] = self._make_scope(LATERAL, scenario.lateral, T_world_lateral)
        self._drive = self._make_drive(seed)
        self._prepared = False  # until the world has taken the start
        world.reset(start.position, start.direction, seed)
        self._truths: dict[tuple[str, int], Truth] = {}
        self._dose = self._reference_kerma = self._dap = 0.0
        self._in_flight: list[Frame] = []  # in the order of delivery
        self._latest: dict[str, Frame] = {}
        self._fluoroscopy = True
        self._charged = True
        self._delivered_wall = 0.0
        self._prepared = True

    def _make_scope(self, source: str, config: ImagerConfig, T: Array) -> Fluoroscope:
        suffix = "" if source == MAIN else f"-{source}"
        imager = Imager(
            config,
            stream(self._seed, f"background{suffix}"),
            stream(self._seed, f"imaging{suffix}"),
            T_world_imager=T,
        )
        offset = 0.0 if source == MAIN else 0.5 / config.frame_rate
        return Fluoroscope(source, imager, T, offset)

    def fluoroscopy(self, on: bool) -> None:
        self._require_prepared()
        self._fluoroscopy = on
        for scope in self._scopes.values():
            scope.switch(on, self.clock.now())

    def next_frame(self, timeout: float, source: str | None = None) -> Frame | Stale:
        self._require_prepared()
        self._check_source(source)
        deadline = self.clock.now() + timeout
        while (frame := self._first_in_flight(source)) is None:
            event = self._next_event()
            if event > deadline + EPSILON:
                break
            self._advance(event)
        if frame is None or frame.t_received > deadline + EPSILON:
            self._advance(deadline)
            held = "" if self._fluoroscopy else ": fluoroscopy is off, the last image is held"
            return Stale(f"no frame within the timeout{held}", self._age(source))
        self._advance(frame.t_received)
        self._charged = False
        self._delivered_wall = time.perf_counter()
        return frame

    def read_latest(self, max_age: float, source: str | None = None) -> Frame | Stale:
        self._require_prepared()
        self._check_source(source)
        frame = self._newest(source)
        if frame is None:
            return Stale("no frame yet", float("inf"))
        if self._age(source) > max_age:
            return Stale(f"the newest frame is older than {max_age} s", self._age(source))
        coming = self._fluoroscopy or self._first_in_flight(frame.source) is not None
        return frame if coming else replace(frame, live=False)

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
            reference_kerma=self._reference_kerma,
            dap=self._dap,
            tube_charge=self._scopes[MAIN].imager.exposure.charge,
            fluoroscopy=self._fluoroscopy,
            faults=self._drive.faults,
            pose=None if self._drive.pose is None else self._drive.pose.copy(),
            ecg_phase=motion.ecg_phase(now),
            respiratory_phase=motion.respiratory_phase(now),
            times=dict.fromkeys(READINGS, now),
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

    def _check_source(self, source: str | None) -> None:
        if source is not None and source not in self._scopes:
            raise RigError(f"no source '{source}'; this rig has {', '.join(self._scopes)}")

    def _next_event(self) -> float:
        return min(scope.next_event for scope in self._scopes.values())

    def _first_in_flight(self, source: str | None) -> Frame | None:
        return next((f for f in self._in_flight if source in (None, f.source)), None)

    def _newest(self, source: str | None) -> Frame | None:
        delivered = (f for f in self._latest.values() if source in (None, f.source))
        return max(delivered, key=lambda frame: frame.t_exposure, default=None)

    def _age(self, source: str | None) -> float:
        newest = self._newest(source)
        return self.clock.now() - newest.t_exposure if newest else float("inf")

    def _advance(self, t: float) -> None:
        """Run physics to time t, exposing frames on the way; deliver those that are due."""
        world = self.world
        while True:
            for scope in self._scopes.values():
                while scope.next_event <= world.time + EPSILON:
                    self._attend(scope)
            if t - world.time <= EPSILON:
                break
            dt = min(
                world.max_step,
                t - world.time,
                max(self._next_event() - world.time, EPSILON),
            )
            world.inputs = self._drive.advance(world.time, dt)
            world.held = self._drive.acting_for(world.time) < self.scenario.rig.release_delay
            world.step(dt)
        self.clock.wait_until(t)
        while self._in_flight and self._in_flight[0].t_received <= t + EPSILON:
            frame = self._in_flight.pop(0)
            self._latest[frame.source] = frame

    def _attend(self, scope: Fluoroscope) -> None:
        """Let a fluoroscope see the world; keep the truth of the middle of its pulse."""
        if abs(scope.middle - self.world.time) <= EPSILON:
            self._truths[scope.source, scope.exposed] = self.truth(source=scope.source)
            self._truths.pop((scope.source, scope.exposed - REMEMBERED_TRUTHS), None)
        frame = scope.attend(self.world)
        if frame is None:
            return
        self._in_flight.append(frame)
        self._in_flight.sort(key=lambda frame: frame.t_received)
        self._dose += frame.dose
        self._reference_kerma += frame.reference_kerma
        self._dap += frame.dap
