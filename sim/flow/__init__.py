"""Flow in vessels: hydraulics of the tree, profiles over its sections, drag feasibility."""

from mmdtwin.sim.flow.feasibility import Feasibility, flow_feasibility
from mmdtwin.sim.flow.flow import Flow, LocalFlow, with_flow
from mmdtwin.sim.flow.kernel import flow_at
from mmdtwin.sim.flow.network import NetworkFlow, solve_network

__all__ = [
    "Feasibility", "Flow", "LocalFlow", "NetworkFlow", "flow_at", "flow_feasibility",
    "solve_network", "with_flow",
]  # fmt: skip
