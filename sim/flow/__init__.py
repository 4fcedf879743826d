"""Flow in vessels: hydraulics of the tree, profiles over its sections."""

from mmdtwin.sim.flow.flow import Flow, LocalFlow, with_flow
from mmdtwin.sim.flow.kernel import flow_at
from mmdtwin.sim.flow.network import NetworkFlow, solve_network

__all__ = [
    "Flow", "LocalFlow", "NetworkFlow", "flow_at", "solve_network", "with_flow",
]  # fmt: skip
