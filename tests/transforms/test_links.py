from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.map_cases import LOSSLESS, LOSSY, chains, dense, link, pairs, tolerance
from tolerances import rounding

from rdtools.coding import round_to_bfloat16
from rdtools.errors import CorruptFile, NotFiniteInput, ShapeMismatch, UsageError
from rdtools.records import InputMap, Rotation
from rdtools.testing import generators
from rdtools.theory.channel_merging import merged_distortion
from rdtools.transforms.links import Merge, Permute, Principal, Rotate, Scale, Select, Split
from rdtools.transforms.links.fields import LinkFields, link_fields, link_of, same_map

sizes = st.integers(1, 12)


@given(st.sampled_from(LOSSLESS), sizes, generators())
def test_a_lossless_link_preserves_the_output_for_every_input(kind, n, generator):
    """W′ (T x) = W x, and the weight that is pulled back is W again."""
    item = link(kind, n, generator)
    W, x = generator.standard_normal((3, n)), generator.standard_normal((n, 5))
    assert item.lossless
    mapped = item.weight(W)
    assert item.weight(W).shape == (3, item.outputs)
    assert item.apply(x.T) @ mapped.T == pytest.approx((W @ x).T, abs=tolerance(item, mapped, x))
    assert item.pull_back(mapped) == pytest.approx(W, abs=tolerance(item, mapped, np.eye(n)))


@given(sizes, generators())
def test_select_preserves_the_output_where_dropped_inputs_are_zero(n, generator):
    item = link("select", n, generator)
    W, x = generator.standard_normal((3, n)), generator.standard_normal((5, n)) * item.active
    assert item.apply(x) @ item.weight(W).T == pytest.approx(x @ W.T, abs=tolerance(item, item.weight(W), x.T))
    assert item.lossless == bool(item.active.all())
    assert not item.pull_back(item.weight(W))[:, ~item.active].any()


@given(st.sampled_from(LOSSLESS + LOSSY), sizes, generators())
def test_every_map_is_that_of_the_dense_matrix(kind, n, generator):
    """T x, V T and T H Tᵀ, the last exactly symmetric."""
    item = link(kind, n, generator)
    T = dense(item)
    x, V, A = generator.standard_normal((n, 5)), generator.standard_normal((3, item.outputs)), generator.standard_normal((n, n))
    H = A @ A.T
    H = 0.5 * (H + H.T)
    assert (item.inputs, item.outputs) == (n, len(T))
    assert item.apply(x.T) == pytest.approx((T @ x).T, abs=tolerance(item, np.eye(len(T)), x))
    assert item.pull_back(V) == pytest.approx(V @ T, abs=tolerance(item, V, np.eye(n)))
    mapped = item.moment(H)
    assert np.array_equal(mapped, mapped.T)
    assert mapped == pytest.approx(T @ H @ T.T, abs=2 * tolerance(item, np.eye(len(T)), H @ T.T) + rounding(n) * np.linalg.norm(H @ T.T))


@given(st.sampled_from(LOSSLESS + LOSSY), sizes, generators())
def test_more_dimensions_are_mapped_along_the_last(kind, n, generator):
    item = link(kind, n, generator)
    x = generator.standard_normal((2, 3, n))
    error = tolerance(item, np.eye(item.outputs), x.reshape(-1, n).T)
    assert item.apply(x).reshape(6, -1) == pytest.approx(item.apply(x.reshape(6, n)), abs=error)
    assert item.apply(x[0, 0]) == pytest.approx(item.apply(x)[0, 0], abs=error)


@given(st.integers(2, 12), generators())
def test_the_leading_channels_are_coordinates_in_the_subspace(n, generator):
    """Their squares add up to the power along the axes, to the rounding of float16; with the others it is the whole, exactly."""
    axes = np.linalg.qr(generator.standard_normal((n, int(generator.integers(1, n)))))[0]
    link, x = Principal.spanning(axes, 0.5), generator.standard_normal((6, n))
    y = link.apply(x)
    first, rest = np.split(y, [axes.shape[1]], axis=1)
    power = np.sum(x**2, axis=1)
    assert 4 * np.sum(first**2, axis=1) == pytest.approx(np.sum((x @ axes) ** 2, axis=1), abs=4 * n * 2.0**-11 * power.max())
    assert 4 * np.sum(first**2, axis=1) + np.sum(rest**2, axis=1) == pytest.approx(power, rel=rounding(8 * n))


