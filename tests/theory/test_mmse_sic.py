from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, entropy_band, rounding

from rdtools import ops
from rdtools.coding import count_integers, mean_column_entropy
from rdtools.errors import RateUnreachable
from rdtools.moments.synthetic import ar1_moment, channel_scaled, haar_moment, power_law, two_level
from rdtools.rounded import rounded_gaussian
from rdtools.testing import generators, second_moments
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.mmse_sic import retarget, water_level_ridge, watersic_at_rate
from rdtools.theory.waterfilling import distortion_rate, rate_distortion
from rdtools.units import SCALAR_LOSS


def ridged(H, ridge):
    return np.linalg.cholesky(H + ridge * np.eye(len(H)))


@given(second_moments(max_size=12, max_condition=1e6), generators(), st.floats(1e-3, 10.0))
def test_completing_the_square(H, rng, relative):
    """tr(W−V)H(W−V)ᵀ + μ‖V‖² = tr(T−V)(H+μI)(T−V)ᵀ + μ tr(W Tᵀ), for any V."""
    n = len(H)
    mu = relative * np.trace(H) / n
    W, V = rng.standard_normal((3, n)), rng.standard_normal((3, n))
    T = retarget(W, ridged(H, mu), mu)
    left = np.trace((W - V) @ H @ (W - V).T) + mu * (V**2).sum()
    right = np.trace((T - V) @ (H + mu * np.eye(n)) @ (T - V).T) + mu * (W * T).sum()
    # every term is below (‖W‖ + ‖V‖)² (λ_max + μ); T is solved for with condition 1 + λ_max/μ ≤ 1 + n/relative
    size = (np.linalg.norm(W) + np.linalg.norm(V)) ** 2 * (np.linalg.norm(H, 2) + mu)
    assert left == pytest.approx(right, abs=rounding(10 * n, condition=1 + n / relative) * size)


@given(second_moments(max_size=12, max_condition=1e4), generators(), st.floats(1e-2, 10.0))
def test_target_is_that_of_ridge_regression(H, rng, relative):
    """T = W H (H + μI)⁻¹, and W itself without a ridge."""
    n = len(H)
    mu = relative * np.trace(H) / n
    W = rng.standard_normal((2, n))
    expected = W @ H @ np.linalg.inv(H + mu * np.eye(n))
    np.testing.assert_allclose(
        retarget(W, ridged(H, mu), mu), expected, atol=rounding(20 * n, condition=1 + n / relative) * np.linalg.norm(W)
    )
    np.testing.assert_array_equal(retarget(W, np.eye(n), 0.0), W)


@pytest.mark.parametrize("step", [0.3, 1.0, 1.7, 2.5, 3.5])
def test_one_column_is_the_scalar_quantizer_with_its_lmmse_gain(step):
    """A ridge ``1/γ − 1`` without gain and step γα round and reconstruct as gain γ and step α do."""
    scalar = rounded_gaussian(step)
    gamma = scalar.gain
    mu = 1 / gamma - 1
    point = sic_at_finite_rate(ridged(np.eye(1), mu), np.array([3.0 * gamma * step]), 9.0, lmmse=False, ridge=mu)
    assert point.rate_bits == pytest.approx(scalar.entropy_bits, rel=rounding(100))
    assert point.distortion == pytest.approx(9.0 * scalar.lmmse_distortion, rel=rounding(100))


def test_gaussian_test_channel_is_stationary(rng):
    """``B = H (H + diag μ)⁻¹``, ``Q = θ (H + diag μ)⁻¹``, ``μ_i = θ/K_i`` of the module: no direction lowers R + D/(2θ) to first order."""
    n, theta, variance = 6, 0.02, 1.5
    H = channel_scaled(haar_moment(power_law(n, 1.0), rng), np.linspace(0.5, 2.0, n))
    K = np.full(n, variance)
    for _ in range(500):
        inverse = np.linalg.inv(H + np.diag(theta / K))
        B, Q = H @ inverse, theta * inverse
        K = variance * np.einsum("ij,ij->j", B, B) + np.diagonal(Q)

    def lagrangian(B, Q):
        powers = variance * np.einsum("ij,ij->j", B, B) + np.diagonal(Q)
        rate = 0.5 * np.log(powers).sum() - 0.5 * np.linalg.slogdet(Q)[1]
        left = np.eye(n) - B
        return rate + (variance * np.trace(left @ H @ left.T) + np.trace(H @ Q)) / (2 * theta)

    h = 1e-4
    for _ in range(20):
        dB, dQ = rng.standard_normal((n, n)), rng.standard_normal((n, n))
        dB, dQ = dB / np.linalg.norm(dB), (dQ + dQ.T) * np.linalg.eigvalsh(Q)[0] / np.linalg.norm(dQ + dQ.T)
        slope = (lagrangian(B + h * dB, Q + h * dQ) - lagrangian(B - h * dB, Q - h * dQ)) / (2 * h)
        # h² = 1e-8 of third derivatives of order 10, eps/h of a value of order 10, and what 500 turns of the iteration leave
        assert abs(slope) < 1e-6
    # and along ridges of this shape it is a minimum, not only a point at rest
    best = lagrangian(B, Q)
    for factor in (0.5, 0.9, 1.1, 2.0):
        other = np.linalg.inv(H + factor * np.diag(theta / K))
        assert lagrangian(H @ other, theta * other) > best


