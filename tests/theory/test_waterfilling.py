from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from tolerances import rounding

from rdtools.testing import spectra
from rdtools.theory.waterfilling import components, distortion_rate, joint_components, rate_distortion


def test_white_spectrum_is_one_gaussian():
    """D = σ² 2^{−2R}."""
    point = distortion_rate([0.0, 0.5, 3.0], np.full(5, 2.0))
    np.testing.assert_allclose(point.distortion, [2.0, 1.0, 2.0 / 64], rtol=rounding(10))
    assert point.active.tolist() == [0, 5, 5]


def test_two_components_by_hand():
    """4 and 1: below ½ bit only the first is active, D = (4·2^{−4R} + 1)/2; above, D = 2·2^{−2R}."""
    rates = np.array([0.1, 0.4, 0.5, 1.0, 2.0])
    by_hand = np.where(rates <= 0.5, (4 * 2 ** (-4 * rates) + 1) / 2, 2 * 2 ** (-2 * rates))
    np.testing.assert_allclose(distortion_rate(rates, [1.0, 4.0]).distortion, by_hand, rtol=rounding(10))


def test_one_active_component():
    """A single positive variance takes all the rate: D = (v/n) 2^{−2nR}."""
    point = distortion_rate(0.25, [0.0, 3.0, 0.0, 0.0])
    assert float(point.distortion) == pytest.approx(3.0 / 4 * 2**-2.0, rel=rounding(10))
    assert int(point.active) == 1


def test_limits():
    v = np.array([5.0, 1.0, 0.1])
    assert float(distortion_rate(0.0, v).distortion) == pytest.approx(v.mean(), rel=rounding(5))
    assert float(distortion_rate(math.inf, v).distortion) == 0
    assert float(rate_distortion(0.0, v).rate_bits) == math.inf
    assert float(rate_distortion(v.mean(), v).rate_bits) == 0
    beyond = rate_distortion(100.0, v)
    assert float(beyond.rate_bits) == 0
    assert float(beyond.distortion) == pytest.approx(v.mean(), rel=rounding(5))


def test_all_zero_variances_cost_nothing():
    assert float(distortion_rate(1.0, np.zeros(3)).distortion) == 0
    assert float(rate_distortion(0.0, np.zeros(3)).rate_bits) == 0


def test_spread_of_sixteen_decades():
    v = np.logspace(0, -16, 50)
    rates = np.linspace(0, 40, 300)
    there = distortion_rate(rates, v)
    back = rate_distortion(there.distortion, v)
    np.testing.assert_allclose(back.rate_bits, rates, rtol=0, atol=rounding(50) * 60)


@given(spectra(max_condition=1e12), st.floats(0, 12))
def test_there_and_back(variances, rate):
    """R(D(R)) = R. The rate's condition in D is 1/(2 ln 2 D) dD with k/n of it active."""
    point = distortion_rate(rate, variances)
    back = float(rate_distortion(point.distortion, variances).rate_bits)
    k = max(int(point.active), 1)
    # dR = −(k/n) dD/(2 ln2 k τ/n): an error eps·D in D moves R by eps·D/(2 ln2 τ); log sums lose n·eps·|log2|
    condition = float(point.distortion) / (2 * math.log(2) * max(float(point.water_level), 1e-300)) + 60 * len(variances) / k
    assert back == pytest.approx(rate, abs=rounding(4) * condition)


