"""QuIP#'s E8P codebook: its 2^16 words, and the nearest of them by looking at all."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import FloatArray

#: Where the entries of norm² 12 that fill the table up to 256 have their three halves; their five other coordinates are 3/2.
PADDING = [
    "123", "023", "013", "012", "367", "357", "347", "356", "346", "345", "267", "257", "247", "256", "246",
    "245", "167", "157", "147", "156", "146", "045", "067", "057", "047", "056", "046", "014", "237",
]  # fmt: skip
#: Vectors that are compared with all words at a time.
_BLOCK = 256


@lru_cache(maxsize=1)
def entries() -> NDArray[np.float64]:
    """Absolute values of the words without their shift, (256, 8): those of norm² at most 10 in lexicographic order, then the padding."""
    short = [s for s in product((0.5, 1.5, 2.5), repeat=8) if sum(x * x for x in s) <= 10]
    padding = [tuple(0.5 if str(j) in halves else 1.5 for j in range(8)) for halves in PADDING]
    return np.array(short + padding)


@lru_cache(maxsize=1)
def e8p_codewords() -> NDArray[np.float64]:
    """All words, (65536, 8), in the order of their codes.

    A word is ``σ s + t/4`` with an entry s, signs σ of which an even number is negative if the sum of s is even, else an odd number, and
    t = ±1, the same for all coordinates. Its code is 256 times the number of the entry plus a byte: bit j < 7 is set where coordinate j is
    negative before the shift, and bit 7 so that the byte has odd parity where t = −1.

    References
    ----------
    QuIP#, arXiv 2402.04396 v2, section 4.2.
    """
    byte = np.arange(256)
    bits = (byte[:, None] >> np.arange(8)) & 1
    shifted = bits.sum(axis=1) & 1
    S = entries()
    odd = S.sum(axis=1).astype(int) & 1
    negative = np.broadcast_to(bits, (256, 256, 8)).copy()
    negative[:, :, 7] ^= odd[:, None] ^ shifted[None, :]
    words = S[:, None, :] * (1 - 2 * negative) + (0.25 - 0.5 * shifted)[None, :, None]
    return np.asarray(words.reshape(2**16, 8))


def e8p_nearest(
    vectors: FloatArray,  # (k, 8)
) -> tuple[NDArray[np.uint16], FloatArray]:
    """``argmin_w ‖x − w‖²`` for each vector x over all words w; computed in float64, and the smallest code of those equally near.

    Parameters
    ----------
    vectors : (k, 8) float64 or float32

    Returns
    -------
    codes : (k,) uint16
    words : (k, 8) in the dtype of the vectors, which holds them exactly
    """
    W = e8p_codewords()
    half = 0.5 * (W * W).sum(axis=1)
    codes = np.empty(len(vectors), dtype=np.uint16)
    for start in range(0, len(vectors), _BLOCK):
        x = vectors[start : start + _BLOCK].astype(np.float64)
        codes[start : start + _BLOCK] = np.argmax(x @ W.T - half, axis=1)
    return codes, W[codes].astype(vectors.dtype)
