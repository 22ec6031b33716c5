from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.errors import UsageError
from rdtools.records import ActivationGrid, InputMap
from rdtools.testing import generators
from rdtools.transforms.links import Split

counts_of_copies = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)


def test_counts_by_hand():
    assert Split.within([0.0, 0.5, 1.0, 1.5, 4.0, 4.5], 1.0).counts.tolist() == [1, 1, 1, 2, 4, 5]


def test_nothing_is_split_above_all_maxima():
    x, W = np.array([[1.0, -2.0, 0.0]]), np.array([[1.0, 2.0, 3.0]])
    for threshold in (2.0, 5.0, math.inf):
        split = Split.within(np.abs(x).max(axis=0), threshold, staggered=True)
        assert split.outputs == 3
        np.testing.assert_array_equal(split.apply(x), x)
        assert not split.shifts.any()
        np.testing.assert_array_equal(split.weight(W), W)


def test_one_channel_and_a_zero_channel():
    np.testing.assert_allclose(Split.within([6.0], 2.0).apply([6.0]), [2.0, 2.0, 2.0], rtol=rounding(1))
    assert Split.within([0.0], 1e-300).counts.tolist() == [1]


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=20), st.floats(1e-2, 1e4))
def test_counts_are_the_fewest_within_the_threshold(maxima, threshold):
    """m_j/T_j ≤ θ < m_j/(T_j − 1), both up to the rounding of the quotient."""
    m, T = np.array(maxima), Split.within(maxima, threshold).counts
    assert (m / T <= threshold * (1 + rounding(1))).all()
    split = T > 1
    assert (m[split] / (T[split] - 1) >= threshold * (1 - rounding(1))).all()
    assert (Split.within(maxima, 2 * threshold).counts <= T).all()
    np.testing.assert_array_equal(Split.within(8 * m, 8 * threshold).counts, T)


@given(counts_of_copies, generators(), st.floats(0, 100))
def test_splitting_is_exact(counts, generator, step):
    """W' x' = W x, with equal copies and with copies staggered by steps of any size."""
    x, W = generator.standard_normal((4, len(counts))), generator.standard_normal((3, len(counts)))
    split = Split(counts, staggered=True)
    size = rounding(2 * counts.sum()) * np.abs(W).sum() * (np.abs(x).max() + step)
    for copies in (split.apply(x), split.apply(x) + step * split.shifts):
        assert copies.shape == (4, counts.sum())
        np.testing.assert_allclose(copies @ split.weight(W).T, x @ W.T, atol=size)


@given(st.integers(1, 40), st.integers(-50, 50), st.floats(-0.49, 0.49))
def test_staggered_copies_round_like_one_channel(count, whole, part):
    """Hermite: Σ_i round(x/T + (i − (T−1)/2)/T) = round(x), of a step of 1; equal copies give T round(x/T)."""
    x = np.array([whole + part])
    split = Split(np.array([count]), staggered=True)
    # not at a tie: fractions of a step are at least (½ − 0.49)/T from one
    assert np.rint(split.apply(x) + split.shifts).sum() == whole
    equal = split.apply(x)
    assert np.rint(equal).sum() == count * np.rint(equal[0])


@given(st.integers(1, 12), st.floats(-20, 20), st.floats(-0.5, 0.5))
def test_staggered_copies_on_a_shifted_grid_err_by_half_a_step(count, x, offset):
    """Grid ℤ + o: the sum lies on ℤ + T o and is within ½ of x."""
    split = Split(np.array([count]), staggered=True)
    total = (np.rint(split.apply([x]) + split.shifts - offset) + offset).sum()
    assert abs(total - x) <= 0.5 + rounding(count) * (abs(x) + count)
    assert (total - count * offset) == pytest.approx(round(total - count * offset), abs=rounding(count) * (abs(x) + count))


@given(generators(), st.integers(2, 6), st.booleans())
def test_shifted_copies_add_up_to_the_channel_on_one_grid(generator, bits, symmetric):
    """One channel in T copies among others: no copy is clipped, and the zero point is whole, so that the sum is x rounded to its step."""
    x = generator.standard_normal((50, 6))
    x[:, 2] *= 3
    split, grid = Split(np.array([1, 1, 3, 1, 1, 1]), staggered=True), ActivationGrid(bits, symmetric)
    copies = split.apply(x)
    high, low = copies.max(axis=1), copies.min(axis=1)
    step = np.maximum(high, -low) / (2 ** (bits - 1) - 1) if symmetric else (high - low) / (2**bits - 2)
    found = grid.quantize(copies, InputMap([split], columns=6).shifts)
    away = np.abs(np.abs(x / step[:, None] % 1) - 0.5) > 1e-9  # from a tie
    total = np.add.reduceat(found, np.array([0, 1, 2, 5, 6, 7]), axis=1)
    expected = step[:, None] * np.rint(x / step[:, None])
    assert total[away] == pytest.approx(expected[away], abs=rounding(100) * 30)


def test_a_staggered_link_is_the_last_of_a_chain():
    staggered = Split(np.array([1, 2]), staggered=True)
    assert InputMap([Split(np.array([1, 1])), staggered], columns=2).shifts.tolist() == [0.0, -0.25, 0.25]
    assert InputMap(columns=2).shifts is None
    with pytest.raises(UsageError, match=r"link 0, Split\(2 → 3\), is staggered, expected it to be the last one"):
        InputMap([staggered, Split(np.ones(3, dtype=int))], columns=2)


@pytest.mark.parametrize(
    ("maxima", "threshold", "message"),
    [
        ([], 1.0, r"maxima of shape \(0,\)"),
        ([-1.0], 1.0, "one finite max"),
        ([math.nan], 1.0, "one finite max"),
        ([math.inf], 1.0, "one finite max"),
        ([[1.0]], 1.0, r"shape \(1, 1\)"),
        ([1.0], 0.0, "threshold 0"),
        ([1.0], math.nan, "threshold nan"),
        ([1.0], 1e-300, "above 2"),
    ],
)
def test_impossible_thresholds_are_refused(maxima, threshold, message):
    with pytest.raises(UsageError, match=f"split: .*{message}"):
        Split.within(maxima, threshold)
