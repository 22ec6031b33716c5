"""Rows of weights that are samples of a vector with a covariance: what a coder saves that knows it, and the rate–distortion bound then.

A covariance that is estimated from the very rows that it describes promises too much: the log-determinant of a sample covariance is low by
about ``Σ ln(1 − i/m)``. So everything here is judged by rows that had no part in the estimate, and is from above: the cross-entropy of an
estimate is never below the entropy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array

#: Weights of the diagonal that are tried, and parts that the rows are cut into, each judged by the estimate from the others.
SHRINKAGES = (0.005, 0.05, 0.2, 0.5, 1.0)
FOLDS = 4
#: Rows of the runs whose means are looked at for a standard error, and runs that it takes: rows of one head resemble each other.
RUN_ROWS, FEWEST_RUNS = (1, 8, 32), 8
#: Columns up to which covariances are estimated: each takes n³/3 operations for each shrinkage and part.
MOST_COLUMNS = 2048


@dataclass(frozen=True, eq=False)
class RowCovariance:
    """Covariance of rows that are divided by their root mean square, shrunk to its diagonal, and what held-out rows say of it.

    Attributes
    ----------
    matrix : (n, n) float64 of trace n
    shrinkage : weight of its diagonal
    saving_bits : by which held-out rows are shorter under it than under white ones, bits per weight at high rate
    saving_stderr_bits : standard error of that over the rows, the largest of those by runs of rows, which follow one another in a head;
        it is also that of R(D) for the covariance, if not all of R(D) is 0
    excess_bits : their ideal length less the entropy that the matrix has of itself, bits per weight; added to the rate of the matrix it
        gives what held-out rows take at high rate
    """

    matrix: Float64Array
    shrinkage: float
    saving_bits: float
    saving_stderr_bits: float
    excess_bits: float


def _shrunk(rows: Float64Array, shrinkage: float) -> Float64Array:
    second = rows.T @ rows / len(rows)
    # a column of zeros in these rows may hold something in others
    diagonal = np.maximum(np.diagonal(second), 1e-3)
    second = (1.0 - shrinkage) * second
    second[np.diag_indices(len(second))] = diagonal
    return np.asarray(second)


def _lengths(matrix: Float64Array, rows: Float64Array) -> Float64Array:
    """``½ log2 det C + ½ log2(e) wᵀ C⁻¹ w`` of each row, per column."""
    lower = np.linalg.cholesky(matrix)
    white = scipy.linalg.solve_triangular(lower, rows.T, lower=True)
    logs = float(np.log2(np.diagonal(lower)).sum())
    return np.asarray((logs + 0.5 * math.log2(math.e) * np.einsum("ij,ij->j", white, white)) / rows.shape[1])


def stderr_by_runs(values: Float64Array) -> float:
    """Standard error of a mean over rows of which neighbours may depend on each other: the largest of those by runs of RUN_ROWS rows.

    Of independent rows it is ``s/√m``, and a little more because it is the largest of three.

    Examples
    --------
    Sixteen pairs say no more than sixteen numbers, and runs of eight rows show that.

    >>> values = np.repeat([0.0, 1.0], 64)
    >>> round(stderr_by_runs(values) / stderr_by_runs(values[::8]), 1)
    1.0
    """
    errors = []
    for rows in RUN_ROWS:
        count = len(values) // rows
        if rows == 1 or count >= FEWEST_RUNS:
            means = values[: count * rows].reshape(count, rows).mean(axis=1)
            errors.append(float(means.std(ddof=1)) / math.sqrt(count))
    return max(errors)


def normalized_rows(weight: Float64Array) -> Float64Array:
    """Rows that are not all zero, each divided by its root mean square.

    Examples
    --------
    >>> normalized_rows(np.array([[3.0, -3.0], [0.0, 0.0]])).tolist()
    [[1.0, -1.0]]
    """
    scales = np.sqrt(np.einsum("ij,ij->i", weight, weight) / max(weight.shape[1], 1))
    return np.asarray(weight[scales > 0] / scales[scales > 0, None])


def estimate_row_covariance(weight: Float64Array) -> RowCovariance | None:
    """The covariance of the rows of (m, n) weights, by the shrinkage under which held-out rows are shortest.

    The saving is ``½ log2(e) − [½ log2 det C + ½ log2(e) wᵀ C⁻¹ w]/n`` on average over rows w that were left out when C was estimated, of
    white rows of the same mean squares: it is what a coder gains at high rate which learns C from three quarters of the rows. It tends to
    ``−½ log2(det C)/n`` with many rows, to 0 for white rows, and is not below 0 by more than what the diagonal costs. Every fourth row is
    left out, so that rows of one head judge each other: it is not the saving on heads of which no row is known, which is smaller.

    Returns
    -------
    None for fewer than two rows for each part, none or more than MOST_COLUMNS columns

    References
    ----------
    Derived for this project. Bias of the log-determinant: Anderson, An Introduction to Multivariate Statistical Analysis, 3rd ed., 7.5.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> common = rng.standard_normal((4000, 1))
    >>> rows = np.hstack([common + 0.5 * rng.standard_normal((4000, 1)) for _ in range(2)])
    >>> covariance = estimate_row_covariance(np.hstack([rows, rng.standard_normal((4000, 6))]))
    >>> 0.0 < covariance.saving_bits < 0.2
    True
    """
    rows = normalized_rows(weight)
    m, n = rows.shape
    if m < 2 * FOLDS or not 1 <= n <= MOST_COLUMNS:
        return None
    parts = np.arange(m) % FOLDS
    lengths = {shrinkage: np.empty(m) for shrinkage in SHRINKAGES}
    for part in range(FOLDS):
        training, left_out = rows[parts != part], rows[parts == part]
        for shrinkage, row_lengths in lengths.items():
            row_lengths[parts == part] = _lengths(_shrunk(training, shrinkage), left_out)
    best = min(SHRINKAGES, key=lambda shrinkage: float(lengths[shrinkage].mean()))
    matrix, saved = _shrunk(rows, best), 0.5 * math.log2(math.e) - lengths[best]
    in_sample = float(np.linalg.slogdet(matrix)[1]) / (2.0 * n * math.log(2.0)) + 0.5 * math.log2(math.e)
    matrix *= n / float(np.trace(matrix))
    excess = float(lengths[best].mean()) - in_sample
    return RowCovariance(matrix, best, float(saved.mean()), stderr_by_runs(saved), excess)


def aligned_variances(rows: Float64Array, vectors: Float64Array, eigenvalues: Float64Array) -> Float64Array:
    """``λ_i v_i``, v_i the mean square of rows (m, n) along eigenvector i of H, of λ_i: for who knows how rows and H are aligned.

    A mean square over m rows is low by 1/m in its logarithm, ½ log2(e)/m bits per weight, which `aligned_bias_bits` gives back.
    """
    turned = rows @ vectors
    return np.asarray(eigenvalues * np.einsum("ij,ij->j", turned, turned) / max(len(rows), 1))


def aligned_bias_bits(rows: int) -> float:
    """``½ log2(e)/m``: by which the rate of m rows' own mean squares is too low, ``E ln(χ²_m/m) ≈ −1/m``.

    Examples
    --------
    >>> round(aligned_bias_bits(256), 5)
    0.00282
    """
    return 0.5 * math.log2(math.e) / max(rows, 1)


def covariance_variances(covariance: Float64Array, vectors: Float64Array, eigenvalues: Float64Array) -> Float64Array:
    """Eigenvalues of ``H^½ C H^½``, whose reverse waterfilling is R(D) of Gaussian rows of covariance C under H.

    `aligned_variances` are the diagonal of this matrix in H's eigenbasis, and waterfilling over a diagonal never gives less.
    """
    root = vectors * np.sqrt(eigenvalues)
    return np.asarray(np.maximum(np.linalg.eigvalsh(root.T @ covariance @ root), 0.0))
