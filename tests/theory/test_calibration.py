from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.special import digamma, polygamma
from tolerances import EPS, STANDARD_ERRORS, rounding

from rdtools.errors import TheoryError
from rdtools.linalg import log2_am_over_gm
from rdtools.moments.spectrum import compute_spectrum
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.theory.calibration import (
    calibration_penalty_bits,
    effective_tokens,
    effective_tokens_from_holdout,
    heldout_ratio,
    logdet_bias_bits,
)
from rdtools.theory.high_rate import mean_log2


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
    # exact means differ from R(D) by O(1/n): E AM = 1/(1 − y − 1/N), which is 1/(N(1−y)) of it
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


def test_determinant_bias_closed_forms():
    """One column: E ln χ²_N/N = ψ(N/2) − ln(N/2). Two columns, four tokens: ψ(2) + ψ(3/2) − 2 ln 2 = 3 − 2γ − 4 ln 2."""
    for N in (1, 7, 63, 64, 65, 1000):
        expected = (float(digamma(N / 2)) - math.log(N / 2)) / (2 * math.log(2))
        # the difference loses the digits of ln N
        assert logdet_bias_bits(1, N) == pytest.approx(expected, abs=rounding(4))
    assert logdet_bias_bits(2, 4) == pytest.approx((3 - 2 * np.euler_gamma - 4 * math.log(2)) / (4 * math.log(2)), rel=rounding(10))


@pytest.mark.parametrize(("n", "N"), [(1, 1), (5, 5), (40, 160), (300, 301), (300, 1e4)])
def test_determinant_bias_as_printed(n, N):
    """Second route: the sum as it stands."""
    i = np.arange(1, n + 1)
    expected = (digamma((N - i + 1) / 2).sum() - n * math.log(N / 2)) / (2 * n * math.log(2))
    assert logdet_bias_bits(n, N) == pytest.approx(expected, abs=rounding(2) * math.log(N + 2))


def test_determinant_bias_keeps_its_digits_with_very_many_tokens():
    """−(n + 1) log2(e)/(4N) up to a share n/N."""
    assert logdet_bias_bits(1000, 1e13) == pytest.approx(-1001 * math.log2(math.e) / 4e13, rel=1e-9)
    # the expansion takes over at N − i + 1 = 64
    below, above = logdet_bias_bits(1, 64 * (1 - 4 * EPS)), logdet_bias_bits(1, 64 * (1 + 4 * EPS))
    assert below == pytest.approx(above, abs=rounding(4))


@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.5, 0.9])
def test_determinant_bias_tends_to_the_second_term_of_the_penalty(ratio):
    """½ log2 1/(1−y) + bias → penalty, faster than 1/n × (1/n Σ ln(1 − i/N) is an integral to its end terms)."""
    for n in (100, 10_000):
        limit = calibration_penalty_bits(ratio) + 0.5 * math.log2(1 - ratio)
        # end terms of the sum: ½ ln(1/(1−y)) and the same again from ψ(x) − ln x = −1/(2x)
        band = math.log(1 / (1 - ratio)) / n * math.log2(math.e)
        assert logdet_bias_bits(n, n / ratio) == pytest.approx(limit, abs=band)


@given(st.integers(1, 400), st.floats(0, 1e6))
def test_determinant_bias_is_negative_and_fades(n, extra):
    a, b = logdet_bias_bits(n, n + extra), logdet_bias_bits(n, n + 2 * extra + 1)
    assert a < b < 0
    assert logdet_bias_bits(n + 1, n + 1 + extra) <= logdet_bias_bits(n, n + 1 + extra)


