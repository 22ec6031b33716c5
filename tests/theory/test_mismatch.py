from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools import ops
from rdtools.linalg import cholesky
from rdtools.moments.spectrum import compute_spectrum
from rdtools.moments.synthetic import ar1_moment, channel_scaled, haar_moment, power_law
from rdtools.records import Spectrum
from rdtools.testing import second_moments, spectra
from rdtools.theory.calibration import calibration_penalty_bits
from rdtools.theory.mismatch import damped_noise_gains, damping_penalty_bits, mismatch_penalty_bits
from rdtools.theory.sic import noise_gap_bits, rtn_gap_bits

N = 768
DAMPINGS = (0.0, 1e-4, 1e-2, 1e-1)
# Bits above the scalar loss at each damping: GPTQ in a Haar basis, WaterSIC.
TABLE = {
    "i^-1": (power_law(N, 1.0), (0.029, 0.029, 0.029, 0.036), (0.000, 0.000, 0.000, 0.009)),
    "i^-1.5": (power_law(N, 1.5), (0.166, 0.166, 0.171, 0.254), (0.000, 0.000, 0.009, 0.145)),
    "i^-2": (power_law(N, 2.0), (0.632, 0.632, 0.702, 0.987), (0.000, 0.000, 0.241, 0.781)),
    "exp(-9i/n)": (np.exp(-9 * np.arange(1, N + 1) / N), (0.599, 0.599, 0.609, 0.693), (0.000, 0.000, 0.104, 0.442)),
}


def _spectrum(eigenvalues, columns=None) -> Spectrum:
    n = len(eigenvalues)
    return Spectrum(eigenvalues, np.sqrt(eigenvalues), eigenvalues, columns=columns or n, rank=n)


@pytest.mark.parametrize("name", TABLE)
def test_printed_cost_of_damping_for_watersic(name):
    eigenvalues, _, printed = TABLE[name]
    assert tuple(round(damping_penalty_bits(_spectrum(eigenvalues), d), 3) for d in DAMPINGS) == printed


def _gptq_losses(eigenvalues, rng):
    H = haar_moment(eigenvalues, rng)
    diagonal = np.diagonal(H)
    factors = [cholesky(H, damping=d).lower for d in DAMPINGS]
    s = Spectrum(eigenvalues, np.diagonal(factors[0]), diagonal, columns=N, rank=N)
    return [noise_gap_bits(s, damped_noise_gains(lower, d * diagonal.mean())) for lower, d in zip(factors, DAMPINGS, strict=True)]


@pytest.mark.parametrize("name", TABLE)
def test_printed_cost_of_damping_for_gptq(name):
    """Printed from one draw of the basis; it and the mean of four others differ by √(1 + 1/4) deviations."""
    eigenvalues, printed, watersic = TABLE[name]
    rng = np.random.default_rng(20)
    draws = np.array([_gptq_losses(eigenvalues, rng) for _ in range(4)])
    band = STANDARD_ERRORS * draws.std(axis=0, ddof=1) * math.sqrt(1 + 1 / 4) + 0.0005
    assert (np.abs(draws.mean(axis=0) - printed) < band).all()
    assert (np.diff(draws, axis=1) >= 0).all()
    assert (draws > watersic).all()


@pytest.mark.parametrize("rule", ["GPTQ", "WaterSIC"])
@pytest.mark.parametrize("wrong", ["damped", "few tokens", "scaled"])
def test_distortion_of_a_sweep_under_another_moment(rule, wrong):
    """``D = (1/12n) Σ (α_i ℓ̃_ii)² [L̃⁻¹ Σ L̃⁻ᵀ]_ii``, against the sweep itself at fine steps, to 0.2 %."""
    rng, n, rows = np.random.default_rng(21), 24, 320_000
    H = haar_moment(power_law(n, 1.0), rng)
    if wrong == "damped":
        delta = 0.1 * np.trace(H) / n
        encoder = H + delta * np.eye(n)
    elif wrong == "few tokens":
        X = rng.standard_normal((3 * n, n)) @ np.linalg.cholesky(H).T
        encoder = X.T @ X / len(X)
    else:
        encoder = channel_scaled(H, np.exp(0.2 * rng.standard_normal(n)))
    lower = np.linalg.cholesky(encoder)
    ell = np.diagonal(lower)
    # steps of a hundredth of a weight's deviation: rounding errors uniform and independent far beyond the precision of this test
    steps = 0.01 * np.ones(n) if rule == "GPTQ" else 0.01 * np.exp(np.log(ell).mean()) / ell
    inverse = np.linalg.inv(lower)
    gains = ell**2 * np.diagonal(inverse @ H @ inverse.T)
    expected = float(np.mean(steps**2 * gains)) / 12
    W = rng.standard_normal((rows, n))
    integers, _ = ops.sic_sweep(W, lower, steps)
    E = W - integers * steps
    by_row = np.einsum("ij,jk,ik->i", E, H, E, optimize=True) / n
    stderr = by_row.std() / math.sqrt(rows)
    assert STANDARD_ERRORS * stderr < 0.002 * expected
    assert by_row.mean() == pytest.approx(expected, abs=STANDARD_ERRORS * stderr)
    if wrong == "damped":
        np.testing.assert_allclose(damped_noise_gains(lower, delta), gains, rtol=0, atol=rounding(n**2, condition=24) * ell.max() ** 2)
    if rule == "WaterSIC":
        # the rate −mean log2 α and this distortion, against |H|^{1/n}, are the penalty
        ratios = scipy.linalg.eigvalsh(H, encoder)
        gap = 0.5 * math.log2(12 * expected) - float(np.log2(steps).mean()) - 0.5 * float(np.linalg.slogdet(H)[1]) / n / math.log(2)
        assert gap == pytest.approx(mismatch_penalty_bits(ratios), abs=rounding(n**2, condition=1e3))


