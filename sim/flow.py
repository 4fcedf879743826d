"""Steady flow in a vessel: Poiseuille in every branch, shared out at junctions by Murray's law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from mmdtwin.config.flow import FlowConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.vessel import VesselMap

MURRAY_EXPONENT = 3.0  # Q ~ r^3; C. D. Murray, PNAS 12 (1926) 207
ENTRANCE_COEFFICIENT = 0.06  # entrance length / (Re diameter), laminar; Schlichting, pipe flow
LAMINAR_REYNOLDS = 2000.0  # pipe flow below it is laminar


class Flow:
    """Velocity of the fluid at any point of a vessel.

    In each branch v = 2 U (1 - r^2/R^2) t, with U the mean axial speed over the circle inscribed
    at the nearest section, R its radius and t the centreline's tangent; zero outside that circle.
    U R^2 is constant along a branch and the flow rates at a junction add up to zero, so volume is
    conserved at every section. Where tubes overlap at a junction the velocity is that of the
    branch whose axis is nearest in local radii. Towards a cap the profile closes over one radius:
    the fluid leaves through the cap, which is a mesh to the device.

    Parameters
    ----------
    vessel_map : VesselMap
        Centrelines and radii, m.
    config : FlowConfig
        Inlet, mean speed there, fluid.

    Attributes
    ----------
    flow_rates : dict of str to float
        Volume flow of each branch from its start to its end, m3/s.
    points, tangents : (n, 3) array
        Centreline points, m, and unit tangents, all branches in a row.
    radius, speed : (n,) array
        Inscribed radius, m, and mean axial speed along the tangent, m/s.
    branch : (n,) int array
        Number of the branch of each point.
    """

    def __init__(self, vessel_map: VesselMap, config: FlowConfig) -> None:
        self.map = with_flow(vessel_map, config)
        self.config = config
        self.flow_rates = {name: b.flow_rate for name, b in self.map.branches.items()}
        branches = list(self.map.branches.values())
        self.points = np.ascontiguousarray(self.map.points)
        self.radius = np.ascontiguousarray(self.map.radius)
        self.tangents = np.concatenate([b.tangents for b in branches])
        self.speed = np.concatenate([b.speeds for b in branches])
        self.branch: NDArray[np.int64] = np.repeat(
            np.arange(len(branches)), [len(b.points) for b in branches]
        )

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array, NDArray[np.int64]]:
        """The arrays that `flow_velocity` takes after its points, for use in compiled code."""
        return self.points, self.tangents, self.radius, self.speed, self.branch

    def velocity(self, points: ArrayLike) -> Array:
        """Return the fluid's velocity (n, 3) m/s at points (n, 3) m in the vessel's frame."""
        p = np.ascontiguousarray(np.atleast_2d(np.asarray(points, float)))
        out = np.empty_like(p)
        flow_velocity(p, *self.arrays, out)
        return out

    def reynolds(self) -> dict[str, float]:
        """Largest Reynolds number 2 rho |U| R / mu in each branch."""
        scale = 2.0 * self.config.density / self.config.viscosity
        return {
            name: float(scale * np.max(np.abs(b.speeds) * b.radius))
            for name, b in self.map.branches.items()
        }

    def entrance_length(self) -> dict[str, float]:
        """Length in m after which the profile of each branch is developed, 0.06 Re D."""
        return {
            name: ENTRANCE_COEFFICIENT * re * 2.0 * float(self.map.branches[name].radius.mean())
            for name, re in self.reynolds().items()
        }


@njit(cache=True)
def flow_velocity(points, line, tangents, radius, speed, branch, out):  # type: ignore[no-untyped-def]
    """Write the velocity at `points` (n, 3) to `out` (n, 3); see `Flow` for the other arrays.

    Any consistent units; usable from compiled code.
    """
    n = line.shape[0]
    weight = 1.0 / (radius * radius)
    for k in range(points.shape[0]):
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        best, least = 0, np.inf
        for i in range(n):
            dx, dy, dz = x - line[i, 0], y - line[i, 1], z - line[i, 2]
            relative = (dx * dx + dy * dy + dz * dz) * weight[i]
            if relative < least:
                best, least = i, relative
        out[k, 0] = out[k, 1] = out[k, 2] = 0.0
        if least > 1.5:  # beyond every circle, whatever its tangent
            continue
        i = best
        dx, dy, dz = x - line[i, 0], y - line[i, 1], z - line[i, 2]
        along = dx * tangents[i, 0] + dy * tangents[i, 1] + dz * tangents[i, 2]
        j = i + 1 if along > 0.0 else i - 1
        share, axial = 0.0, 0.0
        if 0 <= j < n and branch[j] == branch[i]:
            gx, gy, gz = line[j, 0] - line[i, 0], line[j, 1] - line[i, 1], line[j, 2] - line[i, 2]
            share = min(abs(along) / np.sqrt(gx * gx + gy * gy + gz * gz), 1.0)
            axial = along
        else:
            j = i  # past the branch's last point: the profile closes over a hemisphere
        r = radius[i] + share * (radius[j] - radius[i])
        square = (dx * dx + dy * dy + dz * dz - axial * axial) / (r * r)
        if square >= 1.0:
            continue
        tx = tangents[i, 0] + share * (tangents[j, 0] - tangents[i, 0])
        ty = tangents[i, 1] + share * (tangents[j, 1] - tangents[i, 1])
        tz = tangents[i, 2] + share * (tangents[j, 2] - tangents[i, 2])
        peak = 2.0 * (speed[i] + share * (speed[j] - speed[i])) * (1.0 - square)
        peak /= np.sqrt(tx * tx + ty * ty + tz * tz)
        out[k, 0], out[k, 1], out[k, 2] = peak * tx, peak * ty, peak * tz


def with_flow(vessel_map: VesselMap, config: FlowConfig) -> VesselMap:
    """Return the map with the mean speeds that follow from the inlet.

    Every open end but the inlet draws a share of the flow in proportion to the cube of the median
    radius of its branch (Murray); a dead end draws none; each branch carries what the ends beyond
    it draw. At a junction that leads straight to two ends this is Q1/Q2 = (r1/r2)^3.

    Raises
    ------
    UserError
        If the inlet is not an end of the vessel, or no other end is open.
    """
    if config.inlet not in vessel_map.ends:
        raise UserError(
            f"flow.inlet: unknown end '{config.inlet}'; allowed: {', '.join(vessel_map.ends)}"
        )
    demand = _demands(vessel_map, config.inlet)
    total = sum(demand.values())
    if total <= 0.0:
        raise UserError("flow: the vessel has no open end but the inlet")
    inlet = next(b for b in vessel_map.branches.values() if config.inlet in (b.start, b.end))
    rim = inlet.radius[0 if inlet.start == config.inlet else -1]
    inflow = config.mean_speed * np.pi * rim**2
    drawn = _drawn(vessel_map, config.inlet, demand)
    branches = {}
    for name, branch in vessel_map.branches.items():
        rate = inflow * drawn[name] / total
        speed = rate * float(np.mean(1.0 / (np.pi * branch.radius**2)))
        branches[name] = replace(branch, mean_speed=speed)
    return replace(vessel_map, branches=branches, inlet=config.inlet)


def _demands(vessel_map: VesselMap, inlet: str) -> dict[str, float]:
    demand = {}
    for branch in vessel_map.branches.values():
        for node in {branch.start, branch.end} & (set(vessel_map.ends) - {inlet}):
            demand[node] = float(np.median(branch.radius)) ** MURRAY_EXPONENT
    return demand


def _drawn(vessel_map: VesselMap, inlet: str, demand: dict[str, float]) -> dict[str, float]:
    """Sum of the demands beyond each branch, positive when they lie beyond its end."""
    result: dict[str, float] = {}

    def beyond(node: str) -> float:
        total = demand.get(node, 0.0)
        for name, branch in vessel_map.branches.items():
            if name in result or node not in (branch.start, branch.end):
                continue
            forward = node == branch.start
            result[name] = 0.0  # marks it as visited before the walk goes on
            flow = beyond(branch.end if forward else branch.start)
            result[name] = flow if forward else -flow
            total += flow
        return total

    beyond(inlet)
    return result
