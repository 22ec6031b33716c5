"""Philox-4x32-10 one element at a time, for use inside compiled loops."""

from __future__ import annotations

import numpy as np
from rdtools.kernels._jit import jit
from rdtools.kernels.philox_reference import MULTIPLIERS, ROUNDS, WEYL

# Numba makes a float64 of uint64 and a plain integer together, so every constant is typed.
_M0, _M1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_W0, _W1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SPARE = np.uint64(8)
_ZERO = np.uint64(0)


@jit(nogil=True, inline="always")
def words(c0, c1, c2, c3, seed):  # type: ignore[no-untyped-def]
    """Same as `rdtools.kernels.philox_reference.philox_words` for one counter, the key being the seed's low and high words; all uint64."""
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@jit(nogil=True, inline="always")
def uniform(seed, row, column):  # type: ignore[no-untyped-def]
    """Same as `rdtools.kernels.philox_reference.uniform` for one row; all arguments are uint64."""
    word = words(column & _LOW, row & _LOW, _ZERO, _ZERO, seed)[0]
    return np.float32(word >> _SPARE) * np.float32(2.0**-24)
