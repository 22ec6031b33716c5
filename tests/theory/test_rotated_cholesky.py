from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.errors import TheoryError
from rdtools.moments.spectrum import compute_spectrum
from rdtools.moments.synthetic import haar_moment, power_law, two_level
from rdtools.records import Spectrum
from rdtools.testing import spectra
from rdtools.theory.rotated_cholesky import rotated_cholesky_moments, rotated_gptq_gap_bits
from rdtools.theory.sic import gptq_gap_bits, rtn_gap_bits

N = 1024
TABLE = {
    "i^-0.5": (power_law(N, 0.5), 0.0017, 0.1244),
    "i^-1": (power_law(N, 1.0), 0.0283, 0.7361),
    "i^-1.5": (power_law(N, 1.5), 0.1599, 2.0978),
    "i^-2": (power_law(N, 2.0), 0.6127, 3.9221),
    "half at 1e-3": (two_level(N, 1e-3), 1.1583, 1.9922),
    "one spike 1e4": (np.r_[1e4, np.ones(N - 1)], 0.0034, 1.7076),
    "exp(-8i/n)": (np.exp(-8 * np.arange(1, N + 1) / N), 0.4298, 1.3851),
}


def _spectrum(eigenvalues) -> Spectrum:
    return Spectrum(eigenvalues, np.sqrt(eigenvalues), eigenvalues, columns=len(eigenvalues), rank=len(eigenvalues))


@pytest.mark.parametrize("name", TABLE)
def test_table_to_its_printed_digits(name):
    """Bits over the floor for n = 1024: predicted rotated GPTQ, and rounding in any orthonormal basis."""
    eigenvalues, rotated, plain = TABLE[name]
    s = _spectrum(eigenvalues)
    assert round(rotated_gptq_gap_bits(s), 4) == rotated
    assert round(rtn_gap_bits(s), 4) == plain


@given(spectra(max_condition=1e10))
def test_geometric_mean_comes_back(eigenvalues):
    """exp ∫ ln ℓ² dt = |H|^{1/n}: the quadrature checks itself."""
    _, geometric = rotated_cholesky_moments(eigenvalues)
    assert geometric == pytest.approx(math.exp(np.mean(np.log(eigenvalues))), rel=rounding(200))


@given(spectra(max_condition=1e8))
def test_order_of_means(eigenvalues):
    """GM(λ) ≤ AM_rot ≤ mean λ: a rotation never hurts rounding and never beats the determinant."""
    arithmetic, geometric = rotated_cholesky_moments(eigenvalues)
    slack = 1 + rounding(200)
    assert geometric <= arithmetic * slack
    assert arithmetic <= eigenvalues.mean() * slack


def test_arithmetic_mean_never_exceeds_the_squared_mean_root_in_the_table():
    """(mean √λ)² is QuIP's bound at μ = 1."""
    for eigenvalues, _, _ in TABLE.values():
        assert rotated_cholesky_moments(eigenvalues)[0] <= np.mean(np.sqrt(eigenvalues)) ** 2


@given(spectra(max_condition=1e8), st.floats(1e-6, 1e6))
def test_scale_free_and_free_of_repetition(eigenvalues, scale):
    base = rotated_gptq_gap_bits(_spectrum(eigenvalues))
    assert rotated_gptq_gap_bits(_spectrum(scale * eigenvalues)) == pytest.approx(base, abs=rounding(2000))
    assert rotated_gptq_gap_bits(_spectrum(np.repeat(eigenvalues, 2))) == pytest.approx(base, abs=rounding(2000))


def test_white_singular_and_empty():
    assert rotated_gptq_gap_bits(_spectrum(np.full(9, 3.0))) == pytest.approx(0, abs=rounding(200))
    assert rotated_gptq_gap_bits(Spectrum(np.array([1.0, 0.0]), np.ones(2), np.ones(2), columns=2, rank=1)) == math.inf
    assert rotated_gptq_gap_bits(Spectrum(np.zeros(0), np.zeros(0), np.zeros(0), columns=3, rank=0)) == 0
    with pytest.raises(ValueError, match="expected positive"):
        rotated_cholesky_moments(np.array([1.0, 0.0]))


def test_spread_of_sixteen_decades_and_extreme_scales():
    eigenvalues = np.logspace(0, -16, 64)
    gap = rotated_gptq_gap_bits(_spectrum(eigenvalues))
    assert 0 < gap < rtn_gap_bits(_spectrum(eigenvalues))
    assert rotated_gptq_gap_bits(_spectrum(1e250 * eigenvalues)) == pytest.approx(gap, abs=rounding(2000))


@pytest.mark.parametrize("name", ["i^-0.5", "i^-1", "half at 1e-3", "exp(-8i/n)"])
def test_haar_draws_agree_within_sampling_error(name):
    """Second route: draw rotations at n = 192. The mean over draws is the prediction up to its standard error and O(1/n)."""
    eigenvalues = np.sort(TABLE[name][0])[::-1][:: N // 192][:192]
    rng = np.random.default_rng(3)
    draws = [gptq_gap_bits(compute_spectrum(haar_moment(eigenvalues, rng))) for _ in range(24)]
    error = np.std(draws, ddof=1) / math.sqrt(len(draws))
    # the bias of a draw is that of about one leading column in n, which has at most the energy tr H instead of its mean
    bias = 0.5 * math.log2(1 + eigenvalues.max() / eigenvalues.sum() + 1 / 192)
    assert abs(np.mean(draws) - rotated_gptq_gap_bits(_spectrum(eigenvalues))) < STANDARD_ERRORS * error + bias


def test_eigenvalues_whose_ratio_float64_cannot_hold_are_refused():
    with pytest.raises(TheoryError, match=r"eigenvalues up to 1e\+300, the least of which is 0"):
        rotated_cholesky_moments(np.array([1e300, 1e-300]))
