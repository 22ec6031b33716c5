"""Greedy coordinate descent on codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, FloatArray
from rdtools.errors import UsageError
from rdtools.ops.arrays import FLOATS, check_arrays
from rdtools.ops.dispatch import choose_backend
from rdtools.ops.registry import kernel
from rdtools.ops.sic import CODE_MAX, CODE_MIN


def coordinate_descent(
    weight: FloatArray,  # (m, n)
    moment: FloatArray,  # (n, n)
    codes: NDArray[np.int32],  # (m, n)
    steps: Float64Array,  # (n,)
    *,
    passes: int,
    order: NDArray[np.int64] | None = None,  # (n,)
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], int]:
    """Lower ``tr(E H Eᵀ)``, ``E = W − steps (codes + offset)``, by one code of a row at a time.

    Parameters
    ----------
    weight : (m, n) float64 or float32, W, which is what it computes in
    moment : (n, n) float64 or float32, H, symmetric with a positive diagonal
    codes : (m, n) int32, to start from, within their range; not changed
    steps : (n,) float64, positive
    passes : at most so many; it ends early where nothing moves
    order : (n,) the columns in the order of a pass; None for the last to the first
    offset : 0, or ½ for a mid-rise grid
    code_min, code_max : range of the codes
    backend : None, "numba" or "reference"

    Returns
    -------
    codes : (m, n) int32, whose loss in no row is above that of the codes to start from
    used : passes over the row that needed most, counting the one that left it as it was

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> H, W = np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([[0.4, 0.4]])
    >>> codes, used = coordinate_descent(W, H, np.zeros((1, 2), dtype=np.int32), np.ones(2), passes=10)
    >>> codes.tolist(), used
    ([[0, 1]], 2)
    """
    n = weight.shape[-1]
    order = np.arange(n - 1, -1, -1) if order is None else np.asarray(order)
    check_arrays(
        "coordinate_descent",
        weight=(weight, "(m, n)", FLOATS),
        moment=(moment, "(n, n)", FLOATS),
        codes=(codes, "(m, n)", ("int32",)),
        steps=(steps, "(n,)", ()),
        order=(order, "(n,)", ()),
    )
    if order.dtype.kind not in "iu" or not (np.sort(order) == np.arange(n)).all():
        raise UsageError("coordinate_descent: order is no permutation of the columns, expected each of 0 … n − 1 once")
    if passes < 0:
        raise UsageError(f"coordinate_descent: {passes} passes, expected at least 0")
    if n and not (np.diagonal(moment).min() > 0 and steps.min() > 0):
        raise UsageError("coordinate_descent: a diagonal entry of the moment, or a step, is not positive; leave out columns without input")
    if codes.size and not code_min <= int(codes.min()) <= int(codes.max()) <= code_max:
        raise UsageError(f"coordinate_descent: codes from {codes.min()} to {codes.max()} to start from, expected {code_min} to {code_max}")
    result: tuple[NDArray[np.int32], int] = kernel("coordinate_descent", choose_backend(backend))(
        weight,
        moment,
        codes,
        steps,
        order.astype(np.int64),
        offset=offset,
        code_min=code_min,
        code_max=code_max,
        passes=passes,
    )
    return result
