"""A bias per row in place of the mean error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rdtools.errors import TheoryError
from rdtools.theory import bias_correction as bias
from rdtools.theory.waterfilling import distortion_rate


def _moments(rng, n=6, tokens=40, shift=2.0):
    x = rng.standard_normal((tokens, n)) @ rng.standard_normal((n, n)) + shift * rng.standard_normal(n)
    return x, x.T @ x / tokens, x.mean(axis=0)


def test_best_bias_leaves_the_error_under_the_covariance(rng):
    """E‖E x − b‖² = tr(E C Eᵀ) for b = E μ, and more for any other b; D falls by ‖E μ‖²/(m n)."""
    x, H, mu = _moments(rng)
    E = rng.standard_normal((5, 6))
    b, C = bias.best_bias(E, mu), bias.centred_moment(H, mu)
    left = np.mean(np.sum((x @ E.T - b) ** 2, axis=1))
    assert left == pytest.approx(np.trace(E @ C @ E.T), rel=1e-10)
    assert np.trace(E @ H @ E.T) - left == pytest.approx(b @ b, rel=1e-9)
    assert np.mean(np.sum((x @ E.T - b - 0.01) ** 2, axis=1)) > left


def test_determinants_and_traces_give_the_savings(rng):
    """Second route: |C|/|H| = 1 − s by determinants; Cholesky diagonals of C and H for feedback; the limit is their geometric mean."""
    _, H, mu = _moments(rng)
    C, s = bias.centred_moment(H, mu), bias.explained_share(H, mu)
    assert np.linalg.det(C) / np.linalg.det(H) == pytest.approx(1 - s, rel=1e-9)
    ell, centred = (np.diag(np.linalg.cholesky(M)) for M in (H, C))
    assert bias.limit_saving_bits(s, 6) == pytest.approx(float(np.mean(np.log2(ell / centred))), rel=1e-9)
    assert bias.feedback_saving_bits(ell, centred) == pytest.approx(0.5 * np.log2(np.sum(ell**2) / np.sum(centred**2)))
    assert bias.rounding_saving_bits(H, mu) == pytest.approx(0.5 * np.log2(np.trace(H) / np.trace(C)))
    assert bias.explained_share(H, 0 * mu) == bias.rounding_saving_bits(H, 0 * mu) == bias.limit_saving_bits(0.0, 6) == 0


@pytest.mark.parametrize("level", [1e-3, 0.1, 3.0])
def test_at_one_water_level_one_component_is_all_that_can_be_saved(rng, level):
    """0 ≤ Σ ½ log2⁺(λ_i/τ) − Σ ½ log2⁺(λ̃_i/τ) ≤ ½ log2⁺(λ_1/τ)."""
    for shift in (0.1, 1.0, 30.0):
        _, H, mu = _moments(rng, shift=shift)
        lam, centred = (np.linalg.eigvalsh(M) for M in (H, bias.centred_moment(H, mu)))
        saved = sum(float(np.sum(0.5 * np.maximum(0, np.log2(np.maximum(v, 1e-300) / level)))) * k for v, k in ((lam, 1), (centred, -1)))
        assert -1e-9 <= saved / 6 <= bias.saving_bound_bits(lam[-1], level, 6) + 1e-9
    assert bias.saving_bound_bits(0.5, 1.0, 6) == 0


def test_at_high_rate_the_limit_saves_what_the_determinant_says(rng):
    _, H, mu = _moments(rng)
    D = [float(distortion_rate(14.0, np.linalg.eigvalsh(M)).distortion) for M in (H, bias.centred_moment(H, mu))]
    assert 0.5 * math.log2(D[0] / D[1]) == pytest.approx(bias.limit_saving_bits(bias.explained_share(H, mu), 6), rel=1e-9)


def test_a_constant_input_is_all_mean():
    mu = np.array([1.0, 2.0])
    assert bias.explained_share(np.outer(mu, mu), mu) == pytest.approx(1, abs=1e-14)
    assert bias.limit_saving_bits(1.0, 2) == math.inf
    assert bias.rounding_saving_bits(np.outer(mu, mu), mu) == math.inf


@pytest.mark.parametrize("mean", [[2.0, 0.0], [1.0], [np.nan, 0.0]])
def test_a_mean_of_other_tokens_is_refused(mean):
    with pytest.raises(TheoryError, match=r"expected E\[x\] over the same tokens"):
        bias.centred_moment(np.eye(2), np.array(mean))
    for wrong in (lambda: bias.limit_saving_bits(1.1, 2), lambda: bias.saving_bound_bits(1.0, 0.0, 2)):
        with pytest.raises(TheoryError, match="bias correction"):
            wrong()
