"""Held-out covariances: never promise what the rows do not have, and the bounds that they lead to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
from tolerances import rounding

from rdtools.theory.row_covariance import (
    FOLDS,
    MOST_COLUMNS,
    aligned_bias_bits,
    aligned_variances,
    covariance_variances,
    estimate_row_covariance,
    normalized_rows,
    stderr_by_runs,
)
from rdtools.theory.waterfilling import rate_distortion


def ar1(n, rho):
    return scipy.linalg.toeplitz(rho ** np.arange(n))


def test_the_saving_tends_to_the_log_determinant(rng):
    """−½ log2 det C/n = −(n − 1)/(2n) log2(1 − ρ²), less what shrinking by λ costs, ``½ log2(det C_λ/det C) + ½ log2(e) (tr C_λ⁻¹ C − n)``.

    Against white rows of the same mean squares it is less by what these know of a row, ``½ log2(e) tr C²/n²``, of which half is granted.
    n(n + 1)/2 numbers learnt from 3000 rows cost n/(4 · 3000 ln 2) bits, three times granted.
    """
    n, m, rho = 24, 4000, 0.7
    exact, covariance = -(n - 1) / (2 * n) * math.log2(1 - rho**2), ar1(n, rho)
    rows = rng.standard_normal((m, n)) @ np.linalg.cholesky(covariance).T
    found = estimate_row_covariance(rows * np.exp(rng.standard_normal((m, 1))))
    model = (1 - found.shrinkage) * covariance + found.shrinkage * np.eye(n)
    lost = np.log2(np.linalg.det(model)) / 2 / n + exact + 0.5 * math.log2(math.e) * (np.trace(np.linalg.solve(model, covariance)) / n - 1)
    scales = 0.5 * math.log2(math.e) * float((covariance**2).sum()) / n**2
    granted = 4 * found.saving_stderr_bits + 0.5 * scales
    assert abs(found.saving_bits - (exact - lost - scales)) < granted + 3 * n / (4 * 3000 * math.log(2))
    assert np.trace(found.matrix) == pytest.approx(n, rel=rounding(n))
    assert lost < 0.02


@pytest.mark.parametrize("m", [2 * FOLDS, 40, 300])
def test_white_rows_are_not_promised_a_saving(m, rng):
    """A plug-in log-determinant of 40 rows of 64 columns would be infinite; here the diagonal remains, which costs what it has to learn."""
    found = estimate_row_covariance(rng.standard_normal((m, 64)))
    assert found.saving_bits < 4 * found.saving_stderr_bits + 0.5 * math.log2(math.e) / 64


@pytest.mark.parametrize("shape", [(2 * FOLDS - 1, 3), (16, 0), (16, MOST_COLUMNS + 1)])
def test_what_cannot_be_estimated_is_none(shape, rng):
    assert estimate_row_covariance(rng.standard_normal(shape)) is None


def test_zero_rows_and_columns_are_left_out_or_harmless(rng):
    weight = rng.standard_normal((40, 6))
    weight[::4], weight[:, 2] = 0.0, 0.0
    assert normalized_rows(weight).shape == (30, 6)
    assert math.isfinite(estimate_row_covariance(weight).saving_bits)


def test_a_diagonal_covariance_in_the_eigenbasis_makes_both_bounds_one(rng):
    vectors = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    eigenvalues, variances = np.array([9.0, 4.0, 2.0, 1.0, 0.1]), np.array([0.2, 3.0, 1.0, 0.5, 0.3])
    covariance = (vectors * variances) @ vectors.T
    found = np.sort(covariance_variances(covariance, vectors, eigenvalues))
    np.testing.assert_allclose(found, np.sort(eigenvalues * variances), rtol=rounding(5, condition=100))


def test_a_bound_that_knows_the_covariance_is_below_one_that_knows_its_diagonal(rng):
    """Schur and Horn: the eigenvalues majorize the diagonal, and the rate at a distortion is Schur-concave in the variances."""
    n = 12
    vectors, eigenvalues = np.linalg.qr(rng.standard_normal((n, n)))[0], np.exp(rng.standard_normal(n))
    covariance = ar1(n, 0.8)
    diagonal = eigenvalues * np.diagonal(vectors.T @ covariance @ vectors)
    known = covariance_variances(covariance, vectors, eigenvalues)
    assert known.sum() == pytest.approx(diagonal.sum(), rel=rounding(n, condition=100))
    for distortion in (0.01, 0.1, 0.5):
        assert rate_distortion(distortion, known).rate_bits <= rate_distortion(distortion, diagonal).rate_bits + rounding(n)


def test_the_bias_of_mean_squares_is_that_of_their_logarithms(rng):
    """E ½ log2(χ²_m/m) = ½ log2(e) (ψ(m/2) − ln(m/2)) → −½ log2(e)/m; over 20000 draws the mean errs by four standard errors."""
    m, draws = 16, 20000
    squares = np.concatenate([aligned_variances(rng.standard_normal((m, 100)), np.eye(100), np.ones(100)) for _ in range(draws // 100)])
    logs = 0.5 * np.log2(squares)
    exact = 0.5 * math.log2(math.e) * float(scipy.special.digamma(m / 2) - math.log(m / 2))
    assert logs.mean() == pytest.approx(exact, abs=4 * logs.std() / math.sqrt(draws))
    assert -exact == pytest.approx(aligned_bias_bits(m), rel=1 / m)


def test_standard_errors_know_that_neighbouring_rows_depend(rng):
    """The mean of 64 heads of 32 rows that agree within a head has the error of 64 numbers; of independent rows, that of 2048. Each is
    known to √(2/63) and √(2/2047) of itself, or for runs of 32 to the former; four of these are granted."""
    heads, size = 64, 32
    value = rng.standard_normal(heads)
    assert stderr_by_runs(np.repeat(value, size)) == pytest.approx(1 / math.sqrt(heads), rel=4 * math.sqrt(0.5 / (heads - 1)))
    m = heads * size
    independent = rng.standard_normal(m)
    plain = independent.std(ddof=1) / math.sqrt(m)
    assert plain <= stderr_by_runs(independent) <= plain * (1 + 4 * math.sqrt(0.5 / (heads - 1)))
    assert stderr_by_runs(independent[:8]) == independent[:8].std(ddof=1) / math.sqrt(8)
