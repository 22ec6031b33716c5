from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.testing import spectra
from rdtools.theory.allocation import LayerBudget, allocate, marginal_gain_db
from rdtools.theory.waterfilling import distortion_rate, rate_distortion

budgets = st.lists(
    st.builds(LayerBudget, spectra(max_size=8, max_condition=1e4), st.integers(1, 50), st.floats(0.01, 100)), min_size=1, max_size=4
)


@given(budgets, st.floats(0, 6))
def test_the_budget_is_spent_and_each_layer_is_on_its_own_curve(layers, rate):
    """Σ m n R_l = R Σ m n, and (R_l, D_l) is a point of layer l's rate–distortion function."""
    found = allocate(layers, rate)
    sizes = np.array([layer.rows * len(layer.variances) for layer in layers])
    assert sizes @ found.rates_bits / sizes.sum() == pytest.approx(rate, abs=rounding(3000))
    for layer, own, distortion in zip(layers, found.rates_bits, found.distortions, strict=True):
        assert distortion == pytest.approx(float(distortion_rate(own, layer.variances).distortion), rel=rounding(10_000))


@given(budgets, st.floats(0.1, 6), st.floats(0.05, 1))
def test_no_exchange_between_two_layers_helps(layers, rate, move):
    """Taking bits from one layer and giving them to another raises the weighted total."""
    found = allocate(layers, rate)
    sizes = np.array([layer.rows * len(layer.variances) for layer in layers])
    weights = sizes * [layer.sensitivity for layer in layers]
    best = weights @ found.distortions
    for i in range(len(layers)):
        for j in range(len(layers)):
            bits = min(move, found.rates_bits[i]) * sizes[i]
            moved = found.rates_bits.copy()
            moved[i] -= bits / sizes[i]
            moved[j] += bits / sizes[j]
            total = sum(
                w * float(distortion_rate(max(r, 0.0), layer.variances).distortion)
                for w, r, layer in zip(weights, moved, layers, strict=True)
            )
            assert total >= best * (1 - rounding(10_000))


def test_one_layer_is_plain_waterfilling():
    v = np.array([4.0, 1.0, 0.1])
    found = allocate([LayerBudget(v, 7, 3.0)], 1.3)
    assert found.distortions[0] == pytest.approx(float(distortion_rate(1.3, v).distortion), rel=rounding(100))
    assert found.rates_bits[0] == pytest.approx(1.3, abs=rounding(100))


def test_high_rate_by_hand():
    """Where all are active, rates differ by half the log of weighted geometric means."""
    a, b = LayerBudget(np.array([8.0, 2.0]), 10, 1.0), LayerBudget(np.array([1.0]), 30, 16.0)
    found = allocate([a, b], 6.0)
    assert found.rates_bits[1] - found.rates_bits[0] == pytest.approx(0.5 * math.log2(16.0 / 4.0), abs=rounding(100))


@pytest.mark.parametrize("seed", range(3))
def test_convex_program_agrees(seed):
    """Independent oracle: minimize the weighted distortion over component distortions under one rate."""
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    layers = [LayerBudget(np.exp(rng.normal(size=n)), int(m), float(s)) for n, m, s in ((3, 4, 1.0), (2, 9, 5.0), (4, 2, 0.2))]
    rate = 0.8
    v = np.concatenate([layer.variances for layer in layers])
    times = np.concatenate([np.full(len(layer.variances), layer.rows) for layer in layers])
    weights = np.concatenate([np.full(len(layer.variances), layer.rows * layer.sensitivity) for layer in layers])
    d = cvxpy.Variable(len(v))
    bits = times @ (np.log(v) - cvxpy.log(d)) / (2 * math.log(2))
    program = cvxpy.Problem(cvxpy.Minimize(weights @ d), [bits <= rate * times.sum(), d <= v])
    program.solve(solver=cvxpy.CLARABEL)
    sizes = np.array([layer.rows * len(layer.variances) * layer.sensitivity for layer in layers])
    # the interior-point solver stops at a relative gap of 1e-8
    assert sizes @ allocate(layers, rate).distortions == pytest.approx(program.value, rel=1e-6)


def test_degenerate_and_bad_budgets():
    dead = LayerBudget(np.zeros(3), 5)
    found = allocate([dead, LayerBudget(np.ones(3), 5)], 1.0)
    assert found.rates_bits.tolist() == [0.0, 2.0]
    assert found.distortions[0] == 0
    everything = allocate([LayerBudget(np.ones(2), 1)], 0.0)
    assert (everything.rates_bits[0], everything.distortions[0]) == (0.0, 1.0)
    assert float(rate_distortion(everything.distortions[0], np.ones(2)).rate_bits) == 0
    for bad in ([], [LayerBudget(np.ones(2), 0)], [LayerBudget(np.ones(2), 1, math.nan)]):
        with pytest.raises(ValueError, match="allocation"):
            allocate(bad, 1.0)


def test_marginal_gain_of_measured_points():
    """0.0604 to 0.0521 for 0.047 bits at 2 % of channels is worth it; 0.0483 for 0.234 at 8 % is not."""
    assert marginal_gain_db(0.0604, 0.0521, 0.047) > 0.3
    assert marginal_gain_db(0.0604, 0.0483, 0.234) < -0.4


@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1), st.floats(0, 10), st.floats(0, 10))
def test_marginal_gain_is_relative_to_the_slope(before, ratio, first, second):
    """0 along D ∝ 4^−R, positive exactly where D_after/D_before < 4^−ΔR, and additive over steps."""
    assert marginal_gain_db(before, before * 4.0**-first, first) == pytest.approx(0, abs=rounding(100))
    gain = marginal_gain_db(before, before * ratio, first)
    if abs(gain) > rounding(100):
        assert (gain > 0) == (ratio < 4.0**-first)
    assert gain + marginal_gain_db(before * ratio, before, second) == pytest.approx(-20 * math.log10(2) * (first + second), abs=1e-10)


@given(st.floats(1.5, 8), st.floats(0.05, 0.9))
def test_first_channels_pass_where_they_are_heavy_enough(extra, ratio):
    """To first order: H_jj over its mean above e ln 4/(1 − c_e/c_b)."""
    n, needed = 10_000_000, extra * math.log(4) / (1 - ratio)
    for excess in (0.99, 1.01):
        # one channel of n, without an array of n: its share is x/(x + n − 1) = x/n over the mean
        phi = excess * needed / n
        gain = marginal_gain_db(1.0, 1 - (1 - ratio) * phi, extra / n)
        assert (gain > 0) == (excess > 1)


def test_quoted_threshold():
    assert round(3 * math.log(4) / (1 - 0.0134 / 0.327), 1) == 4.3
    assert marginal_gain_db(1.0, 0.0, 1.0) == math.inf
