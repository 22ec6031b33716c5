from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools import ops
from rdtools.errors import ShapeMismatch
from rdtools.linalg import cholesky
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import QuIP
from rdtools.quantizers.grids.balance import MIN_ENERGY, balancing_scales
from rdtools.quantizers.grids.half_range import normal_half_range
from rdtools.testing import layers
from rdtools.theory.fixed_rate import best_uniform_grid, uniform_grid

N = 512


@lru_cache(maxsize=1)
def _families():
    """Name → (H, L) with 1 % of damping, and normal weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4 * N, N))
    plain = {
        "wishart": X.T @ X / (4 * N),
        "exponential": haar_moment(np.exp(-8 * np.arange(N) / N), rng),
        "1/k": haar_moment(power_law(N, 1.0), rng),
    }
    damped = {name: H + 0.01 * np.trace(H) / N * np.eye(N) for name, H in plain.items()}
    return {name: (H, cholesky(H).lower) for name, H in damped.items()}, rng.standard_normal((N, N))


def _losses(W, L, bits, half_range, *, clamped_before=False):
    """Loss of each row under LDLQ whose integers are clamped, weights before or not."""
    K, spread = 2**bits, math.sqrt(np.mean(W**2))
    step = 2 * half_range * spread / (K - 1)
    targets = np.clip(W, -half_range * spread, half_range * spread) if clamped_before else W
    integers, _ = ops.sic_sweep(targets, L, np.full(len(L), step), offset=0.5, integer_min=-K // 2, integer_max=K // 2 - 1)
    return (((W - step * (integers + 0.5)) @ L) ** 2).sum(axis=1)


@given(layers(max_condition=1e4, min_columns=2), st.integers(0, 2**32 - 1))
def test_no_other_scales_have_a_lower_product_of_energies(layer, seed):
    """``tr(H̃) ‖W̃‖² ≥ (Σ √(H_ii (WᵀW)_ii))²``, reached: both energies have equal shares, and any perturbation loses."""
    H, W = layer.hessian.matrix, layer.weight
    W = np.where(np.abs(W) < 1e-3 * np.abs(W).max(), 1e-3 * np.abs(W).max(), W)  # no column near MIN_ENERGY
    h, w = np.diagonal(H), (W**2).sum(axis=0)
    d = balancing_scales(W, H)

    def product(scales):
        return (h / scales**2).sum() * (w * scales**2).sum()

    budget = rounding(20 * len(h))
    assert product(d) == pytest.approx(np.sqrt(h * w).sum() ** 2, rel=budget)
    np.testing.assert_allclose(h / d**2 / (h / d**2).sum(), w * d**2 / (w * d**2).sum(), rtol=budget)
    np.testing.assert_allclose(d / d[0], (h / w) ** 0.25 / (h[0] / w[0]) ** 0.25, rtol=budget)
    perturbed = d * np.exp(0.1 * np.random.default_rng(seed).standard_normal(len(d)))
    assert product(perturbed) >= product(d) * (1 - budget)
    assert np.log(d).mean() == pytest.approx(0, abs=budget)


def test_scales_of_columns_without_energy_are_finite():
    H = np.diag([4.0, 1e-30, 1.0])
    W = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    d = balancing_scales(W, H)
    assert d[1] / d[0] == pytest.approx(MIN_ENERGY**0.25, rel=rounding(20))
    assert d[2] / d[0] == pytest.approx((1 / 4) ** 0.25 / MIN_ENERGY**0.25, rel=rounding(20))
    np.testing.assert_allclose(balancing_scales(1e60 * W, 1e-60 * H), d, rtol=rounding(1000))  # logarithms near 300
    assert (balancing_scales(0 * W, H) > 0).all()
    assert balancing_scales(np.zeros((2, 0)), np.zeros((0, 0))).shape == (0,)


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 8, 16, 256])
def test_it_is_the_best_grid_for_a_normal_variable(levels):
    """D is flat at its least: the search stops at a relative change of 1e-5 of ρ, whose square is the error in D."""
    found, best = normal_half_range(levels), best_uniform_grid(levels)
    assert found == pytest.approx(best.half_range, rel=1e-5)
    assert uniform_grid(levels, found).distortion == pytest.approx(best.distortion, rel=1e-9)


#: Relative losses by another implementation on another draw: H, bits, ρ, weights clamped before, only integers clamped.
SCALE_STUDY = [
    ("wishart", 2, 2.4, 0.1886, 0.1884),
    ("wishart", 2, 1.5, 0.1118, 0.1068),
    ("wishart", 4, 2.4, 0.01076, 0.01036),
    ("exponential", 2, 2.4, 0.0671, 0.0648),
    ("exponential", 2, 1.7, 0.0635, 0.0446),
    ("exponential", 4, 2.4, 0.00593, 0.00357),
    ("exponential", 4, 2.8, 0.00431, 0.00367),
    ("1/k", 2, 1.5, 0.0781, 0.0526),
    ("1/k", 3, 2.0, 0.0231, 0.0163),
]


@pytest.mark.parametrize(("name", "bits", "half_range", "before", "after"), SCALE_STUDY)
def test_clamping_weights_before_costs_what_was_published(name, bits, half_range, before, after):
    """Two draws of rows, and 1 % for the draw of H, whose tr D/tr H differs by so much; the last digit given."""
    (H, L), W = _families()[0][name], _families()[1]
    energy = ops.quadratic_form(W, H).sum()
    for clamped_before, expected in ((True, before), (False, after)):
        losses = _losses(W, L, bits, half_range, clamped_before=clamped_before)
        error = math.sqrt(2 * len(losses)) * losses.std() / energy
        assert losses.sum() / energy == pytest.approx(expected, abs=STANDARD_ERRORS * error + 0.01 * expected + 5e-6)
        assert STANDARD_ERRORS * error < 0.12 * expected


def test_the_search_sees_weights_that_are_not_normal():
    """Rows of unequal energy: the normal grid loses more than a tenth over the scan's best, the searched one at most 3 %."""
    (H, L), W = _families()[0]["1/k"], _families()[1][:256]
    W = W * np.exp(np.random.default_rng(5).standard_normal((256, 1)))
    scan = {rho: _losses(W, L, 4, rho).sum() for rho in 2.0 * 1.07 ** np.arange(28)}
    best = min(scan.values())
    assert min(scan) < min(scan, key=scan.get) < max(scan)
    assert _losses(W, L, 4, normal_half_range(16)).sum() > 1.1 * best
    q = QuIP(rate_bits=4, adaptive="ldlq", rotation=None).quantize(Layer.of(W, H))
    found = 7.5 * q.weight.symbols.grid.step / np.sqrt(np.mean(W**2))
    assert _losses(W, L, 4, found).sum() <= 1.03 * best


def test_wrong_input_is_refused():
    with pytest.raises(ShapeMismatch, match=r"expected \(m, n\) and \(n, n\)"):
        balancing_scales(np.ones((2, 3)), np.eye(2))
