"""The range coder of the references, with integers of any length: an interval of [0, 1) is divided by multiples of 2⁻²⁴ of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Parts that an interval is divided into, and bits that its length is brought back to when it has fewer than WORD.
PRECISION, WORD, LENGTH = 24, 32, 64

#: Outcomes of coding: right; an integer of the wrong parity; words that no encoder writes; escaped integers too few or too many.
RIGHT, PARITY, WORDS, ESCAPES = range(4)


class RangeEncoder:
    """An interval that symbols narrow."""

    def __init__(self) -> None:
        self._low, self._length, self._words = 0, (1 << LENGTH) - 1, 0

    def narrow(self, left: int, part: int) -> None:
        """Go on in the part of the interval that begins at left, both in 2⁻²⁴ of it."""
        scale = self._length >> PRECISION
        self._low, self._length = self._low + scale * left, scale * part
        if self._length < 1 << (LENGTH - WORD):
            self._low, self._length, self._words = self._low << WORD, self._length << WORD, self._words + 1

    def words(self) -> NDArray[np.uint32]:
        """As few words as name a point of the interval."""
        point = (self._low + (1 << WORD) - 1) >> WORD
        return np.array([(point >> (WORD * k)) & (2**WORD - 1) for k in range(self._words, -1, -1)], dtype=np.uint32)


class RangeDecoder:
    """The interval of an encoder, followed by the point that its words name."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._data: list[int] = [*words.tolist(), 0]
        self._value = (self._data[0] << WORD) | self._data[min(1, len(words))]
        self._length, self._used = (1 << LENGTH) - 1, 2

    @property
    def quantile(self) -> int:
        """Place of the point in the interval, in 2⁻²⁴ of it; 2²⁴ and above only for words that no encoder writes."""
        return self._value // (self._length >> PRECISION)

    @property
    def outcome(self) -> int:
        """RIGHT if all words were used, else WORDS."""
        return RIGHT if self._used == len(self._data) else WORDS

    def narrow(self, left: int, part: int) -> None:
        """Follow `RangeEncoder.narrow`."""
        scale = self._length >> PRECISION
        self._value, self._length = self._value - scale * left, scale * part
        if self._length < 1 << (LENGTH - WORD):
            following = self._data[self._used] if self._used < len(self._data) else 0
            self._value, self._length = (self._value << WORD) | following, self._length << WORD
            self._used += 1
