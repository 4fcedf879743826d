"""`mmdtwin/Navigate-v0` passes the checkers, is deterministic, pickles, and truncates honestly."""

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium

import mmdtwin.envs  # noqa: F401  (registers the environment)
from mmdtwin.config import load_scenario
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.hardware import open_rig
from mmdtwin.hardware.twin.rig import TwinRig
from mmdtwin.rig import Rig

FLAT = ["imager.background.kind=flat", "imager.detector.rows=256", "imager.detector.columns=256"]
OBSERVATIONS = ("tracked", "state", "pixels")
ACTIONS = ("field", "currents")


def scenario(*assignments):
    return load_scenario("soft-sheet-bifurcation", [*FLAT, *assignments])


def make(observation="tracked", action="field", *assignments, **more):
    return gym.make(
        "mmdtwin/Navigate-v0", scenario=scenario(*assignments), observation=observation,
        action=action, **more,
    )  # fmt: skip


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("action", ACTIONS)
def test_gymnasiums_checker_passes(observation, action):
    env = make(observation, action)
    with warnings.catch_warnings():
        # Environments made by a spec are also closed and made again: that is not a fault.
        warnings.filterwarnings("ignore", message=".*render modes.*")
        check_gymnasium(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_stable_baselines3s_checker_passes(observation):
    from stable_baselines3.common.env_checker import check_env

    env = make(observation)
    check_env(env.unwrapped, warn=True)
    env.close()


def rollout(env, seed, steps=6):
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    seen = [observation]
    rewards = []
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        seen.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            break
    return np.array(seen), np.array(rewards), info


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_deterministic_under_seed(observation):
    first, second = make(observation), make(observation)
    a, ra, _ = rollout(first, 5)
    b, rb, _ = rollout(second, 5)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ra, rb)
    c, _, _ = rollout(first, 6)
    assert c.shape != a.shape or (c != a).any()
    first.close()
    second.close()


def test_pickles_with_its_arguments():
    env = make("tracked", "currents")
    again = pickle.loads(pickle.dumps(env.unwrapped))
    a, _, _ = rollout(env, 2, steps=3)
    b, _, _ = rollout(again, 2, steps=3)
    np.testing.assert_array_equal(a, b)
    env.close()
    again.close()


def test_physics_out_of_range_truncates_with_the_reason(monkeypatch):
    env = make("state")
    env.reset(seed=0)

    def explode(*_):
        raise PhysicsError("Re = 2000 is above 1000, the drag's range")

    monkeypatch.setattr("mmdtwin.sim.world.World.step", explode)
    observation, _, terminated, truncated, info = env.step(env.action_space.sample())
    assert truncated
    assert not terminated
    assert "Re = 2000" in info["physics_error"]
    assert env.observation_space.contains(observation)
    env.close()


def test_an_image_that_is_held_truncates_as_no_image():
    """The pedal is let go: what is on its way is used, then the episode ends."""
    env = make("tracked")
    env.reset(seed=0)
    rig = env.unwrapped.rig
    rig.fluoroscopy(False)
    for _ in range(10):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        if truncated:
            break
    assert truncated
    assert not terminated
    assert "held" in info["stale"]
    assert rig.state == "stopped"
    env.close()


def test_time_runs_out():
    env = make("tracked", "field", "task.timeout=0.4")
    env.reset(seed=0)
    for _ in range(20):
        *_, terminated, truncated, info = env.step(np.zeros(6, np.float32))
        if truncated:
            break
    assert truncated
    assert not terminated
    assert 0.4 <= info["time"] < 0.6
    env.close()


class LabLike(Rig):
    """A rig without a truth: the twin with `truth` hidden, as a laboratory has none."""

    def __init__(self):
        inner = open_rig(scenario=scenario())
        super().__init__(inner.clock)
        self.inner = inner

    def describe(self):
        return self.inner.describe()

    def next_frame(self, timeout, source=None):
        return self.inner.next_frame(timeout, source)

    def read_latest(self, max_age):
        return self.inner.read_latest(max_age)

    def telemetry(self):
        return self.inner.telemetry()

    def _connect(self):
        self.inner.connect()

    def _prepare(self, start, seed):
        self.inner.prepare(start, seed)
        self.inner.arm()
        self.clock = self.inner.clock

    def _send(self, command):
        self.inner.apply(command)

    def _safe(self, reason):
        self.inner.stop(reason)

    def _disconnect(self):
        self.inner.disconnect()

    def _temperatures(self):
        return self.inner._temperatures()


def test_runs_on_any_rig_and_says_where_the_reward_comes_from():
    env = gym.make("mmdtwin/Navigate-v0", scenario=scenario(), rig=LabLike())
    _, info = env.reset(seed=1)
    assert info["reward_source"] == "track"
    *_, info = env.step(env.action_space.sample())
    assert info["reward_source"] == "track"
    env.close()
    twin = make()
    assert twin.reset(seed=1)[1]["reward_source"] == "truth"
    twin.close()


def test_state_observation_needs_a_truth():
    with pytest.raises(UserError, match="knows the truth"):
        gym.make("mmdtwin/Navigate-v0", scenario=scenario(), rig=LabLike(), observation="state")


@pytest.mark.parametrize(
    "wrong", [{"observation": "smell"}, {"action": "push"}, {"render_mode": "x"}]
)
def test_unknown_options_say_what_is_allowed(wrong):
    from mmdtwin.envs.navigate import NavigateEnv

    with pytest.raises(UserError, match="is not one of"):
        NavigateEnv(scenario=scenario(), **wrong)


def test_rendering():
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (720, 1280, 3)
    env.step(env.action_space.sample())
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    env.close()


def test_the_environment_holds_the_rig_it_was_given():
    rig = open_rig(scenario=scenario())
    assert isinstance(rig, TwinRig)
    env = gym.make("mmdtwin/Navigate-v0", scenario=scenario(), rig=rig)
    assert env.unwrapped.rig is rig
    env.close()
