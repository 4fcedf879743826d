"""The seam between twin and laboratory: the only thing a controller or an environment holds."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import numpy as np

from mmdtwin.actuation import Actuation
from mmdtwin.clock import Clock
from mmdtwin.errors import RigError, UserError
from mmdtwin.field import FieldModel, PlacedField
from mmdtwin.frame import Frame, Stale
from mmdtwin.geometry import Array
from mmdtwin.magnet_limits import MagnetLimits, PoseState, gate_pose
from mmdtwin.safety import GateState, Limits, gate
from mmdtwin.vessel import VesselMap

State = Literal["disconnected", "connected", "armed", "stopped"]
MAIN = "main"  # the image source that every rig has, and that controllers steer by


@dataclass(frozen=True, eq=False)
class Registration:
    """A rigid transform as estimated: (4, 4), with its id, date and (6, 6) covariance.

    The covariance is of (translation in m, rotation vector in rad).
    """

    T: Array
    id: str
    date: str
    covariance: Array


@dataclass(frozen=True)
class DeviceFacts:
    """What a laboratory knows of its device from the bench. SI."""

    length: float
    width: float
    thickness: float
    moment: float  # net magnetic moment when straight, of induced ones that in 10 mT, A m2
    weight: float  # weight minus buoyancy, N
    drag: float = 0.0  # force of the fluid that flows along its length at 10 mm/s, N s/m
    # Force of the fluid in N, in the attitude that drags most, at a relative speed in m/s.
    worst_drag: Callable[[float], float] | None = None  # None: not known, or it swims


@dataclass(frozen=True, eq=False)
class RigDescription:
    """What a rig can do, and where it believes things are.

    `field` is the field model as calibrated, in the coils' frame; `placed_field` has it in the
    world. Delays are nominal: image from the middle of the exposure to delivery, actuation from
    `apply` to effect. `sources` names what frames may come from: the planes of a biplane, "main"
    first; delay and rate are those of "main".
    """

    name: str
    mode: str  # what drives it, e.g. "twin lockstep"
    actuations: tuple[type[Actuation], ...]
    field: FieldModel
    limits: Limits | MagnetLimits
    frame_rate: float  # Hz
    image_delay: float  # s
    actuation_delay: float  # s
    T_world_coils: Registration
    T_world_imager: Registration
    T_world_vessel: Registration
    vessel: VesselMap
    device: DeviceFacts
    calibration: str | None = None  # id of the calibration that `field` is; None for a drawing
    sources: tuple[str, ...] = (MAIN,)

    @property
    def coil_limits(self) -> Limits:
        """The limits of a rig with coils.

        Raises
        ------
        UserError
            If the rig holds a magnet instead.
        """
        if isinstance(self.limits, MagnetLimits):
            raise UserError(f"{self.name}: steered by currents only, and this rig holds a magnet")
        return self.limits

    @property
    def placed_field(self) -> PlacedField:
        """The calibrated field model in the world frame."""
        return PlacedField(self.field, self.T_world_coils.T)


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run begins, in the vessel's frame: position (3,) m and direction (3,)."""

    position: Array
    direction: Array


@dataclass(frozen=True, eq=False)
class Applied:
    """The accepted set-point (None when refused), and why it differs from the command."""

    command: Actuation | None
    reasons: tuple[str, ...]
    time: float


@dataclass(frozen=True, eq=False)
class RigState:
    """Telemetry: each reading with the time it was taken, s on the rig's clock."""

    state: State
    time: float
    currents: Array  # measured, A; empty without coils
    temperatures: Array  # of the coils, K
    dose: float  # detector entrance air kerma since `prepare`, of all sources together, Gy
    faults: tuple[str, ...] = ()
    pose: Array | None = None  # measured T_world_magnet (4, 4); None without a magnet
    ecg_phase: float | None = None  # fraction of a beat; None without a monitor
    respiratory_phase: float | None = None
    # Since `prepare`, of all sources together: air kerma at the patient entrance reference point,
    # Gy, and dose-area product, Gy m2; None where no dosimeter tells.
    reference_kerma: float | None = None
    dap: float | None = None
    # Of the X-ray tube, as exposure control sets it for the coming frame of "main", A s.
    tube_charge: float | None = None
    fluoroscopy: bool | None = None  # whether the beam is on; None where it is not told
    times: dict[str, float] = field(default_factory=dict)


MethodT = TypeVar("MethodT", bound=Callable[..., Any])


def _only_through_gate(send: MethodT) -> MethodT:
    @functools.wraps(send)
    def guarded(self: Rig, command: Actuation) -> None:
        if not self._gate_open:
            raise RigError("_send is reached through apply only, so that every command is gated")
        send(self, command)

    return guarded  # type: ignore[return-value]


