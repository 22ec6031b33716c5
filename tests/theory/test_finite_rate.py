from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, entropy_band, rounding

from rdtools import ops
from rdtools.coding import count_codes, mean_column_entropy
from rdtools.hessians.spectrum import compute_spectrum
from rdtools.hessians.synthetic import ar1_moment, haar_moment, power_law
from rdtools.linalg import cholesky
from rdtools.testing import second_moments
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.scalar import uniform_quantizer
from rdtools.theory.sic import gptq_distortion, watersic_distortion
from rdtools.theory.waterfilling import rate_distortion


def test_diagonal_hessian_is_independent_scalar_quantizers():
    ell, steps = np.array([2.0, 1.0, 0.1]), np.array([0.5, 2.0, 30.0])
    point = sic_at_finite_rate(np.diag(ell), steps, 4.0)
    scalars = [uniform_quantizer(a / 2) for a in steps]
    assert point.rate_bits == pytest.approx(np.mean([q.entropy_bits for q in scalars]), rel=rounding(20))
    expected = np.mean([4.0 * e**2 * q.lmmse_distortion for e, q in zip(ell, scalars, strict=True)])
    assert point.distortion == pytest.approx(expected, rel=rounding(50))


def test_coarse_steps_leave_everything():
    H = ar1_moment(6, 0.7)
    point = sic_at_finite_rate(cholesky(H).lower, np.full(6, 1e4), 2.0)
    assert point.rate_bits == 0
    assert point.distortion == pytest.approx(2.0 * np.trace(H) / 6, rel=rounding(50))


@pytest.mark.parametrize("lmmse", [True, False])
def test_fine_steps_are_high_rate_theory(rng, lmmse):
    H = haar_moment(power_law(16, 1.0), rng)
    s, L = compute_spectrum(H), cholesky(H).lower
    for steps, predict in ((np.full(16, 0.003), gptq_distortion), (0.003 / np.diagonal(L), watersic_distortion)):
        point = sic_at_finite_rate(L, steps, lmmse=lmmse)
        # corrections are of relative order of a squared step over a variance, times the feedback through L
        assert point.distortion == pytest.approx(predict(s, point.rate_bits), rel=10 * (0.003 / np.diagonal(L).min()) ** 2)


@given(second_moments(min_size=1, max_size=12, max_condition=1e4), st.floats(0.05, 3.0))
def test_never_below_the_limit_and_scale_equivariant(H, step):
    """R_WF(D) ≤ R, and H → cH, W → dW with steps dα scales D by c d²."""
    L = cholesky(H).lower
    steps = step * np.ones(len(H))
    point = sic_at_finite_rate(L, steps)
    limit = float(rate_distortion(min(point.distortion, np.trace(H) / len(H)), compute_spectrum(H).eigenvalues).rate_bits)
    assert point.rate_bits >= limit - 1e-6
    scaled = sic_at_finite_rate(3.0 * L, 2.0 * steps, 4.0)
    assert scaled.distortion == pytest.approx(36 * point.distortion, rel=rounding(1000 * len(H)))
    assert scaled.rate_bits == pytest.approx(point.rate_bits, abs=rounding(1000 * len(H)))


HESSIANS = {
    "haar i^-1.5": lambda rng: haar_moment(power_law(64, 1.5), rng),
    "ar1 0.95": lambda rng: ar1_moment(64, 0.95),
}


@pytest.mark.parametrize("lmmse", [True, False])
@pytest.mark.parametrize("scheme", ["watersic", "gptq"])
@pytest.mark.parametrize("rate", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("name", ["haar i^-1.5", "ar1 0.95"])
def test_simulation_agrees_to_one_percent_and_a_hundredth_of_a_bit(name, rate, scheme, lmmse):
    """From 1.5 bits up on iid normal weights: the quantizer itself, on 8192 rows, at the steps of the prediction."""
    rng = np.random.default_rng(7)
    L = cholesky(HESSIANS[name](rng)).lower
    ell = np.diagonal(L)
    relative = 1 / ell if scheme == "watersic" else np.ones_like(ell)
    low, high = -12.0, 12.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sic_at_finite_rate(L, 2.0**middle * relative, lmmse=lmmse).rate_bits > rate else (low, middle)
    steps = 2.0**low * relative
    point = sic_at_finite_rate(L, steps, lmmse=lmmse)
    assert point.rate_bits == pytest.approx(rate, abs=1e-9)
    deviations = np.sqrt(point.input_variances)
    gains = np.array([uniform_quantizer(a * e / s).gain for a, e, s in zip(steps, ell, deviations, strict=True)])
    W = rng.standard_normal((8192, len(L)))
    codes, residual = ops.sic_sweep(W, L, steps, gains if lmmse else None)
    rows = (residual**2).mean(axis=1)
    band = STANDARD_ERRORS * rows.std() / math.sqrt(len(rows)) / point.distortion
    assert band < 0.01
    assert rows.mean() / point.distortion == pytest.approx(1, abs=0.01)
    assert entropy_band(codes.size) < 0.01
    assert mean_column_entropy(count_codes(codes)) == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize(
    ("factor", "steps", "variance"),
    [
        (np.ones((2, 3)), np.ones(2), 1.0),
        (np.eye(2), np.ones(3), 1.0),
        (np.eye(2), np.zeros(2), 1.0),
        (np.eye(2), np.ones(2), 0.0),
        (np.zeros((0, 0)), np.zeros(0), 1.0),
    ],
)
def test_bad_arguments_are_refused(factor, steps, variance):
    with pytest.raises(ValueError, match="finite rate"):
        sic_at_finite_rate(factor, steps, variance)
