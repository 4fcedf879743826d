"""Speed of fields and allocation, beside Magpylib called directly in the same run."""

from __future__ import annotations

import magpylib
import numpy as np

from benchmarks.timing import per_call
from mmdtwin.control import allocate
from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics import CoilSystem
from mmdtwin.sim.magnetics.check import random_points
from mmdtwin.sim.magnetics.magnet import Magnet

SYSTEM = "octomag-like"
POINTS, NODES = 81, 10  # a calibration grid of 9 x 9; links of a sheet
FIELD_DEGREES = (8, 10)
MOMENT = 6.4e-5  # A m2


def figures() -> dict[str, float]:
    """Return microseconds, and ratios to Magpylib, by name."""
    coils, rng = CoilSystem.load(SYSTEM), np.random.default_rng(0)
    points = random_points(POINTS, coils.workspace_radius, rng)
    nodes = random_points(NODES, 0.5 * coils.workspace_radius, rng)
    currents = rng.uniform(-5, 5, coils.n_coils)
    result: dict[str, float] = {}

    objects = coils.to_magpylib(np.ones(coils.n_coils)).children
    direct = per_call(lambda: magpylib.getB(objects, points), 60)  # all coils at once
    result["magpylib_unit_fields_us"] = 1e6 * direct
    for degree in FIELD_DEGREES:
        fitted = with_field_degree(coils, degree)
        both = per_call(lambda model=fitted: model.units(points), 2000)
        result[f"unit_fields_and_gradients_degree_{degree}_us"] = 1e6 * both
        result[f"unit_fields_degree_{degree}_speed_up"] = direct / both
    both = per_call(lambda: coils.units(points), 2000)
    result["unit_fields_and_gradients_as_shipped_us"] = 1e6 * both
    result["unit_fields_as_shipped_speed_up"] = direct / both
    result["summed_at_10_points_us"] = 1e6 * per_call(
        lambda: coils.field_and_gradient(nodes, currents), 5000
    )
    magnet = Magnet.load("cube-50mm")
    field_at = magnet.at([0.0, 0.0, 0.08, 0.0, 0.0, 0.0])
    result["magnet_at_10_points_us"] = 1e6 * per_call(lambda: field_at(nodes), 1000)
    return result | allocations(coils, nodes)


def allocations(coils: CoilSystem, points: Array) -> dict[str, float]:
    """Return the median microseconds of allocating field and force within limits.

    What is asked for in those that end in "limited" takes several times the currents that there
    are, so that a limit binds.
    """
    limits, rng = coils.config.limits, np.random.default_rng(1)
    directions = random_points(len(points), 1.0, rng)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    result = {}
    for name, method, field, force in (
        ("fast", "fast", 10e-3, 5e-6),
        ("fast_limited", "fast", 150e-3, 100e-6),
        ("bounded", "bounded", 10e-3, 5e-6),
        ("bounded_limited", "bounded", 150e-3, 100e-6),
    ):
        times = [
            per_call(
                lambda p=p, u=u, m=method, b=field, f=force: allocate(
                    coils, p, b * u, f * u[[1, 2, 0]], MOMENT * u, limits=limits, method=m
                ),
                300,
            )
            for p, u in zip(points, directions, strict=True)
        ]
        result[f"allocate_{name}_us"] = 1e6 * float(np.median(times))
    return result


def with_field_degree(coils: CoilSystem, degree: int) -> CoilSystem:
    """Return the system fitted with fields to a degree; its potentials go one higher."""
    return CoilSystem(coils.config.model_copy(update={"harmonic_degree": degree + 1}))
