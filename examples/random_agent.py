"""A Gymnasium agent that draws its actions at random: put your own in `policy`.

python examples/random_agent.py --steps 150 --observation pixels
"""

import argparse

import gymnasium as gym
import numpy as np

import mmdtwin.envs  # noqa: F401  (registers the environment)
from mmdtwin.config import load_scenario


def policy(observation: np.ndarray, env: gym.Env) -> np.ndarray:
    """Draw an action; a trained policy looks at the observation."""
    del observation
    return env.action_space.sample()


def main() -> None:
    """Run one episode, at most `--steps` frames, and print its return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="soft-sheet-bifurcation")
    parser.add_argument("--observation", default="tracked", choices=("tracked", "state", "pixels"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()

    env = gym.make(
        "mmdtwin/Navigate-v0",
        scenario=load_scenario(args.scenario, args.set),
        observation=args.observation,
        action="field",
    )
    observation, info = env.reset(seed=args.seed)
    env.action_space.seed(args.seed)
    total, steps, ended = 0.0, 0, False
    while not ended and steps < args.steps:
        action = policy(observation, env)
        observation, reward, terminated, truncated, info = env.step(action)
        total, steps, ended = total + float(reward), steps + 1, terminated or truncated
    env.close()
    print(
        f"{steps} frames, {info['time']:.1f} s: return {total:.2f}, "
        f"{info['s'] * 1e3:.1f} of {info['path_length'] * 1e3:.1f} mm, {info['track_state']}"
    )


if __name__ == "__main__":
    main()
