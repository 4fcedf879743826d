"""How fast each device runs: simulated over processor time, and the memory of its process.

One core; field, gradient, flow and contact with the wall are on. The field turns by 37 degrees back
and forth once a second, so that the device moves. A step of an environment at 15 Hz, without
images, is 1/15 s of this.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time

import numpy as np

from mmdtwin.config import load_scenario, names
from mmdtwin.control import allocate
from mmdtwin.field import PlacedField
from mmdtwin.sim import World

SETTLING = 0.2  # s in which it sinks to the wall
FIELD = 10e-3  # T
FORCE = np.array([1e-6, 0.0, 5e-6])  # N, asked for
DIRECTIONS = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0]])


def scenarios() -> list[str]:
    """Return one shipped scenario of each kind of device, with coils and the short vessel."""
    return [name for name in names("scenarios") if name.endswith("-bifurcation")]


def realtime(scenario: str, seconds: float = 2.0) -> tuple[float, float]:
    """Return simulated over processor time, and the peak memory of this process, MB."""
    world = World.from_config(load_scenario(scenario))
    at = world.state().position
    world.step(SETTLING)
    field_model = PlacedField(world.field_model, world.T_world_coils)
    settings = [
        allocate(
            field_model, at, field=FIELD * d, force=FORCE, moment=max(world.facts.moment, 1e-9) * d,
            limits=world.scenario.limits(),
        ).inputs
        for d in DIRECTIONS
    ]  # fmt: skip
    began, end = time.process_time(), world.time + seconds
    while world.time < end:
        world.inputs = settings[int(world.time * 2) % 2]
        world.step(world.max_step)
    spent = time.process_time() - began
    return seconds / spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures() -> dict[str, float]:
    """Return the figures of all devices, each measured in a process of its own."""
    found = {}
    for scenario in scenarios():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            factor, memory = pool.apply(realtime, (scenario,))
        device = scenario.removesuffix("-bifurcation").replace("-", "_")
        found[f"{device}_realtime_factor"] = factor
        found[f"{device}_env_steps_per_s"] = 15.0 * factor
        found[f"{device}_peak_memory_mb"] = memory
    return found


if __name__ == "__main__":
    chosen = sys.argv[1:] or scenarios()
    for name in chosen:
        factor, memory = realtime(name)
        print(f"{name}: {factor:.2f} x real time, {15 * factor:.0f} env-steps/s, {memory:.0f} MB")
