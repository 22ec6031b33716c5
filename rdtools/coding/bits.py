"""Bits that no byte boundary divides: unsigned integers of fixed width, subsets and permutations."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]


def to_bits(values: NDArray[np.integer], width: int) -> Bits:
    """Zeros and ones of unsigned integers, highest bit first.

    Examples
    --------
    >>> to_bits(np.array([1, 6]), 3).tolist()
    [0, 0, 1, 1, 1, 0]
    """
    shifts = np.arange(width, dtype=np.uint32)[::-1]
    return (values.astype(np.uint32).reshape(-1, 1) >> shifts & 1).astype(np.uint8).ravel()


def from_bits(bits: Bits, width: int) -> NDArray[np.uint32]:
    """The integers that `to_bits` wrote."""
    values = np.zeros(len(bits) // width if width else 0, dtype=np.uint32)
    for column in bits.reshape(len(values), width).T:
        values = values << np.uint32(1) | column
    return values


def subset_width(order: int, size: int) -> int:
    """``⌈log2 C(n, k)⌉``, the bits of a subset of k of n."""
    return (math.comb(order, size) - 1).bit_length()


def subset_to_bits(members: NDArray[np.integer], order: int) -> Bits:
    """Enumerative code of a subset of 0 … n − 1, in `subset_width` bits: its place among the subsets of its size.

    The place of ``c_1 < … < c_k`` is ``Σ_i C(c_i, i)``, the combinatorial number system.

    Examples
    --------
    >>> subset_to_bits(np.array([0, 3]), 4).tolist()
    [0, 1, 1]
    """
    width = subset_width(order, len(members))
    rank = sum(math.comb(int(c), i) for i, c in enumerate(np.sort(members), start=1))
    return np.array([int(bit) for bit in f"{rank:0{width}b}"] if width else [], dtype=np.uint8)


def subset_from_bits(bits: Bits, order: int, size: int) -> NDArray[np.int64] | None:
    """The subset that `subset_to_bits` wrote, ascending; None for bits that no subset has.

    ``c_k`` is the largest c with C(c, k) at most the place, and so on with what is left: C(c, i) goes down by one factor at a time.
    """
    rank = int("".join(map(str, bits.tolist())) or "0", 2)
    if rank >= math.comb(order, size):
        return None
    members = np.zeros(size, dtype=np.int64)
    c, i = order, size
    value = math.comb(c, i)
    while i > 0:
        # C(c − 1, i) from C(c, i), until it is at most the place
        value, c = value * (c - i) // c, c - 1
        if value <= rank:
            rank -= value
            members[i - 1] = c
            value, i = (value * i // (c - i + 1) if c >= i else math.comb(c, i - 1)), i - 1
    return members


def index_width(order: int) -> int:
    """``⌈log2 n⌉``, the bits of one of n places."""
    return max(order - 1, 0).bit_length()
