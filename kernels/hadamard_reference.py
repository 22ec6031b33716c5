"""Multiplication by a Hadamard matrix, Sylvester's construction on a small core, written as the recursion."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import FloatArray


def _core_product(x: FloatArray, core: FloatArray) -> FloatArray:
    """``x C``, the inputs by fours: each four in turn is summed, and the sum added. No product with ±1 is rounded."""
    y = np.zeros_like(x)
    for first in range(0, len(core), 4):
        part = x[:, first, None] * core[first]
        for i in range(first + 1, min(first + 4, len(core))):
            part = part + x[:, i, None] * core[i]
        y = y + part
    return y


def hadamard_inplace(
    x: FloatArray,  # (m, n)
    core: FloatArray,  # (c, c), n = 2^k c
) -> None:
    """``x ← x (S ⊗ C) / √n`` in place, with Sylvester's matrix S of order 2^k: ``S_1 = [1]``, ``S_2h = [[S_h, S_h], [S_h, −S_h]]``.

    The order of the additions is part of the format of stored weights: the same bits come out on every machine.

    Parameters
    ----------
    x : (m, n) float64 or float32, overwritten; computed in its dtype
    core : (c, c), C, entries ±1, in any dtype that holds them
    """
    (m, n), c = x.shape, len(core)
    y = x.reshape(-1, c)
    if c > 1:
        y = _core_product(y, core.astype(x.dtype))
    half = 1
    while half < n // c:
        y = y.reshape(m, n // c // (2 * half), 2, half, c)
        y = np.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], axis=2)
        half *= 2
    x[:] = y.reshape(m, n) / x.dtype.type(np.sqrt(n))
