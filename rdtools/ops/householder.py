"""Products of Householder reflections, the same bits everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.ops.arrays import check_arrays
from rdtools.ops.dispatch import dispatch
from rdtools.ops.registry import kernel

if TYPE_CHECKING:
    from torch import Tensor


def householder_product(
    x: Float64Array | Tensor,  # (m, n)
    vectors: Float64Array | Tensor,  # (K, n)
    scales: Float64Array | Tensor,  # (K,)
    starts: NDArray[np.int64] | Tensor,  # (K,)
    *,
    backend: str | None = None,
) -> None:
    """``x ← x H_0 H_1 … H_{K−1}`` in place with ``H_k = I − τ_k u_k u_kᵀ``; a row's result depends on that row alone.

    Every sum has a fixed order and every operation is rounded on its own, so that machines, threads, backends and the cutting of x into
    rows change no bit. It takes 4 m n K operations, less what the leading zeros of the vectors spare.

    Parameters
    ----------
    x : (m, n) float64 in any layout, overwritten
    vectors : (K, n) float64, u_k in row k
    scales : (K,) float64, τ_k, which is 2/‖u_k‖² for a reflection
    starts : (K,) int64 from 0 to n; u_k acts on columns ``starts[k]`` to n − 1, and what stands before them in `vectors` is not read
    backend : None, "numba", "reference" or "torch", whose sums are those of the device's products

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> x = np.array([[3.0, 4.0], [1.0, 0.0]])
    >>> householder_product(x, np.array([[1.0, 1.0]]), np.array([1.0]), np.array([0]))
    >>> x.tolist()
    [[-4.0, -3.0], [0.0, -1.0]]
    """
    check_arrays(
        "householder_product",
        x=(x, "(m, n)", ("float64",)),
        vectors=(vectors, "(k, n)", ("float64",)),
        scales=(scales, "(k)", ("float64",)),
        starts=(starts, "(k)", ("int64",)),
    )
    if len(starts) and (int(starts.min()) < 0 or int(starts.max()) > x.shape[1]):
        raise ShapeMismatch(
            f"householder_product: starts from {int(starts.min())} to {int(starts.max())}; expected columns from 0 to {x.shape[1]}"
        )
    chosen, arrays, _ = dispatch("householder_product", backend, x, vectors, scales, starts)
    kernel("householder_product", chosen)(*arrays)
