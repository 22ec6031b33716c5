"""What claims are held against: numbers about one layer, gathered by `rdtools.verify` and never by theory.

Losses are per row in units of the squared step unless a field says otherwise; r is the number of live columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rdtools.records import Spectrum
from rdtools.theory.ldlq import Rounding
from rdtools.theory.low_rank import ActivationMoments

Float64Array = NDArray[np.float64]
T = TypeVar("T")

#: What is called high rate: every column adds at most this share of λ_min to the distortion.
HIGH_RATE_SHARE = 1 / 1024


@dataclass(frozen=True)
class Estimate:
    """A mean over independent draws, its standard error, and the degrees of freedom behind that; infinite for a number that is known."""

    value: float
    stderr: float
    degrees: float = math.inf

    @classmethod
    def of(cls, draws: Float64Array) -> Estimate:
        """Mean and standard error of at least two draws."""
        return cls(float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(draws.size)), draws.size - 1)

    def scaled(self, factor: float) -> Estimate:
        """The estimate times a number."""
        return Estimate(self.value * factor, self.stderr * abs(factor), self.degrees)


@dataclass(frozen=True, eq=False)
class MomentEvidence:
    """A second moment, taken apart.

    Attributes
    ----------
    matrix : (r, r) H
    eigenvectors : (r, r), columns in the order of the spectrum
    spectrum : of H
    pivots : (r,) ``D_ii = ℓ_ii²``, of a singular H too
    factor : (r, r) L of ``H = L Lᵀ``, None if H is singular
    order_diagonals : ``ℓ_ii²`` after factoring in other column orders, by name of the order; empty if H is singular
    feedback_traces : ``tr((I+U)⁻¹ H (I+U)⁻ᵀ)`` of U drawn at random, near and far from LDLQ's; empty if H is singular
    """

    matrix: Float64Array
    eigenvectors: Float64Array
    spectrum: Spectrum
    pivots: Float64Array
    factor: Float64Array | None
    order_diagonals: Mapping[str, Float64Array]
    feedback_traces: Float64Array

    @property
    def columns(self) -> int:
        """Number of live columns, r."""
        return len(self.matrix)

    @property
    def resolution(self) -> float:
        """``r ε λ_max/λ_min``: relative accuracy of the smallest eigenvalue and of the smallest ℓ_ii² in float64; inf if singular."""
        smallest = float(self.spectrum.eigenvalues[-1])
        eps = float(np.finfo(np.float64).eps)
        return self.columns * eps * float(self.spectrum.eigenvalues[0]) / smallest if self.factor is not None and smallest > 0 else np.inf


@dataclass(frozen=True, eq=False)
class RotationEvidence:
    """What drawn rotations did to a second moment.

    Attributes
    ----------
    failure : δ of the probabilistic bounds
    incoherence : μ_H after each draw, by kind of rotation
    tail_threshold : a, for an entry of a rotated eigenvector
    tail_fraction : share of such entries at or beyond a, over randomized Hadamard rotations; None where the order cannot be built
    haar_traces : ``Σ ℓ_ii²`` after each Haar rotation; empty if H is singular
    haar_log2_determinants : mean ``log2 ℓ_ii²`` after each
    """

    failure: float
    incoherence: Mapping[str, Float64Array]
    tail_threshold: float
    tail_fraction: Estimate | None
    haar_traces: Float64Array
    haar_log2_determinants: Float64Array


@dataclass(frozen=True, eq=False)
class WeightEvidence:
    """The layer's own weights.

    Attributes
    ----------
    rows : m
    incoherence : μ_W
    failure : δ of the probabilistic bound
    rotated_incoherence : μ_W after each draw of randomized Hadamard rotations on both sides; empty where an order cannot be built
    loss_change : largest relative change of tr(W H Wᵀ) under a rotation of W and H, over kinds
    variance : mean square
    row_variances : (m,)
    entropy : differential entropy of an entry, estimated; None for a single weight
    entropy_bias_bits : what that may be off beside its standard error
    """

    rows: int
    incoherence: float
    failure: float
    rotated_incoherence: Float64Array
    loss_change: float
    variance: float
    row_variances: Float64Array
    entropy: Estimate | None
    entropy_bias_bits: float


@dataclass(frozen=True, eq=False)
class RoundingEvidence:
    """Rounding on a unit grid without clamping.

    Attributes
    ----------
    feedback : loss of LDLQ for weights uniform modulo the grid, by rounding
    plain : loss of rounding without feedback, likewise
    corner : loss of nearest LDLQ for weights that put every rounding at its worst
    stochastic_half : loss of stochastic rounding without feedback at half-integers
    nearest_attained : loss of rounding to nearest at weights ½ s with the signs s found by ascent
    identity_error : largest relative difference of ``E H Eᵀ`` and ``Σ η_i² D_ii`` over rows, any rounding
    diagonal_mismatches : codes in which LDLQ and rounding differ under diag(λ)
    """

    feedback: Mapping[Rounding, Estimate]
    plain: Mapping[Rounding, Estimate]
    corner: float
    stochastic_half: Estimate
    nearest_attained: float
    identity_error: float
    diagonal_mismatches: int


@dataclass(frozen=True)
class ClampEvidence:
    """Losses on the constructed matrix for which clamping breaks LDLQ.

    Attributes
    ----------
    columns : n
    plain : rounding to nearest
    clamped, unclamped : nearest LDLQ on four levels and on an unbounded grid
    """

    columns: int
    plain: float
    clamped: float
    unclamped: float


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


@dataclass(frozen=True)
class LatticePoint:
    """BlockLDLQ with a lattice, for weights uniform modulo it.

    Attributes
    ----------
    block : dimension g of the lattice
    error_variance : of its Voronoi cell, per dimension
    loss : of a row
    identity_error : largest relative difference of ``E H Eᵀ`` and ``Σ_k η_k D_k η_kᵀ``
    """

    block: int
    error_variance: float
    loss: Estimate
    identity_error: float


@dataclass(frozen=True)
class LatticeEvidence:
    """Block rounding.

    Attributes
    ----------
    points : by name of the lattice
    """

    points: Mapping[str, LatticePoint]


@dataclass(frozen=True, eq=False)
class SchemePoint:
    """One scheme on iid normal weights of variance one.

    Attributes
    ----------
    scheme : "watersic", "gptq" or "rtn"
    steps : (r,) α
    distortion : per weight
    rate_bits : per weight, by column: under the normal law of deviation 1/α (high rate) or the empirical one (finite rate)
    """

    scheme: str
    steps: Float64Array
    distortion: Estimate
    rate_bits: Estimate


@dataclass(frozen=True, eq=False)
class CodedPoint:
    """One file: its size, side information included, and what it decodes to; iid normal weights of variance one."""

    method: str
    coded_bits: float
    distortion: Estimate


@dataclass(frozen=True, eq=False)
class AbsmaxPoint:
    """Rounding to nearest on a grid for each row: its largest magnitudes, number of levels and distortion per weight."""

    row_absmax: Float64Array
    levels: int
    distortion: Estimate


@dataclass(frozen=True, eq=False)
class NormalEvidence:
    """Quantizers run on iid normal weights under the layer's H.

    Attributes
    ----------
    high_rate : points at HIGH_RATE_SHARE, by scheme; without those that this takes more than 20 bits
    finite_rate : points from about 1.5 to 3 bits, as far as prediction is quick and rows are enough to measure an entropy
    coded : files of real quantizers
    absmax : fixed-rate rounding
    """

    high_rate: Mapping[str, SchemePoint]
    finite_rate: tuple[SchemePoint, ...]
    coded: tuple[CodedPoint, ...]
    absmax: AbsmaxPoint


@dataclass(frozen=True, eq=False)
class MismatchEvidence:
    """Encoding with another second moment than the true one.

    Attributes
    ----------
    damping : relative to the mean diagonal
    damped_factor : L̃ of the damped H
    steps : (r,) WaterSIC's α under it
    distortion : measured under H, iid normal weights, fine steps
    tokens : N of the drawn calibrations
    penalties_bits : ½ log2(AM/GM of eig(Σ̃⁻¹Σ)) of each draw
    log_determinants : ``(1/r) log2 |Σ̃|/|Σ|`` of each draw
    holdout_means : ``tr(Σ̃⁻¹Σ')/r`` of each draw, Σ' from tokens of its own
    """

    damping: float
    damped_factor: Float64Array
    steps: Float64Array
    distortion: Estimate
    tokens: int
    penalties_bits: Float64Array
    log_determinants: Float64Array
    holdout_means: Float64Array


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
    weight_error_optimum : sum of squares of the singular values of ``(W − Ŵ) S_x^{1/2}`` beyond k, over mr
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


@dataclass(frozen=True, eq=False)
class CriticalEvidence:
    """A finer code for a few channels, under the diagonal of H, iid normal weights of variance one; distortions per weight.

    Attributes
    ----------
    fraction : λ of channels in whole groups
    share : of tr(H) in the channels of largest H_jj
    rate_bits : average of the two fixed rates
    basic, extended : squared error per weight of the two codes on the same law, from weights of their own
    selected : distortion with the channels of largest H_jj critical
    unselected : with channels drawn at random
    """

    fraction: float
    share: float
    rate_bits: float
    basic: Estimate
    extended: Estimate
    selected: Estimate
    unselected: Estimate


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that was gathered about one layer.

    Attributes
    ----------
    subject : layer or family
    parts : what was gathered, by kind
    model : that the layer is of
    missing : why a kind was not gathered
    """

    subject: str
    parts: Mapping[type, object]
    model: str = ""
    missing: Mapping[type, str] = field(default_factory=dict)

    def __getitem__(self, kind: type[T]) -> T:
        part = self.parts[kind]
        assert isinstance(part, kind)
        return part

    def having(self, part: object) -> Evidence:
        """The same with one part replaced."""
        return replace(self, parts={**self.parts, type(part): part})

    @property
    def moment(self) -> MomentEvidence:
        """The second moment."""
        return self[MomentEvidence]

    @property
    def weights(self) -> WeightEvidence:
        """The weights."""
        return self[WeightEvidence]

    @property
    def rotations(self) -> RotationEvidence:
        """Drawn rotations."""
        return self[RotationEvidence]

    @property
    def rounding(self) -> RoundingEvidence:
        """Rounding on a unit grid."""
        return self[RoundingEvidence]

    @property
    def clamping(self) -> ClampEvidence:
        """The counterexample."""
        return self[ClampEvidence]

    @property
    def planes(self) -> PlaneEvidence:
        """Nearest plane."""
        return self[PlaneEvidence]

    @property
    def lattices(self) -> LatticeEvidence:
        """Block rounding on lattices."""
        return self[LatticeEvidence]

    @property
    def normal(self) -> NormalEvidence:
        """Quantizers on normal weights."""
        return self[NormalEvidence]

    @property
    def mismatch(self) -> MismatchEvidence:
        """Encoding with another second moment."""
        return self[MismatchEvidence]

    @property
    def channels(self) -> ChannelEvidence:
        """Channels split and merged."""
        return self[ChannelEvidence]

    @property
    def low_rank(self) -> LowRankEvidence:
        """Low-rank correction."""
        return self[LowRankEvidence]

    @property
    def critical(self) -> CriticalEvidence:
        """Critical channels."""
        return self[CriticalEvidence]
