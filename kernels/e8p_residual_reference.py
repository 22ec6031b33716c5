"""The 256 words of QuIP#'s second stage: the short vectors of E8, and the nearest of them by looking at all."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import FloatArray

#: Vectors that are compared with all words at a time.
_BLOCK = 2**14


@lru_cache(maxsize=1)
def e8_short_words() -> NDArray[np.float64]:
    """All words, (256, 8), in the order of their codes.

    E8, the integer vectors and the half-integer ones with an even sum, has 241 vectors of norm² at most 2. The other 15 words are of norm²
    4: ``±2 e_i``, without ``−2 e_8``. Permutations and sign changes of an even number of coordinates leave the 241 as they are and take
    each of the sixteen to each other, so that it does not matter which is left out. Coordinates counted from 0, codes are

    - ``4 p + 2 b_i + b_j`` for ``±e_i ± e_j``, i < j, p the number of the pair in lexicographic order, b = 1 for a minus sign;
    - ``112 + 2 i + b`` for ``±2 e_i``, of which the last would be 127; the zero word has its place;
    - ``128 + Σ_{j<7} 2^j b_j`` for the vectors of halves, of which an even number is negative.

    References
    ----------
    QuIP#, arXiv 2402.04396 v2, section 4.3.
    """
    W = np.zeros((256, 8))
    sign = np.array([1.0, -1.0])
    for p, (i, j) in enumerate(combinations(range(8), 2)):
        W[4 * p : 4 * p + 4, i] = sign[[0, 0, 1, 1]]
        W[4 * p : 4 * p + 4, j] = sign[[0, 1, 0, 1]]
    for i in range(8):
        W[112 + 2 * i : 114 + 2 * i, i] = 2 * sign
    W[127] = 0
    negative = (np.arange(128)[:, None] >> np.arange(7)) & 1
    W[128:, :7] = 0.5 * sign[negative]
    W[128:, 7] = 0.5 * sign[negative.sum(axis=1) & 1]
    return W


def e8_short_nearest(
    vectors: FloatArray,  # (k, 8)
) -> tuple[NDArray[np.uint8], FloatArray]:
    """``argmin_w ‖x − w‖²`` for each vector x over all words w; computed in float64, and the smallest code of those equally near.

    Parameters
    ----------
    vectors : (k, 8) float64 or float32

    Returns
    -------
    codes : (k,) uint8
    words : (k, 8) in the dtype of the vectors, which holds them exactly
    """
    W = e8_short_words()
    half = 0.5 * (W * W).sum(axis=1)
    codes = np.empty(len(vectors), dtype=np.uint8)
    for start in range(0, len(vectors), _BLOCK):
        x = vectors[start : start + _BLOCK].astype(np.float64)
        codes[start : start + _BLOCK] = np.argmax(x @ W.T - half, axis=1)
    return codes, W[codes].astype(vectors.dtype)
