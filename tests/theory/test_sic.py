from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.linalg import cholesky
from rdtools.moments.spectrum import compute_spectrum
from rdtools.moments.synthetic import ar1_moment, haar_moment, power_law
from rdtools.testing import second_moments
from rdtools.theory import high_rate, sic
from rdtools.theory.mismatch import damped_noise_gains
from rdtools.theory.rotated_cholesky import rotated_gptq_gap_bits
from rdtools.theory.waterfilling import distortion_rate
from rdtools.units import SCALAR_LOSS_BITS


def test_scalar_loss_constant():
    assert round(SCALAR_LOSS_BITS, 7) == 0.2546143


def test_white_hessian_has_no_gap_and_one_formula():
    s = compute_spectrum(3.0 * np.eye(5))
    assert sic.gptq_gap_bits(s) == sic.rtn_gap_bits(s) == high_rate.critical_rate_bits(s) == 0
    expected = 2 * math.pi * math.e / 12 * 2.0 * 3.0 * 2.0**-6
    for predict in (sic.rtn_distortion, sic.gptq_distortion, sic.watersic_distortion):
        assert predict(s, 3.0, 2.0) == pytest.approx(expected, rel=rounding(20))


@pytest.mark.parametrize(("steps", "distortion", "applies"), [(0.9, 0.4, True), (1.1, 0.4, False), (0.9, 0.6, False), (1.0, 0.5, True)])
def test_where_high_rate_theory_applies(steps, distortion, applies):
    """Steps at most σ and D at most σ² λ_min, here of H = diag(2, ½) and σ = 1."""
    s = compute_spectrum(np.diag([2.0, 0.5]))
    assert sic.high_rate_applies(np.array([0.1, steps]), s, distortion) == applies
    assert sic.high_rate_applies(np.array([0.2, 2 * steps]), s, 4 * distortion, 4.0) == applies
    assert not sic.high_rate_applies(np.array([0.1]), compute_spectrum(np.ones((2, 2))), 0.0)


def test_first_example_of_an_unbounded_gap():
    """Σ = diag(t, 1, …, 1): ½ log2(((t + n − 1)/n) / t^{1/n}); printed for n = 1024, t = 1e4: 1.708 bit."""
    n, t = 1024, 1e4
    s = compute_spectrum(np.diag([t, *np.ones(n - 1)]))
    expected = 0.5 * math.log2((t + n - 1) / n / t ** (1 / n))
    assert sic.gptq_gap_bits(s) == pytest.approx(expected, abs=rounding(n) * 20)
    assert round(sic.gptq_gap_bits(s), 3) == 1.708


@pytest.mark.parametrize(("exponent", "printed"), [(0.5, 0.1244), (1.0, 0.7361), (1.5, 2.0978), (2.0, 3.9221)])
def test_rtn_gap_of_power_laws(exponent, printed):
    """Printed values for n = 1024, λ_i = i^−exponent, in the eigenbasis, where GPTQ is rounding to nearest."""
    s = compute_spectrum(np.diag(power_law(1024, exponent)))
    assert round(sic.rtn_gap_bits(s), 4) == printed
    assert round(sic.gptq_gap_bits(s), 4) == printed


def test_ar1_by_hand():
    """ℓ_11 = 1 and ℓ_ii² = 1 − ρ²: G = ½ log2( (1 + (n−1)(1−ρ²))/n / (1−ρ²)^{(n−1)/n} )."""
    n, rho = 30, 0.9
    q = 1 - rho**2
    s = compute_spectrum(ar1_moment(n, rho))
    expected = 0.5 * math.log2((1 + (n - 1) * q) / n / q ** ((n - 1) / n))
    assert sic.gptq_gap_bits(s) == pytest.approx(expected, abs=rounding(n, condition=400))


@given(second_moments(max_condition=1e8))
def test_order_of_the_gaps(H):
    """0 ≤ G ≤ RTN gap in every basis, because Σ ℓ_ii² ≤ tr H."""
    s = compute_spectrum(H)
    slack = rounding(len(H) + 1, condition=1e8)
    assert 0 <= sic.gptq_gap_bits(s) <= sic.rtn_gap_bits(s) + slack


