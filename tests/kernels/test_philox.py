from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdtools.kernels import philox_numba, philox_reference
from tolerances import STANDARD_ERRORS

ALL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_random123(counter, key, words):
    """philox4x32-10 of the kat_vectors of Random123."""
    assert tuple(int(word) for word in philox_reference.philox_words(counter, key)) == words


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_numba_draws_the_same(seed, row, column):
    slow = philox_reference.uniform(seed, np.array([row]), column)[0]
    fast = philox_numba.uniform(np.uint64(seed), np.uint64(row), np.uint64(column))
    assert 0 <= slow < 1
    assert float(fast) == slow


def test_draws_are_uniform_and_differ_between_rows_columns_and_seeds():
    rows = np.arange(20_000)
    u = np.stack([philox_reference.uniform(seed, rows, column) for seed in (0, 2**32) for column in (0, 1)])
    band = STANDARD_ERRORS / np.sqrt(len(rows))
    assert (np.abs(u.mean(axis=1) - 0.5) < band / np.sqrt(12)).all()
    assert (np.abs(np.corrcoef(u)[~np.eye(4, dtype=bool)]) < band).all()
    assert abs(np.corrcoef(u[0, 1:], u[0, :-1])[0, 1]) < band
