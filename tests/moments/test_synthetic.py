from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.linalg import check_moment, cholesky
from rdtools.moments.synthetic import (
    ar1_moment,
    channel_scaled,
    clamped_feedback_counterexample,
    haar_moment,
    power_law,
    spiked,
    two_level,
)
from rdtools.ops import sic_sweep
from rdtools.testing import generators, second_moments


def _losses(n, slack=0.01):
    """Loss of nearest LDLQ clamped to {0 … 3}, of rounding to nearest, of unclamped LDLQ, and the lowest code of the last."""
    H, w = clamped_feedback_counterexample(n, slack)
    L = cholesky(H, damping=0.0).lower

    def loss(integers):
        return float(((w - integers) @ H @ (w - integers).T)[0, 0])

    clamped, _ = sic_sweep(w, L, np.ones(n), integer_min=0, integer_max=3)
    free, _ = sic_sweep(w, L, np.ones(n))
    return loss(clamped), loss(np.clip(np.rint(w), 0, 3)), loss(free), int(free.min())


@pytest.mark.parametrize(
    ("n", "clamped", "nearest", "free", "lowest"),
    [(16, 39.6, 3.74, 3.68, -6), (64, 915, 15.7, 15.4, -30), (256, 1.59e4, 63.5, 62.5, -126)],
)
def test_clamping_breaks_feedback(n, clamped, nearest, free, lowest):
    """The printed table, to its three digits; clamped, it loses up to 250 times what rounding to nearest does, and unclamped no more."""
    values = _losses(n)
    assert [float(f"{v:.3g}") for v in values[:3]] == [clamped, nearest, free]
    assert values[3] == lowest
    assert values[2] < values[1] < values[0]
    if n == 256:
        assert values[0] > 200 * values[1]
        assert values[2] == pytest.approx(values[1], rel=0.02)


def test_clamped_loss_grows_as_the_square():
    """Against n for the others: from n to 2n the one gains a factor near 4, the others near 2."""
    small, large = _losses(256), _losses(512)
    assert 3.5 < large[0] / small[0] < 4.5
    assert large[1] / small[1] == pytest.approx(2, rel=0.02)
    assert large[2] / small[2] == pytest.approx(2, rel=0.02)


@given(st.integers(2, 40).map(lambda k: 2 * k), st.floats(0, 0.05))
def test_counterexample_entry_by_entry(n, slack):
    """1 1ᵀ + 1 with its first and last rows changed as published, on reversed columns; positive definite; weights beside ½."""
    H, w = clamped_feedback_counterexample(n, slack)
    check_moment(H)
    expected = np.ones((n, n))
    for i in range(n):
        expected[i, i] += 1
    expected[n - 1, n - 1] = 1
    for j in range(1, n - 1):
        expected[0, j] += 2 * slack
        expected[j, 0] += 2 * slack
    expected[0, n - 1] += slack
    expected[n - 1, 0] += slack
    expected[0, 0] += 4 * slack + n * slack**2
    np.testing.assert_allclose(H[::-1, ::-1], expected, rtol=rounding(4))
    assert np.linalg.eigvalsh(H)[0] > 0
    assert w.shape == (1, n)
    published = [0.501 if i % 2 else 0.499 for i in range(n)]
    np.testing.assert_allclose(w[0, ::-1], published, rtol=rounding(4))
    assert H.flags.c_contiguous
    assert w.flags.c_contiguous


def test_spiked_by_hand():
    assert spiked(4, 9.0).tolist() == [9, 1, 1, 1]
    assert spiked(4, 9.0, spikes=3).tolist() == [9, 9, 9, 1]
    assert spiked(3, 9.0, spikes=0).tolist() == [1, 1, 1]
    assert spiked(2, 9.0, spikes=5).tolist() == [9, 9]
    assert spiked(0, 9.0).tolist() == []


@given(st.integers(1, 30), st.integers(0, 30), st.floats(1, 1e6))
def test_spiked_has_so_many_spikes(n, spikes, height):
    values = spiked(n, height, spikes)
    assert values.shape == (n,)
    assert (np.diff(values) <= 0).all()
    assert values.sum() == pytest.approx(min(spikes, n) * height + max(n - spikes, 0), rel=rounding(n))


@given(second_moments(max_size=12), generators())
def test_channel_scaling_is_a_congruence(H, generator):
    """diag(s) H diag(s): ℓ_ii → s_i ℓ_ii, and undone by 1/s."""
    s = np.exp(generator.standard_normal(len(H)))
    before = H.copy()
    scaled = channel_scaled(H, s)
    assert (before == H).all()
    np.testing.assert_allclose(scaled, np.diag(s) @ H @ np.diag(s), rtol=rounding(4))
    np.testing.assert_allclose(channel_scaled(scaled, 1 / s), H, rtol=rounding(6))
    assert (scaled == scaled.T).all()
    check_moment(scaled)
    budget = rounding(len(H) ** 2 + 10, condition=1e6)
    np.testing.assert_allclose(np.diagonal(np.linalg.cholesky(scaled)), s * np.diagonal(np.linalg.cholesky(H)), rtol=budget)


def test_channel_scaling_limits():
    H = ar1_moment(4, 0.5)
    assert (channel_scaled(H, np.ones(4)) == H).all()
    dead = channel_scaled(H, np.array([1.0, 0.0, 1.0, 1.0]))
    assert (dead[1] == 0).all()
    assert (dead[:, 1] == 0).all()
    # of a correlation matrix, a moment whose diagonal is the square of the gains
    assert np.diagonal(channel_scaled(H, np.array([1.0, 2.0, 3.0, 4.0]))).tolist() == [1, 4, 9, 16]


@given(st.integers(1, 30), st.floats(0, 3), st.floats(0, 1))
def test_families_of_eigenvalues(n, exponent, low):
    decaying = power_law(n, exponent)
    assert decaying[0] == 1
    assert (np.diff(decaying) <= 0).all()
    assert decaying[-1] == pytest.approx(n**-exponent, rel=rounding(4))
    levels = two_level(n, low)
    assert levels.sum() == pytest.approx((n - n // 2) + n // 2 * low, rel=rounding(n))


@given(st.integers(1, 20), generators())
def test_haar_moment_has_its_eigenvalues(n, generator):
    values = np.sort(generator.random(n))
    H = haar_moment(values, generator)
    assert (H == H.T).all()
    np.testing.assert_allclose(np.linalg.eigvalsh(H), values, rtol=0, atol=rounding(8 * n))


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.5, 0.99])
def test_ar1_has_its_cholesky_diagonal(rho):
    d = np.diagonal(np.linalg.cholesky(ar1_moment(12, rho)))
    np.testing.assert_allclose(d, [1.0] + [np.sqrt(1 - rho**2)] * 11, rtol=rounding(40, condition=1 / (1 - abs(rho))))
