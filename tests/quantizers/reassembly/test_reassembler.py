"""QLLM's reassembly: what it is, and the experiments that show what it does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizers.reassembly.outlier_layers import COLUMNS, outliers, relative_error
from tolerances import rounding

from rdtools.errors import NotFiniteInput, ShapeMismatch, UsageError
from rdtools.quantizers.reassembly.reassembler import Reassembler, map_note
from rdtools.records import InputMap
from rdtools.testing import generators
from rdtools.theory.channel_merging import merged_distortion
from rdtools.transforms.links import Merge, Select, Split

SEEDS = (0, 1)
BASE = InputMap(columns=COLUMNS)


@given(generators(), st.floats(0.25, 1.0), st.sampled_from(("merge", "prune", "none")), st.booleans(), st.booleans())
def test_maps_are_as_wide_as_the_layer_and_lose_what_the_theory_says(generator, threshold, assembly, balance, rescale):
    """Split loses nothing; Merge loses tr(E H Eᵀ) of columns at their means, whatever their scale."""
    n = 16
    x, W = generator.standard_normal((40, n)), generator.standard_normal((5, n))
    x[:, 3] *= 30
    found = Reassembler(threshold=threshold, assembly=assembly, balance=balance, rescale=rescale).reassemble(x, W)
    chain = found.input_map
    assert chain.outputs == n + (found.copies if assembly == "none" else 0)
    assert found.expansion == found.copies / n
    lost = np.mean((x @ W.T - chain.apply(x) @ chain.weight(W).T) ** 2) / n
    size = rounding(40 * n) * np.mean((np.abs(x) @ np.abs(W).T) ** 2) / n
    groups = next((link.groups for link in chain.links if isinstance(link, Merge)), ())
    if assembly != "prune" or not chain.links:
        assert lost == pytest.approx(merged_distortion(x.T @ x / len(x), W, groups), abs=size)
    copies = Split.within(np.abs(x).max(axis=0), threshold * np.abs(x).max())
    if not rescale:
        assert np.abs(chain.apply(x)).max() <= threshold * np.abs(x).max() * (1 + rounding(4))
    assert found.copies == copies.outputs - n


def test_all_matrices_of_an_input_share_the_map_of_what_they_make_together(rng):
    x, W = rng.standard_normal((60, 12)), rng.standard_normal((7, 12))
    x[:, 5] *= 9
    both = Reassembler(threshold=0.4).reassemble(x, W).input_map
    swapped = Reassembler(threshold=0.4).reassemble(x, W[::-1]).input_map
    assert both.links[0].groups == swapped.links[0].groups


@pytest.mark.parametrize("seed", SEEDS)
def test_q1_disassembly_alone_takes_most_of_the_activation_error_away(seed):
    """From 0.05 to below 0.006 with at most 10 % more channels; too many copies are worse again."""
    train, test, W = outliers(seed)
    errors = {}
    for threshold in (0.3, 0.15, 0.1, 0.08, 0.07, 0.06, 0.05, 0.03, 0.02, 0.015):
        found = Reassembler(threshold=threshold, assembly="none").reassemble(train, W)
        errors[threshold] = (relative_error(found.input_map, test, W), found.expansion)
    assert 0.04 < relative_error(BASE, test, W) < 0.06
    assert min(error for error, expansion in errors.values() if expansion <= 0.1) < 0.006
    best = min(errors, key=lambda t: errors[t][0])
    assert 0.03 <= best <= 0.07
    assert errors[0.015][0] > 2 * errors[best][0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weight_bits", [None, 4])
def test_q2_at_equal_width_merging_is_between_splitting_and_pruning(seed, weight_bits):
    """Channels with similar twins, θ = 6 %: split ≤ merge (paper) < prune < base, and merge (paper) < merge (released)."""
    train, test, W = outliers(seed, similar=True)

    def error(**settings):
        found = Reassembler(threshold=0.06, **settings).reassemble(train, W)
        return relative_error(found.input_map, test, W, weight_bits=weight_bits)

    split, merge, released, prune = (
        error(assembly="none"), error(), error(metric="released"), error(assembly="prune"),
    )  # fmt: skip
    assert split <= merge < prune < relative_error(BASE, test, W, weight_bits=weight_bits)
    assert merge < released
    if weight_bits is None:
        assert merge < 1.3 * split
        assert released > 1.7 * merge


@pytest.mark.parametrize("seed", SEEDS)
def test_q3_rescaling_takes_back_what_sums_of_columns_cost_the_weights(seed):
    """Independent channels, 4-bit rows, θ = 6 %: raw many-to-one merging is worse than 1.5 × splitting; rescaled, the error is within 5 %
    of what splitting has, plus what merging costs with nothing quantized, one-to-one or not. The sum, and not the error of splitting alone,
    is what rescaling can reach: it cannot undo the merge.
    """
    train, test, W = outliers(seed)

    def error(**settings):
        found = Reassembler(threshold=0.06, **settings).reassemble(train, W)
        return relative_error(found.input_map, test, W, weight_bits=4), found.input_map

    split, _ = error(assembly="none")
    raw, _ = error(rescale=False)
    one_to_one, _ = error(rescale=False, balance=True)
    assert 1.5 * split < one_to_one * 1.15 < raw
    for balance in (False, True):
        scaled, chain = error(balance=balance)
        y = test @ W.T
        merge = float(((y - chain.apply(test) @ chain.weight(W).T) ** 2).sum() / (y**2).sum())
        assert scaled < 1.05 * (split + merge)
        assert scaled < 0.75 * raw


@pytest.mark.parametrize("seed", SEEDS)
def test_q4_staggered_copies_halve_the_error(seed):
    """At 6 % of the maximum: with the exact sum of `Split`, at most 0.6 of the error of equal copies."""
    train, test, W = outliers(seed)
    equal, staggered = (
        relative_error(
            Reassembler(threshold=0.06, assembly="none", staggered=staggered).reassemble(train, W).input_map, test, W
        )
        for staggered in (False, True)
    )  # fmt: skip
    assert staggered <= 0.6 * equal


@pytest.mark.parametrize("seed", SEEDS)
def test_q5_the_searched_threshold_is_within_a_tenth_of_the_best_on_other_tokens(seed):
    """Of 25 thresholds on test tokens, from a sample of 256."""
    train, test, W = outliers(seed)
    found = Reassembler(points=25).reassemble(train[:256], W)
    chosen = relative_error(found.input_map, test, W, weight_bits=4)
    best = np.inf
    for threshold in np.linspace(0.04, 0.5, 25):
        try:
            other = Reassembler(threshold=float(threshold)).reassemble(train[:256], W)
        except UsageError:
            continue  # fewer channels are left to merge than were added
        best = min(best, relative_error(other.input_map, test, W, weight_bits=4))
    assert chosen < 1.1 * best
    assert found.tried <= 25
    assert found.error > 0


def test_a_threshold_that_splits_no_channel_is_the_identity_and_says_so(rng):
    x = rng.standard_normal((30, 8))
    found = Reassembler(threshold=1.0).reassemble(x, np.eye(8))
    assert (found.input_map.links, found.copies, found.expansion) == ((), 0, 0.0)
    assert map_note(found.input_map, np.eye(8)) == "no channel is split: activations are rounded as they are"
    zero = Reassembler().reassemble(np.zeros((3, 4)), np.eye(4))
    assert zero.input_map.links == ()


def test_a_threshold_that_splits_too_many_channels_is_refused_with_the_remedy(rng):
    x = rng.standard_normal((30, 8))
    for assembly, what in (("merge", "merge"), ("prune", "prune")):
        with pytest.raises(UsageError, match=rf"q_proj: threshold 0.01 of the largest maximum: reassembly: \d+ channels to {what}.*raise"):
            Reassembler(threshold=0.01, assembly=assembly).reassemble(x, np.eye(8), name="q_proj")
    assert Reassembler(threshold=0.01, assembly="none").reassemble(x, np.eye(8)).input_map.outputs > 100
    # fewer channels than copies of one
    with pytest.raises(UsageError, match="reassembly: 9 channels to merge, expected at most 1"):
        Reassembler(threshold=0.1).reassemble(np.array([[1.0, 1.0, 100.0]]), np.eye(3))


def test_one_massive_channel_is_split_as_often_as_allowed_and_named(rng):
    """10⁴ times the rest: no number of copies that fits takes it out of the way, and the search says so."""
    x = rng.standard_normal((64, 40))
    x[:, 7] *= 1e4
    found = Reassembler().reassemble(x, np.eye(40))
    assert found.copies <= 8
    note = map_note(found.input_map, x.T @ x / 64)
    assert "channel 7 has" in note
    assert "times the median root mean square: even split it may set the step of every token" in note


def test_pruned_channels_are_those_of_least_power():
    x, W = np.array([[10.0, 1.0, 2.0, 3.0]]), np.array([[1.0, 4.0, 1.0, 1.0]])
    select, split = Reassembler(threshold=0.5, assembly="prune").reassemble(x, W).input_map.links
    assert isinstance(select, Select)
    assert select.active.tolist() == [True, True, False, True]
    assert split.counts.tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.0}, "threshold 0.0: expected 0 < threshold ≤ 1"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"metric": "cosine"}, "metric"),
        ({"assembly": "drop"}, "assembly"),
        ({"max_expansion": 0.0}, "max_expansion 0.0"),
        ({"points": 0}, "0 points"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Reassembler(**settings)


def test_activations_that_are_not_finite_or_of_another_layer_are_refused(rng):
    for bad in (np.nan, np.inf):
        x = rng.standard_normal((5, 4))
        x[2, 1] = bad
        with pytest.raises(NotFiniteInput, match="v_proj: sample of activations: 1 of 20 entries"):
            Reassembler().reassemble(x, np.eye(4), name="v_proj")
    with pytest.raises(ShapeMismatch, match="at least one token"):
        Reassembler().reassemble(np.zeros((0, 4)), np.eye(4))
    with pytest.raises(ShapeMismatch):
        Reassembler().reassemble(np.ones((3, 4)), np.eye(5))