@pytest.mark.parametrize("rate", [6.0, 8.0])
def test_best_ridge_at_high_rate_is_two_pi_e_over_twelve(rng, rate):
    """f → 2πe/12: the ridge is then c²/12, what a step adds to each direction."""
    H = haar_moment(power_law(24, 1.0), rng)
    unit = water_level_ridge(np.linalg.eigvalsh(H), 1.0, rate)
    ridges = SCALAR_LOSS * np.array([0.8, 1.0, 1.2])
    D = []
    for f in ridges:
        _, point = watersic_at_rate(ridged(H, f * unit), 1.0, rate, ridge=f * unit, tolerance=1e-12)
        D.append(point.distortion)
    # D is a parabola in f up to the ridge over the least eigenvalue, 24/4^6 = 0.006 of it at 6 bits and less at 8
    curvature, slope, _ = np.polyfit(ridges, np.array(D) / D[1] - 1, 2)
    assert curvature > 0
    assert -slope / (2 * curvature) == pytest.approx(SCALAR_LOSS, rel=0.006)


@given(second_moments(min_size=1, max_size=10, max_condition=1e6), st.floats(0.3, 4.0), st.floats(0.2, 3.0), st.booleans())
def test_never_below_the_limit_and_scale_equivariant(H, rate, f, lmmse):
    """R ≥ R_WF(D), and H → cH, W → dW change D by c d² at the same rate."""
    values = np.maximum(np.linalg.eigvalsh(H), 0)
    mu = f * water_level_ridge(2.0 * values, 2.0, rate)
    assert mu == f * float(distortion_rate(rate, 2.0 * values).water_level) / 2.0
    L = ridged(H, mu)
    c, point = watersic_at_rate(L, 2.0, rate, ridge=mu, lmmse=lmmse)
    assert point.rate_bits == pytest.approx(rate, abs=1e-7)
    assert rate >= float(rate_distortion(min(point.distortion, 2.0 * np.trace(H) / len(H)), 2.0 * values).rate_bits) - 1e-6
    scaled = sic_at_finite_rate(3.0 * L, 2.0 * c / np.diagonal(L), 8.0, lmmse=lmmse, ridge=9.0 * mu)
    # D is a difference of sums as large as σ² tr H, and of condition at most λ_max/μ or that of H
    budget = rounding(1000 * len(H), condition=float(np.linalg.cond(L)) ** 2)
    assert scaled.distortion == pytest.approx(36 * point.distortion, rel=budget)
    assert scaled.rate_bits == pytest.approx(point.rate_bits, abs=budget)


SIMULATED = {
    "haar i^-1.5": lambda rng: haar_moment(power_law(64, 1.5), rng),
    "ar1 0.95, scaled": lambda rng: channel_scaled(ar1_moment(64, 0.95), np.exp(0.5 * rng.standard_normal(64))),
    "two levels, 1e-4": lambda rng: haar_moment(two_level(64, 1e-4), rng),
}


@pytest.mark.parametrize("rate", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("kind", ["none", "sample", "normal"])
@pytest.mark.parametrize("name", SIMULATED)
def test_simulation_agrees_to_one_percent_and_a_hundredth_of_a_bit(name, kind, rate):
    """On iid normal weights, retargeted: the sweep itself on 8192 rows, at the steps of the prediction, measured with W and the raw H.

    To twice that at 1 bit, where what is rounded is least normal.
    """
    accuracy = 0.02 if rate == 1 else 0.01
    rng = np.random.default_rng(11)
    H = SIMULATED[name](rng)
    n = len(H)
    mu = {"none": 1.6, "sample": 0.3, "normal": 0.75}[kind] * water_level_ridge(np.linalg.eigvalsh(H), 1.0, rate)
    L = ridged(H, mu)
    c, point = watersic_at_rate(L, 1.0, rate, ridge=mu, lmmse=kind == "normal")
    steps = c / np.diagonal(L)
    W = rng.standard_normal((8192, n))
    T = retarget(W, L, mu)
    if kind == "sample":
        point = sic_at_finite_rate(L, steps, ridge=mu)
        integers, gains, _ = ops.sic_sweep_sample_gains(T, L, steps)
    else:
        gains = point.gains
        assert ((gains == 1) if kind == "none" else (gains < 1)).all()
        integers, _ = ops.sic_sweep(T, L, steps, gains)
    E = W - integers * (steps * gains)
    rows = ((E @ H) * E).mean(axis=1)
    band = STANDARD_ERRORS * rows.std() / math.sqrt(len(rows)) / point.distortion
    assert band < 0.01
    assert rows.mean() / point.distortion == pytest.approx(1, abs=accuracy)
    assert entropy_band(integers.size) < 0.01
    assert mean_column_entropy(count_integers(integers)) == pytest.approx(point.rate_bits, abs=accuracy)


def test_a_rate_that_is_not_met_is_said():
    with pytest.raises(RateUnreachable, match=r"no step scale with 2\.0 bits"):
        watersic_at_rate(np.eye(2), 1.0, 2.0, tolerance=-1.0)
