"""Codes of additive codebooks, as they are stored: AQLM and CRVQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.records.grids import check_array
from rdtools.records.symbols import Symbols

#: Columns of a row that share a code.
GROUP = 8
#: Columns of which a set is stored: numbering the subsets of many more takes minutes.
MAX_SET_COLUMNS = 2**17

#: How the columns' places in groups are stored: not at all, as the set of the critical ones, or as a permutation.
StoredOrder = Literal["natural", "set", "permutation"]


@dataclass(frozen=True, eq=False)
class AdditiveCodes(Symbols):
    """Groups of 8 columns of a row as sums of codewords, more of them in the critical groups, which are the first ones.

    Row i has ``X_i,order[8q … 8q+7] = s_i Σ_b C_b[code of group q in codebook b]``, over the basic codebooks, and over all in the
    critical groups; columns from r on are cut off.

    Attributes
    ----------
    codes : (m, S) uint16, those of the first codebook by groups, then those of the next
    codebooks : (2^bits, 8) float64 holding float16 values, basic ones first; extended ones have as many words as each other
    scales : (m,) float64 holding bfloat16 values, s
    order : (8 ⌈r/8⌉,) int64, which column is at each place
    stored : how much of the order is stored; the set alone if critical columns and others stand in ascending order
    basic : codebooks of every group
    critical : critical groups; 0 if, and only if, there are no others
    """

    codes: NDArray[np.uint16]
    codebooks: tuple[Float64Array, ...]
    scales: Float64Array
    order: NDArray[np.int64]
    stored: StoredOrder
    basic: int
    critical: int

    def __post_init__(self) -> None:
        bits, (m, n) = self.book_bits, (len(self.scales), len(self.order))
        if not 1 <= self.basic <= len(bits) <= 255 or len(set(bits[: self.basic])) > 1 or len(set(bits[self.basic :])) > 1:
            raise ValueError(f"codebooks of {bits} bits, {self.basic} of them basic, expected equal ones of either kind, 1 to 255")
        for book, e in zip(self.codebooks, bits, strict=True):
            check_array("codebook", book, np.float64, (2**e, GROUP))
        if n % GROUP or not 0 <= self.critical <= n // GROUP or (self.critical > 0) != (len(bits) > self.basic):
            raise ValueError(
                f"{n} columns, {self.critical} critical groups and {len(bits) - self.basic} extended codebooks, expected a multiple of "
                f"{GROUP}, at most all groups, and extended codebooks where groups are critical"
            )
        check_array("codes", self.codes, np.uint16, (m, len(self.slots)))
        check_array("row scales", self.scales, np.float64, (m,))
        check_array("order", self.order, np.int64, (n,))
        if self.codes.size and (self.codes >> np.array(bits)[self.slots[:, 1]]).any():
            raise ValueError("a code beyond the words of its codebook")
        if self.stored not in get_args(StoredOrder):
            raise ValueError(f"order stored as {self.stored!r}, expected one of {', '.join(get_args(StoredOrder))}")
        at = self.critical * GROUP
        ascending = self.stored == "permutation" or all(
            (np.diff(part) > 0).all() for part in ((self.order,) if self.stored == "natural" else (self.order[:at], self.order[at:]))
        )
        if self.stored == "set" and n > MAX_SET_COLUMNS:
            raise ValueError(f"a set of critical columns of {n}, expected at most {MAX_SET_COLUMNS}; store the permutation")
        if not ascending or not np.array_equal(np.sort(self.order), np.arange(n)):
            raise ValueError(f"order of columns stored as {self.stored}, expected each once, ascending where only their set is stored")

    @property
    def book_bits(self) -> tuple[int, ...]:
        """Bits of a code of each codebook; as many numbers of words are powers of two."""
        return tuple(max(len(book) - 1, 1).bit_length() for book in self.codebooks)

    @property
    def slots(self) -> NDArray[np.int64]:
        """(S, 2) group and codebook of each code."""
        return code_slots(len(self.order) // GROUP, self.critical, self.basic, len(self.codebooks) - self.basic)


def code_slots(groups: int, critical: int, basic: int, extended: int) -> NDArray[np.int64]:
    """(S, 2) group and codebook of each code of a row, by codebooks.

    Examples
    --------
    >>> code_slots(2, 1, 1, 1).tolist()
    [[0, 0], [1, 0], [0, 1]]
    """
    counts = [groups] * basic + [critical] * extended
    return np.array([(q, b) for b, count in enumerate(counts) for q in range(count)], dtype=np.int64).reshape(-1, 2)
