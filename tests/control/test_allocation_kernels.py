"""The compiled parts of allocation against numpy's linear algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmdtwin.control.allocation.conditions import RANK, decompose
from mmdtwin.control.allocation.kernels import ray, shortest


def rows_of(count: int, rank: int, spread: float, seed: int) -> np.ndarray:
    """Conditions on eight currents, (count, 9), with singular values from 1 down to `spread`."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(count, count)))[0][:, :rank]
    right = np.linalg.qr(rng.normal(size=(8, 8)))[0][:rank]
    matrix = left * np.geomspace(1.0, spread, rank) @ right
    return np.column_stack([matrix, rng.normal(size=count)])


CASES = [(1, 1), (2, 2), (3, 3), (5, 3), (6, 6), (6, 4), (8, 8), (11, 8), (12, 5)]


@pytest.mark.parametrize(("count", "rank"), CASES)
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-7])
def test_rows_are_turned_until_they_are_orthogonal(count, rank, spread):
    """Rotations from the left: products of columns stay, and singular values are numpy's.

    Rounding is of the largest singular value for numpy's; rows are orthogonal to their own length.
    """
    before = rows_of(count, rank, spread, seed=count)
    rows = decompose(before.copy())
    assert_allclose(rows.T @ rows, before.T @ before, atol=1e-13 * np.sum(before**2))
    lengths = np.linalg.norm(rows[:, :8], axis=1)
    assert np.count_nonzero(lengths) == rank
    values = np.linalg.svd(before[:, :8])[1][:rank]
    assert_allclose(np.sort(lengths)[::-1][:rank], values, atol=1e-14)
    directions = rows[lengths > 0, :8] / lengths[lengths > 0, None]
    assert_allclose(directions @ directions.T, np.eye(rank), atol=1e-13)


def test_what_is_no_more_than_rounding_is_zero():
    before = rows_of(3, 3, 0.1 * RANK, seed=0)
    assert np.count_nonzero(decompose(before)[:, :8].any(axis=1)) == 2


@pytest.mark.parametrize(("count", "rank"), CASES)
def test_a_ray_and_its_shortest_currents(count, rank):
    """The minimum-norm solution of numpy, and an orthonormal basis of what changes nothing."""
    before, resistance = rows_of(count, rank, 0.1, seed=count), np.geomspace(0.5, 4.0, 8)
    root, high = np.sqrt(resistance), np.arange(1.0, 9.0)
    rows = decompose(before.copy())
    basis, lower, upper, longest = ray(rows, resistance, -2 * high, high)
    whole = np.linalg.lstsq(before[:, :8], before[:, 8], rcond=1e-9)[0]
    assert_allclose(shortest(rows, resistance, 0.0)[0], whole / root, atol=1e-12)
    assert_allclose(upper[0] * basis[:, 0], whole, atol=1e-12)
    assert basis.shape == (8, 9 - rank)
    assert_allclose(basis.T @ basis, np.eye(9 - rank), atol=1e-12)
    assert_allclose(before[:, :8] @ basis[:, 1:], 0.0, atol=1e-12)
    assert lower[0] == 0.0
    assert_allclose(lower[1:], -2 * high * root)
    assert_allclose(upper[1:], high * root)
    assert longest == pytest.approx(np.linalg.norm(2 * high * root))
