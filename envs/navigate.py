"""`mmdtwin/Navigate-v0`: reach a target through a branching vessel."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from mmdtwin.config import ScenarioConfig, load_scenario
from mmdtwin.control.estimator import Estimate, PathEstimator
from mmdtwin.control.feasibility import flow_feasibility
from mmdtwin.control.follower import Decision
from mmdtwin.control.session import Moment, start_tracker
from mmdtwin.control.task import Arrival, draw_episode
from mmdtwin.control.view import Scene
from mmdtwin.envs.actions import ACTIONS
from mmdtwin.envs.observations import OBSERVATIONS, View
from mmdtwin.errors import PhysicsError, RigError, UserError
from mmdtwin.frame import Frame, Stale
from mmdtwin.geometry import Array
from mmdtwin.hardware import open_rig
from mmdtwin.perception import ImageTracker
from mmdtwin.rig import MAIN, Rig
from mmdtwin.seeding import stream
from mmdtwin.track import Track

FRAME_TIMEOUT = 1.0  # s
PROGRESS = 1.0  # reward per mm of path
TIME_COST = 0.02  # per step, so that dawdling does not pay
ARRIVED = 20.0  # about the length of a path in mm: arriving is worth as much as the way


@runtime_checkable
class HasTruth(Protocol):
    """A rig that knows the true state, such as the twin."""

    def truth(self, seq: int | None = None) -> Any:
        """Return the true state."""

    def last_good(self) -> Any:
        """Return a snapshot of where the physics was last found in its range."""


class NavigateEnv(gym.Env[NDArray[Any], NDArray[np.float32]], EzPickle):
    """Steer the device along a vessel to a target; one step is one X-ray frame.

    Observations (`observation`): see `mmdtwin.envs.observations`. Actions (`action`): see
    `mmdtwin.envs.actions`. Every entry is scaled to about [-1, 1] and has its unit there.

    Reward: progress along the path in mm, minus 0.02 a step, plus 20 on arrival. It is computed
    from the true position when the rig has one, else from the track;
    `info["reward_source"]` says which.

    An episode terminates on arrival (as tracked, see `mmdtwin.control.task.Arrival`), and is
    truncated at the task's timeout, when no live frame comes, or when the physics leaves its
    validated range (`info["physics_error"]`).

    Parameters
    ----------
    scenario : str or ScenarioConfig
        A name in configs/scenarios, a path, or a resolved configuration.
    observation : "tracked", "state" or "pixels"
        "state" needs a rig that knows the truth.
    action : "field" or "currents"
        What the agent commands.
    rig : Rig or str, optional
        A rig, or the name of one; the scenario's own by default.
    render_mode : "rgb_array", optional
        `render` returns (720, 1280, 3) uint8.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        scenario: str | ScenarioConfig = "soft-sheet-bifurcation",
        observation: Literal["tracked", "state", "pixels"] = "tracked",
        action: Literal["field", "currents"] = "field",
        rig: Rig | str | None = None,
        render_mode: str | None = None,
    ) -> None:
        EzPickle.__init__(self, scenario, observation, action, rig, render_mode)
        if observation not in OBSERVATIONS:
            raise UserError(f"observation: '{observation}' is not one of {', '.join(OBSERVATIONS)}")
        if action not in ACTIONS:
            raise UserError(f"action: '{action}' is not one of {', '.join(ACTIONS)}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"render_mode: '{render_mode}' is not one of rgb_array, None")
        self.render_mode = render_mode
        name = rig if isinstance(rig, str) else None
        self.scenario = load_scenario(scenario, rig=name) if isinstance(scenario, str) else scenario
        self.rig: Rig = rig if isinstance(rig, Rig) else open_rig(scenario=self.scenario)
        if observation == "state" and not isinstance(self.rig, HasTruth):
            raise UserError("observation: 'state' needs a rig that knows the truth; use 'tracked'")
        if self.rig.state == "disconnected":
            self.rig.connect()
        description = self.rig.describe()
        flow = flow_feasibility(description)
        if flow is not None and not flow.feasible:
            gym.logger.warn(flow.line)
        self._action = ACTIONS[action](description)
        self._observation = OBSERVATIONS[observation](description)
        self.action_space = self._action.space
        self.observation_space = self._observation.space
        self._moment: Moment | None = None
        self._tracker = ImageTracker.for_rig(description)
        self._ready = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode: a new start, target, registration and view. It has no options."""
        del options
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(2**31))
        rig = self.rig
        self._episode = draw_episode(
            self.scenario.task, rig.describe(), stream(episode_seed, "task")
        )
        rig.prepare(self._episode.start, episode_seed)
        rig.arm()
        description = rig.describe()
        self._path = self._episode.path.transformed(description.T_world_vessel.T)
        self._estimator = PathEstimator(self._path)
        self._arrival = Arrival(self._path, self.scenario.task.tolerance)
        self._scene = Scene(description, self._path.leg, "Navigate-v0")
        frame = rig.next_frame(FRAME_TIMEOUT, MAIN)
        if isinstance(frame, Stale) or not frame.live:
            raise RigError(f"reset: {_why(frame)}")
        start_tracker(self._tracker, frame, self._path)
        self._see(frame)
        self._progress = self._progress_now()
        self._ready = True
        return self._observe(), self._info(episode_seed=episode_seed)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Apply an action until the next frame."""
        if not self._ready:
            raise RigError("step: call reset first")
        decision = self._action.decide(action, self._estimate, self._path)
        rig = self.rig
        try:
            command = self._action.command(decision, rig.next_seq())
            applied = rig.apply(command)
            frame = rig.next_frame(FRAME_TIMEOUT, MAIN)
        except PhysicsError as error:
            last = self.rig.last_good() if isinstance(self.rig, HasTruth) else None
            return self._end(0.0, False, True, physics_error=str(error), last_good=last)
        if isinstance(frame, Stale) or not frame.live:
            return self._end(0.0, False, True, stale=_why(frame))
        self._see(frame)
        self._moment = Moment(frame, self._track, self._estimate, decision, applied)
        before, self._progress = self._progress, self._progress_now()
        reward = PROGRESS * (self._progress - before) * 1e3 - TIME_COST
        arrived = self._arrival.update(self._estimate)
        if arrived:
            close = self._distance() <= self.scenario.task.tolerance
            return self._end(reward + ARRIVED * close, True, False, is_success=close)
        if rig.clock.now() >= self.scenario.task.timeout:
            return self._end(reward, False, True)
        return self._observe(), float(reward), False, False, self._info(reasons=applied.reasons)

    # Gymnasium types what is returned by a type variable bound to nothing.
    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override, unused-ignore]
        """Return the operator's view as RGB, (720, 1280, 3); None without a render mode."""
        if self.render_mode is None or (not self._ready and not hasattr(self, "_frame")):
            return None
        moment = self._moment or self._idle_moment()
        nodes = self.rig.truth().world.nodes if isinstance(self.rig, HasTruth) else None
        return np.ascontiguousarray(self._scene.draw(moment, nodes)[..., ::-1])

    def close(self) -> None:
        """Stop and let go of the rig."""
        self.rig.disconnect()

    def _see(self, frame: Frame) -> None:
        self._frame = frame
        self._track: Track = self._tracker.update(frame)
        self._estimate: Estimate = self._estimator.update(self._track, frame.projection)
        self._moment = None

    def _idle_moment(self) -> Moment:
        from mmdtwin.rig import Applied

        n = len(self.rig.describe().coil_limits.max_current)
        decision = Decision(np.zeros(n), np.zeros(3), np.zeros(3), self._path.at(0.0))
        applied = Applied(None, (), self._track.t)
        return Moment(self._frame, self._track, self._estimate, decision, applied)

    def _position(self) -> Array | None:
        """True position (3,) m in the vessel's frame, or None."""
        return self.rig.truth().position if isinstance(self.rig, HasTruth) else None

    def _progress_now(self) -> float:
        position = self._position()
        if position is None:
            return self._estimate.s
        path = self._episode.path
        return float(path.s[np.argmin(np.linalg.norm(path.points - position, axis=1))])

    def _distance(self) -> float:
        position = self._position()
        if position is None:
            return abs(self._path.length - self._estimate.s)
        return float(np.linalg.norm(position - self._episode.target))

    def _observe(self) -> NDArray[Any]:
        truth = self.rig.truth() if isinstance(self.rig, HasTruth) else None
        return self._observation.make(
            View(self._frame, self._track, self._estimate, self._path, self._episode, truth)
        )

    def _info(self, **more: Any) -> dict[str, Any]:
        source = "truth" if isinstance(self.rig, HasTruth) else "track"
        return {
            "reward_source": source,
            "time": self.rig.clock.now(),
            "s": self._estimate.s,
            "path_length": self._path.length,
            "track_state": self._track.state,
            **more,
        }

    def _end(
        self, reward: float, terminated: bool, truncated: bool, **more: Any
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.rig.stop("episode ended")
        self._ready = False
        more.setdefault("is_success", False)
        return self._observe(), float(reward), terminated, truncated, self._info(**more)


def _why(frame: Frame | Stale) -> str:
    """Why a frame is none to go by."""
    return frame.reason if isinstance(frame, Stale) else "the image is held"
