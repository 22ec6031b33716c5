"""Products of Householder reflections, the same bits everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import ShapeMismatch, UnsupportedDtype
from rdtools.ops.dispatch import dispatch, dtype_name, kernel

if TYPE_CHECKING:
    from torch import Tensor

Float64Array = NDArray[np.float64]


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
    backend : None, "numba" or "reference"

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
    shapes = tuple(tuple(array.shape) for array in (x, vectors, scales, starts))
    reflections = len(vectors) if vectors.ndim else 0
    if x.ndim != 2 or shapes[1:] != ((reflections, x.shape[1]), (reflections,), (reflections,)):
        raise ShapeMismatch(f"householder_product: x, vectors, scales, starts of shapes {shapes}; expected (m, n), (K, n), (K,) and (K,)")
    dtypes = [dtype_name(array) for array in (x, vectors, scales, starts)]
    if dtypes != ["float64", "float64", "float64", "int64"]:
        raise UnsupportedDtype(
            f"householder_product: x, vectors, scales, starts of {', '.join(dtypes)}; expected float64 three times and int64; convert them"
        )
    if reflections and (int(starts.min()) < 0 or int(starts.max()) > x.shape[1]):
        raise ShapeMismatch(
            f"householder_product: starts from {int(starts.min())} to {int(starts.max())}; expected columns from 0 to {x.shape[1]}"
        )
    chosen, arrays, _ = dispatch("householder_product", backend, x, vectors, scales, starts)
    kernel("householder_product", "householder", chosen)(*arrays)
