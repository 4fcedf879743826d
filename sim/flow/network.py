"""Hydraulics of a vessel tree: flow of every branch and pressure at every node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.flow import FlowConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.flow.carreau import TubeFlow
from mmdtwin.sim.flow.impedance import carreau_resistance, impedance, resistance
from mmdtwin.sim.flow.waveforms import harmonics
from mmdtwin.vessel import Branch, VesselMap

Complex = NDArray[np.complex128]
Values = dict[str, complex]  # by branch or node

MURRAY_EXPONENT = 3.0  # Q ~ r^3; C. D. Murray, PNAS 12 (1926) 207
SWEEPS = 400  # bound of the iteration for a fluid whose viscosity depends on its flow
SWEEP_ERROR = 1e-13  # of the largest flow


@dataclass(frozen=True, eq=False)
class NetworkFlow:
    """Flow and pressure as harmonics: x(t) = Re sum x_k exp(2 pi i k rate t).

    Parameters
    ----------
    rates : dict of str to (k + 1,) complex array
        Volume flow of each branch from its start to its end, m3/s.
    pressures : dict of str to (k + 1,) complex array
        Of each node, Pa. With Murray's split the open end that lies lowest on average is at 0.
    rate : float
        Of the beat, Hz; 0 of steady flow.
    """

    rates: dict[str, Complex]
    pressures: dict[str, Complex]
    rate: float

    def at(self, t: float) -> tuple[dict[str, float], dict[str, float]]:
        """Return the flow of each branch, m3/s, and the pressure of each node, Pa, at t s."""
        count = len(next(iter(self.rates.values())))
        phases = np.exp(2j * np.pi * self.rate * t * np.arange(count))
        flows = {name: float((q @ phases).real) for name, q in self.rates.items()}
        return flows, {node: float((p @ phases).real) for node, p in self.pressures.items()}


def solve_network(
    vessel_map: VesselMap, config: FlowConfig, heart_rate: float | None = None
) -> NetworkFlow:
    """Solve the tree for the flow that inlet and outlets drive.

    Each harmonic of the pulse is a linear network of its own. A dead end draws none.

    Parameters
    ----------
    vessel_map : VesselMap
        A tree of branches, m.
    config : FlowConfig
        Inlet, outlets, pulse and fluid.
    heart_rate : float, optional
        Hz; in place of the pulse's own.

    Raises
    ------
    UserError
        If the inlet is not an end of the vessel, no other end is open, or the outlets are not
        the other ends.
    """
    _check_ends(vessel_map, config)
    rate = 0.0 if config.pulse is None else heart_rate or config.pulse.rate
    solved = []
    for k, wave in enumerate(harmonics(config.pulse)):
        network = _Harmonic(vessel_map, config, wave, 2 * np.pi * k * rate)
        solved.append(network.solve_thinning() if config.carreau else network.solve())
    return NetworkFlow(
        {name: np.array([flows[name] for flows, _ in solved]) for name in vessel_map.branches},
        {node: np.array([pressures[node] for _, pressures in solved]) for node in solved[0][1]},
        rate,
    )


def _check_ends(vessel_map: VesselMap, config: FlowConfig) -> None:
    if config.inlet not in vessel_map.ends:
        raise UserError(
            f"flow.inlet: unknown end '{config.inlet}'; allowed: {', '.join(vessel_map.ends)}"
        )
    others = [end for end in vessel_map.ends if end != config.inlet]
    if not others:
        raise UserError("flow: the vessel has no open end but the inlet")
    if config.outlets is None:
        return
    for end in config.outlets:
        if end not in others:
            raise UserError(f"flow.outlets: unknown end '{end}'; allowed: {', '.join(others)}")
    missing = [end for end in others if end not in config.outlets]
    if missing:
        raise UserError(f"flow.outlets: no outlet given for {', '.join(missing)}")


class _Harmonic:
    """The network of one harmonic: `wave` times what is given at the inlet, at omega rad/s."""

    def __init__(
        self, vessel_map: VesselMap, config: FlowConfig, wave: complex, omega: float
    ) -> None:
        self.map, self.config, self.wave = vessel_map, config, wave
        self.steady = omega == 0.0
        fluid = config.carreau.zero_viscosity if config.carreau else config.viscosity
        branches = vessel_map.branches.items()
        self.resistances = {name: resistance(b, fluid) for name, b in branches}
        self.impedances: dict[str, float] | Values = self.resistances
        if omega > 0.0:
            self.impedances = {name: impedance(b, config, omega) for name, b in branches}

    def solve(self) -> tuple[Values, Values]:
        """Return flow by branch and pressure by node."""
        return self._by_murray() if self.config.outlets is None else self._by_outlets()

    def solve_thinning(self) -> tuple[Values, Values]:
        """The same for a Carreau fluid: resistances and flows in turn until both agree."""
        assert self.config.carreau is not None
        tube = TubeFlow(self.config.carreau)
        before: Values = {}
        for _ in range(SWEEPS):
            flows, pressures = self.solve()
            allowed = SWEEP_ERROR * max(abs(q) for q in flows.values())
            if before and all(abs(q - before[name]) <= allowed for name, q in flows.items()):
                return flows, pressures
            before = flows
            self.impedances = self.resistances = {
                name: carreau_resistance(b, tube, abs(flows[name]))
                for name, b in self.map.branches.items()
            }
        raise UserError("flow: no steady flow found for carreau with these outlets")

    @property
    def _inflow(self) -> complex | None:
        """What enters at the inlet, m3/s; None where its pressure is given."""
        config = self.config
        if config.pressure is not None:
            return None
        if config.flow_rate is not None:
            return self.wave * config.flow_rate
        inlet = next(b for b in self.map.branches.values() if config.inlet in (b.start, b.end))
        rim = inlet.radius[0 if inlet.start == config.inlet else -1]
        return self.wave * (config.mean_speed or 0.0) * np.pi * rim**2

    def _by_murray(self) -> tuple[Values, Values]:
        """Each outlet draws in proportion to the cube of the median radius of its branch."""
        inlet = self.config.inlet
        demand = {
            node: float(np.median(b.radius)) ** MURRAY_EXPONENT
            for b in self.map.branches.values()
            for node in {b.start, b.end} & (set(self.map.ends) - {inlet})
        }
        total = sum(demand.values())
        unit = self._carried({end: d / total for end, d in demand.items()})
        # Which end lies lowest must not depend on the harmonic: the mean flow decides.
        mean_drops = self._drops(unit, self.resistances)
        lowest = max(demand, key=lambda end: mean_drops[end])
        drops = self._drops(unit, self.impedances)
        inflow = self._inflow
        if inflow is None:
            inflow = self.wave * (self.config.pressure or 0.0) / drops[lowest]
        flows = {name: inflow * q for name, q in unit.items()}
        return flows, {node: inflow * (drops[lowest] - d) for node, d in drops.items()}

    def _by_outlets(self) -> tuple[Values, Values]:
        outlets = self.config.outlets or {}
        beyond = {e: complex(o.pressure) if self.steady else 0j for e, o in outlets.items()}
        held = {e: beyond[e] for e, o in outlets.items() if o.resistance == 0.0}
        inflow = self._inflow
        if inflow is None:
            held[self.config.inlet] = self.wave * (self.config.pressure or 0.0)
        pressures = self._node_pressures(held, inflow or 0.0, beyond)
        drawn = {}
        for branch, z in self._edges():
            ends = (branch.start, branch.end), (branch.end, branch.start)
            for end, inner in ends:
                if end in outlets:
                    drawn[end] = (pressures[inner] - pressures[end]) / z
        return self._carried(drawn), pressures

    def _edges(self) -> list[tuple[Branch, complex]]:
        return [(b, self.impedances[name]) for name, b in self.map.branches.items()]

    def _node_pressures(self, held: Values, inflow: complex, beyond: Values) -> Values:
        """Solve Kirchhoff's law at every node whose pressure is not held."""
        nodes = list(dict.fromkeys(n for b, _ in self._edges() for n in (b.start, b.end)))
        free = {node: i for i, node in enumerate(n for n in nodes if n not in held)}
        matrix = np.zeros((len(free), len(free)), complex)
        source = np.zeros(len(free), complex)
        for branch, z in self._edges():
            for node, other in ((branch.start, branch.end), (branch.end, branch.start)):
                if node not in free:
                    continue
                matrix[free[node], free[node]] += 1.0 / z
                if other in free:
                    matrix[free[node], free[other]] -= 1.0 / z
                else:
                    source[free[node]] += held[other] / z
        for end, outlet in (self.config.outlets or {}).items():
            if end in free:
                matrix[free[end], free[end]] += 1.0 / outlet.resistance
                source[free[end]] += beyond[end] / outlet.resistance
        if self.config.inlet in free:
            source[free[self.config.inlet]] += inflow
        found = np.linalg.solve(matrix, source)
        return {node: complex(found[free[node]]) if node in free else held[node] for node in nodes}

    def _carried(self, drawn: Values) -> Values:
        """Flow of each branch from start to end, the sum of what the ends beyond it draw."""
        result: Values = {}

        def beyond(node: str) -> complex:
            total = drawn.get(node, 0.0)
            for name, branch in self.map.branches.items():
                if name in result or node not in (branch.start, branch.end):
                    continue
                forward = node == branch.start
                result[name] = 0.0  # marks it as visited before the walk goes on
                flow = beyond(branch.end if forward else branch.start)
                result[name] = flow if forward else -flow
                total += flow
            return total

        beyond(self.config.inlet)
        return result

    def _drops(self, flows: Values, impedances: Mapping[str, complex]) -> dict[str, Any]:
        """Pressure of the inlet over that of each node."""
        drops: dict[str, Any] = {self.config.inlet: 0.0}
        while len(drops) <= len(self.map.branches):
            for name, branch in self.map.branches.items():
                drop = impedances[name] * flows[name]
                if branch.start in drops:
                    drops[branch.end] = drops[branch.start] + drop
                elif branch.end in drops:
                    drops[branch.start] = drops[branch.end] - drop
        return drops