@pytest.mark.parametrize(("n", "N"), [(30, 40), (30, 300)])
def test_determinant_bias_of_drawn_moments_and_its_correction(n, N):
    """Any Σ: its determinant comes back from a sample moment, with the printed standard deviation."""
    rng = np.random.default_rng(11)
    H = haar_moment(power_law(n, 1.5), rng)
    root = np.linalg.cholesky(H)
    spectra = []
    for _ in range(200):
        X = rng.standard_normal((N, n)) @ root.T
        spectra.append(compute_spectrum(X.T @ X / N))
    truth = mean_log2(compute_spectrum(H))
    corrected = np.array([mean_log2(s) for s in spectra]) - 2 * logdet_bias_bits(n, N)
    deviation = math.sqrt(float(polygamma(1, (N - np.arange(n)) / 2).sum())) / n * math.log2(math.e)
    assert corrected.mean() == pytest.approx(truth, abs=STANDARD_ERRORS * deviation / math.sqrt(200))
    assert corrected.std() == pytest.approx(deviation, rel=STANDARD_ERRORS / math.sqrt(400))
    # ψ'(x) ≈ 1/x turns the sum into −2 ln(1 − y), within 1/N of each term's share
    assert deviation == pytest.approx(math.log2(math.e) / n * math.sqrt(-2 * math.log(1 - n / N)), rel=1 / (N - n))
    observed = np.mean([mean_log2(s) for s in spectra])
    assert observed - truth == pytest.approx(2 * logdet_bias_bits(n, N), abs=STANDARD_ERRORS * deviation / math.sqrt(200))


def test_determinant_bias_of_degenerate_input():
    assert logdet_bias_bits(0, 10) == 0
    assert logdet_bias_bits(5, 4) == logdet_bias_bits(5, 1) == -math.inf
    assert math.isfinite(logdet_bias_bits(5, 5))
    for bad in ((-1, 10), (3, 0), (3, math.nan)):
        with pytest.raises(ValueError, match="determinant bias"):
            logdet_bias_bits(*bad)


def _tokens(rng, count, columns, correlation):
    """Stationary AR(1) tokens with r_k = ρ^k and Σ = I, (count, columns)."""
    noise = rng.standard_normal((count, columns))
    noise[1:] *= math.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], noise, axis=0)


@pytest.mark.parametrize("count", [300, 4000])
def test_effective_tokens_of_autoregressive_tokens(count):
    """Second route: the variance of every entry of the moment is that of N_eff independent tokens, E ‖Σ̃ − I‖²/n = (n + 1)/N_eff."""
    rng, n, rho, draws = np.random.default_rng(12), 30, 0.8, 100
    N_eff = effective_tokens(count, rho ** np.arange(1, count))
    errors = []
    for _ in range(draws):
        X = _tokens(rng, count, n, rho)
        errors.append(((X.T @ X / count - np.eye(n)) ** 2).sum() / n)
    band = STANDARD_ERRORS * np.std(errors) / math.sqrt(draws)
    assert np.mean(errors) == pytest.approx((n + 1) / N_eff, abs=band)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_penalty_of_autoregressive_tokens_to_first_order(rho):
    """½ log2(AM/GM of eig Σ̃⁻¹) at n/N_eff = 0.03 is the penalty of that many independent tokens."""
    rng, n, draws = np.random.default_rng(13), 30, 60
    count = round(1000 * (1 + rho**2) / (1 - rho**2))
    N_eff = effective_tokens(count, rho ** np.arange(1, 200))
    penalties, means = [], []
    for _ in range(draws):
        X = _tokens(rng, count, n, rho)
        inverse = 1 / np.linalg.eigvalsh(X.T @ X / count)
        penalties.append(0.5 * log2_am_over_gm(inverse))
        means.append(inverse.mean())
    y = n / N_eff
    expected = calibration_penalty_bits(y)
    # of relative order: (n + 1)/n, the exact count of entries of a symmetric matrix, and y, the second order
    slack = (1 / n + y) * expected
    assert np.mean(penalties) == pytest.approx(expected, abs=STANDARD_ERRORS * np.std(penalties) / math.sqrt(draws) + slack)
    from_holdout = effective_tokens_from_holdout(float(np.mean(means)), n)
    # μ − 1 = (n + 1)/N to first order, so that its relative error is that of N
    relative = STANDARD_ERRORS * np.std(means) / math.sqrt(draws) / (np.mean(means) - 1)
    assert from_holdout == pytest.approx(N_eff, rel=relative + 2 * y)


