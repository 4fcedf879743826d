"""Fit of every coil's unit field with regular solid harmonics, kept on disk."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import ConfigError
from mmdtwin.files import cache_dir, digest, replacing
from mmdtwin.geometry import Array, sphere_points
from mmdtwin.sim.magnetics.differences import gradient_by_differences
from mmdtwin.sim.magnetics.filaments import Filaments, filaments_of
from mmdtwin.sim.magnetics.harmonic_model import HarmonicModel
from mmdtwin.sim.magnetics.harmonics import derivative_matrices, harmonic_basis, n_harmonics
from mmdtwin.sim.magnetics.windings import nearest_winding, refuse_overlaps

SAMPLE_RADIUS = 1.05  # of the workspace: the fit interpolates, never extrapolates
OVERSAMPLING = 4  # sample points per unknown; each gives three equations
# Sources must lie well outside the sampled sphere, or the series converges too slowly to be of use.
MIN_CLEARANCE = 1.2  # nearest winding over workspace radius
LOWEST_DEGREE, HIGHEST_DEGREE = 2, 24
GRADIENT_TOLERANCE = 5.0  # times the field's: a derivative of a series converges that much later
TEST_POINTS = 160  # on the border of the workspace, and as many inside
TEST_STEP = 1 / 30  # of the workspace's radius, of the differences for the reference gradient
# Where a field nearly vanishes, as at the middle of a Maxwell pair, errors are taken relative to
# this share of the largest in the workspace.
FLOOR = 1e-3
FIT_VERSION = 3  # part of the cache key: raise it when the method changes


@dataclass(frozen=True)
class FitError:
    """Largest errors of a fit against the filaments' field, of any coil.

    The components of a difference of two harmonic fields, and of their gradients, are harmonic,
    so in tesla they are largest on the border of the workspace: what is found there bounds the
    inside. Relative errors are the largest at the test points.
    """

    field: float  # T/A
    gradient: float  # T/(m A)
    relative_field: float  # over the local field
    relative_gradient: float

    def within(self, tolerance: float) -> bool:
        """True if field and gradient keep the tolerance, each its own."""
        field, gradient = self.relative_field, self.relative_gradient
        return field <= tolerance and gradient <= GRADIENT_TOLERANCE * tolerance


@dataclass(frozen=True, eq=False)
class Fit:
    """Potentials (c, n_harmonics) T m/A scaled by the workspace's radius, and their error."""

    potential: Array
    error: FitError


def fit(config: CoilsConfig) -> Fit:
    """Fit the potential of each coil to its field on a sphere just outside the workspace.

    A harmonic field inside a ball is fixed by its values on the surface, so that is where the
    points are (a Fibonacci lattice). Least squares with columns scaled to equal size. The degree
    is the configured one, or the lowest that keeps the tolerance at test points on the border of
    the workspace and inside it.

    Raises
    ------
    ConfigError
        If windings overlap, one reaches into the sampled region, or no degree is enough.
    """
    nearest = nearest_winding(config)
    if nearest < MIN_CLEARANCE * config.workspace_radius:
        raise ConfigError(
            f"coils: workspace_radius {config.workspace_radius * 1e3:g} mm is too large for a"
            f" winding {nearest * 1e3:.1f} mm from the origin;"
            f" allowed up to {nearest / MIN_CLEARANCE * 1e3:.1f} mm"
        )
    refuse_overlaps(config)
    filaments, test = filaments_of(config), _Test.of(config)
    if config.harmonic_degree is not None:
        return _fit_degree(config, filaments, test, config.harmonic_degree)
    low, high = LOWEST_DEGREE, HIGHEST_DEGREE
    best = _fit_degree(config, filaments, test, high)
    if not best.error.within(config.tolerance):
        raise ConfigError(
            f"coils: tolerance {config.tolerance:g} is not kept in a workspace of"
            f" {config.workspace_radius * 1e3:g} mm even by degree {HIGHEST_DEGREE} (field"
            f" {best.error.relative_field:.1e}, gradient {best.error.relative_gradient:.1e} of the"
            " local one); allowed: a larger tolerance or a smaller workspace_radius"
        )
    while low < high:  # the error falls with the degree
        middle = (low + high) // 2
        found = _fit_degree(config, filaments, test, middle)
        if found.error.within(config.tolerance):
            best, high = found, middle
        else:
            low = middle + 1
    return best


