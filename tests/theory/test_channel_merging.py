from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.testing import layers
from rdtools.theory.channel_merging import merge_distortion, merge_distortions, reassembly_bits

counts_of_copies = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)


@given(layers(max_rows=6, min_columns=2, max_columns=8), st.data())
def test_merging_is_an_error_of_the_weight(layer, data):
    """tr(E H Eᵀ)/(mn) of the weight with both columns at their mean."""
    W, H = layer.weight, layer.hessian.matrix
    i, j = data.draw(st.permutations(range(W.shape[1])))[:2]
    merged = W.copy()
    merged[:, i] = merged[:, j] = (W[:, i] + W[:, j]) / 2
    E = W - merged
    expected = np.trace(E @ H @ E.T) / W.size
    # the difference of moments cancels down from the sum of the powers
    size = rounding(50) * (H[i, i] + H[j, j]) * np.sum((W[:, i] - W[:, j]) ** 2) / W.size
    table = merge_distortions(H, W)
    assert table[i, j] == pytest.approx(expected, abs=size + 1e-300)
    assert merge_distortion(H, W, i, j) == pytest.approx(table[i, j], rel=rounding(50), abs=1e-300)
    np.testing.assert_array_equal(table, table.T)
    assert (table >= 0).all()
    assert not np.diagonal(table).any()
    # channels in another order
    order = data.draw(st.permutations(range(W.shape[1])))
    shuffled = merge_distortions(H[np.ix_(order, order)], W[:, order])
    np.testing.assert_allclose(shuffled, table[np.ix_(order, order)], rtol=rounding(50), atol=1e-300)


def test_merging_sampled_channels(rng):
    """(x_i + x_j)/2 with w_i + w_j in a forward pass: the mean squared output error over mn, exactly, with sample moments."""
    x, W = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 5)), rng.standard_normal((4, 5))
    H = x.T @ x / len(x)
    table = merge_distortions(H, W)
    for i in range(5):
        for j in range(i):
            keep = [k for k in range(5) if k not in (i, j)]
            out = x[:, keep] @ W[:, keep].T + np.outer((x[:, i] + x[:, j]) / 2, W[:, i] + W[:, j])
            sampled = np.mean(np.sum((out - x @ W.T) ** 2, axis=1)) / W.size
            assert table[i, j] == pytest.approx(sampled, rel=rounding(1000))


def test_several_merges_have_cross_terms(rng):
    """Two pairs: the sum over pairs, and ½ E[(x_i − x_j)(x_k − x_l)] (w_i − w_j)·(w_k − w_l)/(mn) besides."""
    x, W = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 4)), rng.standard_normal((3, 4))
    H = x.T @ x / len(x)
    pairs = W.copy()
    pairs[:, :2], pairs[:, 2:] = W[:, :2].mean(axis=1, keepdims=True), W[:, 2:].mean(axis=1, keepdims=True)
    E = W - pairs
    a, b = np.array([1.0, -1, 0, 0]), np.array([0, 0, 1.0, -1])
    cross = 0.5 * (a @ H @ b) * (W @ a) @ (W @ b) / W.size
    table = merge_distortions(H, W)
    assert np.trace(E @ H @ E.T) / W.size == pytest.approx(table[0, 1] + table[2, 3] + cross, rel=rounding(1000))
    assert abs(cross) > 0.01 * (table[0, 1] + table[2, 3])


def test_merging_costs_nothing_for_equal_columns_or_equal_channels():
    H = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    W = np.array([[1.0, 5.0, 5.0]])
    table = merge_distortions(H, W)
    assert table[0, 1] == 0
    assert table[1, 2] == 0
    assert table[0, 2] == 3 * 16 / 4 / 3
    assert merge_distortions(np.ones((1, 1)), np.ones((2, 1))).tolist() == [[0.0]]
    assert merge_distortions(np.zeros((2, 2)), np.eye(2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_side_information_of_a_large_site():
    """n = 4096, r = 200, N = 12288: about 1e-4 bits per weight."""
    counts = np.ones(4096, dtype=int)
    counts[:20] = 11
    found = reassembly_bits(counts, merges=200, rows=12288)
    assert found == (20 * (12 + 4) + 2 * 200 * 12) / (12288 * 4096)
    assert found == pytest.approx(1e-4, rel=0.1)


@given(counts_of_copies, st.integers(0, 20), st.integers(1, 100))
def test_side_information_is_that_of_the_names(counts, merges, rows):
    n = len(counts)
    width, depth = math.ceil(math.log2(n)), math.ceil(math.log2(counts.max()))
    expected = (np.count_nonzero(counts > 1) * (width + depth) + 2 * merges * width) / (rows * n)
    found = reassembly_bits(counts, merges=merges, rows=rows)
    assert found == pytest.approx(expected, rel=rounding(4))
    assert reassembly_bits(counts, merges=merges, rows=2 * rows) == found / 2
    assert reassembly_bits(np.ones(n), merges=0, rows=rows) == 0
    # enough to tell apart: 2^width names, 2^depth counts
    assert 2**width >= n
    assert 2**depth >= counts.max()
