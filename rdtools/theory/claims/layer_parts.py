"""The kinds of evidence about a layer with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.theory.claims.parts import CodedPoint, Estimate, Float64Array
from rdtools.theory.low_rank import ActivationMoments


@dataclass(frozen=True, eq=False)
class WeightEvidence:
    """The layer's own weights.

    Attributes
    ----------
    rows : m
    incoherence : μ_W
    failure : δ of the probabilistic bound
    rotated_incoherence : μ_W after each draw of rotations on both sides, by kind; empty where an order cannot be built
    loss_change : largest relative change of tr(W H Wᵀ) under a rotation of W and H, over kinds
    variance : mean square
    row_variances : (m,)
    entropy : differential entropy of an entry, estimated; None where one value makes up more than ATOM_SHARE of the weights
    entropy_bias_bits : what that may be off beside its standard error
    coded : files of the weights; empty without an entropy or if H is singular
    """

    rows: int
    incoherence: float
    failure: float
    rotated_incoherence: Mapping[str, Float64Array]
    loss_change: float
    variance: float
    row_variances: Float64Array
    entropy: Estimate | None
    entropy_bias_bits: float
    coded: tuple[CodedPoint, ...]


@dataclass(frozen=True, eq=False)
class PlaneEvidence:
    """Successive rounding seen as Babai's nearest plane, with column steps.

    Attributes
    ----------
    decisions : number of codes compared
    lengths : (r,) α_i ℓ_ii
    textbook_mismatches : codes in which the sweep and the textbook recursion on the inverse Hessian differ
    plane_mismatches : codes in which the sweep and nearest plane on a QR factorization differ
    repeated_mismatches : codes that a second pass over its own answer changes
    textbook_variances : (r,) ``1/T_ii²`` of ``H⁻¹ = Tᵀ T`` in the textbook's order, turned to ours
    box_excess : largest ``|y_i| / (½ α_i ℓ_ii)`` of the residuals y of the layer's own weights
    worst_row : largest squared residual of a row
    corner_row : squared residual at a corner of the box
    uniform_row : squared residual of targets uniform in the box
    closest_ratio : largest ratio of nearest plane's distance to the closest point's on the last columns, found by enumeration
    closest_lengths : α_i ℓ_ii of those columns
    """

    decisions: int
    lengths: Float64Array
    textbook_mismatches: int
    plane_mismatches: int
    repeated_mismatches: int
    textbook_variances: Float64Array
    box_excess: float
    worst_row: float
    corner_row: float
    uniform_row: Estimate
    closest_ratio: float
    closest_lengths: Float64Array


@dataclass(frozen=True, eq=False)
class ChannelEvidence:
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


@dataclass(frozen=True, eq=False)
class LowRankEvidence:
    """Low-rank correction beside a rounded weight and rounded activations, on a sample of normal tokens; distortions per weight.

    Attributes
    ----------
    weight, rounded : (m, r) W and Ŵ
    moments : of the sample
    rank : k
    correction : (m, r) some L of rank k
    sampled : mean of ``‖W x − Ŵ Q(x) − L x‖²/(mr)`` over the tokens
    optimum_sampled : likewise with the best L of rank k
    perturbed_sampled : least of those with other L of rank k, near to the best one and far from it
    target_sampled : likewise with L and, in place of Ŵ, the best real matrix beside it
    alternation : values along alternating weight and low-rank steps with real Ŵ, from a random L
    weight_error_optimum : sum of squares of the singular values beyond k of the outputs ``(W − Ŵ) x`` of all tokens, a mean over them
    condition : sum of the condition numbers of the moments of x and of Q(x)
    """

    weight: Float64Array
    rounded: Float64Array
    moments: ActivationMoments
    rank: int
    correction: Float64Array
    sampled: float
    optimum_sampled: float
    perturbed_sampled: float
    target_sampled: float
    alternation: Float64Array
    weight_error_optimum: float
    condition: float
