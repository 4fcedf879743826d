"""How fast the fluoroscope is: World to 12-bit Frame, a CT's radiograph, and the memory of it.

The device is the soft sheet of ten links; scatter, the scintillator's blur and a lag are on.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from typing import Any

import numpy as np

from benchmarks.timing import per_call
from mmdtwin.config import ImagerConfig, load_scenario
from mmdtwin.frame import Projection
from mmdtwin.seeding import stream
from mmdtwin.sim import World
from mmdtwin.sim.anatomy import load_anatomy
from mmdtwin.synth.xray import Imager
from mmdtwin.synth.xray.drr import material_maps

SCENARIO = "soft-sheet-bifurcation"
LAG = [{"share": 0.05, "time": 0.2}]
FRAMES = 60


def imager(path: str, size: int) -> tuple[Imager, World]:
    """Return the scenario's fluoroscope with a square image of `size` px over the same field."""
    scenario = load_scenario(SCENARIO)
    data: dict[str, Any] = scenario.imager.model_dump(mode="json")
    detector = data["detector"]
    detector |= {
        "rows": size, "columns": size, "pitch": detector["pitch"] * detector["rows"] / size,
        "lag": LAG,
    }  # fmt: skip
    config = ImagerConfig.model_validate(data | {"path": path})
    world = World.from_config(scenario)
    return Imager(config, stream(0, "background"), stream(0, "imaging")), world


def frame_time(path: str, size: int) -> tuple[float, float, float]:
    """Return median s of a frame, s of a new background, and this process's peak memory, MB."""
    used, world = imager(path, size)
    began = time.perf_counter()
    used = Imager(used.config, stream(1, "background"), stream(1, "imaging"))
    prepared = time.perf_counter() - began
    median = per_call(lambda: used.render(world), FRAMES if path == "fast" else 10)
    return median, prepared, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def radiograph_time() -> tuple[float, float]:
    """Return s of a 512 x 512 radiograph of the shipped CT, and this process's peak memory, MB."""
    anatomy = load_anatomy()
    projection = Projection.from_carm(1.1, 0.75, 0.3e-3, (512, 512), np.deg2rad(20.0))
    where = np.array([0.0, -0.21, 0.0])
    spent = per_call(lambda: material_maps(anatomy, projection, where), 3)
    return spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures() -> dict[str, float]:
    """Return the figures, each path and size measured in a process of its own."""
    found = {}
    context = multiprocessing.get_context("spawn")
    for path, size in (("fast", 512), ("fast", 1024), ("full", 512)):
        with context.Pool(1) as pool:
            frame, background, memory = pool.apply(frame_time, (path, size))
        name = f"xray_{path}_{size}"
        found[f"{name}_ms"] = frame * 1e3
        found[f"{name}_background_ms"] = background * 1e3
        found[f"{name}_peak_memory_mb"] = memory
    with context.Pool(1) as pool:
        spent, memory = pool.apply(radiograph_time)
    return found | {"radiograph_512_ms": spent * 1e3, "radiograph_peak_memory_mb": memory}


if __name__ == "__main__":
    for name, value in figures().items():
        print(f"{name}: {value:.1f}")
