"""Activations split, merged and rounded: QLLM on normal tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.quantizers.reassembly.matching import channel_distances
from rdtools.records import InputMap
from rdtools.theory.activation import minmax_step_power
from rdtools.transforms.links import Merge, Split

_TOKENS = 8192
_ROWS = 128
_BITS = 12
#: Threshold of splitting, relative to the largest channel maximum.
_THRESHOLD = 0.4


@dataclass(frozen=True, eq=False)
class Channels:
    """Channels of a quantized activation, split and merged; normal tokens with the layer's H, distortions per weight.

    Attributes
    ----------
    weight : (m, r)
    counts : (r,) copies T_j of each channel
    split_error : largest relative change of an output by splitting, before anything is quantized
    pair : two channels
    merge_distortion : measured cost of merging them
    step_power : mean squared step Δ² of the tokens after splitting
    inner_step_powers : (r,) mean of Δ² over the tokens of which the channel is no extreme, times their share
    coarseness : largest ``T_j Δ/σ_j`` over channels, rms step Δ, σ_j the deviation that any one other channel leaves: where it is
        small, errors are uniform and uncorrelated
    equal_distortion : measured cost of rounding, copies equal
    staggered_distortion : likewise, copies shifted by fractions of a step
    spread : largest magnitude of a copy, over the threshold
    assembly : the two channels merged
    merged_counts, merged_step_powers : copies and mean squared steps as above, of the channels behind it
    reassembled_distortion : measured cost of merging, splitting and rounding together
    """

    weight: Float64Array
    counts: NDArray[np.int64]
    split_error: float
    pair: tuple[int, int]
    merge_distortion: Estimate
    step_power: float
    inner_step_powers: Float64Array
    coarseness: float
    equal_distortion: Estimate
    staggered_distortion: Estimate
    spread: float
    assembly: InputMap
    merged_counts: NDArray[np.int64]
    merged_step_powers: Float64Array
    reassembled_distortion: Estimate


def normal_tokens(case: MomentCase, purpose: str, count: int) -> Float64Array:
    """(count, r) draws of N(0, H); from eigenvectors, so that H may be singular."""
    white = case.generator(purpose).standard_normal((count, case.columns))
    return np.asarray((white * np.sqrt(case.eigen.values)) @ case.eigen.vectors.T)


def _per_weight(outputs: Float64Array, weight: Float64Array) -> Estimate:
    return Estimate.of((outputs**2).sum(axis=1) / weight.size)


@dataclass(frozen=True, eq=False)
class _Grid:
    """A min–max grid for each token of copies, without clipping."""

    copies: Float64Array
    counts: NDArray[np.int64]

    @property
    def steps(self) -> Float64Array:
        return np.asarray(np.ptp(self.copies, axis=1) / (2**_BITS - 1))

    def rounded(self, shifts: Float64Array | None = None) -> Float64Array:
        """Copies on the grid, shifted before by so many steps."""
        origin, steps = self.copies.min(axis=1, keepdims=True), self.steps[:, None]
        shifted = self.copies if shifts is None else self.copies + steps * shifts
        return np.asarray(origin + steps * np.rint((shifted - origin) / np.where(steps > 0, steps, 1.0)))

    def inner_step_powers(self) -> Float64Array:
        """Mean of Δ² over the tokens of which a channel is no extreme: the channels that span a token's grid lie on it."""
        ends = np.stack([self.copies.argmin(axis=1), self.copies.argmax(axis=1)], axis=1)
        inner = np.ones((len(self.copies), len(self.counts)), dtype=bool)
        np.put_along_axis(inner, np.repeat(np.arange(len(self.counts)), self.counts)[ends], False, axis=1)
        return np.asarray(np.einsum("t,tj->j", self.steps**2, inner) / len(self.copies))


def gather_channels(case: MomentCase, weight: Float64Array) -> Channels:
    """Split, merge and round."""
    n = case.columns
    if n < 2:
        raise NotApplicable("a single column has nothing to merge with")
    if not weight.any():
        raise NotApplicable("the weights are all zero")
    W = weight[:_ROWS]
    x = normal_tokens(case, "channels", _TOKENS)
    largest = np.abs(x).max(axis=0)
    threshold = _THRESHOLD * float(largest.max())
    split = Split.within(largest, threshold, staggered=True)
    wide, outputs = split.weight(W), x @ W.T
    copies = split.apply(x)
    scale = np.abs(x) @ np.abs(W).T
    grid = _Grid(copies, split.counts)

    costs = channel_distances(case.matrix, W, "paper")
    np.fill_diagonal(costs, np.inf)
    i, j = (int(k) for k in np.unravel_index(costs.argmin(), costs.shape))
    merge = Merge([(i, j)], n)
    # of each channel, given the one that says most about it: errors of two channels go together where that is not much more than a step
    stds = np.sqrt(np.diagonal(case.matrix))
    correlation = case.matrix / np.outer(stds, stds)
    np.fill_diagonal(correlation, 0.0)
    conditional_stds = stds * np.sqrt(np.maximum(1.0 - (correlation**2).max(axis=1), np.finfo(np.float64).tiny))
    step_power = minmax_step_power(copies, bits=_BITS)
    merged = merge.apply(x)
    parts = Split.within(np.abs(merged).max(axis=0), threshold)
    merged_grid = _Grid(parts.apply(merged), parts.counts)
    reassembled = merged_grid.rounded() @ parts.weight(merge.weight(W)).T
    return Channels(
        weight=W,
        counts=split.counts,
        split_error=float((np.abs(copies @ wide.T - outputs) / np.where(scale > 0, scale, 1.0)).max()),
        pair=(i, j),
        merge_distortion=_per_weight(merged @ merge.weight(W).T - outputs, W),
        step_power=step_power,
        inner_step_powers=grid.inner_step_powers(),
        coarseness=float((split.counts * np.sqrt(step_power) / conditional_stds).max()),
        equal_distortion=_per_weight(grid.rounded() @ wide.T - outputs, W),
        staggered_distortion=_per_weight(grid.rounded(split.shifts) @ wide.T - outputs, W),
        spread=float(np.abs(copies).max()) / threshold,
        assembly=InputMap([merge], columns=n),
        merged_counts=parts.counts,
        merged_step_powers=merged_grid.inner_step_powers(),
        reassembled_distortion=_per_weight(reassembled - outputs, W),
    )
