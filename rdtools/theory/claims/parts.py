"""The kinds of evidence about a second moment: numbers, gathered by `rdtools.verify` and never by theory.

Losses are per row in units of the squared step unless a field says otherwise; r is the number of live columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.records import Spectrum
from rdtools.theory.ldlq import Rounding

Float64Array = NDArray[np.float64]

#: What is called high rate: every column adds at most this share of λ_min to the distortion.
HIGH_RATE_SHARE = 1 / 1024
#: Width of the bins, in deviations of the codes, in which the frequencies of fine codes are counted.
BIN_DEVIATIONS = 1 / 6


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
    root : (r, r) ``S = H^{1/2}``, symmetric
    spectrum : of H
    pivots : (r,) ``D_ii = ℓ_ii²``, of a singular H too
    factor : (r, r) L of ``H = L Lᵀ``, None if H is singular
    n_tokens : behind H; 0 where it is exact
    order_diagonals : ``ℓ_ii²`` after factoring in other column orders, by name of the order; empty if H is singular
    feedback_traces : ``tr((I+U)⁻¹ H (I+U)⁻ᵀ)`` of U drawn at random, near and far from LDLQ's; empty if H is singular
    """

    matrix: Float64Array
    root: Float64Array
    spectrum: Spectrum
    pivots: Float64Array
    factor: Float64Array | None
    n_tokens: int
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
class CodedPoint:
    """One file: its size, side information included, and what it decodes to; with the distortion measured."""

    method: str
    coded_bits: float
    distortion: Estimate


@dataclass(frozen=True, eq=False)
class RoundingEvidence:
    """Rounding on a unit grid without clamping.

    Attributes
    ----------
    feedback : loss of LDLQ for weights uniform modulo the grid, by rounding
    plain : loss of rounding without feedback, likewise
    corner : loss of nearest LDLQ for weights that put every rounding at its worst
    stochastic_worst : loss of stochastic LDLQ at half-integers; None if H is singular
    stochastic_half : loss of stochastic rounding without feedback at half-integers
    nearest_attained : loss of rounding to nearest at weights ½ s with the signs s found by ascent
    identity_error : largest difference of ``E H Eᵀ`` and ``Σ η_i² D_ii`` over rows, any rounding, in units of tr D
    diagonal_mismatches : codes in which LDLQ and rounding differ under diag(λ)
    """

    feedback: Mapping[Rounding, Estimate]
    plain: Mapping[Rounding, Estimate]
    corner: float
    stochastic_worst: Estimate | None
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


@dataclass(frozen=True)
class LatticePoint:
    """BlockLDLQ with a lattice, for weights uniform modulo it.

    Attributes
    ----------
    block : dimension g of the lattice
    error_variance : of its Voronoi cell, per dimension
    loss : of a row
    identity_error : largest difference of ``E H Eᵀ`` and ``Σ_k η_k D_k η_kᵀ`` over rows, in units of tr H
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
    scheme : "watersic", "gptq", "rtn" or "rtn-columns" (steps inverse to the root of H_ii)
    steps : (r,) α
    distortion : per weight
    rate_bits : per weight, by column, under the empirical law of the codes, at high rate in bins of BIN_DEVIATIONS
    """

    scheme: str
    steps: Float64Array
    distortion: Estimate
    rate_bits: Estimate


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
    tokens : N of the drawn calibrations; the next three are empty where none was drawn
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
class CriticalEvidence:
    """A finer code for a few channels, under the diagonal of H, iid normal weights of variance one; distortions per weight.

    Attributes
    ----------
    fraction : λ of channels in whole groups
    rate_bits : average of the two fixed rates
    basic, extended : squared error per weight of the two codes on a normal law of variance one
    selected : distortion with the channels of largest H_jj critical
    unselected : with channels drawn at random
    """

    fraction: float
    rate_bits: float
    basic: float
    extended: float
    selected: Estimate
    unselected: Estimate
