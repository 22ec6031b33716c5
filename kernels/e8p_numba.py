"""The nearest word of the E8P codebook by its structure: some twenty candidates instead of 2^16.

With the shift taken off, y = x ∓ ¼, and a = |y|, the best word of an entry s has y's signs, or, if their parity is not that of s, all but
one of them: ``‖y − σ s‖² = ‖y‖² + ‖s‖² − 2 (⟨s, a⟩ − [parity differs] 2 min_j s_j a_j)``. The entries of norm² at most 10 are all
arrangements of seven patterns, each of which has a half among its coordinates. So the best arrangement puts the largest coordinate on the
largest a, and the sign to be flipped is that of the smallest a, on which there is a half: flipping any other costs more and leaves less
to arrange. The 29 entries of norm² 12 are looked at one by one, if the best that any arrangement of them could be would win.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count
from rdtools.kernels.e8p_reference import PADDING, entries

from rdtools.arrays import FloatArray

#: Vectors that a thread takes at a time; fewer than two such blocks are not worth starting threads for.
BLOCK = 2**13

_TRIPLES = np.array([[int(j) for j in halves] for halves in PADDING])
_OTHERS = np.array([[j for j in range(8) if str(j) not in halves] for halves in PADDING])


def _numbers() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the entries: without 5/2 by the set of their 3/2 as a bit mask; with 5/2 at p and 3/2 at q, or nowhere for q = 8."""
    of_mask, of_big = np.full(256, -1), np.full((8, 9), -1)
    for number, s in enumerate(entries()):
        threes, fives = np.flatnonzero(s == 1.5), np.flatnonzero(s == 2.5)
        if len(fives):
            of_big[fives[0], threes[0] if len(threes) else 8] = number
        else:
            of_mask[(1 << threes).sum()] = number
    return of_mask, of_big


_OF_MASK, _OF_BIG = _numbers()


@jit(nogil=True, error_model="numpy")
def _nearest(vectors, table, of_mask, of_big, triples, others, codes, words):  # type: ignore[no-untyped-def]
    a, order = np.zeros(8), np.zeros(8, dtype=np.int64)
    for v in range(vectors.shape[0]):
        least = np.inf
        best_entry, best_signs, best_shift, code = 0, 0, 0.25, 0
        for shifted in range(2):
            t = -0.25 if shifted else 0.25
            negative, count, square, total = 0, 0, 0.0, 0.0
            for j in range(8):
                y = np.float64(vectors[v, j]) - t
                if y < 0:
                    negative |= 1 << j
                    count += 1
                a[j] = abs(y)
                square += y * y
                total += a[j]
            parity = count & 1
            # by counting, which takes no branches: an insertion sort guesses every second one wrong
            for j in range(8):
                rank = 0
                for k in range(8):
                    rank += (a[k] >= a[j]) if k < j else (a[k] > a[j])
                order[rank] = j
            smallest = a[order[7]]
            # ½‖y − σ s‖² for the patterns of k times 3/2, k = 0 … 4, of one 5/2, and of one 5/2 and one 3/2
            base = 0.5 * (square - total)
            near, kind, mask, prefix = np.inf, 0, 0, 0.0
            for k in range(5):
                value = base - prefix + (1 + k) + (smallest if (k & 1) != parity else 0.0)
                if value < near:
                    near, kind = value, k
                prefix += a[order[k]]
            largest = a[order[0]]
            value = base - 2 * largest + 4 + (smallest if parity else 0.0)
            if value < near:
                near, kind = value, 5
            value = base - 2 * largest - a[order[1]] + 5 + (0.0 if parity else smallest)
            if value < near:
                near, kind = value, 6
            flip = -1
            if kind == 5 or kind == 6:
                entry = of_big[order[0], order[1] if kind == 6 else 8]
                if (kind == 6) != (parity == 1):
                    flip = order[7]
            else:
                for k in range(kind):
                    mask |= 1 << order[k]
                entry = of_mask[mask]
                if (kind & 1) != parity:
                    flip = order[7]
            if base - prefix + 6 + (0.0 if parity else smallest) < min(near, least):
                for p in range(triples.shape[0]):
                    halves = a[triples[p, 0]] + a[triples[p, 1]] + a[triples[p, 2]]
                    value, turned = base - (total - halves) + 6, -1
                    if not parity:
                        cost = np.inf
                        for i in range(3):
                            if a[triples[p, i]] < cost:
                                cost, turned = a[triples[p, i]], triples[p, i]
                        for i in range(5):
                            if 3 * a[others[p, i]] < cost:
                                cost, turned = 3 * a[others[p, i]], others[p, i]
                        value += cost
                    if value < near:
                        near, entry, flip = value, 256 - triples.shape[0] + p, turned
            if near < least:
                least = near
                signs = negative if flip < 0 else negative ^ (1 << flip)
                # bit 7 holds the parity of the shift: the lower seven bits and the entry leave the sign of coordinate 7 no choice
                lower, ones = signs & 127, 0
                for j in range(7):
                    ones += (lower >> j) & 1
                code = 256 * entry + lower + 128 * ((ones + shifted) & 1)
                best_entry, best_signs, best_shift = entry, signs, t
        codes[v] = code
        for j in range(8):
            s = table[best_entry, j]
            words[v, j] = (-s if (best_signs >> j) & 1 else s) + best_shift


def e8p_nearest(
    vectors: FloatArray,  # (k, 8)
) -> tuple[NDArray[np.uint16], FloatArray]:
    """Same as `rdtools.kernels.e8p_reference.e8p_nearest`, faster; of words equally near, to rounding, it may take another."""
    x = np.require(vectors, requirements=["C", "W", "A"])  # a layout or read-only flag of its own would be compiled anew
    codes, words = np.empty(len(x), dtype=np.uint16), np.empty(x.shape, dtype=x.dtype)
    table = entries()

    def search(start: int) -> None:
        block = slice(start, start + BLOCK)
        _nearest(x[block], table, _OF_MASK, _OF_BIG, _TRIPLES, _OTHERS, codes[block], words[block])

    for_each(search, range(0, len(x), BLOCK), thread_count())
    return codes, words
