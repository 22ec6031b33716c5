"""Products and inverses of lower triangular matrices by LAPACK, which leaves the other half alone, or by torch on a device; float64."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array, Matrix, beside, is_tensor, on_host, row_dots


def triangular_inverse(factor: Matrix, *, overwrite: bool = False) -> Matrix:
    """``L⁻¹`` of a lower triangular L with a positive diagonal, lower triangular, (n, n); n³/3 operations, half those of solving for I. In
    the memory of an array that may be overwritten and has rows one after another.

    Examples
    --------
    >>> triangular_inverse(np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [[0.5, 0.0], [-0.5, 1.0]]
    """
    if is_tensor(factor):
        import torch

        return torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=factor.dtype, device=factor.device), upper=False)
    # the upper triangle of a column-major view is the lower one in row-major memory
    inverse, _ = scipy.linalg.lapack.dtrtri(factor.T, lower=0, overwrite_c=overwrite)
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


def right_divided(values: Matrix, lower: Matrix) -> Matrix:
    """``Y L⁻¹``, (m, n) float64, of values Y for a lower triangular L, whose other half is not read.

    Examples
    --------
    >>> right_divided(np.array([[3.0, 1.0]]), np.array([[2.0, 7.0], [1.0, 1.0]])).tolist()
    [[1.0, 1.0]]
    """
    if is_tensor(lower):
        import torch

        return torch.linalg.solve_triangular(lower, values.to(lower.dtype), upper=False, left=False)
    # (L⁻ᵀ Yᵀ)ᵀ; LAPACK by itself, since for 8 columns SciPy's checks take as long as the work
    return scipy.linalg.lapack.dtrtrs(lower.T, values.T, lower=0)[0].T


def lower_solved(lower: Float64Array, values: Float64Array, *, transposed: bool = False) -> Float64Array:
    """``L⁻¹ X``, or ``L⁻ᵀ X``, (n, k), for a lower triangular L, whose other half is not read; in X's memory where that is column-major.

    Examples
    --------
    >>> lower_solved(np.array([[2.0, 7.0], [1.0, 1.0]]), np.array([[2.0], [1.0]])).tolist()
    [[1.0], [0.0]]
    """
    # to LAPACK the transpose is upper triangular
    return np.asarray(scipy.linalg.lapack.dtrtrs(lower.T, values, lower=0, trans=0 if transposed else 1, overwrite_b=1)[0])


def solved(values: Matrix, lower: Matrix, *, overwrite: bool = False) -> Matrix:
    """``C (L Lᵀ)⁻¹``, (m, n), of values C for a lower triangular L; in C's own memory where that may be overwritten and has rows one after
    another.

    Examples
    --------
    >>> solved(np.array([[4.0, 2.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [[1.0, 2.0]]
    """
    if is_tensor(lower):
        import torch

        return torch.cholesky_solve(values.T, lower).T.contiguous()
    return np.asarray(scipy.linalg.cho_solve((lower, True), values.T, overwrite_b=overwrite).T)


def small_solved(values: Matrix, lower: Matrix) -> Matrix:
    """`solved` in float64 without SciPy's checks, which for eight columns take as long as the work."""
    if is_tensor(lower):
        return solved(values.to(lower.dtype), lower)
    return scipy.linalg.lapack.dpotrs(lower, values.T, lower=1)[0].T


def vector_solved(vector: Float64Array, lower: Matrix) -> Float64Array:
    """``(L Lᵀ)⁻¹ v`` of a vector in main memory, in main memory, for a lower triangular L that may be on a device.

    Examples
    --------
    >>> vector_solved(np.array([4.0, 2.0]), np.array([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 2.0]
    """
    if is_tensor(lower):
        return np.asarray(on_host(solved(beside(vector[None, :], lower), lower))[0])
    return np.asarray(scipy.linalg.cho_solve((lower.T, False), vector))  # of rows one after another, a view in LAPACK's layout


def moment_shares(factor: Matrix, added: float) -> Float64Array:
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
    if added == 0 or len(factor) == 0:
        return np.ones(len(factor))
    inverse = triangular_inverse(factor)
    return np.asarray(np.clip(1.0 - added * row_dots(inverse, inverse), 0.0, 1.0))
