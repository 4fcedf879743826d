"""Flow of the fluid in a vessel: steady or pulsatile, at any point and time."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.config.flow import FlowConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.flow import carreau
from mmdtwin.sim.flow.kernel import blocks, flow_at
from mmdtwin.sim.flow.network import NetworkFlow, solve_network
from mmdtwin.sim.flow.profiles import POISEUILLE, womersley_series
from mmdtwin.vessel import VesselMap

ENTRANCE_COEFFICIENT = 0.06  # entrance length / (Re diameter), laminar; Schlichting, pipe flow
INSTANTS = 128  # of a beat, at which peaks are looked for
SECTION = np.linspace(0.0, 1.0, 33)  # squares of relative radius, the same


class LocalFlow(NamedTuple):
    """What surrounds a small body: v (n, 3) m/s, dv_i/dx_j (n, 3, 3) 1/s, lap v (n, 3) 1/(m s),
    and the fluid's acceleration dv/dt + v . grad v (n, 3) m/s2.

    The Laplacian is that of the axial profile over the section, along the axis.
    """

    velocity: Array
    gradient: Array
    laplacian: Array
    acceleration: Array


class Flow:
    """Velocity of the fluid at any point of a vessel.

    In each branch v = u(r/R, t) (tangent + r R'/R), with R the radius of the circle inscribed at
    the nearest section and R' its change along the axis; zero outside that circle. u is
    Poiseuille's profile for steady flow, Womersley's for each harmonic of a pulse, and a numeric
    one for a Carreau fluid. The flow rate is the same at every section of a branch and adds up
    to zero at a junction. Where tubes overlap at a junction the velocity is that of the branch
    whose axis is nearest in local radii. Towards a cap the profile closes over one radius: the
    fluid leaves through the cap, which is a mesh to the device.

    Parameters
    ----------
    vessel_map : VesselMap
        Centrelines and radii, m.
    config : FlowConfig
        What drives the fluid, and what it is.
    heart_rate : float, optional
        Hz, in place of the pulse's own.

    Attributes
    ----------
    map : VesselMap
        With the mean and peak speeds over a beat.
    network : NetworkFlow
        Flow rates and pressures with their harmonics.
    flow_rates : dict of str to float
        Volume flow of each branch from its start to its end, mean over a beat, m3/s.
    points, tangents : (n, 3) array
        Centreline points, m, and unit tangents, all branches in a row.
    radius : (n,) array
        Inscribed radius, m.
    branch : (n,) int array
        Number of the branch of each point.
    profiles : (n, 1 + 2 k, J) array
        Axial speed along the tangent, m/s: Chebyshev series in 2 (r/R)^2 - 1 of the mean, and of
        the real and imaginary parts of each harmonic.
    """

    def __init__(
        self, vessel_map: VesselMap, config: FlowConfig, heart_rate: float | None = None
    ) -> None:
        self.config = config
        self.network = solve_network(vessel_map, config, heart_rate)
        self.map = _with_mean_speeds(vessel_map, config, self.network)
        self.flow_rates = {name: b.flow_rate for name, b in self.map.branches.items()}
        branches = list(self.map.branches.values())
        self.points = np.ascontiguousarray(self.map.points)
        self.radius = np.ascontiguousarray(self.map.radius)
        self.tangents = np.concatenate([b.tangents for b in branches])
        self.branch: NDArray[np.int64] = np.repeat(
            np.arange(len(branches)), [len(b.points) for b in branches]
        )
        self.profiles = self._profiles()
        peaks = self.peak_speeds()
        self.map = replace(
            self.map,
            branches={
                name: replace(branch, peak_speed=peaks[name])
                for name, branch in self.map.branches.items()
            },
        )
        self._blocks = blocks(self.points, self.radius)
        self._omega = 2.0 * np.pi * self.network.rate

    def _profiles(self) -> Array:
        rates = np.array([self.network.rates[name] for name in self.map.branches])
        speeds = rates[self.branch] / (np.pi * self.radius**2)[:, None]
        if self.config.carreau is not None:
            tube = carreau.TubeFlow(self.config.carreau)
            blunt = tube.profile(speeds[:, 0].real / self.radius)
            return np.asarray(speeds.real[:, :, None] * blunt[:, None, :])
        steady = speeds[:, :1].real * POISEUILLE
        count = speeds.shape[1] - 1
        if count == 0:
            return np.asarray(steady[:, None, :])
        shapes = womersley_series(self.womersley[:, None] * np.sqrt(np.arange(1, count + 1)))
        waves = speeds[:, 1:, None] * shapes
        result = np.zeros((len(speeds), 1 + 2 * count, shapes.shape[2]))
        result[:, 0, : len(POISEUILLE)] = steady
        result[:, 1::2], result[:, 2::2] = waves.real, waves.imag
        return result

    @property
    def arrays(self) -> tuple[Array, Array, Array, NDArray[np.int64], Array, Array]:
        """The arrays that `kernel.flow_at` takes after its points, for use in compiled code."""
        return self.points, self.tangents, self.radius, self.branch, self._blocks, self.profiles

    @property
    def womersley(self) -> Array:
        """Womersley number of the beat, R sqrt(omega rho / mu), at `points` (n,)."""
        omega = 2.0 * np.pi * self.network.rate
        return self.radius * np.sqrt(omega * self.config.density / self.config.viscosity)

    def local(self, points: ArrayLike, t: float = 0.0) -> LocalFlow:
        """Return velocity and its derivatives at points (n, 3) m in the vessel's frame.

        `t` is the time in s since an R wave.
        """
        p = np.ascontiguousarray(points, float).reshape(-1, 3)
        n = len(p)
        vectors = np.empty((3, n, 3))
        found = LocalFlow(vectors[0], np.empty((n, 3, 3)), vectors[1], vectors[2])
        flow_at(p, *self.arrays, self._omega, float(t), *found)
        return found

    def velocity(self, points: ArrayLike, t: float = 0.0) -> Array:
        """Return the fluid's velocity (n, 3) m/s at points (n, 3) m and time t s."""
        return self.local(points, t).velocity

    def velocity_and_gradient(self, points: ArrayLike, t: float = 0.0) -> tuple[Array, Array]:
        """Return the velocity (n, 3) m/s and its gradient (n, 3, 3) 1/s, [i, j] = dv_i/dx_j."""
        found = self.local(points, t)
        return found.velocity, found.gradient

    def apparent_viscosity(
        self, points: ArrayLike, t: float = 0.0, shear_rate: ArrayLike = 0.0
    ) -> Array:
        """Return the viscosity (n,) Pa s at the shear rate of the flow at points (n, 3) m.

        `shear_rate` (n,) 1/s is what a body adds by its own motion, about its relative speed
        over its radius; the squares add up. Of a Newtonian fluid the viscosity is the same
        everywhere.
        """
        gradient = self.local(points, t).gradient
        if self.config.carreau is None:
            return np.full(len(gradient), self.config.viscosity)
        strain = (gradient + np.swapaxes(gradient, 1, 2)) / 2.0
        squared = 2.0 * np.einsum("nij,nij->n", strain, strain)
        return carreau.viscosity(self.config.carreau, np.sqrt(squared + np.square(shear_rate)))

    def peak_speeds(self) -> dict[str, float]:
        """Largest speed of the fluid anywhere in each branch over a beat, m/s."""
        over_section = np.polynomial.chebyshev.chebvander(
            2.0 * SECTION - 1.0, self.profiles.shape[2] - 1
        )
        angles = 2.0 * np.pi * np.outer(np.arange(INSTANTS) / INSTANTS, self._harmonics)
        basis = np.ones((INSTANTS, self.profiles.shape[1]))
        basis[:, 1::2], basis[:, 2::2] = np.cos(angles), -np.sin(angles)
        largest = np.array([np.abs(basis @ p @ over_section.T).max() for p in self.profiles])
        return {
            name: float(largest[self.branch == k].max()) for k, name in enumerate(self.map.branches)
        }

    def reynolds(self) -> dict[str, float]:
        """Largest Reynolds number 2 rho |U| R / mu of the section's mean over a beat, by branch."""
        times = np.arange(INSTANTS) / INSTANTS / (self.network.rate or 1.0)
        rates = [self.network.at(float(t))[0] for t in times]
        scale = 2.0 * self.config.density / (np.pi * self.config.viscosity)
        return {
            name: scale * max(abs(q[name]) for q in rates) / float(b.radius.min())
            for name, b in self.map.branches.items()
        }

    def entrance_length(self) -> dict[str, float]:
        """Length in m after which the profile of each branch is developed, 0.06 Re D."""
        return {
            name: ENTRANCE_COEFFICIENT * re * 2.0 * float(self.map.branches[name].radius.mean())
            for name, re in self.reynolds().items()
        }

    @property
    def _harmonics(self) -> NDArray[np.int64]:
        return np.arange(1, (self.profiles.shape[1] + 1) // 2)


def with_flow(vessel_map: VesselMap, config: FlowConfig) -> VesselMap:
    """Return the map with the mean speeds over a beat that inlet and outlets drive.

    Raises
    ------
    UserError
        If inlet or outlets are not ends of the vessel.
    """
    return _with_mean_speeds(vessel_map, config, solve_network(vessel_map, config))


def _with_mean_speeds(vessel_map: VesselMap, config: FlowConfig, network: NetworkFlow) -> VesselMap:
    branches = {}
    for name, branch in vessel_map.branches.items():
        over_section = float(np.mean(1.0 / (np.pi * branch.radius**2)))
        speed = float(network.rates[name][0].real) * over_section
        branches[name] = replace(branch, mean_speed=speed)
    return replace(vessel_map, branches=branches, inlet=config.inlet)
