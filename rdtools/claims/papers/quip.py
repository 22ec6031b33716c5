"""QuIP: incoherence, and the losses of adaptive rounding with linear feedback."""

from __future__ import annotations

import math

import numpy as np

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.clamping import Clamping
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.nearest_plane import NearestPlane
from rdtools.claims.evidence.unit_rounding import UnitRounding
from rdtools.claims.evidence.weights import Weights
from rdtools.claims.papers.terms import (
    CORNER_SHARE,
    REGULAR,
    factor,
    factor_rounding,
    factoring,
    root_diagonal,
    root_trace,
    sum_rounding,
    summing,
    trace_d,
    trace_h,
)
from rdtools.claims.record import Claim, Source, Statement
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
    return hessian_incoherence(e[Moment].spectrum)


def _lemma_2(e: Evidence) -> float:
    return incoherence_trace_bound(_mu(e), e[Moment].spectrum.eigenvalues)


def _stochastic_worst(e: Evidence) -> Estimate:
    loss = e[UnitRounding].stochastic_worst
    assert loss is not None  # H is positive definite
    return loss


def _zero_root(e: Evidence) -> float:
    return math.sqrt(sum_rounding(e, float(e[Moment].spectrum.eigenvalues[0])))


def _average(name: str, statement: str, source: Source, rounding: Rounding, *, feedback: bool) -> Claim:
    """The claim on the mean loss of rounding, with LDLQ's feedback or without any."""
    return Statement(name, statement, source).equal(
        lambda e: (e[UnitRounding].feedback if feedback else e[UnitRounding].plain)[rounding],
        lambda e: average_proxy_loss((trace_d if feedback else trace_h)(e), rounding),
        "squared step",
        *(REGULAR if feedback else ()),
        tolerance=factoring(trace_d) if feedback else summing(trace_h),
    )


