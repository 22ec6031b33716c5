from __future__ import annotations

import numpy as np
import pytest
from foreign.writers import end_to_end

from rdtools.foreign.packing import dense_positions, padded_positions, unpack, words_for


@pytest.mark.parametrize("bits", range(1, 9))
def test_integers_end_to_end_come_back(bits, rng):
    values = rng.integers(0, 2**bits, (5, 77))
    words = end_to_end(values, bits)
    assert words.shape == (5, words_for(77, bits))
    assert np.array_equal(unpack(words, dense_positions(77, bits), bits), values)


def test_whole_integers_of_three_bits_leave_two_bits_of_a_word():
    word = sum(i % 8 << 3 * i for i in range(10))
    assert unpack(np.array([[word, 5]], dtype=np.int32), padded_positions(11, 3), 3)[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 5]
