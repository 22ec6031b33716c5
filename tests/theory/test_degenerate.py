"""Every function of a spectrum gives a defined result for zero, one non-zero, all equal and 1e16 apart eigenvalues, and for one column."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rdtools.moments.spectrum import compute_spectrum, eigendecomposition
from rdtools.theory import high_rate, incoherence, mismatch, rotated_cholesky, shannon, sic, waterfilling
from rdtools.theory.allocation import LayerBudget, allocate
from rdtools.theory.critical_channels import critical_share, relaxed_distortion, two_level_allocation
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.ldlq import block_trace, feedback_matrix, feedback_trace, nearest_plane_ratio_bound, root_trace_bound
from rdtools.theory.mixture import mixture_loss_bits

EIGENVALUES = {
    "zero": np.zeros(4),
    "one non-zero": np.array([3.0, 0.0, 0.0, 0.0]),
    "all equal": np.full(4, 2.0),
    "spread of 1e16": np.array([1e8, 1.0, 1e-4, 1e-8]),
    "one column": np.array([2.0]),
    "one column of nothing": np.array([0.0]),
}
ACROSS = pytest.mark.parametrize("name", EIGENVALUES)
REGULAR = pytest.mark.parametrize("name", ["all equal", "spread of 1e16", "one column"])


@ACROSS
def test_gaps_are_numbers_or_infinite_and_never_negative(name):
    s = compute_spectrum(np.diag(EIGENVALUES[name]))
    for gap in (sic.gptq_gap_bits, sic.rtn_gap_bits, rotated_cholesky.rotated_gptq_gap_bits, high_rate.critical_rate_bits):
        assert gap(s) >= 0
    assert mismatch.damping_penalty_bits(s, 0.01) >= 0
    assert sic.noise_gap_bits(s, s.diagonal) >= -1e-12


@ACROSS
def test_equal_eigenvalues_and_one_column_lose_nothing(name):
    s = compute_spectrum(np.diag(EIGENVALUES[name]))
    if name in ("all equal", "one column"):
        for gap in (sic.gptq_gap_bits, sic.rtn_gap_bits, rotated_cholesky.rotated_gptq_gap_bits, high_rate.critical_rate_bits):
            assert gap(s) == pytest.approx(0, abs=1e-12)


@ACROSS
@pytest.mark.parametrize("rate", [0.0, 2.0, 40.0])
def test_distortions_are_finite(name, rate):
    values = EIGENVALUES[name]
    s = compute_spectrum(np.diag(values))
    for predict in (sic.rtn_distortion, sic.gptq_distortion, sic.watersic_distortion, high_rate.bound_distortion):
        assert 0 <= predict(s, rate) < math.inf
    point = waterfilling.distortion_rate(rate, values)
    assert 0 <= float(point.distortion) <= values.mean()
    back = waterfilling.rate_distortion(point.distortion, values)
    assert float(back.rate_bits) <= rate * (1 + 1e-9) + 1e-9
    given = allocate([LayerBudget(values, 3), LayerBudget(2 * values, 5)], rate)
    assert np.isfinite(given.distortions).all()
    assert not np.isnan(given.rates_bits).any()


@ACROSS
def test_rates_are_not_nan(name):
    s = compute_spectrum(np.diag(EIGENVALUES[name]))
    for D in (0.0, 1e-300, 1.0, 1e300):
        for rate in (high_rate.bound_rate_bits(s, D), shannon.shannon_lower_bound_bits(s, D, 0.0)):
            assert not math.isnan(rate)
    assert not sic.high_rate_applies(np.ones(1), s, math.inf)


@ACROSS
def test_incoherence_is_a_number(name):
    H = np.diag(EIGENVALUES[name])
    s = compute_spectrum(H, eigen=eigendecomposition(H))
    assert 0 <= incoherence.hessian_incoherence(s) <= 2
    assert incoherence.incoherence_trace_bound(1.0, EIGENVALUES[name]) >= 0
    assert root_trace_bound(np.sqrt(EIGENVALUES[name])) >= 0


@ACROSS
def test_channels(name):
    values = EIGENVALUES[name]
    assert 0.25 <= critical_share(values, 0.25) <= 1
    assert 0 <= relaxed_distortion(values, 0.25, basic=0.36, extended=0.01) <= values.mean()
    assert 0 <= two_level_allocation(values, 0.25, 2.0).distortion <= values.mean()


@REGULAR
def test_factored_forms(name):
    values = EIGENVALUES[name]
    L = np.diag(np.sqrt(values))
    assert feedback_trace(np.diag(values), feedback_matrix(L)) == pytest.approx(values.sum(), rel=1e-12)
    assert block_trace(L, 3) == pytest.approx(values.sum(), rel=1e-12)
    assert nearest_plane_ratio_bound(np.sqrt(values)) >= math.sqrt(2)
    assert 0 <= mixture_loss_bits(np.sqrt(values)) <= sic.gptq_gap_bits(compute_spectrum(np.diag(values))) + 1e-8
    point = sic_at_finite_rate(L, np.full(len(values), 0.3))
    assert 0 < point.distortion < math.inf
    assert point.rate_bits > 0
