"""Sums of outer products on the CPU: half of a matrix product, and float32 tokens in float32 by short blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from scipy.linalg.blas import dsyrk, ssyrk

from rdtools.arrays import FloatArray

#: Tokens whose products are summed in float32. An element of such a sum is off by at most ``TOKENS u Σ|x_ti x_tj|`` in whatever order BLAS
#: adds, u = 2⁻²⁴; in practice by about its square root.
TOKENS = 1024


@jit(nogil=True, error_model="numpy")
def _add_lower(total, part):  # type: ignore[no-untyped-def]
    for i in range(total.shape[0]):
        for j in range(i + 1):
            total[i, j] += part[i, j]


def rank_update(
    total: NDArray[np.float64],  # (n, n)
    x: FloatArray,  # (k, n)
) -> None:
    """Same as `rdtools.kernels.rank_update_reference.rank_update`, faster; total has to be contiguous.

    float32 tokens are multiplied and summed in float32 over blocks of TOKENS, and the blocks in float64, so that ::

        |error_ij| ≤ TOKENS u Σ_t |x_ti x_tj|   with u = 2⁻²⁴,

    however many tokens there are. float64 tokens stay in float64. Threads are BLAS's own.
    """
    k, n = x.shape
    if k == 0 or n == 0:
        return
    if x.dtype == np.float64:
        # BLAS counts along columns: the transpose's upper triangle is the lower one here
        dsyrk(1.0, x.T, beta=1.0, c=total.T, lower=0, overwrite_c=1)
        return
    part = np.empty((n, n), dtype=np.float32)
    for start in range(0, k, TOKENS):
        ssyrk(1.0, x[start : start + TOKENS].T, c=part.T, lower=0, overwrite_c=1)
        _add_lower(total, part)
