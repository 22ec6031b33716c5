"""The fast Hadamard transform."""

from __future__ import annotations

import numpy as np

from rdtools.errors import ShapeMismatch
from rdtools.ops.arrays import FLOATS, Array, check_arrays
from rdtools.ops.dispatch import ON_DEVICE, dispatch
from rdtools.ops.registry import kernel


def hadamard_inplace(
    x: Array,  # (..., n)
    core: Array,  # (c, c), n = 2^k c
    *,
    backend: str | None = None,
) -> None:
    """``x ← x (S ⊗ C) / √n`` along the last axis and in place, S Sylvester's matrix of order 2^k; `rdtools.transforms` knows the cores.

    Parameters
    ----------
    x : (..., n) float64 or float32, overwritten; copied there and back if it is not contiguous
    core : (c, c), a Hadamard matrix, in any dtype
    backend : None, "numba", "reference", "triton" or "torch"

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> hadamard_inplace(x, np.ones((1, 1)))
    >>> x.tolist()
    [[5.0, -1.0, -2.0, 0.0]]
    """
    check_arrays("hadamard_inplace", x=(x, "(..., n)", FLOATS), core=(core, "(c, c)", ()))
    n, c = x.shape[-1], len(core)
    if c == 0 or n % c or (n // c).bit_count() != 1:
        raise ShapeMismatch(f"hadamard_inplace: {n} columns with a core of order {c}, expected a power of two times c")
    chosen, (y, dense), _ = dispatch("hadamard_inplace", backend, x, core)
    rows = y.contiguous() if chosen in ON_DEVICE else np.require(y, requirements=["C", "A"])
    kernel("hadamard_inplace", chosen)(rows.reshape(-1, n), dense)
    if rows is not y:
        y[...] = rows.reshape(y.shape)