def test_mismatch_closed_forms():
    """Two ratios 4 and 1: ½ log2(2.5/2). Only their ratios matter."""
    assert mismatch_penalty_bits(np.array([4.0, 1.0])) == pytest.approx(0.5 * math.log2(1.25), rel=rounding(10))
    assert mismatch_penalty_bits(np.full(7, 0.3)) == 0
    assert mismatch_penalty_bits(np.array([5.0])) == 0


def test_mismatch_of_degenerate_input():
    assert mismatch_penalty_bits(np.zeros(0)) == mismatch_penalty_bits(np.zeros(3)) == 0
    assert mismatch_penalty_bits(np.array([1.0, 0.0])) == math.inf
    # sixteen decades: the largest is half the mean, the middle is 1e-8
    expected = 0.5 * math.log2((1 + 1e-16) / 2 / 1e-8)
    assert mismatch_penalty_bits(np.array([1.0, 1e-16])) == pytest.approx(expected, rel=rounding(10))
    for bad in ([-1.0, 1.0], [math.nan], [math.inf, 1.0]):
        with pytest.raises(ValueError, match="mismatch"):
            mismatch_penalty_bits(np.array(bad))


@given(spectra(max_condition=1e10), st.floats(1e-6, 1e6))
def test_mismatch_is_scale_free_positive_and_small_for_small_errors(ratios, scale):
    base = mismatch_penalty_bits(ratios)
    assert base >= 0
    assert mismatch_penalty_bits(scale * ratios[::-1]) == pytest.approx(base, abs=rounding(len(ratios) + 40))
    # to second order a quarter of the relative variance, in nats
    close = 1 + 1e-3 * (ratios / ratios.max() - 0.5)
    quarter = 0.25 * close.var() / close.mean() ** 2 * math.log2(math.e)
    assert mismatch_penalty_bits(close) == pytest.approx(quarter, abs=1e-9 / 6 * math.log2(math.e) + rounding(len(ratios)))


@given(second_moments(max_condition=1e5), second_moments(max_condition=1e5))
def test_mismatch_by_factors(a, b):
    """Second route: steps c/ℓ̃ and gains from the factor give the same loss, without an eigenvalue."""
    n = min(len(a), len(b))
    H, encoder = a[:n, :n], b[:n, :n]
    lower = np.linalg.cholesky(encoder)
    inverse = np.linalg.inv(lower)
    gains = np.diagonal(inverse @ H @ inverse.T)  # of (α ℓ̃)² = 1
    by_factors = 0.5 * math.log2(gains.mean()) - 0.5 * float(np.linalg.slogdet(H)[1] - np.linalg.slogdet(encoder)[1]) / n / math.log(2)
    ratios = scipy.linalg.eigvalsh(H, encoder)
    assert mismatch_penalty_bits(ratios) == pytest.approx(by_factors, abs=rounding(n**2 + 10, condition=1e10))


def test_few_tokens_are_a_mismatch():
    """Second route to `calibration_penalty_bits`: ratios of one large Wishart draw, whatever Σ."""
    rng, n = np.random.default_rng(22), 300
    H = ar1_moment(n, 0.7)
    X = rng.standard_normal((3 * n, n)) @ np.linalg.cholesky(H).T
    ratios = scipy.linalg.eigvalsh(H, X.T @ X / len(X))
    # linear statistics of n eigenvalues deviate by O(1/n)
    assert mismatch_penalty_bits(ratios) == pytest.approx(calibration_penalty_bits(1 / 3), abs=STANDARD_ERRORS / n)


def test_damping_closed_forms():
    """λ = 4, 1 and δ = 2, which is 0.8 of the mean: ratios 2/3, 1/3."""
    assert damping_penalty_bits(_spectrum(np.array([4.0, 1.0])), 0.8) == pytest.approx(
        0.5 * math.log2(1.5 / math.sqrt(2)), rel=rounding(10)
    )
    assert damping_penalty_bits(_spectrum(np.full(5, 3.0)), 0.1) == 0
    assert damping_penalty_bits(_spectrum(np.array([3.0])), 10.0) == 0


