"""Scales of columns that balance the energies of weights and inputs before QuIP rounds."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array, Matrix, diagonal, on_host
from rdtools.errors import ShapeMismatch

#: Column energies below this share of the largest count as that, so that a column of zeros does not get a scale without end.
MIN_ENERGY = 1e-8


def _log_energies(energies: Float64Array) -> Float64Array:
    largest = energies.max(initial=0.0)
    return np.log(np.maximum(energies, MIN_ENERGY * largest)) if largest > 0 else np.zeros_like(energies)


def balancing_scales(
    weight: Matrix,  # (m, n)
    moment: Matrix,  # (n, n)
) -> Float64Array:
    """``d_i = (H_ii / (Wᵀ W)_ii)^{1/4}``, up to a factor that makes their geometric mean 1.

    To quantize ``W diag(d)`` against ``diag(1/d) H diag(1/d)`` is the same problem with other steps. These d minimise
    ``tr(diag(1/d) H diag(1/d)) · ‖W diag(d)‖_F²``: by Cauchy and Schwarz it is at least ``(Σ √(H_ii (Wᵀ W)_ii))²``, and they give a column
    the same share of both energies. Whatever the d are rounded to for storage serves as well, if it is used throughout.

    Parameters
    ----------
    weight : (m, n), W
    moment : (n, n), H; only its diagonal is read. Energies below MIN_ENERGY of the largest are taken as that

    Returns
    -------
    (n,) float64, d

    Raises
    ------
    ShapeMismatch

    References
    ----------
    QuIP, arXiv 2307.13304, Algorithm 1 (diagonal rescaling).

    Examples
    --------
    >>> balancing_scales(np.array([[1.0, 4.0]]), np.eye(2)).round(6).tolist()
    [1.414214, 0.707107]
    """
    n = weight.shape[-1]
    if weight.ndim != 2 or moment.shape != (n, n):
        raise ShapeMismatch(f"balancing_scales: weight {weight.shape} with a moment {moment.shape}, expected (m, n) and (n, n)")
    if n == 0:
        return np.ones(0)
    exponents = 0.25 * (_log_energies(diagonal(moment)) - _log_energies(on_host((weight**2).sum(axis=0))))
    return np.asarray(np.exp(exponents - exponents.mean()))