CLAIMS = (
    Statement("quip.hessian-incoherence-least", "1 ≤ μ_H", _source("Definition 1")).at_most(1.0, _mu, "μ", tolerance=summing(1.0)),
    Statement("quip.hessian-incoherence-most", "μ_H ≤ √n", _source("Definition 1")).at_most(
        _mu, lambda e: math.sqrt(e[Moment].columns), "μ", tolerance=summing(lambda e: math.sqrt(e[Moment].columns))
    ),
    Statement("quip.weight-incoherence-least", "1 ≤ μ_W", _source("Definition 1")).at_most(
        1.0, lambda e: e[Weights].incoherence, "μ", tolerance=summing(1.0)
    ),
    Statement("quip.weight-incoherence-most", "μ_W ≤ √(mn)", _source("Definition 1")).at_most(
        lambda e: e[Weights].incoherence,
        lambda e: math.sqrt(e[Weights].rows * e[Moment].columns),
        "μ",
        tolerance=summing(lambda e: math.sqrt(e[Weights].rows * e[Moment].columns)),
    ),
    Statement("quip.lemma-2", "tr D ≤ (μ_H²/n) (tr H^½)²", _source("Lemma 2")).at_most(
        trace_d, _lemma_2, "trace", tolerance=summing(trace_h)
    ),
    Statement("quip.lemma-2-proof", "tr D ≤ tr S · max_i S_ii, S = H^½", _source("Lemma 2, proof")).at_most(
        trace_d, lambda e: root_trace_bound(root_diagonal(e)), "trace", tolerance=summing(trace_h)
    ),
    Statement("quip.lemma-2-order", "tr S · max_i S_ii ≤ (μ_H²/n) (tr S)²", _source("Lemma 2, proof")).at_most(
        lambda e: root_trace_bound(root_diagonal(e)), _lemma_2, "trace", tolerance=summing(_lemma_2)
    ),
    Statement("quip.feedback-helps", "tr D ≤ tr H", _source("Theorem 1 and Lemma 3")).at_most(
        trace_d, trace_h, "trace", tolerance=summing(trace_h)
    ),
    Statement("quip.low-rank-root", "(tr H^½)² ≤ k tr H, k the rank", _source("low-rank corollary")).at_most(
        lambda e: root_trace(e) ** 2,
        lambda e: e[Moment].spectrum.rank * trace_h(e),
        "trace",
        # eigenvalues that are rounding of zero, r ε λ_max each, add their roots
        tolerance=lambda e: (
            sum_rounding(e, e[Moment].columns * trace_h(e))
            + 2 * root_trace(e) * (e[Moment].columns - e[Moment].spectrum.rank) * _zero_root(e)
        ),
    ),
    Statement("quip.low-rank", "tr D ≤ (μ_H² k/n) tr H", _source("low-rank corollary")).at_most(
        trace_d,
        lambda e: low_rank_trace_bound(_mu(e), e[Moment].spectrum.rank, trace_h(e), e[Moment].columns),
        "trace",
        tolerance=summing(trace_h),
    ),
    Statement(
        "quip.theorem-1-optimal",
        "tr (I+U)⁻¹ H (I+U)⁻ᵀ ≥ tr D for every strictly triangular U (the least of those drawn)",
        _source("Theorem 1"),
    ).at_least(lambda e: float(e[Moment].feedback_traces.min()), trace_d, "trace", *REGULAR, tolerance=factoring(trace_d)),
    Statement("quip.theorem-1-attained", "tr (I+U)⁻¹ H (I+U)⁻ᵀ = tr D for LDLQ's U", _source("Theorem 1")).equal(
        lambda e: feedback_trace(e[Moment].matrix, feedback_matrix(factor(e))), trace_d, "trace", *REGULAR, tolerance=factoring(trace_d)
    ),
    Statement("quip.error-identity", "E H Eᵀ = Σ η_i² D_ii in every row (largest difference over tr D)", _source("Theorem 1, proof")).equal(
        lambda e: e[UnitRounding].identity_error,
        0.0,
        "relative",
        *REGULAR,
        # ‖E‖² ≤ loss/λ_min, and E H Eᵀ rounds by n ε λ_max ‖E‖²
        tolerance=factoring(1.0),
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
    Statement("quip.theorem-1-worst", "loss of nearest LDLQ = tr D/4 where every rounding is at its worst", _source("Theorem 1")).equal(
        lambda e: e[UnitRounding].corner,
        lambda e: worst_proxy_loss(trace_d(e)),
        "squared step",
        *REGULAR,
        tolerance=lambda e: CORNER_SHARE * worst_proxy_loss(trace_d(e)) + factor_rounding(e, trace_d(e)),
    ),
    Statement("quip.theorem-1-worst-stochastic", "mean loss of stochastic LDLQ ≤ tr D/4 (at half-integers)", _source("Theorem 1")).at_most(
        _stochastic_worst, lambda e: worst_proxy_loss(trace_d(e)), "squared step", *REGULAR, tolerance=factoring(trace_d)
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
    Statement("quip.lemma-3-worst-stochastic", "mean loss of stochastic rounding = tr H/4 at half-integers", _source("Lemma 3")).equal(
        lambda e: e[UnitRounding].stochastic_half, lambda e: worst_proxy_loss(trace_h(e)), "squared step", tolerance=summing(trace_h)
    ),
    Statement(
        "quip.theorem-4-witness",
        "LDLQ's integers are those of rounding to nearest where H is diagonal (integers that differ)",
        _source("Theorem 4"),
    ).equal(lambda e: e[UnitRounding].diagonal_mismatches, 0.0, "codes"),
    Statement("quip.theorem-6", "D_kk = 1/T_kk², H⁻¹ = Tᵀ T (largest relative difference): OPTQ is LDLQ", _source("Theorem 6")).equal(
        lambda e: float(np.abs(e[NearestPlane].textbook_variances / e[Moment].pivots - 1).max()),
        0.0,
        "relative",
        *REGULAR,
        # the inverse is formed on the textbook's side, which squares the loss of digits at worst
        tolerance=factoring(16.0),
    ),
    Statement(
        "quip.rotation-keeps-loss", "tr W H Wᵀ is kept by orthogonal rotation of W and H (largest relative change)", _source("section 4")
    ).equal(
        lambda e: e[Weights].loss_change,
        0.0,
        "relative",
        *REGULAR,
        # W may lie where H is weak: the loss is at least λ_min ‖W‖² while its terms round against λ_max ‖W‖²
        tolerance=factoring(1.0),
    ),
    Statement(
        "quip.clamping-breaks-feedback",
        "clamped LDLQ loses more than rounding to nearest, on the constructed H",
        _source("finite-grid counterexample"),
    ).at_least(lambda e: e[Clamping].clamped, lambda e: e[Clamping].plain, "squared step"),
    Statement(
        "quip.without-clamping",
        "LDLQ loses no more than rounding to nearest on the same H and an unbounded grid",
        _source("finite-grid counterexample"),
    ).at_most(lambda e: e[Clamping].unclamped, lambda e: e[Clamping].plain, "squared step"),
)
