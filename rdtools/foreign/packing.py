"""Integers of a few bits in words of 32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import panels

Positions = NDArray[np.int64]


def dense_positions(count: int, bits: int) -> Positions:
    """First bit of each of `count` integers that lie end to end, across the borders of words."""
    return np.arange(count, dtype=np.int64) * bits


def padded_positions(count: int, bits: int) -> Positions:
    """First bit of each of `count` integers of which every word holds as many whole ones as fit."""
    number, per_word = np.arange(count, dtype=np.int64), 32 // bits
    return number // per_word * 32 + number % per_word * bits


def words_for(count: int, bits: int) -> int:
    """Words that `count` integers end to end take.

    Examples
    --------
    >>> words_for(32, 3), words_for(33, 3), words_for(8, 4)
    (3, 4, 1)
    """
    return -(-count * bits // 32)


def unpack(
    words: NDArray[np.int32],  # (r, w)
    positions: Positions,  # (count,)
    bits: int,
) -> NDArray[np.uint8]:
    """Integers of `bits` ≤ 8 bits in rows of words, lowest bits first, (r, count).

    Examples
    --------
    >>> unpack(np.array([[0x321]], dtype=np.int32), dense_positions(3, 4), 4).tolist()
    [[1, 2, 3]]
    """
    values = np.empty((len(words), len(positions)), dtype=np.uint8)
    word, shift = positions // 32, (positions % 32).astype(np.uint64)
    for rows in panels(len(words), len(positions)):
        part = np.zeros((len(words[rows]), words.shape[1] + 1), dtype=np.uint64)
        part[:, :-1] = words[rows].view(np.uint32)
        both = part[:, word] | (part[:, word + 1] << np.uint64(32))
        values[rows] = (both >> shift) & np.uint64(2**bits - 1)
    return values