@pytest.mark.parametrize("variances", [np.exp(np.random.default_rng(0).normal(0, 3, 1000)), np.repeat([5.0, 2.0, 0.1], 40), np.ones(1)])
def test_one_distortion_alone_is_as_among_others(variances):
    """Also where an entry joins exactly, and a number beside that."""
    ready = components(variances)
    joins = (ready.number[:-1] * ready.values + ready.tail[:-1])[:: max(1, len(ready.values) // 20)] / ready.total
    distortions = np.concatenate([[0.0, np.inf], joins, np.nextafter(joins, 0), np.nextafter(joins, np.inf)])
    together = rate_distortion(distortions, ready)
    for i, D in enumerate(distortions):
        alone = rate_distortion(D, ready)
        assert (alone.rate_bits, alone.active) == (together.rate_bits[i], together.active[i])


@given(spectra(max_condition=1e9), st.floats(1e-3, 10))
def test_bisection_on_the_water_level_agrees(variances, rate):
    """Second route: solve Σ ½ log2⁺(v/τ) = nR for τ."""

    def excess(log_level):
        return 0.5 * np.maximum(0, np.log2(variances) - log_level).mean() - rate

    low = math.log2(variances.min()) - 2 * rate * len(variances) - 1
    level = 2 ** brentq(excess, low, math.log2(variances.max()) + 1, xtol=1e-13, rtol=1e-15)
    expected = np.minimum(variances, level).mean()
    # the root is good to 1e-13 in log2 τ, plus the rounding of logs up to |log2 v| + 2nR
    scale = 1e-13 + rounding(len(variances)) * (abs(low) + 60)
    assert float(distortion_rate(rate, variances).distortion) == pytest.approx(expected, rel=scale)


@given(spectra(), st.floats(0, 6), st.floats(0, 6))
def test_monotone_and_convex(variances, a, b):
    ends = distortion_rate([a, b], variances).distortion
    middle = float(distortion_rate((a + b) / 2, variances).distortion)
    slack = rounding(60 * len(variances)) * ends.max()
    assert (ends[0] - ends[1]) * (b - a) >= -slack
    assert middle <= ends.mean() + slack


@given(spectra(), st.floats(0, 6), st.floats(1e-3, 1e3), st.randoms())
def test_scale_equivariant_and_permutation_invariant(variances, rate, scale, random):
    shuffled = list(variances)
    random.shuffle(shuffled)
    expected = scale * float(distortion_rate(rate, variances).distortion)
    actual = float(distortion_rate(rate, scale * np.array(shuffled)).distortion)
    assert actual == pytest.approx(expected, rel=rounding(len(variances)) * 100)


@given(spectra(), st.floats(0, 6))
def test_concatenating_a_spectrum_with_itself_changes_nothing(variances, rate):
    once = float(distortion_rate(rate, variances).distortion)
    twice = float(distortion_rate(rate, np.tile(variances, 2)).distortion)
    assert twice == pytest.approx(once, rel=rounding(len(variances)) * 100)


@given(spectra(min_size=2), spectra(min_size=1, max_size=5), st.floats(0.05, 6))
def test_joint_limit_is_at_most_the_limit_of_the_mean_variance(eigenvalues, rows, rate):
    """Jensen: at one water level each component's dual term is concave in its variance."""
    joint = float(distortion_rate(rate, joint_components(rows, eigenvalues)).distortion)
    mean = float(distortion_rate(rate, rows.mean() * eigenvalues).distortion)
    assert joint <= mean * (1 + rounding(1000))


def test_joint_limit_at_high_rate_gains_the_spread_of_row_variances():
    rows, eigenvalues = np.array([1.0, 4.0, 16.0]), np.array([1.0, 0.5])
    D = 1e-6
    gain = rate_distortion(D, rows.mean() * eigenvalues).rate_bits - rate_distortion(D, joint_components(rows, eigenvalues)).rate_bits
    assert float(gain) == pytest.approx(0.5 * math.log2(7.0 / 4.0), abs=rounding(100))


@pytest.mark.parametrize("seed", range(4))
def test_convex_program_agrees(seed):
    """Independent oracle: minimize Σ d_i subject to Σ ½ log2(v_i/d_i) ≤ nR, d ≤ v."""
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    v = np.exp(rng.normal(size=6))
    rate = rng.uniform(0.2, 2.0)
    d = cvxpy.Variable(6)
    bits = cvxpy.sum(np.log(v) - cvxpy.log(d)) / (2 * math.log(2))
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(d)), [bits <= 6 * rate, d <= v])
    program.solve(solver=cvxpy.CLARABEL)
    # the interior-point solver stops at a relative gap of 1e-8
    assert float(distortion_rate(rate, v).distortion) == pytest.approx(program.value / 6, rel=1e-6)


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_bad_rates_and_variances_are_refused(bad):
    with pytest.raises(ValueError, match="rate"):
        distortion_rate(bad, [1.0])
    with pytest.raises(ValueError, match="distortion"):
        rate_distortion(bad, [1.0])
    with pytest.raises(ValueError, match="variances"):
        distortion_rate(1.0, [1.0, bad])
    with pytest.raises(ValueError, match="variances"):
        distortion_rate(1.0, [])


@given(spectra(max_size=8), st.lists(st.integers(1, 4), min_size=8, max_size=8), st.floats(0, 6))
def test_multiplicities_are_repetitions(variances, counts, rate):
    counts = counts[: len(variances)]
    short = distortion_rate(rate, components(variances, counts))
    long = distortion_rate(rate, np.repeat(variances, counts))
    assert float(short.distortion) == pytest.approx(float(long.distortion), rel=rounding(3000))
    back = float(rate_distortion(short.distortion, components(variances, counts)).rate_bits)
    assert back == pytest.approx(float(rate_distortion(short.distortion, np.repeat(variances, counts)).rate_bits), abs=rounding(3000))


def test_pooling_keeps_few_entries_and_moves_the_limit_up_a_little(rng):
    rows, eigenvalues = np.exp(rng.standard_normal(1000)), np.array([1.0, 0.3])
    exact, pooled = joint_components(rows, eigenvalues), joint_components(rows, eigenvalues, most=200)
    assert len(exact.values) == 2000
    assert len(pooled.values) == 200
    assert pooled.total == exact.total
    gap = float(rate_distortion(1e-3, pooled).rate_bits - rate_distortion(1e-3, exact).rate_bits)
    # 100 pools of 10: inside one the logarithms differ least in the middle and most at the ends; the mean spread bounds the gap
    pools = np.array_split(np.sort(rows), 100)
    assert 0 <= gap <= np.mean([0.5 * np.log2(p[-1] / p[0]) for p in pools])


def test_bad_multiplicities_are_refused():
    with pytest.raises(ValueError, match="multiplicities"):
        components([1.0, 2.0], [1.0, 0.0])


def test_variances_next_to_the_largest_float():
    """Their sum is beyond float64, their mean is not."""
    point = distortion_rate(0.0, [1.7e308, 1e308])
    assert float(point.distortion) == pytest.approx(1.35e308, rel=rounding(100))
    assert float(rate_distortion(1e308, [1.7e308, 1e308]).rate_bits) == pytest.approx(
        float(rate_distortion(1.0, [1.7, 1.0]).rate_bits), rel=rounding(100)
    )
