from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tolerances import entropy_band

from rdtools.coding.models import (
    PRECISION_BITS,
    column_code_length,
    column_table,
    count_codes,
    fit_weight_std,
    mean_column_entropy,
    pooled_entropy,
    shared_table,
    uniform_table,
)

codes_arrays = arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 8)), elements=st.integers(-50, 50))


@given(codes_arrays)
def test_counts_are_the_histogram_of_each_column(codes):
    counts = count_codes(codes)
    rebuilt = {(int(c), int(v)): int(k) for c, v, k in zip(counts.columns, counts.values, counts.counts, strict=True)}
    expected = {}
    for i in range(codes.shape[1]):
        for v in codes[:, i]:
            expected[i, int(v)] = expected.get((i, int(v)), 0) + 1
    assert rebuilt == expected


def test_counts_survive_outliers():
    codes = np.zeros((3, 2), dtype=np.int32)
    codes[1, 1] = 2**31 - 1
    counts = count_codes(codes)
    assert sorted(counts.values.tolist()) == [0, 0, 2**31 - 1]
    table = shared_table(counts)
    assert table.window == 1
    assert table.frequencies.tolist() == [5, 1]


def test_entropies_of_known_histograms():
    codes = np.array([[0, 7], [1, 7], [0, 7], [1, 7]], dtype=np.int32)
    counts = count_codes(codes)
    assert pooled_entropy(counts) == pytest.approx(1.5)
    # one bit and zero bits, and one degree of freedom in the first column: (2 − 1)/(2·4·ln 2), over two columns
    assert mean_column_entropy(counts) == pytest.approx(0.5 + 1 / (8 * math.log(2)) / 2)


@pytest.mark.parametrize("std", [1e-9, 0.2, 1.0, 7.3, 300.0])
def test_column_table_is_the_rounded_normal_law(std):
    table = column_table(std)
    z = np.arange(table.lowest, table.lowest + table.window)
    exact = scipy.stats.norm.cdf((z + 0.5) / std) - scipy.stats.norm.cdf((z - 0.5) / std)
    # each boundary is good to 1.5e-7, then rounded to 2^-24, and never below one unit of that
    assert np.abs(table.frequencies[:-1] / 2**PRECISION_BITS - exact).max() < 3e-7 + 2.0**-PRECISION_BITS * 1.5
    assert table.frequencies.min() == 1
    assert (table.frequencies[:-1] == table.frequencies[:-1][::-1]).all()


def test_uniform_table_covers_the_codes_of_a_fixed_grid():
    assert (uniform_table(4).lowest, uniform_table(4).window) == (-2, 4)
    assert (uniform_table(5).lowest, uniform_table(5).window) == (-2, 5)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0])
def test_code_length_is_the_cross_entropy(ratio):
    """For codes of a normal law, the length under their own model is the entropy within its statistical band."""
    rng = np.random.default_rng(3)
    m, r = 4000, 8
    codes = np.rint(rng.standard_normal((m, r)) / ratio).astype(np.int32)
    table = column_table(1 / ratio)
    p = table.frequencies / table.frequencies.sum()
    entropy = -(p * np.log2(p)).sum()
    length = column_code_length(count_codes(codes), np.full(r, 1 / ratio)) / codes.size
    assert length == pytest.approx(entropy, abs=entropy_band(m * r))


def test_fitted_deviation_is_the_true_one():
    rng = np.random.default_rng(4)
    steps = np.array([0.2, 0.5, 1.0, 2.0])
    codes = np.rint(rng.standard_normal((20_000, 4)) * 1.7 / steps).astype(np.int32)
    fitted = fit_weight_std(count_codes(codes), steps, start=1.0)
    # a deviation from N samples has a relative error of 1/√(2N); the search adds 0.1 %
    assert fitted == pytest.approx(1.7, rel=4 / math.sqrt(2 * 80_000) + 2e-3)
    assert fitted == float(np.float32(fitted))