@given(st.integers(2, 8), st.integers(1, 5), generators())
def test_a_merged_pair_loses_exactly_a_quarter_of_the_product_of_both_differences(n, m, generator):
    """E‖(x_i − x_j)(w_i − w_j)‖²/4 of the same tokens: measured on outputs, by tokens, by the formula, and by the theory of QLLM."""
    x, W = generator.standard_normal((20, n)), generator.standard_normal((m, n))
    i, j = generator.choice(n, 2, replace=False)
    item = Merge([(i, j)], n)
    lost = np.mean(np.sum((x @ W.T - item.apply(x) @ item.weight(W).T) ** 2, axis=1))
    pairwise = np.mean((x[:, i] - x[:, j]) ** 2) * np.sum((W[:, i] - W[:, j]) ** 2) / 4
    signal = np.mean(np.sum((np.abs(x) @ np.abs(W).T) ** 2, axis=1))
    assert lost == pytest.approx(pairwise, abs=rounding(20 + 4 * n) * signal)
    H = x.T @ x / len(x)
    assert merged_distortion(H, W, [(i, j)]) * m * n == pytest.approx(pairwise, abs=rounding(20 + 4 * n) * signal)
    E = W - item.pull_back(item.weight(W))
    assert np.vdot(E @ H, E) == pytest.approx(pairwise, abs=rounding(20 + 4 * n) * signal)


def test_pairs_without_a_common_term_lose_the_sum_over_pairs(rng):
    """Uncorrelated inputs: what two pairs have in common is zero."""
    W, item = rng.standard_normal((3, 6)), Merge([(0, 3), (5, 1)], 6)
    E = W - item.pull_back(item.weight(W))
    H = np.diag(np.arange(1.0, 7.0))
    both = (merged_distortion(H, W, [(0, 3)]) + merged_distortion(H, W, [(1, 5)])) * W.size
    assert np.vdot(E @ H, E) == pytest.approx(both, rel=rounding(40))


def test_a_group_becomes_its_mean_with_the_sum_of_weights():
    item = Merge([(3, 0, 1)], 4)
    assert item.apply(np.array([1.0, 2.0, 7.0, 6.0])).tolist() == [3.0, 7.0]
    assert item.weight(np.array([[1.0, 2.0, 5.0, 6.0]])).tolist() == [[9.0, 5.0]]
    assert item.pull_back(np.array([[9.0, 5.0]])).tolist() == [[3.0, 3.0, 5.0, 3.0]]
    assert item.bits == 2 * 2 * 2


@given(sizes, generators())
def test_scales_of_a_merge_change_nothing_before_quantization(n, generator):
    groups = pairs(n, generator)
    plain = Merge(groups, n)
    scaled = Merge(groups, n, round_to_bfloat16(np.exp(generator.standard_normal(len(groups)))))
    x, W = generator.standard_normal((4, n)), generator.standard_normal((2, n))
    size = rounding(4 * n) * np.linalg.norm(x) * np.linalg.norm(W)
    assert scaled.apply(x) @ scaled.weight(W).T == pytest.approx(plain.apply(x) @ plain.weight(W).T, abs=size)
    assert scaled.pull_back(scaled.weight(W)) == pytest.approx(plain.pull_back(plain.weight(W)), rel=rounding(4), abs=size)
    merged = plain.apply(np.eye(n)).max(axis=0) <= 0.5
    assert scaled.apply(x)[:, merged] == pytest.approx(
        plain.apply(x)[:, merged] * (scaled.scales if merged.any() else 1.0), rel=rounding(2)
    )
    assert scaled.bits == plain.bits + 16 * len(groups)