class Rig(ABC):
    """A twin, an emulated laboratory or a real one. Use it as a context manager.

    Drivers implement the methods that start with an underscore, and the readings. `apply` cannot
    be overridden: it gates the command, then hands it to `_send`.
    """

    clock: Clock

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "apply" in cls.__dict__:
            raise TypeError(f"{cls.__name__}.apply: apply is final, implement _send")
        if "_send" in cls.__dict__:
            cls._send = _only_through_gate(cls.__dict__["_send"])  # type: ignore[method-assign]

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._gate_open = False
        self._state: State = "disconnected"
        self._gate: GateState | PoseState = GateState(np.zeros(0), 0.0)
        self._seq = 0

    @property
    def state(self) -> State:
        """Where the rig is in its life: disconnected, connected, armed or stopped."""
        return self._state

    def next_seq(self) -> int:
        """Return a sequence number newer than any given before."""
        self._seq += 1
        return self._seq

    def connect(self) -> None:
        """Reach the devices. The rig is then connected, not armed."""
        if self._state != "disconnected":
            raise RigError(f"connect: the rig is already {self._state}")
        self._connect()
        self._state = "connected"

    def prepare(self, start: Start, seed: int) -> None:
        """Bring the device to the start of a run; the rig is then connected, not armed."""
        if self._state == "disconnected":
            raise RigError("prepare: connect the rig first")
        if self._state == "armed":
            self.stop("prepare")
        self._prepare(start, seed)
        self._state = "connected"

    def arm(self) -> None:
        """Allow commands to reach the actuators."""
        if self._state != "connected":
            raise RigError(f"arm: the rig is {self._state}; connect and prepare it first")
        limits, now = self.describe().limits, self.clock.now()
        if isinstance(limits, MagnetLimits):
            pose = self.telemetry().pose
            if pose is None:
                raise RigError("arm: the rig does not say where its magnet is")
            self._gate = PoseState(pose, now, self._gate.seq, armed=True)
        else:
            zero = np.zeros(len(limits.max_current))
            self._gate = GateState(zero, now, self._gate.seq, armed=True)
        self._state = "armed"

    def apply(self, actuation: Actuation) -> Applied:
        """Gate a command and send what is accepted. Cannot be overridden."""
        description = self.describe()
        if not isinstance(actuation, description.actuations):
            allowed = ", ".join(kind.__name__ for kind in description.actuations)
            raise RigError(f"{type(actuation).__name__}: this rig takes {allowed}")
        self._before_apply()
        now = self.clock.now()
        if self._state != "armed":
            return Applied(None, (f"the rig is {self._state}",), now)
        command, self._gate, reasons = self._gated(actuation, description.limits, now)
        if command is not None:
            self._gate_open = True
            try:
                self._send(command)
            finally:
                self._gate_open = False
        return Applied(command, reasons, now)

    def stop(self, reason: str) -> None:
        """Bring the actuators to their safe state and disarm. Always allowed."""
        if self._state == "disconnected":
            return
        self._gate = replace(self._gate, armed=False)
        self._state = "stopped"
        self._safe(reason)

    def _gated(
        self, actuation: Actuation, limits: Limits | MagnetLimits, now: float
    ) -> tuple[Actuation | None, GateState | PoseState, tuple[str, ...]]:
        if isinstance(limits, MagnetLimits):
            state = self._gate
            assert isinstance(state, PoseState)
            measured = self.telemetry().pose if now > state.expires else None
            if measured is not None:  # it has left the pose that was accepted
                state = replace(state, T=measured, joints=None)
            return gate_pose(actuation, state, limits, now)
        assert isinstance(self._gate, GateState)
        hottest = float(np.max(self._temperatures()))
        return gate(actuation, replace(self._gate, temperature=hottest), limits, now)

    def disconnect(self) -> None:
        """Stop if needed and let go of the devices."""
        if self._state == "armed":
            self.stop("disconnect")
        if self._state != "disconnected":
            self._disconnect()
            self._state = "disconnected"

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disconnect()

    @abstractmethod
    def describe(self) -> RigDescription:
        """What the rig is and believes; read it again after `prepare`."""

    def fluoroscopy(self, on: bool) -> None:
        """Switch the beam on or off, as the pedal does; `prepare` leaves it on.

        While it is off no dose is given, `next_frame` waits in vain, and `read_latest` returns the
        last image held, with `live` False, until that is too old.

        Raises
        ------
        RigError
            If the rig has no hand on the pedal.
        """
        raise RigError(
            f"fluoroscopy: this rig cannot switch the beam {'on' if on else 'off'}; use the pedal"
        )

    @abstractmethod
    def next_frame(self, timeout: float, source: str | None = None) -> Frame | Stale:
        """Wait for the next live frame delivered after now, at most `timeout` s on the rig's clock.

        `source` is one of `describe().sources`; None takes the next of any. A held image is no
        frame here: whoever steers by frames sees none while the beam is off.
        """

    @abstractmethod
    def read_latest(self, max_age: float, source: str | None = None) -> Frame | Stale:
        """Return the newest delivered frame without waiting; Stale if exposed > max_age s ago.

        The frame is not `live` if it is the last image held.
        """

    @abstractmethod
    def telemetry(self) -> RigState:
        """Return the present readings."""

    @abstractmethod
    def _connect(self) -> None: ...

    @abstractmethod
    def _prepare(self, start: Start, seed: int) -> None: ...

    @abstractmethod
    def _send(self, command: Actuation) -> None:
        """Hand a gated command to the actuators."""

    @abstractmethod
    def _safe(self, reason: str) -> None:
        """Bring the actuators to their safe state."""

    @abstractmethod
    def _disconnect(self) -> None: ...

    @abstractmethod
    def _temperatures(self) -> Array:
        """Coil temperatures (n,) K; empty without coils."""

    def _before_apply(self) -> None:  # noqa: B027  (most rigs have nothing to do)
        """Hook: the twin charges the time that the controller took to compute."""
