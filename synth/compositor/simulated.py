"""Shapes that devices take in the twin: from episodes under random fields, kept in a pool.

Rigid devices take none: they are drawn.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mmdtwin.config import load_scenario
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.geometry import Array
from mmdtwin.seeding import stream
from mmdtwin.sim import World
from mmdtwin.sim.shapes import Solids
from mmdtwin.synth.compositor.devices import LIQUID, SOLID, Device, about_origin, scaled_to

SCENARIOS = {
    "sheet": "soft-sheet-bifurcation",
    "rod": "rod-bifurcation",
    "droplet": "droplet-bifurcation",
}
EPISODES, SHAPES = 3, 10  # of each kind, and shapes kept of each
PERIOD = 0.1  # s between shapes
HOLD = 0.25  # s that a field stays
FIELDS = (1e-3, 20e-3)  # T
SEED = 0  # the pool is the same for all datasets


def draw_simulated(rng: np.random.Generator, kind: str, size: float) -> Device:
    """Return a device of a shape that it took in an episode, scaled to a size.

    Parameters
    ----------
    rng : Generator
    kind : str
        One of `SCENARIOS`.
    size : float
        Its longest extent, m.

    Raises
    ------
    UserError
        If no physics of the kind is there.
    """
    if kind not in SCENARIOS:
        raise UserError(f"no simulated '{kind}'; allowed: {', '.join(SCENARIOS)}")
    pool = shapes(kind)
    return about_origin(scaled_to(pool[int(rng.integers(len(pool)))], size))


@lru_cache(maxsize=len(SCENARIOS))
def shapes(kind: str) -> list[Device]:
    """Return the pool of a kind; made once, kept in the user's cache."""
    scenario = load_scenario(SCENARIOS[kind])
    key = digest([Path(__file__).read_text(), scenario.hash])
    path = cache_dir("compositor") / f"shapes-{kind}-{key}.npz"
    if not path.is_file():
        found = _simulate(kind)
        with replacing(path) as part:
            np.savez(part, allow_pickle=False, **_arrays(found))
    try:
        with np.load(path) as data:
            return _devices(kind, dict(data))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(f"{path}: broken ({error}); delete it, it is made anew") from None


def _simulate(kind: str) -> list[tuple[Solids, Array]]:
    world = World(load_scenario(SCENARIOS[kind]))
    rng = stream(SEED, f"simulated-{kind}")
    found: list[tuple[Solids, Array]] = []
    try:
        for episode in range(EPISODES):
            branch = list(world.vessel.map.branches.values())[episode % 2]
            middle = len(branch.points) // 2
            world.reset(branch.points[middle], branch.tangents[middle], episode)
            found += _episode(world, rng)
    finally:
        world.close()
    if not found:
        raise UserError(f"simulated '{kind}': no episode stayed within its physics")
    return found


def _episode(world: World, rng: np.random.Generator) -> list[tuple[Solids, Array]]:
    kept: list[tuple[Solids, Array]] = []
    changed = -np.inf
    try:
        while len(kept) < SHAPES:
            if world.time >= changed + HOLD:
                world.inputs = _inputs(world, rng)
                changed = world.time
            world.step(PERIOD)
            kept.append((world.solids(), _line(world)))
    except PhysicsError:  # a field drove it out of the range of its model: what was before is good
        pass
    return kept


def _inputs(world: World, rng: np.random.Generator) -> Array:
    """Return random currents whose field at the device is within `FIELDS`."""
    currents = rng.normal(size=world.inputs.shape)
    world.inputs = currents
    field = float(np.linalg.norm(world.field_at_device()))
    return np.asarray(currents * rng.uniform(*FIELDS) / max(field, 1e-9))


def _line(world: World) -> Array:
    """Return the device's ends, or its centreline where it has one, (n, 3)."""
    nodes = world.state().nodes
    if world.scenario.device.kind != "droplet":
        return nodes
    middle = nodes.mean(axis=0)
    _, _, axes = np.linalg.svd(nodes - middle, full_matrices=False)
    along = (nodes - middle) @ axes[0]
    return middle + np.array([along.min(), along.max()])[:, None] * axes[0]


def _arrays(found: list[tuple[Solids, Array]]) -> dict[str, Array]:
    arrays: dict[str, Array] = {"shape": np.array(found[0][0].shape)}
    for i, (solids, line) in enumerate(found):
        arrays[f"centre{i:03d}"], arrays[f"rotation{i:03d}"] = solids.centre, solids.rotation
        arrays[f"half{i:03d}"], arrays[f"line{i:03d}"] = solids.half_extents, line
    return arrays


def _devices(kind: str, data: dict[str, Array]) -> list[Device]:
    family = LIQUID if kind == "droplet" else SOLID
    shape = str(data["shape"])
    devices = []
    for i in range(sum(name.startswith("line") for name in data)):
        body = Solids(
            data[f"centre{i:03d}"], data[f"rotation{i:03d}"], data[f"half{i:03d}"], family,
            "box" if shape == "box" else "ellipsoid",
        )  # fmt: skip
        devices.append(Device(kind, (body,), data[f"line{i:03d}"], family))
    return [replace(d, origin="simulated") for d in devices]