def test_side_information_of_a_large_site():
    """n = 4096, 20 channels in 11 copies, 200 merged, 12288 rows: about 1e-4 bits per weight."""
    counts = np.ones(3896, dtype=int)
    counts[:20] = 11
    chain = InputMap([Merge([(2 * k, 2 * k + 1) for k in range(200)], 4096), Split(counts)], columns=4096)
    assert (chain.outputs, chain.bits) == (4096, 20 * (12 + 4) + 2 * 200 * 12)
    assert chain.bits / (12288 * 4096) == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize(
    ("item", "bits"),
    [
        (Select(np.ones(9, dtype=bool)), 0),
        (Select(np.arange(9) > 3), 9),
        (Scale(np.ones(9)), 16 * 9),
        (Permute(np.arange(9)), 0),
        (Permute(np.arange(9)[::-1]), 9 * 4),
        (Split(np.ones(9, dtype=int)), 0),
        (Split(np.array([5, 1, 1, 1, 2])), 2 * (3 + 3)),
        (Merge([], 9), 0),
        (Merge([(0, 1), (8, 2)], 9), 2 * 2 * 4),
        (Merge([(0, 1), (8, 2)], 9, [1.0, 0.5]), 2 * 2 * 4 + 2 * 16),
        (Rotate(Rotation("haar", 9, 0)), 64),
        (Principal(np.eye(3, 9)), 16 * (8 + 7 + 6) + 16),
    ],
    ids=repr,
)
def test_side_information_is_counted_as_said(item, bits):
    assert item.bits == bits


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Select(np.array([0, 2])), ShapeMismatch, "select: active of shape .* int64, expected one bool"),
        (lambda: Select(np.ones((2, 2), dtype=bool)), ShapeMismatch, r"select: active of shape \(2, 2\)"),
        (lambda: Scale(np.array([1.0, 0.1])), UsageError, r"scale: entry \(1,\) is .*0\.1.*expected values of bfloat16"),
        (lambda: Scale(np.array([1.0, -2.0])), UsageError, "scale: entry 1 is -2, expected positive"),
        (lambda: Scale(np.array([1.0, np.inf])), NotFiniteInput, "scale: 1 of 2 entries"),
        (lambda: Scale(np.ones((2, 2))), ShapeMismatch, r"scale: scales of shape \(2, 2\)"),
        (lambda: Permute(np.array([0, 0])), UsageError, "permute: order of 2 places"),
        (lambda: Permute(np.array([0.0, 1.0])), ShapeMismatch, "permute: order: .*float64"),
        (lambda: Split(np.array([1, 0])), UsageError, "split: channel 1 in 0 copies"),
        (lambda: Split(np.array([])), ShapeMismatch, r"split: counts: shape \(0,\)"),
        (lambda: Merge([(0, 1), (1, 2)], 3), UsageError, "merge: channel 1 appears twice"),
        (lambda: Merge([(0, 1)], 3, [1.0, 2.0]), ShapeMismatch, r"merge: scales of shape \(2,\), expected one for each of the 1 groups"),
        (lambda: Merge([(0, 1)], 3, [-1.0]), UsageError, "merge: a scale of -1"),
        (lambda: Merge([(0, 1)], 3, [0.1]), UsageError, "merge: scales: entry .*bfloat16"),
        (lambda: Merge([(0,)], 3), UsageError, r"merge: group \(0,\), expected at least two"),
        (lambda: Merge([(0, 3)], 3), UsageError, "merge: channels 0 to 3 of 3"),
        (lambda: Merge([(1, 1)], 3), UsageError, "merge: channel 1 appears twice"),
        (lambda: Rotate(Rotation("hadamard", 3, 0)), UsageError, "rotate: no hadamard rotation of order 3"),
        (lambda: Principal(np.eye(3)), ShapeMismatch, r"principal: vectors \(3, 3\), expected \(k, n\) with 1 ≤ k < n"),
        (lambda: Principal(np.ones((2, 3))), UsageError, "principal: a vector with other numbers before its own channel than 0"),
        (lambda: Principal(np.full((1, 3), 2.0)), UsageError, "or another one at it than 1"),
        (lambda: Principal(np.eye(1, 3) + 2.0**-30), UsageError, "principal: vectors: entry .*float16"),
        (lambda: Principal(np.eye(1, 3), -1.0), UsageError, "principal: a gain of -1"),
        (lambda: Principal.spanning(np.eye(3)), ShapeMismatch, r"principal: axes \(3, 3\)"),
        (lambda: Rotate(Rotation("givens", 3, 0)), UsageError, "rotate: kind 'givens'"),
        (lambda: Rotate(Rotation("haar", 3, 2**64)), UsageError, "rotate: seed 18446744073709551616"),
    ],
)
def test_an_impossible_link_cannot_be_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("kind", LOSSLESS + LOSSY)
def test_arrays_of_another_size_are_refused_with_the_link_named(kind, rng):
    """An index of a larger array would pass unseen."""
    item = link(kind, 8, rng)
    name = type(item).__name__
    with pytest.raises(ShapeMismatch, match=rf"{name}\(8 → \d+\): inputs x of shape \(2, 9\), expected \(…, 8\)"):
        item.apply(np.ones((2, 9)))
    with pytest.raises(ShapeMismatch, match=rf"{name}.*: weight W of shape \(9, 9\)"):
        item.weight(np.ones((9, 9)))
    with pytest.raises(ShapeMismatch, match=rf"{name}.*: weight W of shape \(8,\)"):
        item.weight(np.ones(8))
    with pytest.raises(ShapeMismatch, match=rf"{name}.*: moment H of shape \(9, 8\)"):
        item.moment(np.ones((9, 8)))
    with pytest.raises(ShapeMismatch, match=rf"{name}.*: weight V of shape \(2, 40\)"):
        item.pull_back(np.ones((2, 40)))


