"""Range coder of integers whose parity the trellis of cosets knows.

A block of columns is coded row by row, each integer under the table of its Gaussian and of the parity that the state of its column says.
With ``q = 2 k + parity`` and b the shift of the Gaussian, the table has the numbers ``k >> b`` from −h to h − 1 and then an escape symbol;
after a number come the b low bits of k, all equally likely.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._range_coder import ESCAPES, PARITY, PRECISION, RIGHT, WORDS, RangeDecoder, RangeEncoder

Tables = tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def coset_encode(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussian: NDArray[np.int64],
    tables: Tables,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
) -> tuple[NDArray[np.uint32], NDArray[np.int32], int]:
    """Words of a block, its escaped integers in order, and RIGHT, or PARITY for integers that are no walks.

    Parameters
    ----------
    integers : (m, p) int32
    rows, columns : (m,) and (p,) int64; an integer in row r and column i has the Gaussian ``gaussian[rows[r] − columns[i]]``
    gaussian : places among the Gaussians
    tables : cumulative frequencies of K Gaussians one after another, uint32, that of a Gaussian and parity beginning at ``starts[2k +
    parity]``,
        (2K + 1,), each from 0 to 2²⁴; h of each Gaussian, (K,); b of each Gaussian, (K,)
    transitions : from `rdtools.kernels.coset_trellis_reference.coset_transitions`
    segment : rows of a walk
    """
    cumulative, starts, halves, shifts = tables
    coder, escaped = RangeEncoder(), list[int]()
    state = [0] * integers.shape[1]
    for r, row in enumerate(integers.tolist()):
        for i, q in enumerate(row):
            s = 0 if r % segment == 0 else state[i]
            if (q - s) % 2:
                return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int32), PARITY
            k, model = q >> 1, int(gaussian[rows[r] - columns[i]])
            half, shift, start = int(halves[model]), int(shifts[model]), int(starts[2 * model + s % 2])
            symbol = (k >> shift) + half
            inside = 0 <= symbol < 2 * half
            symbol = symbol if inside else 2 * half
            left = int(cumulative[start + symbol])
            coder.narrow(left, int(cumulative[start + symbol + 1]) - left)
            if inside and shift:
                coder.narrow((k & ((1 << shift) - 1)) << (PRECISION - shift), 1 << (PRECISION - shift))
            elif not inside:
                escaped.append(q)
            state[i] = int(transitions[s, (q >> 1) & 1])
    return coder.words(), np.array(escaped, dtype=np.int32), RIGHT


def coset_decode(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussian: NDArray[np.int64],
    tables: Tables,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
) -> tuple[NDArray[np.int32], int]:
    """The integers (m, p) that `coset_encode` made words of, and RIGHT, or what is wrong with the words."""
    cumulative, starts, halves, shifts = tables
    integers = np.zeros((len(rows), len(columns)), dtype=np.int32)
    coder, escapes = RangeDecoder(words), 0
    state = [0] * len(columns)
    for r in range(len(rows)):
        for i in range(len(columns)):
            s = 0 if r % segment == 0 else state[i]
            model = int(gaussian[rows[r] - columns[i]])
            half, shift, start = int(halves[model]), int(shifts[model]), int(starts[2 * model + s % 2])
            if coder.quantile >= 1 << PRECISION:
                return integers, WORDS
            symbol = int(np.searchsorted(cumulative[start : start + 2 * half + 1], coder.quantile, side="right")) - 1
            left = int(cumulative[start + symbol])
            coder.narrow(left, int(cumulative[start + symbol + 1]) - left)
            if symbol == 2 * half:
                if escapes == len(escaped):
                    return integers, ESCAPES
                q = int(escaped[escapes])
                escapes += 1
                if (q - s) % 2:
                    return integers, PARITY
            else:
                k = (symbol - half) << shift
                if shift:
                    if coder.quantile >= 1 << PRECISION:
                        return integers, WORDS
                    low = coder.quantile >> (PRECISION - shift)
                    coder.narrow(low << (PRECISION - shift), 1 << (PRECISION - shift))
                    k |= low
                q = 2 * k + s % 2
            integers[r, i] = q
            state[i] = int(transitions[s, (q >> 1) & 1])
    if escapes != len(escaped):
        return integers, ESCAPES
    return integers, coder.outcome
