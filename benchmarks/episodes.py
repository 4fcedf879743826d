"""Random episodes: does the wall hold, whatever the field does?

Each episode starts somewhere in the vessel, in either direction; random currents, held for random
times, make fields up to 10 mT with whatever gradient comes with them; the phantom's flow is on.
Every substep in which the wall pushes is sampled. Penetration is how deep a collision sphere is in
the facets of the wall, as PyBullet's contacts have it: the facets are the wall. An escape is a
sphere's centre outside.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmdtwin.config import ScenarioConfig, load_scenario
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.files import writable_dir, write_json
from mmdtwin.geometry import Array, apply, invert
from mmdtwin.seeding import stream
from mmdtwin.sim import World

LARGEST_FIELD = 10e-3  # T
HOLD = 0.02, 0.4  # s that inputs are held
DURATION = 2.0  # s
LEVELS = {"penetration_median_um": 50, "penetration_p99_um": 99, "penetration_max_um": 100}


@dataclass(frozen=True)
class Episode:
    """What an episode showed: depth (n,) m in the wall of every substep in contact."""

    depth: Array
    substeps: int
    escaped: bool
    error: str | None


def run(world: World, seed: int, duration: float = DURATION) -> Episode:
    """Fly one random episode."""
    rng = stream(seed, "physics")
    _start(world, rng)
    depths: list[float] = []
    counts = {"substeps": 0, "escaped": 0}
    device = world.device
    read = device.read

    def sample() -> None:
        read()
        counts["substeps"] += 1
        found = device.wall_distances()
        if len(found):
            depths.append(max(-float(found.min()), 0.0))
        centres, _ = device.surface()
        counts["escaped"] += bool(world.vessel.sdf(centres).min() < 0.0)

    device.read = sample  # type: ignore[method-assign]
    error = None
    try:
        for inputs, hold in _inputs(world, rng, duration):
            world.inputs = inputs
            for _ in range(round(hold / world.max_step)):
                world.step(world.max_step)
    except (PhysicsError, UserError) as fault:
        error = str(fault)
    return Episode(np.array(depths), counts["substeps"], counts["escaped"] > 0, error)


def _start(world: World, rng: np.random.Generator) -> None:
    """Put the device somewhere on a centreline, where it fits."""
    branches = list(world.vessel.map.branches.values())
    while True:
        branch = branches[rng.integers(len(branches))]
        i = int(rng.integers(len(branch.points)))
        try:
            world.reset(branch.points[i], branch.tangents[i] * rng.choice([-1.0, 1.0]))
        except UserError:
            continue  # it does not fit there
        return


def _inputs(
    world: World, rng: np.random.Generator, duration: float
) -> Iterator[tuple[Array, float]]:
    """Yield inputs and how long to hold them."""
    spent = 0.0
    while spent < duration:
        hold = float(min(rng.uniform(*HOLD), duration - spent))
        spent += hold
        inputs = rng.standard_normal(len(world.inputs))
        point = apply(invert(world.T_world_coils) @ world.T_world_vessel, world.device.centre())
        field, _ = world.field_model.field_and_gradient(point[None], inputs)
        wanted = LARGEST_FIELD * rng.uniform() ** (1 / 3)
        yield inputs * wanted / float(np.linalg.norm(field)), hold


def summary(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the figures of many episodes, lengths in um."""
    depth = np.concatenate([e.depth for e in episodes])
    levels = np.percentile(depth, [*LEVELS.values()]) if len(depth) else np.zeros(len(LEVELS))
    return {
        "episodes": len(episodes),
        "substeps": sum(e.substeps for e in episodes),
        "in_contact": len(depth),
        **dict(zip(LEVELS, (1e6 * levels).tolist(), strict=True)),
        "escapes": sum(e.escaped for e in episodes),
        "errors": sum(e.error is not None for e in episodes),
        "reasons": sorted({e.error for e in episodes if e.error}),
    }


_world: World | None = None


def _begin(scenario: ScenarioConfig) -> None:
    global _world
    _world = World(scenario)


def _run(seed: int) -> Episode:
    assert _world is not None
    return run(_world, seed)


def fly(scenario: ScenarioConfig, seeds: Sequence[int], jobs: int) -> list[Episode]:
    """Fly one episode for each seed, in `jobs` processes."""
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(scenario,)
    )
    with pool:
        futures = [pool.submit(_run, seed) for seed in seeds]
        done = track(as_completed(futures), "episodes", total=len(futures))
        return [future.result() for future in done]


def main() -> None:
    """Fly, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="+", help="names in configs/scenarios, or paths")
    parser.add_argument("--episodes", type=int, default=500, help="of each scenario")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.episodes)
    found = {s: summary(fly(load_scenario(s), seeds, given.jobs)) for s in given.scenarios}
    table = Table("figure", *found)
    for name in next(iter(found.values())):
        table.add_row(name, *(_shown(figures[name]) for figures in found.values()))
    Console().print(table)
    if given.json:
        writable_dir(given.json.parent)
        write_json(given.json, found)


def _shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
