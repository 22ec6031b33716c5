from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.testing import generators
from rdtools.theory.channel_splitting import disassemble, disassembly_counts

counts_of_copies = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)


def test_counts_by_hand():
    assert disassembly_counts([0.0, 0.5, 1.0, 1.5, 4.0, 4.5], 1.0).tolist() == [1, 1, 1, 2, 4, 5]


def test_nothing_is_split_above_all_maxima():
    x, W = np.array([[1.0, -2.0, 0.0]]), np.array([[1.0, 2.0, 3.0]])
    for threshold in (2.0, 5.0, math.inf):
        split = disassemble(disassembly_counts(np.abs(x).max(axis=0), threshold))
        assert split.expansion == 0
        np.testing.assert_array_equal(split.activations(x), x)
        np.testing.assert_array_equal(split.activations(x, step=[7.0]), x)
        np.testing.assert_array_equal(split.weight(W), W)


def test_one_channel_and_a_zero_channel():
    split = disassemble(disassembly_counts([6.0], 2.0))
    assert (split.expansion, split.source.tolist()) == (2.0, [0, 0, 0])
    np.testing.assert_allclose(split.activations([6.0]), [2.0, 2.0, 2.0], rtol=rounding(1))
    assert disassembly_counts([0.0], 1e-300).tolist() == [1]


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=20), st.floats(1e-2, 1e4))
def test_counts_are_the_fewest_within_the_threshold(maxima, threshold):
    """m_j/T_j ≤ θ < m_j/(T_j − 1), both up to the rounding of the quotient."""
    m, T = np.array(maxima), disassembly_counts(maxima, threshold)
    assert (m / T <= threshold * (1 + rounding(1))).all()
    split = T > 1
    assert (m[split] / (T[split] - 1) >= threshold * (1 - rounding(1))).all()
    assert (disassembly_counts(maxima, 2 * threshold) <= T).all()
    np.testing.assert_array_equal(disassembly_counts(8 * m, 8 * threshold), T)


@given(counts_of_copies, generators(), st.floats(0, 100))
def test_splitting_is_exact(counts, generator, step):
    """W' x' = W x, with equal copies and with staggered ones of any step; γ = Σ (T_j − 1)/n."""
    x, W = generator.standard_normal((4, len(counts))), generator.standard_normal((3, len(counts)))
    split = disassemble(counts)
    assert split.expansion == (counts.sum() - len(counts)) / len(counts)
    np.testing.assert_array_equal(split.counts, counts)
    size = rounding(2 * counts.sum()) * np.abs(W).sum() * (np.abs(x).max() + step)
    for copies in (split.activations(x), split.activations(x, step=np.full(4, step))):
        assert copies.shape == (4, counts.sum())
        np.testing.assert_allclose(copies @ split.weight(W).T, x @ W.T, atol=size)
    # second route: the map as a matrix, x' = S x
    S = np.zeros((counts.sum(), len(counts)))
    S[np.arange(counts.sum()), np.repeat(np.arange(len(counts)), counts)] = np.repeat(1 / counts, counts)
    np.testing.assert_allclose(split.activations(x), x @ S.T, rtol=rounding(2))


@given(st.integers(1, 40), st.integers(-50, 50), st.floats(-0.49, 0.49), st.floats(1e-3, 1e3))
def test_staggered_copies_round_like_one_channel(count, whole, part, step):
    """Hermite: Σ_i round(x/(TΔ) + (i − (T−1)/2)/T) = round(x/Δ); equal copies give T round(x/(TΔ))."""
    x = np.array([(whole + part) * step])
    split = disassemble([count])
    shifted = split.activations(x, step=step)
    # not at a tie: fractions of a step are at least (½ − 0.49)/T from one
    np.testing.assert_allclose(shifted.sum(), x[0], atol=rounding(count) * step * (abs(whole) + count))
    assert np.rint(shifted / step).sum() == whole
    equal = split.activations(x)
    assert np.rint(equal / step).sum() == count * np.rint(equal[0] / step)


@given(st.integers(1, 12), st.floats(-20, 20), st.floats(-0.5, 0.5))
def test_staggered_copies_on_a_shifted_grid_err_by_half_a_step(count, x, offset):
    """Grid Δ(ℤ + o): the sum lies on Δ(ℤ + T o) and is within Δ/2 of x."""
    copies = disassemble([count]).activations([x], step=1.0)
    total = (np.rint(copies - offset) + offset).sum()
    assert abs(total - x) <= 0.5 + rounding(count) * (abs(x) + count)
    assert (total - count * offset) == pytest.approx(round(total - count * offset), abs=rounding(count) * (abs(x) + count))
