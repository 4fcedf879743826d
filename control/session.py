"""One closed loop from images to currents, on any rig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mmdtwin.config import TaskConfig
from mmdtwin.control.estimator import Estimate, WayEstimator
from mmdtwin.control.follower import Controller, Decision, command
from mmdtwin.control.path import Path, down_in, wrong_turns
from mmdtwin.control.task import Arrival, Episode
from mmdtwin.frame import Frame, Stale
from mmdtwin.rig import MAIN, Applied, Rig, RigDescription
from mmdtwin.track import ImageTracker, Track

START_SIGMA = 1.5e-3  # m, how well the operator knows where the device was let go
COMMAND_FRAMES = 4  # a command stays valid for this many frame periods


@dataclass(frozen=True, eq=False)
class Moment:
    """Everything that one frame led to."""

    frame: Frame
    track: Track
    estimate: Estimate
    decision: Decision
    applied: Applied


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "arrived", "timeout", "stale" or "interrupted", and when, s."""

    ended: str
    time: float


def start_tracker(tracker: ImageTracker, frame: Frame, path: Path) -> None:
    """Tell a tracker at the first frame where the device was let go: at the path's start."""
    place = frame.projection.project(path.start)
    tracker.start(place, START_SIGMA / frame.projection.pixel_size, frame.t_exposure)


class ControllerFactory(Protocol):
    """Makes a controller for a rig as it describes itself and a path in its world."""

    def __call__(self, description: RigDescription, path: Path) -> Controller: ...


class Session:
    """Runs one episode: the rig is prepared and armed, driven frame by frame, and stopped.

    Parameters
    ----------
    rig : Rig
        Connected. Twin or laboratory: the session cannot tell.
    tracker : ImageTracker
        Finds the device in the frames.
    episode : Episode
        Start, target and path, in the vessel's frame.
    task : TaskConfig
        Tolerance and timeout.
    controller : callable
        Makes the controller, given the rig's description and the path in the world.
    """

    def __init__(
        self,
        rig: Rig,
        tracker: ImageTracker,
        episode: Episode,
        task: TaskConfig,
        controller: ControllerFactory,
    ) -> None:
        self._rig = rig
        self._tracker = tracker
        self._episode = episode
        self._task = task
        self._controller = controller

    def run(self, seed: int, observe: Callable[[Moment], None]) -> Outcome:
        """Run to the end of the episode; `observe` sees every moment.

        A session that is interrupted (Ctrl-C) or fails leaves the rig stopped.
        """
        rig = self._rig
        rig.prepare(self._episode.start, seed)
        rig.arm()
        try:
            return self._loop(observe)
        finally:
            rig.stop("session ended")

    def _loop(self, observe: Callable[[Moment], None]) -> Outcome:
        rig, description = self._rig, self._rig.describe()
        path = self._episode.path.transformed(description.T_world_vessel.T)
        controller = self._controller(description, path)
        turns = wrong_turns(
            description.vessel,
            self._episode.path,
            self._episode.start.position,
            description.device,
            down_in(description.T_world_vessel.T),
        )
        T = description.T_world_vessel.T
        estimator = WayEstimator(path, tuple(turn.transformed(T) for turn in turns))
        arrival = Arrival(path, self._task.tolerance)
        period = 1.0 / description.frame_rate
        begin, started = rig.clock.now(), False
        while True:
            if rig.clock.now() - begin >= self._task.timeout:
                return Outcome("timeout", rig.clock.now() - begin)
            frame = rig.next_frame(timeout=1.0, source=MAIN)
            # What a held image shows is past: nothing is steered by it.
            if isinstance(frame, Stale) or not frame.live:
                return Outcome("stale", rig.clock.now() - begin)
            if not started:
                start_tracker(self._tracker, frame, path)
                started = True
            track = self._tracker.update(frame)
            estimate = estimator.update(track, frame.projection)
            decision = controller.decide(estimate)
            applied = rig.apply(command(decision, rig.next_seq(), COMMAND_FRAMES * period))
            observe(Moment(frame, track, estimate, decision, applied))
            if arrival.update(estimate):
                return Outcome("arrived", rig.clock.now() - begin)
