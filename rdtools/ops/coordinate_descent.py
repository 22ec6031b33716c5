"""Greedy coordinate descent on integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, beside, diagonal
from rdtools.errors import UsageError
from rdtools.ops.arrays import FLOATS, check_arrays
from rdtools.ops.dispatch import dispatch
from rdtools.ops.registry import kernel
from rdtools.ops.sic import INTEGER_MAX, INTEGER_MIN


def coordinate_descent(
    weight: Matrix,  # (m, n)
    moment: Matrix,  # (n, n)
    integers: Matrix,  # (m, n)
    steps: Matrix,  # (n,)
    *,
    passes: int,
    order: NDArray[np.int64] | None = None,  # (n,)
    offset: float = 0.0,
    integer_min: int = INTEGER_MIN,
    integer_max: int = INTEGER_MAX,
    backend: str | None = None,
) -> tuple[Matrix, int]:
    """Lower ``tr(E H Eᵀ)``, ``E = W − steps (integers + offset)``, by one integer of a row at a time.

    Parameters
    ----------
    weight : (m, n) float64 or float32, W, which is what it computes in
    moment : (n, n) float64 or float32, H, symmetric with a positive diagonal
    integers : (m, n) int32, to start from, within their range; not changed
    steps : (n,) float64, positive
    passes : at most so many; it ends early where nothing moves
    order : (n,) the columns in the order of a pass, an array always; None for the last to the first
    offset : 0, or ½ for a mid-rise grid
    integer_min, integer_max : range of the integers
    backend : None, "numba", "reference" or "torch"

    Returns
    -------
    integers : (m, n) int32, whose loss in no row is above that of the integers to start from
    used : passes over the row that needed most, counting the one that left it as it was

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> H, W = np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([[0.4, 0.4]])
    >>> integers, used = coordinate_descent(W, H, np.zeros((1, 2), dtype=np.int32), np.ones(2), passes=10)
    >>> integers.tolist(), used
    ([[0, 1]], 2)
    """
    (m, n) = weight.shape if weight.ndim == 2 else (0, weight.shape[-1])
    order = np.arange(n - 1, -1, -1) if order is None else np.asarray(order)
    check_arrays(
        "coordinate_descent",
        weight=(weight, "(m, n)", FLOATS),
        moment=(moment, "(n, n)", FLOATS),
        integers=(integers, "(m, n)", ("int32",)),
        steps=(steps, "(n,)", ()),
        order=(order, "(n,)", ()),
    )
    if order.dtype.kind not in "iu" or not (np.sort(order) == np.arange(n)).all():
        raise UsageError("coordinate_descent: order is no permutation of the columns, expected each of 0 … n − 1 once")
    if passes < 0:
        raise UsageError(f"coordinate_descent: {passes} passes, expected at least 0")
    if n and not (diagonal(moment).min() > 0 and steps.min() > 0):
        raise UsageError("coordinate_descent: a diagonal entry of the moment, or a step, is not positive; leave out columns without input")
    if m * n and not integer_min <= int(integers.min()) <= int(integers.max()) <= integer_max:
        raise UsageError(
            f"coordinate_descent: integers from {integers.min()} to {integers.max()} to start from, expected {integer_min} to {integer_max}"
        )
    columns = beside(order.astype(np.int64), weight)
    chosen, data, convert = dispatch("coordinate_descent", backend, weight, moment, integers, steps, columns)
    better, used = kernel("coordinate_descent", chosen)(
        *data, offset=offset, integer_min=integer_min, integer_max=integer_max, passes=passes
    )
    return convert(better), used
