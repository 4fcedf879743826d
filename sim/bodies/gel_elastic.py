"""Elasticity of a gel: PyBullet's material constants, modes and steps, damping and strain."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.gel_mesh import TetMesh

RIGID_MODES = 6
POLAR_STEPS, POLAR_TOLERANCE = 50, 1e-9  # its convergence is quadratic
STEP_MARGIN = 0.7  # of the limit of linear theory: strained elements are stiffer


def lame(youngs_modulus: float, poisson_ratio: float) -> tuple[float, float]:
    """Return Lame's mu and lambda of an isotropic material, in the unit of the modulus."""
    mu = youngs_modulus / (2 * (1 + poisson_ratio))
    return mu, 2 * mu * poisson_ratio / (1 - 2 * poisson_ratio)


def bullet_constants(mu: float, lam: float) -> tuple[float, float]:
    """Return the `NeoHookeanMu` and `NeoHookeanLambda` of `loadSoftBody`.

    Bullet's is the stable neo-Hookean solid of Smith, de Goes and Kim (ACM Trans. Graph. 37
    (2018) 12, doi 10.1145/3180491), whose constants are not Lame's: linearised about rest, it has
    3/4 of its mu, and its lambda less 5/8 of its mu.
    """
    return 4 / 3 * mu, lam + 5 / 6 * mu


def angular_frequencies(mesh: TetMesh, masses: Array, mu: float, lam: float) -> tuple[float, float]:
    """Return the lowest and the highest of the free body's modes, rad/s.

    Parameters
    ----------
    mesh : TetMesh
        At rest.
    masses : (n,) array
        Of the nodes.
    mu, lam : float
        Lame's constants. All in consistent units.
    """
    g, v = mesh.gradients, mesh.volumes
    dot = np.einsum("mai,mbi->mab", g, g)
    blocks = mu * np.einsum("mab,ij->maibj", dot, np.eye(3))
    blocks += mu * np.einsum("maj,mbi->maibj", g, g) + lam * np.einsum("mai,mbj->maibj", g, g)
    blocks *= v[:, None, None, None, None]
    dofs = (3 * mesh.tets[:, :, None] + np.arange(3)).reshape(len(v), 12)
    n = 3 * len(mesh.points)
    stiffness = np.zeros((n, n))
    np.add.at(stiffness, (dofs[:, :, None], dofs[:, None, :]), blocks.reshape(len(v), 12, 12))
    scale = 1 / np.sqrt(np.repeat(masses, 3))
    square = np.linalg.eigvalsh(scale[:, None] * stiffness * scale)
    return float(np.sqrt(square[RIGID_MODES])), float(np.sqrt(square[-1]))


def largest_step(highest: float, in_shear: float, relaxation: float) -> float:
    """Return the largest step, s, of semi-implicit Euler with damping at the last speed.

    v' = v - h (K x + T S v) / m is stable for h^2 K + 2 h T S < 4 m.

    Parameters
    ----------
    highest, in_shear : float
        Largest frequencies, rad/s, of all of the stiffness, K, and of its part with mu alone, S.
    relaxation : float
        T, s: viscosity over mu.
    """
    damping = relaxation * in_shear**2
    return STEP_MARGIN * (np.sqrt(damping**2 + 4 * highest**2) - damping) / highest**2


@nb.njit(cache=True)
def polar_rotation(matrix: Array) -> Array:
    """Return the rotation (3, 3) nearest to a matrix of positive determinant.

    Newton's iteration R <- (R + R^-T) / 2 (Higham, SIAM J. Sci. Stat. Comput. 7 (1986) 1160).
    """
    rotation = matrix.copy()
    for _ in range(POLAR_STEPS):
        last = rotation
        rotation = 0.5 * (last + np.linalg.inv(last).T)
        if np.abs(rotation - last).max() < POLAR_TOLERANCE:
            break
    return rotation


@nb.njit(cache=True)
def cofactors(f: Array, out: Array) -> None:
    """Fill the cofactors (3, 3) of a matrix f: its determinant times its inverse transposed."""
    for i in range(3):
        p, q = (i + 1) % 3, (i + 2) % 3
        for j in range(3):
            r, s = (j + 1) % 3, (j + 2) % 3
            out[i, j] = f[p, r] * f[q, s] - f[p, s] * f[q, r]


@nb.njit(cache=True)
def green_norm(f: Array) -> float:
    """Return the Frobenius norm of Green's strain (F^T F - 1) / 2."""
    total = 0.0
    for i in range(3):
        for j in range(3):
            c = f[0, i] * f[0, j] + f[1, i] * f[1, j] + f[2, i] * f[2, j]
            total += (0.5 * (c - (i == j))) ** 2
    return float(np.sqrt(total))


@nb.njit(cache=True)
def add_stress(
    nodes: NDArray, gradients: Array, volume: float, stress: Array, force: Array
) -> None:
    """Add -V P G of one tetrahedron to `force` (n, 3), by its Piola stress P (3, 3)."""
    for a in range(4):
        for i in range(3):
            for j in range(3):
                force[nodes[a], i] -= volume * stress[i, j] * gradients[a, j]


@nb.njit(cache=True)
def deform(
    position: Array,
    velocity: Array,
    tets: NDArray,
    gradients: Array,
    volumes: Array,
    constants: tuple[float, float],
    viscosity: float,
    elastic: Array,
    force: Array,
) -> float:
    """Fill elastic forces (n, 3), add viscous ones to `force` (n, 3), and return the strain.

    The elastic forces are those that Bullet is about to apply. The viscous ones are a Kelvin-Voigt
    solid's, with the stress 2 viscosity d by the rate of strain d in the present shape, so that no
    net force and no net torque comes of it. The strain is the largest Frobenius norm of Green's
    (F^T F - 1) / 2; infinite where an element is turned inside out.

    Parameters
    ----------
    position, velocity : (n, 3) array
    tets : (m, 4) array
    gradients : (m, 4, 3) array
        Of the shape functions at rest.
    volumes : (m,) array
        At rest.
    constants : (float, float)
        Those of `bullet_constants`.
    viscosity : float
    """
    strain, (mu, lam) = 0.0, constants
    elastic[:] = 0.0
    now = np.empty((3, 3))
    for m in range(len(tets)):
        f, rate = np.zeros((3, 3)), np.zeros((3, 3))
        for a in range(4):
            for i in range(3):
                for j in range(3):
                    f[i, j] += position[tets[m, a], i] * gradients[m, a, j]
                    rate[i, j] += velocity[tets[m, a], i] * gradients[m, a, j]
        cofactors(f, now)  # J F^-T
        jacobian = f[0, 0] * now[0, 0] + f[0, 1] * now[0, 1] + f[0, 2] * now[0, 2]
        if jacobian <= 0.0:
            return np.inf
        strain = max(strain, green_norm(f))
        stretched, swollen = mu * (1.0 - 1.0 / ((f**2).sum() + 1.0)), lam * (jacobian - 1.0)
        add_stress(
            tets[m], gradients[m], volumes[m], stretched * f + (swollen - 0.75 * mu) * now, elastic
        )
        slope = rate @ now.T / jacobian  # velocity gradient, rate F^-1
        add_stress(tets[m], gradients[m], volumes[m], viscosity * (slope + slope.T) @ now, force)
    return strain