def test_beyond_the_first_order_correlated_tokens_cost_less_and_a_holdout_tells():
    """The printed case n/N_eff = 0.23, r_k = 0.8^k: the penalty is overestimated by 16 % from N_eff, by about 1 % from the holdout."""
    rng, n, count, rho = np.random.default_rng(14), 40, 800, 0.8
    N_eff = effective_tokens(count, rho ** np.arange(1, count))
    penalties, means = [], []
    for _ in range(60):
        X, other = _tokens(rng, count, n, rho), _tokens(rng, count, n, rho)
        moment = X.T @ X / count
        penalties.append(0.5 * log2_am_over_gm(1 / np.linalg.eigvalsh(moment)))
        means.append(np.trace(np.linalg.solve(moment, other.T @ other / count)) / n)
    error = STANDARD_ERRORS * np.std(penalties) / math.sqrt(60) / np.mean(penalties)
    assert calibration_penalty_bits(n / N_eff) / np.mean(penalties) == pytest.approx(1.16, abs=0.01 + error)
    holdout = calibration_penalty_bits(n / effective_tokens_from_holdout(float(np.mean(means)), n))
    relative = STANDARD_ERRORS * np.std(means) / math.sqrt(60) / (np.mean(means) - 1)
    assert holdout / np.mean(penalties) == pytest.approx(1.01, abs=0.01 + error + relative)


def test_effective_tokens_closed_forms():
    """White: N. Copies: 1. Long AR(1): N (1 − ρ²)/(1 + ρ²)."""
    assert effective_tokens(100, np.zeros(0)) == 100
    assert effective_tokens(1, np.ones(5)) == 1
    assert effective_tokens(1000, np.ones(5000)) == pytest.approx(1, rel=rounding(1000))
    rho, N = 0.9, 10**6
    expected = N * (1 - rho**2) / (1 + rho**2)
    # 1 − k/N costs (2/N) Σ k ρ^2k of the sum
    assert effective_tokens(N, rho ** np.arange(1, 400)) == pytest.approx(expected, rel=2 / N * rho**2 / (1 - rho**2) ** 2)


@given(st.integers(1, 60), st.lists(st.floats(-1, 1), max_size=80).map(np.array))
def test_effective_tokens_by_the_double_sum(N, r):
    """Second route: ``1/N_eff = N^−2 Σ_{t,s} r²_{t−s}``; between 1 and N, blind to signs, fewer with more correlation."""
    lags = np.abs(np.arange(N)[:, None] - np.arange(N)[None, :])
    full = np.concatenate([[1.0], r, np.zeros(N)])
    value = effective_tokens(N, r)
    assert value == pytest.approx(N**2 / (full[lags] ** 2).sum(), rel=rounding(N + 10))
    assert 1 - rounding(N + 10) <= value <= N
    assert effective_tokens(N, -r) == value
    assert effective_tokens(N, 0.5 * r) >= value * (1 - rounding(N))


@pytest.mark.parametrize(("tokens", "r"), [(0, []), (2.5, []), (10, [1.1]), (10, [math.nan])])
def test_effective_tokens_refuses(tokens, r):
    with pytest.raises(ValueError, match="effective tokens"):
        effective_tokens(tokens, np.array(r))


@given(st.integers(1, 5000), st.floats(2.5, 1e6))
def test_holdout_inverts_the_mean_of_an_inverse_wishart(n, extra):
    """``μ = N/(N − n − 1)``."""
    N = n + extra
    mean = N / (N - n - 1)
    # N from μ − 1 loses the digits of 1/(μ − 1)
    assert effective_tokens_from_holdout(mean, n) == pytest.approx(N, rel=rounding(4) * mean / (mean - 1))


