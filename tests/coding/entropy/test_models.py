from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdtools.coding.entropy.models import (
    count_integers,
    entropy_bits,
    mean_column_entropy,
    pooled_entropy,
    shared_table,
    uniform_table,
    varint_bytes,
)
from rdtools.coding.fields import varint

integer_arrays = arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 8)), elements=st.integers(-50, 50))


@given(integer_arrays)
def test_counts_are_the_histogram_of_each_column(integers):
    counts = count_integers(integers)
    rebuilt = {(int(c), int(v)): int(k) for c, v, k in zip(counts.columns, counts.values, counts.counts, strict=True)}
    expected = {}
    for i in range(integers.shape[1]):
        for v in integers[:, i]:
            expected[i, int(v)] = expected.get((i, int(v)), 0) + 1
    assert rebuilt == expected


def test_counts_survive_outliers():
    integers = np.zeros((3, 2), dtype=np.int32)
    integers[1, 1] = 2**31 - 1
    table = shared_table(count_integers(integers))
    assert table.values.tolist() == [0, 2**31 - 1]
    assert table.frequencies.tolist() == [5, 1]


def test_entropies_of_known_histograms():
    integers = np.array([[0, 7], [1, 7], [0, 7], [1, 7]], dtype=np.int32)
    counts = count_integers(integers)
    assert entropy_bits(shared_table(counts)) == pytest.approx(1.5)
    # one bit and zero bits, and one degree of freedom in the first column: (2 − 1)/(2·4·ln 2), over two columns
    assert math.isnan(mean_column_entropy(counts))  # three different integers in two columns of four
    many = count_integers(np.tile(integers, (4, 1)))
    assert pooled_entropy(many) == pytest.approx(1.5 + 2 / (2 * 32 * math.log(2)))
    assert mean_column_entropy(many) == pytest.approx(0.5 + 1 / (32 * math.log(2)) / 2)


def test_entropy_of_columns_is_not_claimed_from_too_few_rows():
    integers = np.arange(64, dtype=np.int32).reshape(64, 1)
    assert math.isnan(mean_column_entropy(count_integers(integers)))


@given(st.integers(-(2**31), 2**31 - 1))
def test_length_of_variable_length_integers(value):
    assert int(varint_bytes(np.array([value]))[0]) == len(varint(value))


def test_uniform_table_covers_the_codes_of_a_fixed_grid():
    assert uniform_table(4).values.tolist() == [-2, -1, 0, 1]
    assert uniform_table(5).values.tolist() == [-2, -1, 0, 1, 2]