@given(spectra(max_condition=1e10), st.floats(0, 10), st.floats(0, 10))
def test_damping_costs_more_the_more_there_is(eigenvalues, a, b):
    low, high = sorted((a, b))
    s = _spectrum(eigenvalues)
    slack = rounding(len(eigenvalues) + 40)
    assert 0 <= damping_penalty_bits(s, low) <= damping_penalty_bits(s, high) + slack
    assert damping_penalty_bits(s, high) <= rtn_gap_bits(s) + slack
    assert damping_penalty_bits(_spectrum(1e3 * eigenvalues), high) == pytest.approx(damping_penalty_bits(s, high), abs=slack)


@given(spectra(max_condition=1e6))
def test_damping_limits(eigenvalues):
    """0 without damping, quadratic in it at first, equal steps without feedback when it swamps H."""
    s = _spectrum(eigenvalues)
    assert damping_penalty_bits(s, 0.0) == 0
    assert damping_penalty_bits(s, 1e-18) == pytest.approx(0, abs=rounding(len(eigenvalues)))
    # λ/(λ + δ) ≈ λ/δ up to a share λ/δ
    assert damping_penalty_bits(s, 1e12) == pytest.approx(rtn_gap_bits(s), abs=len(eigenvalues) * 1e-11 + rounding(60))


@given(second_moments(max_condition=1e6), st.floats(1e-4, 1))
def test_damping_by_two_other_routes(H, damping):
    """As the mismatch of H + δ I, and as ½ log2(AM/GM of α_i² g_i) of damped steps and gains, in any basis."""
    s = compute_spectrum(H)
    mean_diagonal = float(np.mean(np.diagonal(H)))
    lower = cholesky(H, damping=damping).lower
    budget = rounding(len(H) ** 2 + 40, condition=1e6)
    penalty = damping_penalty_bits(s, damping)
    ratios = scipy.linalg.eigvalsh(H, lower @ lower.T)
    assert penalty == pytest.approx(mismatch_penalty_bits(ratios), abs=budget)
    gains = damped_noise_gains(lower, damping * mean_diagonal)
    ell = np.diagonal(lower)
    determinants = 2 * float(np.mean(np.log2(ell)) - np.mean(np.log2(s.cholesky_diagonal)))
    assert penalty == pytest.approx(0.5 * math.log2(float(np.mean(gains / ell**2))) + 0.5 * determinants, abs=budget)


def test_damping_of_dead_singular_and_empty():
    values = power_law(6, 1.5)
    assert damping_penalty_bits(_spectrum(values, columns=8), 0.1) == pytest.approx(
        0.75 * damping_penalty_bits(_spectrum(values), 0.1), rel=rounding(10)
    )
    singular = Spectrum(np.array([1.0, 0.0]), np.ones(2), np.ones(2), columns=2, rank=1)
    nothing = np.zeros(0)
    assert damping_penalty_bits(singular, 0.1) == damping_penalty_bits(singular, 0.0) == math.inf
    assert damping_penalty_bits(Spectrum(nothing, nothing, nothing, columns=3, rank=0), 0.1) == 0
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="damping"):
            damping_penalty_bits(singular, bad)


@pytest.mark.parametrize("damping", [1e-12, 1e-4, 1.0])
def test_columns_beyond_the_resolution_of_eigenvalues(damping):
    """Columns of 1e-18 of the energy; eigenvalues that were rounded to zero are replaced by the determinant of the factor."""
    diagonal = np.array([4.0, 1.0, 1e-18])
    exact = _spectrum(diagonal)
    rounded = Spectrum(np.array([4.0, 1.0, 0.0]), np.sqrt(diagonal), diagonal, columns=3, rank=3)
    ratios = diagonal / (diagonal + damping * diagonal.mean())
    expected = 0.5 * (math.log2(ratios.mean()) - np.log2(ratios).mean())
    # what an eigenvalue rounded to zero had in the mean ratio, and in the mean of log2(λ + δ)
    lost = 0.5 * math.log2(math.e) * ratios[-1] / (1 - ratios[-1]) * (1 / ratios[:2].sum() + 1 / 3)
    assert damping_penalty_bits(exact, damping) == pytest.approx(expected, rel=rounding(60))
    assert damping_penalty_bits(rounded, damping) == pytest.approx(expected, rel=rounding(60), abs=lost)


@given(second_moments(max_condition=1e6), st.floats(1e-6, 10))
def test_damped_gains_sum_to_the_trace_of_the_ratios(H, damping):
    """``Σ g_i/ℓ̃_ii² = tr(Σ̃⁻¹ H) = Σ λ/(λ + δ)``."""
    delta = damping * float(np.trace(H)) / len(H)
    lower = cholesky(H, damping=damping).lower
    values = np.linalg.eigvalsh(H)
    total = float((damped_noise_gains(lower, delta) / np.diagonal(lower) ** 2).sum())
    assert total == pytest.approx(float((values / (values + delta)).sum()), abs=rounding(len(H) ** 2 + 10, condition=1e6))


def test_undamped_gains_and_gaps(rng):
    H = haar_moment(power_law(12, 1.0), rng)
    lower = cholesky(H).lower
    gains = damped_noise_gains(lower, 0.0)
    assert (gains == np.diagonal(lower) ** 2).all()
    assert damped_noise_gains(np.zeros((0, 0)), 1.0).shape == (0,)
