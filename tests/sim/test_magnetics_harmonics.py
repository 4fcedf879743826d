"""Solid harmonics solve Laplace's equation, and their derivatives are exact."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmdtwin.sim.magnetics.harmonics import (
    derivative_matrices,
    harmonic_basis,
    harmonic_field,
    kernel_coefficients,
    n_harmonics,
)

DEGREE = 12
SCALE = 0.03  # m


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.57, 0.57, (40, 3)) * SCALE  # within the unit ball


def test_low_degrees_are_the_known_polynomials(points):
    """C_00 .. S_22 written out in x, y, z; tolerance: rounding."""
    x, y, z = points.T / SCALE
    expected = [
        np.ones_like(x),
        z, x / 2, y / 2,
        (2 * z * z - x * x - y * y) / 4, x * z / 2, y * z / 2, (x * x - y * y) / 8, x * y / 4,
    ]  # fmt: skip
    assert_allclose(harmonic_basis(points, SCALE, 2).T, expected, rtol=0, atol=1e-15)


def test_derivative_matrices_match_differences(points):
    """Central differences, step 1e-4 of the scale: error h^2/6 times a third derivative ~ 1e-6."""
    h = 1e-4 * SCALE
    derivatives = derivative_matrices(DEGREE, SCALE)
    basis = harmonic_basis(points, SCALE, DEGREE)
    for axis, direction in enumerate(np.eye(3)):
        ahead = harmonic_basis(points + h * direction, SCALE, DEGREE)
        behind = harmonic_basis(points - h * direction, SCALE, DEGREE)
        assert_allclose(basis @ derivatives[axis], (ahead - behind) / (2 * h), atol=1e-6 / SCALE)


def test_laplacian_vanishes():
    """Sum of the squared derivative matrices is zero; tolerance: rounding of terms ~ 1/scale^2."""
    derivatives = derivative_matrices(DEGREE, SCALE)
    laplacian = sum(d @ d for d in derivatives)
    assert_allclose(laplacian, 0.0, atol=1e-12 / SCALE**2)


def test_kernel_equals_the_matrix_form(points):
    """The compiled kernel against plain matrix products, for a random potential."""
    derivatives = derivative_matrices(DEGREE, SCALE)
    potential = np.random.default_rng(5).normal(size=n_harmonics(DEGREE))
    basis = harmonic_basis(points, SCALE, DEGREE)
    field, gradient = np.empty((len(points), 3)), np.empty((len(points), 3, 3))
    harmonic_field(kernel_coefficients(potential, derivatives), points, SCALE, field, gradient)
    for i in range(3):
        column = derivatives[i] @ potential
        assert_allclose(field[:, i], basis @ column, rtol=1e-12, atol=1e-10)
        for j in range(3):
            expected = basis @ (derivatives[j] @ column)
            assert_allclose(gradient[:, i, j], expected, rtol=1e-12, atol=1e-8)
