"""Families of second moments with known spectra, for tests and figures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.transforms import haar_matrix

Float64Array = NDArray[np.float64]


def power_law(n: int, exponent: float) -> Float64Array:
    """Eigenvalues ``λ_i = i^−exponent``, i = 1 … n, descending."""
    return np.arange(1, n + 1, dtype=np.float64) ** -exponent


def two_level(n: int, low: float) -> Float64Array:
    """Half the eigenvalues 1, half `low`."""
    return np.where(np.arange(n) < n - n // 2, 1.0, low)


def haar_moment(eigenvalues: Float64Array, generator: np.random.Generator) -> Float64Array:
    """``Q diag(λ) Qᵀ`` with Q from the Haar measure, exactly symmetric, shape (n, n)."""
    Q = haar_matrix(len(eigenvalues), generator)
    H = (Q * eigenvalues) @ Q.T
    return 0.5 * (H + H.T)


def ar1_moment(n: int, correlation: float) -> Float64Array:
    """``H_ij = ρ^|i−j|``; its Cholesky diagonal is 1, then √(1 − ρ²) throughout."""
    i = np.arange(n)
    return np.asarray(float(correlation) ** np.abs(i[:, None] - i[None, :]))
