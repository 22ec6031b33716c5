"""Random numbers that are a function of seed, row and column, so that no order of evaluation changes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox_words(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[NDArray[np.uint64], ...]:
    """The four words of 32 bits of Philox-4x32-10 at a counter of four words, which broadcast, under a key of two.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011, section 4.
    """
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, dtype=np.uint64) for c in counter))
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _HALF) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + WEYL[0]) % 2**32, (k1 + WEYL[1]) % 2**32
    return c0, c1, c2, c3


def uniform(seed: int, rows: NDArray[np.intp], column: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) on the grid of 2^-24, which float32 holds exactly: the leading bits of the first word.

    The counter is (column, row, 0, 0), the key the seed's low and high 32 bits.
    """
    word = philox_words((column, rows, 0, 0), (seed % 2**32, seed >> 32))[0]
    return (word >> np.uint64(8)).astype(np.float64) * 2.0**-24
