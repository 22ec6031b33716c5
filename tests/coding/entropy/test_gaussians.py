from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from tolerances import entropy_band

from rdtools.coding.entropy.gaussians import column_table, gaussian_code_length
from rdtools.coding.entropy.models import count_integers
from rdtools.coding.format_v2 import PRECISION_BITS


@pytest.mark.parametrize("std", [1e-9, 0.2, 1.0, 7.3, 300.0])
def test_column_table_is_the_rounded_normal_law(std):
    table = column_table(std)
    z = table.values
    exact = scipy.stats.norm.cdf((z + 0.5) / std) - scipy.stats.norm.cdf((z - 0.5) / std)
    # each boundary is good to 1.5e-7, then rounded to 2^-24, and never below one unit of that
    assert np.abs(table.frequencies[:-1] / 2**PRECISION_BITS - exact).max() < 3e-7 + 2.0**-PRECISION_BITS * 1.5
    assert table.frequencies.min() == 1
    assert (table.frequencies[:-1] == table.frequencies[:-1][::-1]).all()


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0])
def test_code_length_is_the_cross_entropy(ratio):
    """For integers of a Gaussian model, the length under their own model is the entropy within its statistical band."""
    rng = np.random.default_rng(3)
    m, r = 4000, 8
    integers = np.rint(rng.standard_normal((m, r)) / ratio).astype(np.int32)
    table = column_table(1 / ratio)
    p = table.frequencies / table.frequencies.sum()
    entropy = -(p * np.log2(p)).sum()
    length = gaussian_code_length(count_integers(integers), np.full(r, 1 / ratio)) / integers.size
    assert length == pytest.approx(entropy, abs=entropy_band(m * r))
