"""Fly the device with a controller of your own; the same lines run on the twin and in a lab.

python examples/fly.py --seed 1 --set task.timeout=20
"""

import argparse

import numpy as np

from mmdtwin.config import load_scenario
from mmdtwin.control import allocate
from mmdtwin.control.estimator import Estimate
from mmdtwin.control.follower import Controller, Decision
from mmdtwin.control.session import Moment, Session
from mmdtwin.control.task import draw_episode
from mmdtwin.hardware import open_rig
from mmdtwin.perception import ImageTracker
from mmdtwin.seeding import stream

FIELD = 10e-3  # T, along the path: it holds the sheet in line
GAIN = 1e-3  # N/m of pull per metre that is left to the target
MAX_PULL = 2e-6  # N
CARRIED = 0.5  # of the submerged weight, so that the sheet slides with little friction
UP = np.array([0.0, 0.0, 1.0])


class Puller(Controller):
    """Pulls the device along the path towards the target, as the image shows it."""

    def decide(self, estimate: Estimate) -> Decision:
        """Return the currents for the newest estimate."""
        at, device = self.path.at(estimate.s), self.description.device
        direction = self.path.chord(estimate.s, device.length)
        left = self.path.length - estimate.s
        pull = np.clip(GAIN * left, -MAX_PULL, MAX_PULL)
        currents = allocate(
            self.description.placed_field,
            at,
            field=FIELD * direction,
            force=pull * self.path.tangent(estimate.s) + CARRIED * device.weight * UP,
            moment=device.moment * direction,
            limits=self.description.coil_limits,
        ).inputs
        return self._report(currents, at, direction, self.path.at(self.path.length))


def main() -> None:
    """Fly one episode and print where the image showed the device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="soft-sheet-bifurcation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    scenario = load_scenario(args.scenario, args.set)

    def show(moment: Moment) -> None:
        frame, estimate = moment.frame, moment.estimate
        if frame.seq % 15 == 0:
            here = f"{estimate.s * 1e3:5.1f} mm along the path"
            print(f"{frame.t_exposure:5.1f} s  {here}  {moment.track.state}")

    with open_rig(scenario=scenario) as rig:
        description = rig.describe()
        episode = draw_episode(scenario.task, description, stream(args.seed, "task"))
        tracker = ImageTracker.for_rig(description)
        session = Session(rig, tracker, episode, scenario.task, Puller)
        outcome = session.run(args.seed, show)
    print(f"{outcome.ended} after {outcome.time:.1f} s of {episode.path.length * 1e3:.1f} mm")


if __name__ == "__main__":
    main()
