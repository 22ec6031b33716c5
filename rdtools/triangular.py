"""Products and inverses of lower triangular matrices by LAPACK, which leaves the other half alone; float64."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array


def triangular_inverse(factor: Float64Array) -> Float64Array:
    """``L⁻¹`` of a lower triangular L with a positive diagonal, lower triangular, (n, n); n³/3 operations, half those of solving for I.

    Examples
    --------
    >>> triangular_inverse(np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [[0.5, 0.0], [-0.5, 1.0]]
    """
    # the upper triangle of a column-major view is the lower one in row-major memory
    inverse, _ = scipy.linalg.lapack.dtrtri(factor.T, lower=0)
    return np.asarray(inverse.T)


def triangular_gram(lower: Float64Array) -> Float64Array:
    """Lower triangle of ``M Mᵀ`` for a lower triangular M, (n, n); n³/3 operations, a third of a product's. Zeros above the diagonal.

    Examples
    --------
    >>> triangular_gram(np.array([[2.0, 0.0], [1.0, 3.0]])).tolist()
    [[4.0, 0.0], [2.0, 10.0]]
    """
    # LAPACK has U Uᵀ of an upper triangle, which M is with its rows and columns in reverse
    product, _ = scipy.linalg.lapack.dlauum(lower[::-1, ::-1], lower=0)
    return np.asarray(product[::-1, ::-1])


def moment_shares(factor: Float64Array, added: float) -> Float64Array:
    """``[L⁻¹ H L⁻ᵀ]_ii = 1 − δ ‖(L⁻¹)_i:‖²`` of ``H + δ I = L Lᵀ``, (n,), from 0 to 1: the share of each pivot that is H's own.

    Parameters
    ----------
    factor : (n, n) lower triangular, L
    added : δ ≥ 0, absolute

    Examples
    --------
    >>> moment_shares(np.array([[2.0]]), 1.0).tolist()
    [0.75]
    """
    if added == 0 or factor.size == 0:
        return np.ones(len(factor))
    inverse = triangular_inverse(factor)
    return np.asarray(np.clip(1.0 - added * np.einsum("ij,ij->i", inverse, inverse), 0.0, 1.0))
