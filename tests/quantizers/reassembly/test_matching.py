from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.errors import UsageError
from rdtools.quantizers.reassembly.matching import candidates, channel_distances, matched_groups, most_merges
from rdtools.testing import generators

counts_of_copies = st.lists(st.sampled_from((1, 1, 1, 2, 3)), min_size=1, max_size=12).map(np.array)


def test_distances_are_sums_over_tokens_and_outputs(rng):
    """Paper: ‖(x_i − x_j)(w_i − w_j)/2‖², a mean over tokens; released code: (‖x_i − x_j‖ (Σ_o w_oi + Σ_o w_oj))²."""
    x, W = rng.standard_normal((50, 6)), rng.standard_normal((4, 6))
    H = x.T @ x / len(x)
    paper, released = channel_distances(H, W, "paper"), channel_distances(H, W, "released")
    for i, j in itertools.combinations(range(6), 2):
        cost = np.sum(np.outer(x[:, i] - x[:, j], W[:, i] - W[:, j]) ** 2) / 4 / len(x)
        assert paper[i, j] == pytest.approx(cost, rel=rounding(1000))
        published = np.mean((x[:, i] - x[:, j]) ** 2) * (W[:, i].sum() + W[:, j].sum()) ** 2
        assert released[i, j] == pytest.approx(published, rel=rounding(1000))


def test_sides_are_even_and_odd_places_among_all_copies():
    """Of copies at places 0 | 1 2 | 3 | 4 | 5 6 7 | 8."""
    even, odd = candidates(np.array([1, 2, 1, 1, 3, 1]))
    assert (even.tolist(), odd.tolist()) == ([0, 3, 5], [2])
    assert [most_merges(np.array([1, 2, 1, 1, 3, 1]), balance=balance) for balance in (False, True)] == [3, 1]
    assert most_merges(np.array([1, 2]), balance=False) == 0, "there is nothing to point to"


def by_definition(distances, counts, merges):
    """Bipartite soft matching as the paper has it, edge by edge."""
    place = np.cumsum(counts) - counts
    single = [i for i in range(len(counts)) if counts[i] == 1]
    targets = [i for i in single if place[i] % 2]
    edges = [min((distances[i, j], i, j) for j in targets) for i in single if targets and place[i] % 2 == 0]
    chosen = sorted(edges)[:merges]
    return sorted(sorted([j, *(i for _, i, k in chosen if k == j)]) for j in {j for _, _, j in chosen})


def balanced_by_definition(distances, counts, merges):
    """All edges from the shortest on, each taken where both ends are free."""
    even, odd = candidates(counts)
    taken, pairs = set(), []
    for _, i, j in sorted((distances[i, j], i, j) for i in even for j in odd):
        if len(pairs) < merges and not taken & {i, j}:
            taken |= {i, j}
            pairs.append(sorted((int(i), int(j))))
    return sorted(pairs)


@given(counts_of_copies, generators(), st.data())
def test_matching_is_that_of_the_definition(counts, generator, data):
    n = len(counts)
    distances = generator.random((n, n))
    for balance, expected in ((False, by_definition), (True, balanced_by_definition)):
        merges = data.draw(st.integers(0, most_merges(counts, balance=balance)))
        groups = matched_groups(distances, counts, merges, balance=balance)
        assert groups == expected(distances, counts, merges)
        assert sum(len(group) - 1 for group in groups) == merges
        members = [i for group in groups for i in group]
        assert len(set(members)) == len(members)
        assert (counts[members] == 1).all()


@pytest.mark.parametrize("balance", [False, True])
def test_more_merges_than_there_are_channels_for_are_refused(balance):
    with pytest.raises(UsageError, match=r"4 channels to merge, expected at most \d: 1 of 6 channels are split, .*raise the threshold"):
        matched_groups(np.ones((6, 6)), np.array([1, 1, 5, 1, 1, 1]), 4, balance=balance)
