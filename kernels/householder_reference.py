"""Products of Householder reflections in a fixed order of operations.

Each sum runs over the columns from the left to the right, one rounding after each product and each sum. NumPy runs products and sums as
loops of their own over all rows, so that nothing is contracted and the rows do not know of each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array


def householder_product(
    x: Float64Array,  # (m, n)
    vectors: Float64Array,  # (K, n)
    scales: Float64Array,  # (K,)
    starts: NDArray[np.int64],  # (K,)
) -> None:
    """``x ← x H_0 H_1 … H_{K−1}`` in place, ``H_k = I − τ_k u_k u_kᵀ``, u_k being zero before column ``starts[k]``.

    References
    ----------
    Golub and Van Loan, Matrix Computations (2013), section 5.1.
    """
    for u, scale, start in zip(vectors, scales, starts, strict=True):
        inner = np.zeros(len(x))
        for i in range(start, x.shape[1]):
            inner = inner + u[i] * x[:, i]
        weight = scale * inner
        for i in range(start, x.shape[1]):
            x[:, i] = x[:, i] - weight * u[i]
