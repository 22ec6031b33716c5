"""Quadratic forms, sums of outer products, histograms."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array, FloatArray, Matrix, dtype_name, row_dots
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.ops.arrays import FLOATS, check_arrays
from rdtools.ops.dispatch import choose_backend, dispatch
from rdtools.ops.registry import kernel

#: Columns of a panel of `quadratic_form`: wide enough for full speed, narrow beside the layer.
_FORM_PANEL = 256


def quadratic_form(
    error: Matrix,  # (m, n)
    moment: Matrix,  # (n, n)
) -> Float64Array:
    """``e H eᵀ`` of each row e; their sum is ``tr(E H Eᵀ)``.

    With H symmetric, a panel P of columns after another, ``e H eᵀ = Σ_P (2 e_{>P} H_{>P,P} + e_P H_PP) e_Pᵀ``: half the multiplications of
    ``E H``, and no second matrix of E's size. BLAS does the work on its own threads; only the lower triangle and the panels on the
    diagonal of H are read.

    Parameters
    ----------
    error : (m, n) float64 or float32, E, an array or a tensor
    moment : (n, n), in E's dtype and place, symmetric, H

    Returns
    -------
    (m,) float64 in main memory; products in E's dtype, sums over panels in float64

    Raises
    ------
    ShapeMismatch, UnsupportedDtype

    Examples
    --------
    >>> quadratic_form(np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[3.0, 1.0], [1.0, 5.0]])).tolist()
    [10.0, 12.0]
    """
    dtypes = (dtype_name(error),) if dtype_name(error) in FLOATS else FLOATS
    check_arrays("quadratic_form", error=(error, "(m, n)", FLOATS), moment=(moment, "(n, n)", dtypes))
    m, n = error.shape
    rows = np.zeros(m)
    for start in range(0, n, _FORM_PANEL):
        stop = min(start + _FORM_PANEL, n)
        panel = error[:, start:stop]
        fed = panel @ moment[start:stop, start:stop]
        if stop < n:
            fed += 2 * (error[:, stop:] @ moment[stop:, start:stop])
        rows += row_dots(fed, panel)
    return rows


def rank_update(
    total: Float64Array,  # (n, n)
    x: FloatArray,  # (k, n)
    *,
    backend: str | None = None,
) -> None:
    """``total ← total + tril(xᵀ x)`` in place; `rdtools.kernels.rank_update_numba` says how exact it is in float32.

    Parameters
    ----------
    total : (n, n) float64, C-contiguous; its lower triangle is added to, what is above the diagonal stays
    x : (k, n) float64, or float32, which is summed in float32 over short blocks of tokens
    backend : None, "numba" or "reference"

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, BackendUnavailable

    Examples
    --------
    >>> total = np.zeros((2, 2))
    >>> rank_update(total, np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> total.tolist()
    [[10.0, 0.0], [14.0, 20.0]]
    """
    check_arrays("rank_update", total=(total, "(n, n)", ("float64",)), x=(x, "(k, n)", FLOATS))
    if not total.flags.c_contiguous:
        raise ShapeMismatch(f"rank_update: total {total.shape} with strides {total.strides}, expected C-contiguous; pass a copy")
    kernel("rank_update", choose_backend(backend))(total, x)


def column_histogram(
    integers: Matrix,  # (m, n)
    *,
    low: int,
    width: int,
    backend: str | None = None,
) -> Matrix:
    """``counts[j, k] = #{i : integers[i, j] = low + k}`` for 0 ≤ k < width; what lies outside the window is not counted.

    Parameters
    ----------
    integers : (m, n) int32
    low, width : the window
    backend : None, "numba", "reference" or "torch"

    Returns
    -------
    counts : (n, width) int64

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> column_histogram(np.array([[0, 3], [1, 3]], dtype=np.int32), low=0, width=3).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    check_arrays("column_histogram", integers=(integers, "(m, n)", ("int32",)))
    if width < 0 or not -(2**62) < low < 2**62:
        raise UsageError(f"column_histogram: window of {width} integers from {low}, expected no negative width and 62 bits at most")
    chosen, (data,), convert = dispatch("column_histogram", backend, integers)
    return convert(kernel("column_histogram", chosen)(data, low=low, width=width))
