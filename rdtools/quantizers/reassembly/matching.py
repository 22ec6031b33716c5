"""Bipartite matching of similar channels: which of them are merged to make room for the copies of others."""

from __future__ import annotations

import heapq
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError

Metric = Literal["paper", "released"]


def channel_distances(moment: Float64Array, weight: Float64Array, metric: Metric) -> Float64Array:
    """Distances of all pairs of channels, by which they are matched.

    "paper" is what merging i and j costs, summed over outputs: ``E(x_i − x_j)² ‖w_i − w_j‖²/4``. "released" is the distance of the
    published code, ``E(x_i − x_j)² (s_i + s_j)²`` with the signed sum s over a column, which is small where columns have opposite sums and
    not where they are alike.

    Parameters
    ----------
    moment : (n, n) H = E[x xᵀ]
    weight : (m, n) all matrices of the input, one above the other
    metric : which

    References
    ----------
    QLLM, arXiv 2310.08041, channel assembly, and its released code.
    """
    power = np.diagonal(moment)
    # channels that are equal but for rounding would have a negative distance
    apart = np.maximum(power[:, None] + power[None, :] - 2 * moment, 0.0)
    if metric == "released":
        sums = weight.sum(axis=0)
        return np.asarray(apart * (sums[:, None] + sums[None, :]) ** 2)
    gram = weight.T @ weight
    size = np.diagonal(gram)
    return np.asarray(apart * np.maximum(size[:, None] + size[None, :] - 2 * gram, 0.0) / 4)


def candidates(counts: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The channels of both sides: those in one copy, by whether their place among all copies is even or odd."""
    single = np.flatnonzero(counts == 1)
    odd = (np.cumsum(counts) - counts)[single] % 2 == 1
    return single[~odd], single[odd]


def most_merges(counts: NDArray[np.int64], *, balance: bool) -> int:
    """The largest number of channels that can be merged away."""
    even, odd = (len(side) for side in candidates(counts))
    return min(even, odd) if balance else even if odd else 0


def _one_to_one(distances: Float64Array, merges: int) -> list[tuple[int, int]]:
    """The cheapest edge between two free channels, so many times."""
    free = distances.copy()
    nearest = free.argmin(axis=1)
    edges = [(float(free[a, b]), a, int(b)) for a, b in enumerate(nearest)]
    heapq.heapify(edges)
    pairs: list[tuple[int, int]] = []
    while len(pairs) < merges:
        cost, a, b = heapq.heappop(edges)
        if free[a, b] == cost:
            pairs.append((a, b))
            free[:, b] = np.inf
        else:  # its target was taken by a nearer one
            b = int(free[a].argmin())
            heapq.heappush(edges, (float(free[a, b]), a, b))
    return pairs


def matched_groups(distances: Float64Array, counts: NDArray[np.int64], merges: int, *, balance: bool) -> list[list[int]]:
    """Groups of channels that become one each, so that r channels fewer are left.

    Every channel of the even side points to the nearest one of the odd side, and the r shortest of these edges are merged; channels that
    point to one target become one group with it. With `balance` no target is taken twice: the shortest edge between two free channels is
    merged, r times. Copies of split channels are on neither side.

    Parameters
    ----------
    distances : (n, n) as `channel_distances`
    counts : (n,) copies of each channel
    merges : r
    balance : one-to-one

    Raises
    ------
    UsageError
        If there are not so many channels to merge.

    References
    ----------
    QLLM, arXiv 2310.08041, channel assembly; one-to-one matching added for this project.

    Examples
    --------
    Channels 0 and 2 both are nearest to channel 1.

    >>> d = np.abs(np.subtract.outer([0.0, 0.2, 0.5, 2.0], [0.0, 0.2, 0.5, 2.0]))
    >>> ones = np.ones(4, dtype=np.int64)
    >>> matched_groups(d, ones, 2, balance=False), matched_groups(d, ones, 2, balance=True)
    ([[0, 1, 2]], [[0, 1], [2, 3]])
    """
    most = most_merges(counts, balance=balance)
    if merges > most:
        split = int((counts > 1).sum())
        raise UsageError(
            f"reassembly: {merges} channels to merge, expected at most {most}: {split} of {len(counts)} channels are split, "
            f"copies of them are not merged{', nor two channels with the same one' if balance else ''}; raise the threshold"
        )
    if merges == 0:
        return []
    even, odd = candidates(counts)
    between = distances[np.ix_(even, odd)]
    if balance:
        pairs = _one_to_one(between, merges)
    else:
        nearest = between.argmin(axis=1)
        shortest = np.argsort(between[np.arange(len(even)), nearest], kind="stable")[:merges]
        pairs = [(int(a), int(nearest[a])) for a in shortest]
    groups: dict[int, list[int]] = {}
    for a, b in pairs:
        groups.setdefault(int(odd[b]), [int(odd[b])]).append(int(even[a]))
    return sorted(sorted(group) for group in groups.values())
