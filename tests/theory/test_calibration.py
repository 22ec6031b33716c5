from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdtools.linalg import log2_am_over_gm
from rdtools.theory.calibration import calibration_penalty_bits


@pytest.mark.parametrize(("ratio", "printed"), [(0.05, 0.0187), (0.25, 0.109), (0.5, 0.279)])
def test_printed_values(ratio, printed):
    assert round(calibration_penalty_bits(ratio), len(str(printed)) - 2) == printed


@pytest.mark.parametrize("ratio", [0.05, 0.25, 0.5])
def test_simulated_wishart(ratio):
    """½ log2(AM/GM of eig Σ̃⁻¹Σ) with Σ = I and N = n/y normal tokens, n = 200, averaged over 12 draws."""
    n, rng = 200, np.random.default_rng(8)
    draws = []
    for _ in range(12):
        X = rng.standard_normal((round(n / ratio), n))
        draws.append(0.5 * log2_am_over_gm(1 / np.linalg.eigvalsh(X.T @ X / len(X))))
    # exact means differ from the limit by O(1/n): E AM = 1/(1 − y − 1/N), which is 1/(N(1−y)) of it
    bias = 0.5 * math.log2(math.e) * 2 * ratio / n / (1 - ratio)
    assert np.mean(draws) == pytest.approx(calibration_penalty_bits(ratio), abs=4 * np.std(draws) / math.sqrt(12) + bias)


def test_limits_and_first_order():
    assert calibration_penalty_bits(0.0) == 0
    assert calibration_penalty_bits(1.0) == math.inf
    assert calibration_penalty_bits(1e-9) == pytest.approx(1e-9 * math.log2(math.e) / 4, rel=1e-8)
    # the series leaves out terms of relative order y²; the closed form cancels to about eps/y
    assert calibration_penalty_bits(1e-4 * (1 + 1e-9)) == pytest.approx(calibration_penalty_bits(1e-4 * (1 - 1e-9)), rel=1e-7)


@given(st.floats(0, 0.999), st.floats(0, 0.999))
def test_rises_with_the_ratio(a, b):
    low, high = sorted((a, b))
    assert calibration_penalty_bits(low) <= calibration_penalty_bits(high) * (1 + 1e-9)


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_other_ratios_are_refused(bad):
    with pytest.raises(ValueError, match="calibration penalty"):
        calibration_penalty_bits(bad)
