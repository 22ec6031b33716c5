"""Activations split, merged and rounded: QLLM on normal tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.theory.activation import minmax_step_power
from rdtools.theory.channel_merging import merge_distortions
from rdtools.theory.channel_splitting import disassemble, disassembly_counts

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


def normal_tokens(case: MomentCase, purpose: str, count: int) -> Float64Array:
    """(count, r) draws of N(0, H); from eigenvectors, so that H may be singular."""
    white = case.generator(purpose).standard_normal((count, case.columns))
    return np.asarray((white * np.sqrt(case.eigen.values)) @ case.eigen.vectors.T)


def _per_weight(outputs: Float64Array, weight: Float64Array) -> Estimate:
    return Estimate.of((outputs**2).sum(axis=1) / weight.size)


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
    split = disassemble(disassembly_counts(largest, _THRESHOLD * float(largest.max())))
    wide, outputs = split.weight(W), x @ W.T
    copies = split.activations(x)
    scale = np.abs(x) @ np.abs(W).T
    step = (copies.max(axis=1) - copies.min(axis=1)) / (2**_BITS - 1)
    origin = copies.min(axis=1, keepdims=True)

    def rounded(values: Float64Array) -> Float64Array:
        return np.asarray(origin + step[:, None] * np.rint((values - origin) / np.where(step > 0, step, 1.0)[:, None]))

    costs = merge_distortions(case.matrix, W)
    np.fill_diagonal(costs, np.inf)
    i, j = (int(k) for k in np.unravel_index(costs.argmin(), costs.shape))
    merged = outputs - x[:, [i]] * W[:, i] - x[:, [j]] * W[:, j] + 0.5 * (x[:, [i]] + x[:, [j]]) * (W[:, i] + W[:, j])
    # of each channel, given the one that says most about it: errors of two channels go together where that is not much more than a step
    stds = np.sqrt(np.diagonal(case.matrix))
    correlation = case.matrix / np.outer(stds, stds)
    np.fill_diagonal(correlation, 0.0)
    own = stds * np.sqrt(np.maximum(1.0 - (correlation**2).max(axis=1), np.finfo(np.float64).tiny))
    # the channels that span a token's grid lie on it and have no error
    sources = split.source[np.stack([copies.argmin(axis=1), copies.argmax(axis=1)], axis=1)]
    inner = np.ones(x.shape, dtype=bool)
    np.put_along_axis(inner, sources, False, axis=1)
    step_power = minmax_step_power(copies, bits=_BITS)
    return Channels(
        weight=W,
        counts=split.counts,
        split_error=float((np.abs(copies @ wide.T - outputs) / np.where(scale > 0, scale, 1.0)).max()),
        pair=(i, j),
        merge_distortion=_per_weight(merged - outputs, W),
        step_power=step_power,
        inner_step_powers=np.einsum("t,tj->j", step**2, inner) / len(x),
        coarseness=float((split.counts * np.sqrt(step_power) / own).max()),
        equal_distortion=_per_weight(rounded(copies) @ wide.T - outputs, W),
        staggered_distortion=_per_weight(rounded(split.activations(x, step=step)) @ wide.T - outputs, W),
    )