@given(second_moments(max_condition=1e6))
def test_determinant_by_two_routes(H):
    """Π ℓ_ii² = Π λ_i."""
    s = compute_spectrum(H)
    left = 2 * np.log2(s.cholesky_diagonal).sum()
    right = np.log2(s.eigenvalues).sum()
    assert left == pytest.approx(right, abs=rounding(len(H) ** 2 + 1, condition=1e6))


@given(second_moments(max_condition=1e6), st.floats(0.1, 8), st.floats(1e-3, 1e3))
def test_distortions_scale_with_moment_and_variance(H, rate, c):
    a, b = compute_spectrum(H), compute_spectrum(c * H)
    for predict in (sic.rtn_distortion, sic.gptq_distortion, sic.watersic_distortion):
        expected = c * predict(a, rate, 2.0)
        assert predict(b, rate, 2.0) == pytest.approx(expected, rel=rounding(len(H) ** 2 + 10, condition=1e6))
        assert predict(a, rate, 4.0) == pytest.approx(2 * predict(a, rate, 2.0), rel=rounding(10))
        assert predict(a, rate + 1, 2.0) == pytest.approx(predict(a, rate, 2.0) / 4, rel=rounding(40))


@given(second_moments(max_condition=1e6), st.floats(0.0, 8))
def test_predictions_differ_by_their_gaps(H, rate):
    """D_GPTQ = D_WaterSIC · 4^G and D_RTN = D_WaterSIC · 4^(RTN gap)."""
    s = compute_spectrum(H)
    base = sic.watersic_distortion(s, rate)
    budget = rounding(len(H) ** 2 + 60, condition=1e6)
    assert sic.gptq_distortion(s, rate) == pytest.approx(base * 4 ** sic.gptq_gap_bits(s), rel=budget)
    assert sic.rtn_distortion(s, rate) == pytest.approx(base * 4 ** sic.rtn_gap_bits(s), rel=budget)


@given(second_moments(max_condition=1e6), st.floats(0.0, 12))
def test_high_rate_form_is_the_limit_from_the_critical_rate_on_and_below_it_before(H, rate):
    s = compute_spectrum(H)
    true = float(distortion_rate(rate, s.eigenvalues).distortion)
    form = high_rate.bound_distortion(s, rate)
    # the determinant comes from the Cholesky factor on one side and from eigenvalues on the other
    budget = rounding(60 * len(H)) + rounding(len(H) ** 2, condition=1e6)
    assert form <= true * (1 + budget)
    if rate >= high_rate.critical_rate_bits(s) + 1e-9:
        assert form == pytest.approx(true, rel=budget)
    assert high_rate.bound_rate_bits(s, form) == pytest.approx(rate, abs=rounding(200 * len(H)))


def test_singular_hessian_has_infinite_gaps(rng):
    X = rng.standard_normal((3, 6))
    s = compute_spectrum(X.T @ X)
    assert s.rank == 3
    assert s.damping > 0
    assert sic.gptq_gap_bits(s) == sic.rtn_gap_bits(s) == high_rate.critical_rate_bits(s) == math.inf
    assert high_rate.bound_distortion(s, 2.0) == sic.watersic_distortion(s, 2.0) == 0


def test_dead_columns_cost_nothing(rng):
    """With r of n columns active, a rate of R per weight is R n/r per active weight, and only r/n of the distortion is left."""
    H = haar_moment(power_law(6, 0.5), rng)
    wide = np.zeros((8, 8))
    wide[1:7, 1:7] = H
    small, padded = compute_spectrum(H), compute_spectrum(wide)
    assert (padded.active, padded.columns, padded.rank) == (6, 8, 6)
    for predict in (sic.rtn_distortion, sic.gptq_distortion, sic.watersic_distortion, high_rate.bound_distortion):
        assert predict(padded, 3.0) == pytest.approx(0.75 * predict(small, 4.0), rel=rounding(100))
    for gap in (sic.rtn_gap_bits, sic.gptq_gap_bits, high_rate.critical_rate_bits, rotated_gptq_gap_bits):
        assert gap(padded) == pytest.approx(0.75 * gap(small), abs=rounding(500))
    exact = float(distortion_rate(3.0, [*padded.eigenvalues, 0.0, 0.0]).distortion)
    assert high_rate.bound_distortion(padded, 3.0) == pytest.approx(exact, rel=rounding(100))


