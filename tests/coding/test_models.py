from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tolerances import entropy_band

from rdtools.coding.fields import varint
from rdtools.coding.models import (
    PRECISION_BITS,
    column_table,
    count_codes,
    entropy_bits,
    fit_laws,
    fit_weight_std,
    law_code_length,
    law_stds,
    mean_column_entropy,
    pooled_entropy,
    shared_table,
    uniform_table,
    varint_bytes,
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
    table = shared_table(count_codes(codes))
    assert table.values.tolist() == [0, 2**31 - 1]
    assert table.frequencies.tolist() == [5, 1]


def test_entropies_of_known_histograms():
    codes = np.array([[0, 7], [1, 7], [0, 7], [1, 7]], dtype=np.int32)
    counts = count_codes(codes)
    assert entropy_bits(shared_table(counts)) == pytest.approx(1.5)
    # one bit and zero bits, and one degree of freedom in the first column: (2 − 1)/(2·4·ln 2), over two columns
    assert math.isnan(mean_column_entropy(counts))  # three different codes in two columns of four
    many = count_codes(np.tile(codes, (4, 1)))
    assert pooled_entropy(many) == pytest.approx(1.5 + 2 / (2 * 32 * math.log(2)))
    assert mean_column_entropy(many) == pytest.approx(0.5 + 1 / (32 * math.log(2)) / 2)


def test_entropy_of_columns_is_not_claimed_from_too_few_rows():
    codes = np.arange(64, dtype=np.int32).reshape(64, 1)
    assert math.isnan(mean_column_entropy(count_codes(codes)))


@given(st.integers(-(2**31), 2**31 - 1))
def test_length_of_variable_length_integers(value):
    assert int(varint_bytes(np.array([value]))[0]) == len(varint(value))


@pytest.mark.parametrize("std", [1e-9, 0.2, 1.0, 7.3, 300.0])
def test_column_table_is_the_rounded_normal_law(std):
    table = column_table(std)
    z = table.values
    exact = scipy.stats.norm.cdf((z + 0.5) / std) - scipy.stats.norm.cdf((z - 0.5) / std)
    # each boundary is good to 1.5e-7, then rounded to 2^-24, and never below one unit of that
    assert np.abs(table.frequencies[:-1] / 2**PRECISION_BITS - exact).max() < 3e-7 + 2.0**-PRECISION_BITS * 1.5
    assert table.frequencies.min() == 1
    assert (table.frequencies[:-1] == table.frequencies[:-1][::-1]).all()


def test_uniform_table_covers_the_codes_of_a_fixed_grid():
    assert uniform_table(4).values.tolist() == [-2, -1, 0, 1]
    assert uniform_table(5).values.tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0])
def test_code_length_is_the_cross_entropy(ratio):
    """For codes of a normal law, the length under their own model is the entropy within its statistical band."""
    rng = np.random.default_rng(3)
    m, r = 4000, 8
    codes = np.rint(rng.standard_normal((m, r)) / ratio).astype(np.int32)
    table = column_table(1 / ratio)
    p = table.frequencies / table.frequencies.sum()
    entropy = -(p * np.log2(p)).sum()
    length = law_code_length(count_codes(codes), np.full(r, 1 / ratio)) / codes.size
    assert length == pytest.approx(entropy, abs=entropy_band(m * r))


def test_fitted_deviation_is_the_true_one():
    rng = np.random.default_rng(4)
    steps = np.array([0.2, 0.5, 1.0, 2.0])
    codes = np.rint(rng.standard_normal((20_000, 4)) * 1.7 / steps).astype(np.int32)
    codes[0, 0] = 10**7  # an outlier that widens the root mean square a thousandfold
    fitted = fit_weight_std(count_codes(codes), steps)
    # a deviation from N samples has a relative error of 1/√(2N); the search adds 0.1 %
    assert fitted == pytest.approx(1.7, rel=4 / math.sqrt(2 * 80_000) + 2e-3)
    assert fitted == float(np.float32(fitted))
    assert 0 < fit_weight_std(count_codes(np.zeros_like(codes)), steps) < 0.1


def test_fitted_noise_is_the_true_one_and_kept_only_where_it_pays():
    """Codes of variance (σ/Δ_i)² + β: no longer than with σ alone, and as short as under their own law."""
    rng = np.random.default_rng(5)
    steps = 2.0 ** np.arange(-3, 4)
    for noise in (0.0, 0.3):
        true = np.sqrt((1.7 / steps) ** 2 + noise)
        codes = np.rint(rng.standard_normal((20_000, 7)) * true).astype(np.int32)
        counts = count_codes(codes)
        model = fit_laws(counts, steps)
        assert model.weight_std == float(np.float32(model.weight_std))
        length = law_code_length(counts, law_stds(model, steps))
        assert length <= law_code_length(counts, np.sqrt((fit_weight_std(counts, steps) / steps) ** 2))
        # the likelihood is flat at its maximum: the search stops within a thousandth of a bit of the true law
        assert length <= law_code_length(counts, true) + 1e-3 * codes.size