def test_a_link_does_not_follow_later_changes_of_an_array_and_cannot_be_changed():
    for array, make, field in (
        (np.array([1, 2]), Split, "counts"),
        (np.array([1, 0]), Permute, "order"),
        (np.array([2.0, 1.0]), Scale, "scales"),
        (np.array([True, False]), Select, "active"),
    ):
        item, before = make(array), array.copy()
        array[:] = array[::-1].copy()
        held = getattr(item, field)
        assert np.array_equal(held, before)
        with pytest.raises(ValueError, match="read-only"):
            held[0] = held[1]


@given(chains(), chains())
def test_links_are_rebuilt_from_their_fields(case, other):
    chain, generator = case
    again = InputMap([link_of(link_fields(item)) for item in chain.links], columns=chain.columns)
    x = generator.standard_normal((2, chain.inputs))
    assert same_map(again, chain)
    assert np.array_equal(again.apply(x), chain.apply(x))
    assert same_map(chain, other[0]) == (
        len(chain.links) == len(other[0].links) and repr(chain) == repr(other[0]) and all(map(equal_fields, chain.links, other[0].links))
    )


def equal_fields(one, two):
    return all(np.array_equal(a, b) for a, b in zip(vars(link_fields(one)).values(), vars(link_fields(two)).values(), strict=True))


def test_fields_of_no_link_are_refused_by_name():
    with pytest.raises(CorruptFile, match="a link of kind 'Twist', expected one of Select, Scale, Permute, Split, Merge, Rotate"):
        link_of(LinkFields("Twist", None, {}))
    with pytest.raises(CorruptFile, match="a Rotate link of other fields than it has"):
        link_of(LinkFields("Rotate", None, {"order": 4}))


@given(chains(links=1))
def test_a_link_in_a_chain_of_its_own_is_the_same(case):
    chain, generator = case
    (item,) = chain.links
    x = generator.standard_normal((3, item.inputs))
    assert np.array_equal(chain.apply(x), item.apply(x))
    assert np.array_equal(chain.moment(x.T @ x), item.moment(x.T @ x))
    assert (chain.bits, chain.lossless, chain.outputs) == (item.bits, item.lossless, item.outputs)