def test_all_dead_and_single_column():
    nothing = compute_spectrum(np.zeros((3, 3)))
    assert sic.gptq_gap_bits(nothing) == sic.rtn_gap_bits(nothing) == high_rate.critical_rate_bits(nothing) == 0
    for predict in (sic.rtn_distortion, sic.gptq_distortion, sic.watersic_distortion, high_rate.bound_distortion):
        assert predict(nothing, 2.0) == 0
    one = compute_spectrum(np.array([[4.0]]))
    assert sic.gptq_gap_bits(one) == 0
    gains = np.array([4.0])
    assert sic.absmax_distortion(gains, np.array([1.0, 3.0]), 4, feedback=True) == pytest.approx((0.25 + 2.25) / 2 / 12 * 4)
    # a single weight a row is the largest: its error is half a step
    assert sic.absmax_distortion(gains, np.array([1.0]), 4, feedback=False) == pytest.approx(0.25 / 4 * 4)
    assert sic.absmax_distortion(np.zeros(0), np.array([1.0]), 4, feedback=False) == 0
    assert sic.sic_distortion(np.zeros(0), np.zeros(0), 2.0) == sic.noise_gap_bits(nothing, np.zeros(0)) == 0


def test_absmax_loss_over_a_gaussian_row(rng):
    """D = E‖x‖_∞²/3 · 2^{−2R}: a loss of ½ log2(E‖x‖_∞²/3) bits, printed as 0.824 for rows of 256."""
    absmax = np.abs(rng.standard_normal((20_000, 256))).max(axis=1)
    D = sic.absmax_distortion(np.ones(256), absmax, 16, feedback=False)
    loss = 4 - 0.5 * math.log2((1 + 2 / 256) / D)
    # the squared maximum has a relative deviation of about 0.3, over √20000, in bits ½ log2(e) of that, four of them
    assert loss == pytest.approx(0.824, abs=4 * 0.5 * math.log2(math.e) * 0.3 / math.sqrt(20_000) + 0.0005)


def test_columns_beyond_the_resolution_of_eigenvalues_keep_their_gaps():
    """Columns of 1e-18 of the energy factor exactly; the determinant comes from the factor, not from eigenvalues."""
    H = np.diag([1.0, 1e-18, 1e-18, 4.0])
    s = compute_spectrum(H)
    assert (s.rank, s.damping) == (4, 0.0)
    expected = 0.5 * math.log2(5.0 / 4) - 0.25 * math.log2(4e-36) / 2
    assert sic.gptq_gap_bits(s) == pytest.approx(expected, rel=rounding(50))
    assert sic.rtn_gap_bits(s) == pytest.approx(expected, rel=rounding(50))
    assert sic.watersic_distortion(s, 3.0) > 0


@given(second_moments(max_condition=1e6), st.floats(1e-6, 10))
def test_damped_noise_gains_by_a_second_route(H, relative):
    """g = ℓ̃² diag(L̃⁻¹ H L̃⁻ᵀ), directly; they fall with damping and never exceed ℓ̃²."""
    delta = relative * float(np.trace(H)) / len(H)
    lower = cholesky(H + delta * np.eye(len(H))).lower
    inverse = np.linalg.inv(lower)
    direct = np.diagonal(lower) ** 2 * np.diagonal(inverse @ H @ inverse.T)
    gains = damped_noise_gains(lower, delta)
    np.testing.assert_allclose(gains, direct, rtol=0, atol=rounding(len(H) ** 2 + 10, condition=1e6) * np.diagonal(lower).max() ** 2)
    assert (gains <= np.diagonal(lower) ** 2).all()


def test_general_formula_gives_the_three_schemes(rng):
    s = compute_spectrum(haar_moment(power_law(12, 1.0), rng))
    ell = s.cholesky_diagonal
    assert sic.sic_distortion(ell**2, 1 / ell, 3.0, 2.0) == pytest.approx(sic.watersic_distortion(s, 3.0, 2.0), rel=rounding(100))
    assert sic.noise_gap_bits(s, ell**2) == pytest.approx(sic.gptq_gap_bits(s), abs=rounding(100))
