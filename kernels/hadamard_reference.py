"""Multiplication by a Hadamard matrix, Sylvester's construction on a small core, written as the recursion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float64 or float32


def hadamard_inplace(
    x: FloatArray,  # (m, n)
    core: FloatArray,  # (c, c), n = 2^k c
) -> None:
    """``x ← x (S ⊗ C) / √n`` in place, with Sylvester's matrix S of order 2^k: ``S_1 = [1]``, ``S_2h = [[S_h, S_h], [S_h, −S_h]]``.

    Parameters
    ----------
    x : (m, n) float64 or float32, overwritten; computed in its dtype
    core : (c, c), C, entries ±1, in any dtype that holds them
    """
    (m, n), c = x.shape, len(core)
    y = x.reshape(m, n // c, c) @ core.astype(x.dtype)
    half = 1
    while half < n // c:
        y = y.reshape(m, n // c // (2 * half), 2, half, c)
        y = np.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], axis=2)
        half *= 2
    x[:] = y.reshape(m, n) / x.dtype.type(np.sqrt(n))