def test_holdout_of_drawn_tokens():
    """Any Σ, an inaccurate Σ': only the mean counts."""
    rng, n, N = np.random.default_rng(15), 20, 60
    root = np.linalg.cholesky(haar_moment(power_law(n, 2.0), rng))
    means = []
    for _ in range(400):
        X, Y = rng.standard_normal((N, n)) @ root.T, rng.standard_normal((10, n)) @ root.T
        means.append(np.trace(np.linalg.solve(X.T @ X / N, Y.T @ Y / 10)) / n)
    assert np.mean(means) == pytest.approx(N / (N - n - 1), abs=STANDARD_ERRORS * np.std(means) / math.sqrt(400))
    # dN/dμ = −(n + 1)/(μ − 1)²
    slope = (n + 1) / (np.mean(means) - 1) ** 2
    band = STANDARD_ERRORS * slope * np.std(means) / math.sqrt(400)
    assert effective_tokens_from_holdout(float(np.mean(means)), n) == pytest.approx(N, abs=band)


def test_holdout_of_degenerate_means():
    assert effective_tokens_from_holdout(1.0, 5) == effective_tokens_from_holdout(0.7, 5) == math.inf
    assert effective_tokens_from_holdout(math.inf, 5) == 6
    assert effective_tokens_from_holdout(2.0, 1) == 4
    for bad in ((0.0, 5), (-1.0, 5), (math.nan, 5), (2.0, 0)):
        with pytest.raises(ValueError, match="mean eigenvalue"):
            effective_tokens_from_holdout(*bad)


@pytest.mark.parametrize(("block", "adapted"), [(1, False), (5, False), (1, True)])
def test_held_out_over_calibrated_distortion_simulated(block, adapted):
    """E D′/E D of errors U B L̃⁻¹ over 2000 samples of 40 normal tokens in 12 columns, for an arbitrary Σ."""
    n, tokens, rng = 12, 40, np.random.default_rng(1)
    root = np.linalg.cholesky((lambda A: A @ A.T)(rng.standard_normal((n, n))))
    weights, held = [], []
    for _ in range(2000):
        X = rng.standard_normal((tokens, n)) @ root.T
        L = np.linalg.cholesky(X.T @ X / tokens)
        B = np.zeros_like(L)
        for first in range(0, n, block):
            part = slice(first, first + block)
            B[part, part] = L[part, part]
        steps = 1 / np.diagonal(L) if adapted else np.linspace(0.5, 2, n) if block == 1 else np.ones(n)
        weights.append(np.square(steps[:, None] * B).sum(axis=1))
        held.append(np.square(steps[:, None] * B @ np.linalg.inv(L) @ root).sum())
    totals = np.sum(weights, axis=1)
    ratio = np.mean(held) / np.mean(totals)
    stderr = np.std(np.asarray(held) - ratio * totals) / np.mean(totals) / math.sqrt(len(held))
    predicted = heldout_ratio(np.mean(weights, axis=0), tokens, block=block, adapted=adapted)
    assert ratio == pytest.approx(predicted, abs=STANDARD_ERRORS * stderr)


def test_held_out_ratio_limits():
    """N/(N − n − 1) for WaterSIC, 1/(1 − y) for large n and many weights, 1 for many tokens, infinite below a mean."""
    assert heldout_ratio(np.ones(30), 100, adapted=True) == pytest.approx(100 / 69, rel=1e-12)
    assert heldout_ratio(np.ones(20_000), 80_000) == pytest.approx(4 / 3, rel=1e-4)
    assert heldout_ratio(np.ones(30), 1e12) == pytest.approx(1, abs=1e-9)
    assert heldout_ratio(np.ones(30), 30) == math.inf
    assert heldout_ratio(np.zeros(3), 2) == 1
    with pytest.raises(TheoryError, match="held-out ratio"):
        heldout_ratio(np.array([-1.0]), 10)
