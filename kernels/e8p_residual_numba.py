"""The nearest short vector of E8 by its structure: four candidates instead of 256.

``‖x − w‖² = ‖x‖² − 2 (⟨w, x⟩ − ½ ‖w‖²)``. With a = |x|, the best of ``±e_i ± e_j`` takes the two largest of a, the best of ``±2 e_i`` the
largest, and the best vector of halves x's signs, or, if an odd number of them is negative, all but that of the smallest of a.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count
from rdtools.kernels.e8p_residual_reference import e8_short_words

from rdtools.arrays import FloatArray

#: Vectors that a thread takes at a time; fewer than two such blocks are not worth starting threads for.
BLOCK = 2**14

_PAIRS = np.zeros((8, 8), dtype=np.int64)
for _number, _pair in enumerate(combinations(range(8), 2)):
    _PAIRS[_pair] = _number


@jit(nogil=True, error_model="numpy")
def _nearest(vectors, table, pairs, codes, words):  # type: ignore[no-untyped-def]
    a = np.zeros(8)
    for v in range(vectors.shape[0]):
        negative, count, total = 0, 0, 0.0
        first, second, last = 0, 0, 0
        for j in range(8):
            x = np.float64(vectors[v, j])
            a[j] = abs(x)
            total += a[j]
            if x < 0:
                negative |= 1 << j
                count += 1
            if a[j] > a[first]:
                first = j
            if a[j] < a[last]:
                last = j
        second = 1 if first == 0 else 0
        for j in range(8):
            if j != first and a[j] > a[second]:
                second = j
        best, code = 0.0, 127
        value = a[first] + a[second] - 1
        if value > best:
            best = value
            i, j = min(first, second), max(first, second)
            code = 4 * pairs[i, j] + 2 * ((negative >> i) & 1) + ((negative >> j) & 1)
        value = 0.5 * total - 1 - (a[last] if count & 1 else 0.0)
        if value > best:
            best = value
            signs = negative ^ (1 << last) if count & 1 else negative
            code = 128 + (signs & 127)
        value = 2 * a[first] - 2
        if value > best:
            if first != 7 or not (negative >> 7) & 1:
                code = 112 + 2 * first + ((negative >> first) & 1)
            else:
                # the word −2 e_8 is left out: the next candidate of its kind is on the second largest
                value = 2 * a[second] - 2
                if value > best:
                    code = 112 + 2 * second + ((negative >> second) & 1)
        codes[v] = code
        for j in range(8):
            words[v, j] = table[code, j]


def e8_short_nearest(
    vectors: FloatArray,  # (k, 8)
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Same as `rdtools.kernels.e8p_residual_reference.e8_short_nearest`, faster; of words equally near it may take another."""
    x = np.require(vectors, requirements=["C", "W", "A"])  # a layout or read-only flag of its own would be compiled anew
    codes, words = np.empty(len(x), dtype=np.uint8), np.empty(x.shape, dtype=x.dtype)
    table = e8_short_words()

    def search(start: int) -> None:
        block = slice(start, start + BLOCK)
        _nearest(x[block], table, _PAIRS, codes[block], words[block])

    for_each(search, range(0, len(x), BLOCK), thread_count())
    return codes, words
