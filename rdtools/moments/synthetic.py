"""Families of second moments with known spectra, for tests and figures."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.transforms import haar_matrix


def power_law(n: int, exponent: float) -> Float64Array:
    """Eigenvalues ``λ_i = i^−exponent``, i = 1 … n, descending."""
    return np.arange(1, n + 1, dtype=np.float64) ** -exponent


def two_level(n: int, low: float) -> Float64Array:
    """Half the eigenvalues 1, half `low`."""
    return np.where(np.arange(n) < n - n // 2, 1.0, low)


def haar_moment(eigenvalues: Float64Array, generator: np.random.Generator) -> Float64Array:
    """``Q diag(λ) Qᵀ`` with Q from the Haar measure, exactly symmetric, shape (n, n)."""
    Q = haar_matrix(len(eigenvalues), int(generator.integers(2**63)))
    H = (Q * eigenvalues) @ Q.T
    return 0.5 * (H + H.T)


def ar1_moment(n: int, correlation: float) -> Float64Array:
    """``H_ij = ρ^|i−j|``; its Cholesky diagonal is 1, then √(1 − ρ²) throughout."""
    i = np.arange(n)
    return np.asarray(float(correlation) ** np.abs(i[:, None] - i[None, :]))


def clamped_feedback_counterexample(n: int, slack: float = 0.01) -> tuple[Float64Array, Float64Array]:
    """A moment and a weight row on which nearest LDLQ, clamped to {0 … 3}, is far worse than rounding to nearest.

    The loss grows as n² against n. Columns are in the order of this library (decided from the last to the first).

    Parameters
    ----------
    n : even
    slack : c of the construction

    Returns
    -------
    moment : (n, n)
    weight : (1, n), just below and just above ½ in turn

    References
    ----------
    QuIP, arXiv 2307.13304, section on clamping (finite-grid counterexample).
    """
    H = np.ones((n, n)) + np.eye(n)
    H[-1, -1] = 1.0
    H[0, 1:-1] += 2 * slack
    H[1:-1, 0] += 2 * slack
    H[0, -1] += slack
    H[-1, 0] += slack
    H[0, 0] += 4 * slack + n * slack**2
    w = np.where(np.arange(n) % 2, 0.501, 0.499)
    return np.ascontiguousarray(H[::-1, ::-1]), w[None, ::-1].copy()


def spiked(n: int, height: float, spikes: int = 1) -> Float64Array:
    """Eigenvalues `height` (so many times) and 1."""
    return np.where(np.arange(n) < spikes, height, 1.0)


def channel_scaled(moment: Float64Array, scales: Float64Array) -> Float64Array:
    """``diag(s) H diag(s)``: the same input with channels of unequal gain."""
    return np.asarray(moment * np.outer(scales, scales))
