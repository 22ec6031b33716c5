"""QuIP: incoherence, and what adaptive rounding with linear feedback can and cannot do."""

from __future__ import annotations

import math

import numpy as np

from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.layer_parts import PlaneEvidence, WeightEvidence
from rdtools.theory.claims.parts import ClampEvidence, Estimate, MomentEvidence, RoundingEvidence
from rdtools.theory.claims.record import Claim, Source
from rdtools.theory.claims.terms import (
    POSITIVE_DEFINITE,
    RESOLVED,
    factor_rounding,
    root_diagonal,
    root_trace,
    sum_rounding,
    trace_d,
    trace_h,
)
from rdtools.theory.incoherence import hessian_incoherence, incoherence_trace_bound
from rdtools.theory.ldlq import (
    Rounding,
    average_proxy_loss,
    feedback_matrix,
    feedback_trace,
    low_rank_trace_bound,
    root_trace_bound,
    worst_proxy_loss,
)


def _source(equation: str) -> Source:
    return Source("QuIP 2307.13304", "", equation)


def _mu(e: Evidence) -> float:
    return hessian_incoherence(e.moment.spectrum)


def _lemma_2(e: Evidence) -> float:
    return incoherence_trace_bound(_mu(e), e.moment.spectrum.eigenvalues)


def _stochastic_worst(e: Evidence) -> Estimate:
    assert e.rounding.stochastic_worst is not None  # there where H is positive definite
    return e.rounding.stochastic_worst


def _zero_root(e: Evidence) -> float:
    return math.sqrt(sum_rounding(e, float(e.moment.spectrum.eigenvalues[0])))


def _factor(e: Evidence) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    assert e.moment.factor is not None  # an assumption of every claim that asks
    return e.moment.factor


#: A corner is approached to 1e-6 of a step, so that its loss is short by this share.
CORNER_SHARE = 1 - (1 - 2e-6) ** 2


def _average(name: str, statement: str, source: Source, rounding: Rounding, *, feedback: bool) -> Claim:
    """What rounding loses on average, with LDLQ's feedback or without any."""
    return Claim(
        name,
        statement,
        source,
        (MomentEvidence, RoundingEvidence),
        left=lambda e: (e.rounding.feedback if feedback else e.rounding.plain)[rounding],
        right=lambda e: average_proxy_loss(trace_d(e) if feedback else trace_h(e), rounding),
        relation="=",
        unit="squared step",
        assumptions=(POSITIVE_DEFINITE, RESOLVED) if feedback else (),
        tolerance=lambda e: factor_rounding(e, trace_d(e)) if feedback else sum_rounding(e, trace_h(e)),
    )


