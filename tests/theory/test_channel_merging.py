from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.quantizers.reassembly.matching import channel_distances
from rdtools.testing import layers
from rdtools.theory.channel_merging import merged_distortion


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
    found = merged_distortion(H, W, [(i, j)])
    assert found == pytest.approx(expected, abs=size + 1e-300)
    assert found >= 0
    assert merged_distortion(H, W, [(j, i)]) == pytest.approx(found, abs=size + 1e-300)
    # the distance by which channels are matched is that cost, from products of columns
    size += rounding(50) * (H[i, i] + H[j, j]) * np.sum(W[:, i] ** 2 + W[:, j] ** 2) / W.size
    table = channel_distances(H, W, "paper") / W.size
    assert table[i, j] == pytest.approx(found, abs=size + 1e-300)
    np.testing.assert_array_equal(table, table.T)
    assert (table >= 0).all()


def test_merging_sampled_channels(rng):
    """(x_i + x_j)/2 with w_i + w_j in a forward pass: the mean squared output error over mn, exactly, with sample moments."""
    x, W = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 5)), rng.standard_normal((4, 5))
    H = x.T @ x / len(x)
    for i in range(5):
        for j in range(i):
            keep = [k for k in range(5) if k not in (i, j)]
            out = x[:, keep] @ W[:, keep].T + np.outer((x[:, i] + x[:, j]) / 2, W[:, i] + W[:, j])
            sampled = np.mean(np.sum((out - x @ W.T) ** 2, axis=1)) / W.size
            assert merged_distortion(H, W, [(i, j)]) == pytest.approx(sampled, rel=rounding(1000))


def test_several_merges_have_cross_terms(rng):
    """Two pairs: the sum over pairs, and ½ E[(x_i − x_j)(x_k − x_l)] (w_i − w_j)·(w_k − w_l)/(mn) besides; of a group, its mean."""
    x, W = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 4)), rng.standard_normal((3, 4))
    H = x.T @ x / len(x)
    a, b = np.array([1.0, -1, 0, 0]), np.array([0, 0, 1.0, -1])
    cross = 0.5 * (a @ H @ b) * (W @ a) @ (W @ b) / W.size
    parts = merged_distortion(H, W, [(0, 1)]) + merged_distortion(H, W, [(2, 3)])
    assert merged_distortion(H, W, [(0, 1), (2, 3)]) == pytest.approx(parts + cross, rel=rounding(1000))
    assert abs(cross) > 0.01 * parts
    E = W[:, :3] - W[:, :3].mean(axis=1, keepdims=True)
    assert merged_distortion(H, W, [(0, 1, 2)]) == pytest.approx(np.trace(E @ H[:3, :3] @ E.T) / W.size, rel=rounding(1000))


def test_merging_costs_nothing_for_equal_columns_or_equal_channels():
    H = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    W = np.array([[1.0, 5.0, 5.0]])
    assert [merged_distortion(H, W, groups) for groups in ([], [(0, 1)], [(1, 2)], [(0, 2)])] == [0, 0, 0, 3 * 16 / 4 / 3]
    assert merged_distortion(np.zeros((2, 2)), np.eye(2), [(0, 1)]) == 0