def _fit_degree(config: CoilsConfig, filaments: list[Filaments], test: _Test, degree: int) -> Fit:
    scale = config.workspace_radius
    potential = potential_of(filaments, scale, degree)
    return Fit(potential, test.error_of(HarmonicModel(potential, scale, scale)))


def potential_of(filaments: list[Filaments], scale: float, degree: int) -> Array:
    """Return the potentials (c, n_harmonics) T m/A that come nearest to the coils' fields.

    Least squares on a sphere of `SAMPLE_RADIUS` times `scale` m, for harmonics up to `degree`
    scaled by `scale`.
    """
    points = sphere_points(OVERSAMPLING * n_harmonics(degree)) * scale * SAMPLE_RADIUS
    basis = harmonic_basis(points, scale, degree)
    design = np.concatenate([basis @ d for d in derivative_matrices(degree, scale)])[:, 1:]
    samples = [coil.field(points).T.ravel() for coil in filaments]
    lengths = np.linalg.norm(design, axis=0)
    scaled, *_ = np.linalg.lstsq(design / lengths, np.stack(samples, axis=1), rcond=None)
    potential = np.zeros((len(samples), n_harmonics(degree)))
    potential[:, 1:] = (scaled / lengths[:, None]).T
    return potential


@dataclass(frozen=True, eq=False)
class _Test:
    """What the filaments make at test points."""

    points: Array
    field: Array
    gradient: Array

    @classmethod
    def of(cls, config: CoilsConfig) -> _Test:
        filaments, radius = filaments_of(config), config.workspace_radius
        border = sphere_points(TEST_POINTS)
        depth = ((np.arange(TEST_POINTS) + 0.5) / TEST_POINTS) ** (1 / 3)
        points = radius * np.concatenate([border, depth[:, None] * border[::-1]])

        def field(p: Array) -> Array:
            return np.stack([coil.field(p) for coil in filaments], axis=1)

        return cls(
            points, field(points), gradient_by_differences(field, points, TEST_STEP * radius)
        )

    def error_of(self, model: HarmonicModel) -> FitError:
        field, gradient = model.units(self.points)
        return FitError(
            *(_largest(a, b) for a, b in ((field, self.field), (gradient, self.gradient))),
            *(_relative(a, b) for a, b in ((field, self.field), (gradient, self.gradient))),
        )


def _largest(value: Array, reference: Array) -> float:
    return float(sizes(value - reference).max())


def _relative(value: Array, reference: Array) -> float:
    size = sizes(reference)
    return float((sizes(value - reference) / np.maximum(size, FLOOR * size.max(axis=0))).max())


def sizes(values: Array) -> Array:
    """Return the length of each point's and coil's field or gradient, (n, c)."""
    return np.asarray(np.linalg.norm(values.reshape(*values.shape[:2], -1), axis=-1))


def cached_fit(config: CoilsConfig) -> Fit:
    """Return `fit(config)`, read from the user's cache when this very configuration is there.

    A file that cannot be read, or does not have the right shape, is fitted and written again;
    where nothing can be written the fit is made each time.
    """
    key = digest([FIT_VERSION, config.model_dump(mode="json", include=_FITTED_KEYS)])
    try:
        path = cache_dir("magnetics") / f"{key}.npz"
    except OSError:
        return fit(config)
    result = _stored(path, config)
    if result is None:
        result = fit(config)
        with suppress(OSError), replacing(path) as part:
            np.savez(part, potential=result.potential, error=astuple(result.error))
    return result


def _stored(path: Path, config: CoilsConfig) -> Fit | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            potential = np.asarray(arrays["potential"], float)
            error = np.asarray(arrays["error"], float)
    except Exception:  # absent, or damaged in any of the many ways of a zip file
        return None
    degrees = range(LOWEST_DEGREE, HIGHEST_DEGREE + 1)
    allowed = [n_harmonics(d) for d in degrees if config.harmonic_degree in (None, d)]
    whole = potential.ndim == 2 and len(potential) == len(config.coils) and error.shape == (4,)
    if not whole or potential.shape[1] not in allowed or not np.isfinite(potential).all():
        return None
    return Fit(potential, FitError(*error.tolist()))


# What the field depends on; limits may change without a new fit.
_FITTED_KEYS = {
    "coils", "loops_radial", "loops_axial", "workspace_radius", "tolerance", "harmonic_degree",
}  # fmt: skip
