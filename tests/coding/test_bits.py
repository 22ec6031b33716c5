"""Integers of fixed width, and subsets by their place among those of their size."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdtools.coding.bits import from_bits, index_width, subset_from_bits, subset_to_bits, subset_width, to_bits


@given(st.integers(0, 16), st.lists(st.integers(0, 2**16 - 1), max_size=20))
def test_integers_come_back(width, values):
    masked = np.array(values, dtype=np.uint16) & np.uint16(2**width - 1)
    bits = to_bits(masked, width)
    assert len(bits) == width * len(values)
    if width:
        assert from_bits(bits, width).tolist() == masked.tolist()


@pytest.mark.parametrize("order", range(8))
def test_every_subset_has_a_number_of_its_own_in_as_few_bits_as_there_can_be(order):
    for size in range(order + 1):
        width, numbers = subset_width(order, size), set()
        assert 2**width >= math.comb(order, size) > 2**width / 2 or width == 0
        for subset in combinations(range(order), size):
            bits = subset_to_bits(np.array(subset, dtype=np.int64), order)
            assert len(bits) == width
            assert subset_from_bits(bits, order, size).tolist() == list(subset)
            numbers.add(tuple(bits))
        assert len(numbers) == math.comb(order, size)


def test_numbers_that_no_subset_has_are_none():
    assert subset_from_bits(to_bits(np.array([5]), 3), 4, 2).tolist() == [2, 3]
    assert subset_from_bits(to_bits(np.array([6]), 3), 4, 2) is None


def test_a_large_subset_comes_back():
    members = np.sort(np.random.default_rng(0).permutation(4096)[:80])
    bits = subset_to_bits(members, 4096)
    assert len(bits) == math.ceil(math.log2(math.comb(4096, 80)))
    assert (subset_from_bits(bits, 4096, 80) == members).all()


@pytest.mark.parametrize(("order", "width"), [(0, 0), (1, 0), (2, 1), (4096, 12), (4097, 13)])
def test_width_of_a_place(order, width):
    assert index_width(order) == width
