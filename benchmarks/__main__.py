"""Measure the speed of each stage on this machine; print a table and write JSON."""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import bodies, datasets, magnetics, xray
from benchmarks.timing import per_call
from mmdtwin.actuation import CoilCurrents
from mmdtwin.config import load_scenario
from mmdtwin.control import allocate
from mmdtwin.files import writable_dir, write_json
from mmdtwin.hardware import open_rig
from mmdtwin.hardware.twin.rig import TwinRig
from mmdtwin.perception import ImageTracker
from mmdtwin.rig import Start

SCENARIO = "soft-sheet-bifurcation"


def machine() -> dict[str, Any]:
    """Describe the machine."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def prepared() -> TwinRig:
    """Return a twin with the sheet at rest in the trunk."""
    rig = open_rig(scenario=load_scenario(SCENARIO))
    assert isinstance(rig, TwinRig)
    rig.connect()
    vessel = rig.describe().vessel
    branch = next(b for b in vessel.branches.values() if vessel.inlet in (b.start, b.end))
    middle = len(branch.points) // 2
    rig.prepare(Start(branch.points[middle], branch.tangents[middle]), seed=0)
    rig.arm()
    return rig


def physics(rig: TwinRig, seconds: float = 2.0) -> float:
    """Simulated over wall time of the sheet on the vessel's wall, field, gradient and flow on.

    The field turns by 90 degrees back and forth once a second, so that the sheet moves.
    """
    world = rig.world
    facts, field = rig.describe().device, rig.describe().placed_field
    at = world.state().position
    world.step(0.05)
    settings = []
    for direction in (np.array([1.0, 0, 0]), np.array([0.8, 0.6, 0])):
        settings.append(
            allocate(
                field, at, field=10e-3 * direction, force=np.array([1e-6, 0, 5e-6]),
                moment=facts.moment * direction, limits=rig.describe().coil_limits,
            ).inputs
        )  # fmt: skip
    began, simulated = time.perf_counter(), 0.0
    while simulated < seconds:
        world.inputs = settings[int(simulated * 2) % 2]
        world.step(1e-3)
        simulated += 1e-3
    return seconds / (time.perf_counter() - began)


def measure() -> dict[str, float]:
    """Return figures by name."""
    rig = prepared()
    d = rig.describe()
    figures = {"physics_realtime_factor": physics(rig)}
    render = per_call(lambda: rig.imager().render(rig.world), 60)
    figures["render_frames_per_s"] = 1.0 / render
    tracker = ImageTracker.for_rig(d)
    frame = rig.next_frame(1.0)
    place = frame.projection.project(rig.truth().world.position)
    tracker.start(place, 5.0, frame.t_exposure)
    spent = []
    for _ in range(40):
        frame = rig.next_frame(1.0)
        began = time.perf_counter()
        tracker.update(frame)
        spent.append(time.perf_counter() - began)
    figures["tracker_frames_per_s"] = 1.0 / float(np.median(spent))
    currents = np.zeros(d.field.n_inputs)
    began, t = time.perf_counter(), rig.clock.now()
    for _ in range(45):
        tracker.update(rig.next_frame(1.0))
        rig.apply(CoilCurrents(currents, seq=rig.next_seq()))
    figures["loop_realtime_factor"] = (rig.clock.now() - t) / (time.perf_counter() - began)
    rig.disconnect()
    parts = (magnetics, bodies, xray, datasets)
    return figures | {name: value for part in parts for name, value in part.figures().items()}


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    path = parser.parse_args().json
    figures, about = measure(), machine()
    table = Table("figure", "value", title=f"{about['processor']}, {about['cores']} cores")
    for name, value in figures.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
    if path:
        writable_dir(path.parent)
        write_json(path, {"machine": about, "figures": figures})


if __name__ == "__main__":
    main()
