"""Forces on the particles of a liquid for one step: all of them together.

Compiled; mm, g, s. Within a piece vectors are along its principal axes and positions r count from
its centre.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.droplet_contact import attract, contact, give_way, pressure, reaching
from mmdtwin.sim.bodies.droplet_ellipsoid import (
    LEAST_ELLIPSOID,
    demagnetising,
    fill,
    linear_part,
)
from mmdtwin.sim.bodies.droplet_energy import (
    STIFFEST,
    holding,
    magnetise,
    shape_force,
    spread,
    thinnest,
)
from mmdtwin.sim.bodies.droplet_liquid import Liquid, radius_of
from mmdtwin.sim.bodies.droplet_magnetisation import langevin
from mmdtwin.sim.bodies.droplet_topology import Pieces, wall_reach
from mmdtwin.units import MU0

SECOND_MODE = 8.0  # rho R^3 omega^2 / gamma of a drop's ellipsoidal mode, Lamb, art. 275
STABLE = 1.5  # largest phase of the stiffest mode in a step; the scheme is stable to 2
THIRD_MODE_DAMPING = 28.0  # 2 (n - 1)(2 n + 1) at n = 3, Lamb, Hydrodynamics, art. 355
VISCOUS_SWEEPS = 2  # over viscosity on the one hand and pressure and contact on the other
CONTACT_SWEEPS = 10  # over pressure and contact
CONVERGED = 1e-5  # change of the pressure in a sweep


class Surroundings(NamedTuple):
    """What the particles feel, (n, ...): T, T/mm, mm/s, 1/(mm s), mm/s2, mm."""

    field: Array
    gradient: Array
    flow: Array
    flow_laplacian: Array
    flow_acceleration: Array
    gap: Array  # from the wall to the particle's centre
    normal: Array  # away from the wall


class Memory(NamedTuple):
    """Forces of the last step, where the sweeps of the next one begin."""

    push: Array  # (p,) pressure times volume of each piece
    wall: Array  # (n, 3) of the wall on each particle


@nb.njit(cache=True)
def strain_viscosity(liquid: Liquid) -> float:
    """Viscosity of a uniform strain in a drop that relaxes as a drop in a fluid does.

    A drop's small deformation decays with (mu R / gamma) (19 k + 16)(2 k + 3) / (40 (k + 1)),
    k the viscosity ratio (Rallison, J. Fluid Mech. 98 (1980) 625); with a uniform strain of a
    viscosity m inside it would with 5/4 m R / gamma.
    """
    k = liquid.viscosity_ratio
    shape = (19.0 * k + 16.0) * (2.0 * k + 3.0) / (50.0 * (k + 1.0))
    return float(liquid.fluid_viscosity * shape)


@nb.njit(cache=True)
def drag(radius: float, speed: float, liquid: Liquid) -> float:
    """Force per speed of a fluid on a drop, by its radius and relative speed.

    C_D = (k C_solid + C_bubble) / (k + 1) as in Hadamard's and Rybczynski's law and in Rivkind and
    Ryskin's (Fluid Dyn. 11 (1976) 5): solid by Schiller and Naumann, bubble 16 / Re or, where it
    is more, 14.9 Re^-0.78.
    """
    k = liquid.viscosity_ratio
    reynolds = max(2.0 * radius * speed * liquid.fluid_density / liquid.fluid_viscosity, 1e-9)
    solid = 24.0 * (1.0 + 0.15 * reynolds**0.687)
    bubble = max(16.0, 14.9 * reynolds**0.22)
    stokes = np.pi * liquid.fluid_viscosity * radius / 4.0
    return float(stokes * (k * solid + bubble) / (k + 1.0))


@nb.njit(cache=True)
def resistance(
    h: float,
    r: Array,
    velocity: Array,
    free: Array,
    flow: Array,
    flow_laplacian: Array,
    variance: Array,
    cage: float,
    liquid: Liquid,
) -> Array:
    """Return viscous forces (n, 3) at the end of the step: on the whole, strain, turning, the rest.

    `velocity` is that at the start, `free` at the end without these forces. Strain and turning go
    towards the flow's, as Taylor's drop in shear (5 / (2 k + 3) of the strain) and a solid ball's
    spin (8 pi mu R^3); what is left of the velocities is damped. `cage` is the square of the
    particles' fastest frequency, 1/s2: h cage of damping takes their repulsion to the end of the
    step, so that it is stable whatever the step.
    """
    n, mass, k = len(r), liquid.particle_mass, liquid.viscosity_ratio
    radius = radius_of(n, liquid)
    total = n * mass
    # A drop goes with the mean flow plus k / (4 k + 6) R^2 Laplacian, Faxen's law of drops; the
    # mean over a ball is R^2 / 10 of it already.
    faxen = (k / (4.0 * k + 6.0) - 0.1) * radius * radius
    carried = mean(flow) + faxen * mean(flow_laplacian)
    slip = mean(velocity) - carried
    c = drag(radius, np.sqrt(np.dot(slip, slip)), liquid)
    drift = mean(free)
    rate = THIRD_MODE_DAMPING * strain_viscosity(liquid) * liquid.particle_volume
    rate /= mass * radius * radius
    rate += h * cage
    damping = mass * rate / (1.0 + h * rate)
    force = -damping * (free - drift) - c * (drift - carried) / (1.0 + h * c / total) / n
    if n < LEAST_ELLIPSOID:
        return force
    gradient = linear_part(free, r, variance)
    outer = linear_part(flow, r, variance)
    stress = straining(h, gradient, outer, variance, n, liquid)
    return force + r @ (damping * gradient - stress).T


@nb.njit(cache=True)
def straining(
    h: float, gradient: Array, outer: Array, variance: Array, count: int, liquid: Liquid
) -> Array:
    """Return the matrix (3, 3) of the viscous force -S r against velocity gradients (3, 3)."""
    k, whole = liquid.viscosity_ratio, count * liquid.particle_volume
    follow = 5.0 / (2.0 * k + 3.0)
    strain, turn = 2.0 * strain_viscosity(liquid) * whole, 3.0 * liquid.fluid_viscosity * whole
    a, b = h * strain / (count * liquid.particle_mass), h * turn / (count * liquid.particle_mass)
    stress = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            even = 0.5 * (gradient[i, j] + gradient[j, i] - follow * (outer[i, j] + outer[j, i]))
            odd = 0.5 * (gradient[i, j] - gradient[j, i] - outer[i, j] + outer[j, i])
            p = 0.5 * (1.0 / variance[i] + 1.0 / variance[j])
            q = 0.5 * (1.0 / variance[j] - 1.0 / variance[i])
            determinant = (1.0 + a * p) * (1.0 + b * p) - a * b * q * q
            even_end = ((1.0 + b * p) * even - b * q * odd) / determinant
            odd_end = ((1.0 + a * p) * odd - a * q * even) / determinant
            stress[i, j] = (strain * even_end + turn * odd_end) / (count * variance[j])
    return stress


@nb.njit(cache=True)
def mean(vectors: Array) -> Array:
    """Mean (3,) of vectors (n, 3)."""
    return vectors.sum(axis=0) / len(vectors)


@nb.njit(cache=True)
def drive(
    r: Array, axes: Array, square: Array, field: Array, gradient: Array, liquid: Liquid
) -> tuple[Array, Array, float]:
    """Return weight, magnetic, surface and spreading forces (n, 3), magnetisations (n, 3), cage.

    Field (n, 3) and gradient (n, 3, 3) and the magnetisations are in the vessel's frame.
    """
    n = len(r)
    along = np.zeros((n, 3))
    factors, differences = demagnetising(square)
    product = magnetise(field @ axes, factors, liquid, along)
    magnetised = along @ axes.T
    load = np.empty((n, 3))
    for i in range(n):
        for a in range(3):
            pull = 0.0
            for b in range(3):
                pull += gradient[i, a, b] * magnetised[i, b]
            load[i, a] = liquid.weight[a] + liquid.particle_volume * pull
    force = load @ axes
    if n == 1:
        return force, magnetised, 0.0
    force += r @ shape_force(square, factors, differences, product, n, liquid).T
    stress = holding(n, product[0, 0] + product[1, 1] + product[2, 2], liquid)
    spread(r, square, stress, liquid, force)
    density = liquid.particle_mass / liquid.particle_volume
    cage = STIFFEST * stress / (density * max(square[0], thinnest(n, liquid)))
    return force, magnetised, cage


@nb.njit(cache=True)
def forces(
    h: float,
    points: Array,
    velocities: Array,
    pieces: Pieces,
    rest_volumes: Array,
    around: Surroundings,
    liquid: Liquid,
    memory: Memory,
) -> tuple[Array, Array]:
    """Return forces (n, 3) for a step h and magnetisations (n, 3) A/m; update the memory.

    Viscosity, pressure and contact are taken at the end of the step and know of each other by
    sweeps over them, which begin with those of the last step.
    """
    total, magnetised = np.zeros_like(points), np.zeros_like(points)
    for p in range(len(pieces.number)):
        members = np.flatnonzero(pieces.label == p)
        axes, square, n = pieces.axes[p].copy(), pieces.square[p], pieces.number[p]
        r = (points[members] - pieces.centre[p]) @ axes
        velocity, normal = velocities[members] @ axes, around.normal[members] @ axes
        flow, curved = around.flow[members] @ axes, around.flow_laplacian[members] @ axes
        extent = np.empty(n)
        for i in range(n):
            extent[i] = wall_reach(around.normal[members[i]], square, axes, n)
        field, gradient = around.field[members], around.gradient[members]
        force, magnetised[members], cage = drive(r, axes, square, field, gradient, liquid)
        # As a whole, as its drag: Maxey and Riley, Phys. Fluids 26 (1983) 883.
        force += liquid.fluid_mass * (mean(around.flow_acceleration[members]) @ axes)
        if liquid.adhesion > 0.0:
            attract(around.gap[members], normal, extent, liquid, force)
        clear = around.gap[members] - extent
        give_way(clear, h, n, liquid)
        variance = square / (5.0 * fill(n)) if n > 1 else square
        if n >= LEAST_ELLIPSOID:
            clear -= h * reaching(velocity, r, variance, normal, square, extent)
        rate = r / (n * variance) if n > 1 else r  # d ln(volume) / dr
        wall, push, step = memory.wall[members] @ axes, memory.push[p], h / liquid.particle_mass
        viscous = np.zeros((n, 3))
        for _ in range(VISCOUS_SWEEPS):
            free = velocity + step * (force + wall + push * rate)
            viscous = resistance(h, r, velocity, free, flow, curved, variance, cage, liquid)
            free = velocity + step * (force + viscous)
            for _ in range(CONTACT_SWEEPS):
                before = push
                growth, response = contact(h, free, clear, normal, rate, push, liquid, wall)
                push = pressure(h, push, growth, response, square, rest_volumes[p], liquid)
                if abs(push - before) < CONVERGED * abs(push):
                    break
        contact(h, velocity + step * (force + viscous), clear, normal, rate, push, liquid, wall)
        memory.push[p] = push
        memory.wall[members] = wall @ axes.T
        total[members] = (force + viscous + wall + push * rate) @ axes.T
    return total, magnetised


@nb.njit(cache=True)
def largest_step(pieces: Pieces, field: Array, liquid: Liquid) -> float:
    """Longest step, s, that the pieces' stiffest modes take in fields (n, 3) T."""
    density = liquid.particle_mass / liquid.particle_volume
    # No demagnetisation can raise M above that of a needle in the strongest field.
    strongest = 0.0
    for i in range(len(field)):
        strongest = max(strongest, np.dot(field[i], field[i]))
    argument = 3.0 * liquid.susceptibility * np.sqrt(strongest) / (MU0 * liquid.saturation)
    magnetic = MU0 * (liquid.saturation * langevin(argument)[0]) ** 2
    longest = np.inf
    for p in range(len(pieces.number)):
        number = pieces.number[p]
        if number >= LEAST_ELLIPSOID:
            surface = SECOND_MODE * liquid.tension / radius_of(number, liquid)
            thin = max(pieces.square[p, 0], thinnest(number, liquid))
            longest = min(longest, STABLE * np.sqrt(density * thin / (surface + magnetic)))
    return longest


def safe_step(liquid: Liquid) -> float:
    """Return the longest step, s, that a droplet takes in any shape and field.

    As `largest_step`, for the smallest piece with a shape, drawn thin and saturated.
    """
    density = liquid.particle_mass / liquid.particle_volume
    surface = SECOND_MODE * liquid.tension / radius_of(LEAST_ELLIPSOID, liquid)
    magnetic = MU0 * liquid.saturation**2
    thin = thinnest(LEAST_ELLIPSOID, liquid)
    return float(STABLE * np.sqrt(density * thin / (surface + magnetic)))
