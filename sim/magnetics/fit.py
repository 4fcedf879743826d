"""Fit of every coil's unit field with regular solid harmonics, kept on disk."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.geometry import Array
from mmdtwin.sim.magnetics.harmonics import derivative_matrices, harmonic_basis, n_harmonics
from mmdtwin.sim.magnetics.windings import all_loops, loops_field, nearest_winding

SAMPLE_RADIUS = 1.05  # of the workspace: the fit interpolates, never extrapolates
OVERSAMPLING = 4  # sample points per unknown; each gives three equations
# Sources must lie well outside the sampled sphere, or the series converges too slowly to be of use.
MIN_CLEARANCE = 1.2  # nearest winding over workspace radius
FIT_VERSION = 1  # part of the cache key: raise it when the method changes


def fit(config: CoilsConfig) -> Array:
    """Fit the potential of each coil to its field on a sphere just outside the workspace.

    A harmonic field inside a ball is fixed by its values on the surface, so that is where the
    points are (a Fibonacci lattice). Least squares with columns scaled to equal size.

    Returns
    -------
    (n_coils, n_harmonics) array
        Coefficients of psi per ampere, T m/A, scaled by the workspace radius; the constant is 0.

    Raises
    ------
    ConfigError
        If a winding reaches into the sampled region.
    """
    nearest = nearest_winding(config)
    if nearest < MIN_CLEARANCE * config.workspace_radius:
        raise ConfigError(
            f"coils: workspace_radius {config.workspace_radius * 1e3:g} mm is too large for a"
            f" winding {nearest * 1e3:.1f} mm from the origin;"
            f" allowed up to {nearest / MIN_CLEARANCE * 1e3:.1f} mm"
        )
    scale, degree = config.workspace_radius, config.harmonic_degree
    points = sphere_points(OVERSAMPLING * n_harmonics(degree)) * scale * SAMPLE_RADIUS
    basis = harmonic_basis(points, scale, degree)
    design = np.concatenate([basis @ d for d in derivative_matrices(degree, scale)])[:, 1:]
    samples = [loops_field(loops, points).T.ravel() for loops in all_loops(config)]
    sizes = np.linalg.norm(design, axis=0)
    scaled, *_ = np.linalg.lstsq(design / sizes, np.stack(samples, axis=1), rcond=None)
    result = np.zeros((len(samples), n_harmonics(degree)))
    result[:, 1:] = (scaled / sizes[:, None]).T
    return result


def cached_fit(config: CoilsConfig) -> Array:
    """Return `fit(config)`, read from the user's cache when this very configuration is there.

    A file that cannot be read, or does not have the right shape, is fitted and written again;
    where nothing can be written the fit is made each time.
    """
    key = digest([FIT_VERSION, config.model_dump(mode="json", include=_FITTED_KEYS)])
    try:
        path = cache_dir("magnetics") / f"{key}.npz"
    except OSError:
        return fit(config)
    shape = (len(config.coils), n_harmonics(config.harmonic_degree))
    result = _stored(path, shape)
    if result is None:
        result = fit(config)
        with suppress(OSError), replacing(path) as part:
            np.savez(part, potential=result)
    return result


def _stored(path: Path, shape: tuple[int, int]) -> Array | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            result = np.asarray(arrays["potential"], float)
    except Exception:  # absent, or damaged in any of the many ways of a zip file
        return None
    return result if result.shape == shape and np.isfinite(result).all() else None


def sphere_points(n: int) -> Array:
    """Return n nearly uniform points on the unit sphere (Fibonacci lattice), (n, 3)."""
    k = np.arange(n) + 0.5
    z = 1.0 - 2.0 * k / n
    phi = k * np.pi * (3.0 - np.sqrt(5.0))
    rho = np.sqrt(1.0 - z * z)
    return np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1)


# What the field depends on; limits may change without a new fit.
_FITTED_KEYS = {"coils", "loops_radial", "loops_axial", "workspace_radius", "harmonic_degree"}