CLAIMS = (
    Claim(
        "quip.hessian-incoherence-least",
        "1 ≤ μ_H",
        _source("Definition 1"),
        (MomentEvidence,),
        left=lambda e: 1.0,
        right=_mu,
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, 1.0),
    ),
    Claim(
        "quip.hessian-incoherence-most",
        "μ_H ≤ √n",
        _source("Definition 1"),
        (MomentEvidence,),
        left=_mu,
        right=lambda e: math.sqrt(e.moment.columns),
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, math.sqrt(e.moment.columns)),
    ),
    Claim(
        "quip.weight-incoherence-least",
        "1 ≤ μ_W",
        _source("Definition 1"),
        (MomentEvidence, WeightEvidence),
        left=lambda e: 1.0,
        right=lambda e: e.weights.incoherence,
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, 1.0),
    ),
    Claim(
        "quip.weight-incoherence-most",
        "μ_W ≤ √(mn)",
        _source("Definition 1"),
        (MomentEvidence, WeightEvidence),
        left=lambda e: e.weights.incoherence,
        right=lambda e: math.sqrt(e.weights.rows * e.moment.columns),
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, math.sqrt(e.weights.rows * e.moment.columns)),
    ),
    Claim(
        "quip.lemma-2",
        "tr D ≤ (μ_H²/n) (tr H^½)²",
        _source("Lemma 2"),
        (MomentEvidence,),
        left=trace_d,
        right=_lemma_2,
        relation="≤",
        unit="trace",
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip.lemma-2-proof",
        "tr D ≤ tr S · max_i S_ii, S = H^½",
        _source("Lemma 2, proof"),
        (MomentEvidence,),
        left=trace_d,
        right=lambda e: root_trace_bound(root_diagonal(e)),
        relation="≤",
        unit="trace",
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip.lemma-2-order",
        "tr S · max_i S_ii ≤ (μ_H²/n) (tr S)²",
        _source("Lemma 2, proof"),
        (MomentEvidence,),
        left=lambda e: root_trace_bound(root_diagonal(e)),
        right=_lemma_2,
        relation="≤",
        unit="trace",
        tolerance=lambda e: sum_rounding(e, _lemma_2(e)),
    ),
    Claim(
        "quip.feedback-helps",
        "tr D ≤ tr H",
        _source("Theorem 1 and Lemma 3"),
        (MomentEvidence,),
        left=trace_d,
        right=trace_h,
        relation="≤",
        unit="trace",
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip.low-rank-root",
        "(tr H^½)² ≤ k tr H, k the rank",
        _source("low-rank corollary"),
        (MomentEvidence,),
        left=lambda e: root_trace(e) ** 2,
        right=lambda e: e.moment.spectrum.rank * trace_h(e),
        relation="≤",
        unit="trace",
        # eigenvalues that are rounding of zero, r ε λ_max each, add their roots
        tolerance=lambda e: (
            sum_rounding(e, e.moment.columns * trace_h(e)) + 2 * root_trace(e) * (e.moment.columns - e.moment.spectrum.rank) * _zero_root(e)
        ),
    ),
    Claim(
        "quip.low-rank",
        "tr D ≤ (μ_H² k/n) tr H",
        _source("low-rank corollary"),
        (MomentEvidence,),
        left=trace_d,
        right=lambda e: low_rank_trace_bound(_mu(e), e.moment.spectrum.rank, trace_h(e), e.moment.columns),
        relation="≤",
        unit="trace",
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip.theorem-1-optimal",
        "tr (I+U)⁻¹ H (I+U)⁻ᵀ ≥ tr D for every strictly triangular U (the least of those drawn)",
        _source("Theorem 1"),
        (MomentEvidence,),
        left=lambda e: float(e.moment.feedback_traces.min()),
        right=trace_d,
        relation="≥",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, trace_d(e)),
    ),
    Claim(
        "quip.theorem-1-attained",
        "tr (I+U)⁻¹ H (I+U)⁻ᵀ = tr D for LDLQ's U",
        _source("Theorem 1"),
        (MomentEvidence,),
        left=lambda e: feedback_trace(e.moment.matrix, feedback_matrix(_factor(e))),
        right=trace_d,
        relation="=",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, trace_d(e)),
    ),
    Claim(
        "quip.error-identity",
        "E H Eᵀ = Σ η_i² D_ii in every row (largest difference over tr D)",
        _source("Theorem 1, proof"),
        (MomentEvidence, RoundingEvidence),
        left=lambda e: e.rounding.identity_error,
        right=lambda e: 0.0,
        relation="=",
        unit="relative",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        # ‖E‖² ≤ loss/λ_min, and E H Eᵀ rounds by n ε λ_max ‖E‖²
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    _average(
        "quip.theorem-1-average-nearest",
        "mean loss of nearest LDLQ = tr D/12, W uniform modulo the grid",
        _source("Theorem 1"),
        "nearest",
        feedback=True,
    ),
    _average(
        "quip.theorem-1-average-stochastic",
        "mean loss of stochastic LDLQ = tr D/6, W uniform modulo the grid",
        _source("Theorem 1"),
        "stochastic",
        feedback=True,
    ),
    Claim(
        "quip.theorem-1-worst",
        "loss of nearest LDLQ = tr D/4 where every rounding is at its worst",
        _source("Theorem 1"),
        (MomentEvidence, RoundingEvidence),
        left=lambda e: e.rounding.corner,
        right=lambda e: worst_proxy_loss(trace_d(e)),
        relation="=",
        unit="squared step",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: CORNER_SHARE * worst_proxy_loss(trace_d(e)) + factor_rounding(e, trace_d(e)),
    ),
    Claim(
        "quip.theorem-1-worst-stochastic",
        "mean loss of stochastic LDLQ ≤ tr D/4 (at half-integers)",
        _source("Theorem 1"),
        (MomentEvidence, RoundingEvidence),
        left=_stochastic_worst,
        right=lambda e: worst_proxy_loss(trace_d(e)),
        relation="≤",
        unit="squared step",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, trace_d(e)),
    ),
    _average(
        "quip.lemma-3-average-nearest",
        "mean loss of rounding to nearest = tr H/12, W uniform modulo the grid",
        _source("Lemma 3"),
        "nearest",
        feedback=False,
    ),
    _average(
        "quip.lemma-3-average-stochastic",
        "mean loss of stochastic rounding = tr H/6, W uniform modulo the grid",
        _source("Lemma 3"),
        "stochastic",
        feedback=False,
    ),
    Claim(
        "quip.lemma-3-worst-stochastic",
        "mean loss of stochastic rounding = tr H/4 at half-integers",
        _source("Lemma 3"),
        (MomentEvidence, RoundingEvidence),
        left=lambda e: e.rounding.stochastic_half,
        right=lambda e: worst_proxy_loss(trace_h(e)),
        relation="=",
        unit="squared step",
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip.theorem-4-witness",
        "LDLQ's codes are those of rounding to nearest where H is diagonal (codes that differ)",
        _source("Theorem 4"),
        (RoundingEvidence,),
        left=lambda e: e.rounding.diagonal_mismatches,
        right=lambda e: 0.0,
        relation="=",
        unit="codes",
    ),
    Claim(
        "quip.theorem-6",
        "D_kk = 1/T_kk², H⁻¹ = Tᵀ T (largest relative difference): OPTQ is LDLQ",
        _source("Theorem 6"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: float(np.abs(e.planes.textbook_variances / e.moment.pivots - 1).max()),
        right=lambda e: 0.0,
        relation="=",
        unit="relative",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        # the inverse is formed on the textbook's side, which squares the loss of digits at worst
        tolerance=lambda e: factor_rounding(e, 16.0),
    ),
    Claim(
        "quip.rotation-keeps-loss",
        "tr W H Wᵀ is kept by orthogonal rotation of W and H (largest relative change)",
        _source("section 4"),
        (MomentEvidence, WeightEvidence),
        left=lambda e: e.weights.loss_change,
        right=lambda e: 0.0,
        relation="=",
        unit="relative",
        # W may lie where H is weak: the loss is at least λ_min ‖W‖² while its terms round against λ_max ‖W‖²
        tolerance=lambda e: factor_rounding(e, 1.0),
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
    ),
    Claim(
        "quip.clamping-breaks-feedback",
        "clamped LDLQ loses more than rounding to nearest, on the constructed H",
        _source("finite-grid counterexample"),
        (ClampEvidence,),
        left=lambda e: e.clamping.clamped,
        right=lambda e: e.clamping.plain,
        relation="≥",
        unit="squared step",
    ),
    Claim(
        "quip.without-clamping",
        "LDLQ loses no more than rounding to nearest on the same H and an unbounded grid",
        _source("finite-grid counterexample"),
        (ClampEvidence,),
        left=lambda e: e.clamping.unclamped,
        right=lambda e: e.clamping.plain,
        relation="≤",
        unit="squared step",
    ),
)
