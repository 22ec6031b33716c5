from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, entropy_band, rounding

from rdtools import ops
from rdtools.coding import count_integers, mean_column_entropy
from rdtools.linalg import cholesky
from rdtools.moments.spectrum import compute_spectrum
from rdtools.moments.synthetic import ar1_moment, haar_moment, power_law
from rdtools.rounded import rounded_gaussian
from rdtools.testing import second_moments
from rdtools.theory import finite_rate
from rdtools.theory.finite_rate import Cancellation, sic_at_finite_rate
from rdtools.theory.sic import gptq_distortion, watersic_distortion
from rdtools.theory.waterfilling import rate_distortion


def error_covariances(L, steps, variance, gains, damping, ridge):
    """The recursion as it is derived, by the covariances of the errors ``e = T − V`` of the decided columns with each other and with T, W.

    ``e_i = (1 − g) T_i − (g/ℓ) aᵀe − u/ℓ`` with a = L_{>i,i}; the distortion is ``tr(H cov(W − V))/n`` in full.
    """
    n = len(L)
    A = L @ L.T
    B = np.eye(n) - ridge * np.linalg.inv(A)
    S, from_w = variance * B.T @ B, variance * B  # cov of T, and cov(W_j, T_k)
    C, P, X = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))  # cov(e), cov(e_k, T_j), cov(e_k, W_j)
    v, bits = np.empty(n), np.empty(n)
    for i in range(n - 1, -1, -1):
        ell, a, done = L[i, i], L[i + 1 :, i], slice(i + 1, n)
        of_t, of_w, of_e = a @ P[done], a @ X[done], a @ C[done, done]
        v[i] = ell**2 * S[i, i] + 2 * ell * of_t[i] + a @ of_e
        scalar = rounded_gaussian(steps[i] * ell / math.sqrt(v[i]))
        bits[i] = scalar.entropy_bits
        gain = scalar.gain if gains is None else gains[i]
        g = gain * scalar.correlation
        noise = (gain**2 * scalar.power - g**2) * v[i]
        P[i], X[i] = (1 - g) * S[i] - (g / ell) * of_t, (1 - g) * from_w[:, i] - (g / ell) * of_w
        C[i, done] = C[done, i] = (1 - g) * P[done, i] - (g / ell) * of_e
        C[i, i] = (1 - g) ** 2 * S[i, i] - 2 * (1 - g) * (g / ell) * of_t[i] + ((g / ell) ** 2) * (a @ of_e) + noise / ell**2
    # W − V = W − T + e
    cross = (variance * np.eye(n) - from_w).T @ (np.eye(n) - B)
    error = cross + C + (X - P).T + (X - P)
    H = A - (damping + ridge) * np.eye(n)
    return bits, v, float(np.einsum("ij,ij->", H, error)) / n


@pytest.mark.parametrize("n", [1, 7, 130])
@pytest.mark.parametrize(("damping", "ridge"), [(0.0, 0.0), (0.02, 0.0), (0.0, 0.05), (0.02, 0.05)])
@pytest.mark.parametrize("kind", ["sample", "none", "given"])
def test_recursion_is_that_of_the_error_covariances(rng, n, damping, ridge, kind):
    """The same numbers by tracking what is fed back as by tracking errors, over panels of columns and one row at a time."""
    H = haar_moment(power_law(n, 1.5), rng)
    L = np.linalg.cholesky(H + (damping + ridge) * np.eye(n))
    steps = rng.uniform(0.3, 3.0, n) * np.diagonal(L).mean() / np.diagonal(L)
    gains = {"sample": None, "none": np.ones(n), "given": rng.uniform(0.5, 1.2, n)}[kind]
    point = sic_at_finite_rate(
        L, steps, 2.0, lmmse=kind == "sample", gains=gains if kind == "given" else None, damping=damping, ridge=ridge
    )
    bits, v, D = error_covariances(L, steps, 2.0, gains, damping, ridge)
    # n columns in turn, each of n additions, on a problem of the condition of L and of the cancellation of T against W
    budget = rounding(n**2, condition=float(np.linalg.cond(L)) ** 2)
    np.testing.assert_allclose(point.input_variances, v, rtol=budget)
    np.testing.assert_allclose(point.column_bits, bits, atol=budget)
    assert point.distortion == pytest.approx(D, rel=budget)


def test_diagonal_hessian_is_independent_scalar_quantizers():
    ell, steps = np.array([2.0, 1.0, 0.1]), np.array([0.5, 2.0, 30.0])
    point = sic_at_finite_rate(np.diag(ell), steps, 4.0)
    scalars = [rounded_gaussian(a / 2) for a in steps]
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
    stds = np.sqrt(point.input_variances)
    gains = np.array([rounded_gaussian(a * e / s).gain for a, e, s in zip(steps, ell, stds, strict=True)])
    W = rng.standard_normal((8192, len(L)))
    integers, residual = ops.sic_sweep(W, L, steps, gains if lmmse else None)
    rows = (residual**2).mean(axis=1)
    band = STANDARD_ERRORS * rows.std() / math.sqrt(len(rows)) / point.distortion
    assert band < 0.01
    assert rows.mean() / point.distortion == pytest.approx(1, abs=0.01)
    assert entropy_band(integers.size) < 0.01
    assert mean_column_entropy(count_integers(integers)) == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize(
    ("factor", "steps", "variance", "settings"),
    [
        (np.ones((2, 3)), np.ones(2), 1.0, {}),
        (np.eye(2), np.ones(3), 1.0, {}),
        (np.eye(2), np.zeros(2), 1.0, {}),
        (np.eye(2), np.ones(2), 0.0, {}),
        (np.zeros((0, 0)), np.zeros(0), 1.0, {}),
        (np.eye(2), np.ones(2), 1.0, {"damping": -0.1}),
        (np.eye(2), np.ones(2), 1.0, {"ridge": -0.1}),
        (np.eye(2), np.ones(2), 1.0, {"gains": np.ones(3)}),
    ],
)
def test_bad_arguments_are_refused(factor, steps, variance, settings):
    with pytest.raises(ValueError, match="finite rate"):
        sic_at_finite_rate(factor, steps, variance, **settings)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_one_cancellation_serves_all_steps(rng, ridge, monkeypatch):
    """What belongs to the factor is computed once, and the points are those of separate calls to the bit."""
    calls = []
    inverse = finite_rate.triangular_inverse
    monkeypatch.setattr(finite_rate, "triangular_inverse", lambda factor: calls.append(len(factor)) or inverse(factor))
    L = np.linalg.cholesky(haar_moment(power_law(20, 1.5), rng) + ridge * np.eye(20))
    cancellation = Cancellation(L, 2.0, ridge=ridge)
    points = [cancellation.at(scale / np.diagonal(L), np.ones(20)) for scale in (0.1, 0.5, 2.0)]
    assert calls == [20] * (ridge > 0)
    for scale, point in zip((0.1, 0.5, 2.0), points, strict=True):
        alone = sic_at_finite_rate(L, scale / np.diagonal(L), 2.0, lmmse=False, ridge=ridge)
        assert (alone.rate_bits, alone.distortion) == (point.rate_bits, point.distortion)


def test_wide_factors_need_little_memory_beside_the_covariance(rng):
    """Beside L, F and its start there is no fourth matrix of their size, at any width: products are by bands of rows."""
    n = 1100
    L, steps = np.linalg.cholesky(ar1_moment(n, 0.5)), np.full(n, 0.7)
    cancellation = Cancellation(L)
    cancellation.at(steps)
    tracemalloc.start()
    cancellation.at(steps)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.6 * 8 * n * n
