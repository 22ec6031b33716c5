"""The fast Hadamard transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import ShapeMismatch, UnsupportedDtype
from rdtools.ops.dispatch import dispatch, dtype_name, kernel

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = NDArray[Any]  # float64 or float32
Float64Array = NDArray[np.float64]


def hadamard_inplace(
    x: FloatArray | Tensor,  # (..., n)
    core: NDArray[Any] | Tensor,  # (c, c), n = 2^k c
    *,
    backend: str | None = None,
) -> None:
    """``x ← x (S ⊗ C) / √n`` along the last axis and in place, S Sylvester's matrix of order 2^k; `rdtools.transforms` knows the cores.

    Parameters
    ----------
    x : (..., n) float64 or float32, overwritten; copied there and back if it is not contiguous
    core : (c, c), a Hadamard matrix, in any dtype
    backend : None, "numba", "reference" or "triton"

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
    n, c = (x.shape[-1] if x.ndim else 0), len(core)
    if core.shape != (c, c) or c == 0 or n % c or (n // c).bit_count() != 1:
        raise ShapeMismatch(
            f"hadamard_inplace: x {tuple(x.shape)}, core {tuple(core.shape)}; expected (..., n) and (c, c) with n a power of two times c"
        )
    if dtype_name(x) not in ("float64", "float32"):
        raise UnsupportedDtype(f"hadamard_inplace: x of {dtype_name(x)}, expected float64 or float32; convert it")
    chosen, (y, dense), _ = dispatch("hadamard_inplace", backend, x, core)
    rows = y.contiguous() if chosen == "triton" else np.require(y, requirements=["C", "A"])
    kernel("hadamard_inplace", "hadamard", chosen)(rows.reshape(-1, n), dense)
    if rows is not y:
        y[...] = rows
