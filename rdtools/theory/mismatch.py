"""Encoding with another second moment than the one that counts: damping, above all."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


def damped_noise_gains(factor: Float64Array, damping: float) -> Float64Array:
    """``g_i = ℓ̃_ii² [L̃⁻¹ H L̃⁻ᵀ]_ii`` when columns are decided under ``H + δ I = L̃ L̃ᵀ`` and the distortion is measured under H.

    The error is ``E = U L̃⁻¹`` with ``U_:i`` uniform of variance (α_i ℓ̃_ii)²/12, so that ``D = (1/12 n) Σ α_i² g_i`` at high rate.
    Without damping g_i = ℓ_ii². Computed from ``L̃⁻¹ H L̃⁻ᵀ = I − δ L̃⁻¹ L̃⁻ᵀ``.

    Parameters
    ----------
    factor : (n, n), L̃
    damping : δ, absolute, ≥ 0

    Returns
    -------
    (n,) float64, ≥ 0

    References
    ----------
    Derived for this project (mismatched successive cancellation).

    Examples
    --------
    H = 3 and δ = 1: ℓ̃² = 4, of which the share 3/4 counts.

    >>> damped_noise_gains(np.array([[2.0]]), 1.0).tolist()
    [3.0]
    """
    squared = np.diagonal(factor) ** 2
    if damping == 0 or factor.size == 0:
        return np.asarray(squared)
    inverse = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
    counted = 1.0 - damping * np.einsum("ij,ij->i", inverse, inverse)
    return np.asarray(squared * np.clip(counted, 0.0, 1.0))
