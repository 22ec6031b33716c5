from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from tolerances import rounding

from rdtools.errors import ShapeMismatch
from rdtools.measure import weighted_error
from rdtools.measure.drifted import drifted_error
from rdtools.moments.drift import Drift
from rdtools.testing import layers

M, N, TOKENS = 5, 8, 200


def sample(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((TOKENS, N)) @ rng.standard_normal((N, N))
    drifted = 0.8 * x + 0.2 * rng.standard_normal((TOKENS, N))
    missing = rng.standard_normal((TOKENS, M))
    W = rng.standard_normal((M, N))
    return x, drifted, missing, W, W + 0.1 * rng.standard_normal((M, N))


@pytest.mark.parametrize("writes", [False, True])
def test_it_is_the_mean_over_tokens_without_the_terms_that_no_reconstruction_changes(writes):
    """E‖W x + d − V x̂‖² − E‖d‖² − 2 E dᵀW x, by tokens; sums of m n token products, conditioned by their cancellation (below 100)."""
    x, drifted, missing, W, V = sample()
    d = missing if writes else np.zeros_like(missing)
    errors = ((x @ W.T + d - drifted @ V.T) ** 2 - d**2 - 2 * d * (x @ W.T)).mean(axis=0) / N
    drift = Drift(drifted.T @ drifted / TOKENS, x.T @ drifted / TOKENS, d.T @ drifted / TOKENS if writes else None)
    found = drifted_error(W, V, x.T @ x / TOKENS, drift)
    assert found.mean == pytest.approx(errors.mean(), rel=rounding(TOKENS + N**2, condition=100))
    assert found.stderr == pytest.approx(errors.std(ddof=1) / np.sqrt(M), rel=rounding(TOKENS + N**2, condition=100))


@given(layers(max_condition=1e4))
def test_without_drift_it_is_the_weighted_error(layer):
    H = layer.hessian.matrix
    half = 0.5 * layer.weight
    assert drifted_error(layer.weight, half, H, Drift(H, H)).mean == pytest.approx(
        weighted_error(layer.weight, half, H).mean, rel=rounding(H.size + 10, condition=1e4)
    )


def test_it_is_least_at_the_regression_on_the_drifted_input():
    """V* = (W Σ_xx̂ + S) Σ_x̂⁻¹, and V* + E is worse by tr(E Σ_x̂ Eᵀ)/(m n) for every E."""
    x, drifted, missing, W, V = sample()
    moment, cross, residual = (a.T @ drifted / TOKENS for a in (drifted, x, missing))
    drift, H = Drift(moment, cross, residual), x.T @ x / TOKENS
    best = np.linalg.solve(moment, (W @ cross + residual).T).T
    excess = drifted_error(W, V, H, drift).mean - drifted_error(W, best, H, drift).mean
    scale = weighted_error(W, np.zeros_like(W), H).mean
    expected = weighted_error(best, V, moment).mean
    assert excess == pytest.approx(expected, abs=rounding(TOKENS + N**2, condition=np.linalg.cond(moment)) * scale)


def test_a_single_row_has_no_standard_error():
    assert np.isnan(drifted_error(np.ones((1, 2)), np.ones((1, 2)), np.eye(2), Drift(np.eye(2), np.eye(2))).stderr)


def test_shapes_that_do_not_belong_together():
    drift = Drift(np.eye(3), np.eye(3), np.zeros((4, 3)))
    with pytest.raises(ShapeMismatch, match=r"weight \(2, 3\).*residual \(4, 3\)"):
        drifted_error(np.ones((2, 3)), np.ones((2, 3)), np.eye(3), drift)
    with pytest.raises(ShapeMismatch, match=r"Hessian \(2, 2\)"):
        drifted_error(np.ones((4, 3)), np.ones((4, 3)), np.eye(2), drift)
