"""Sums of outer products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import FloatArray


def rank_update(
    total: NDArray[np.float64],  # (n, n)
    x: FloatArray,  # (k, n)
) -> None:
    """``total ← total + tril(xᵀ x)`` in place and in float64; what is above the diagonal stays.

    Parameters
    ----------
    total : (n, n) float64, its lower triangle is added to
    x : (k, n) float64 or float32
    """
    rows = x.astype(np.float64)
    total += np.tril(rows.T @ rows)
