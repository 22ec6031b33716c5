"""Rotations, and rounding without feedback: statements of QuIP's kind that were derived for this project."""

from __future__ import annotations

import math

import numpy as np

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.rotations import Rotations
from rdtools.claims.evidence.unit_rounding import UnitRounding
from rdtools.claims.evidence.weights import Weights
from rdtools.claims.papers.terms import (
    CORNER_SHARE,
    REGULAR,
    factor_rounding,
    factoring,
    ours,
    root_trace,
    sum_rounding,
    summing,
    trace_h,
)
from rdtools.claims.record import Assumption, Statement
from rdtools.theory.incoherence import (
    haar_incoherence_bound,
    haar_weight_incoherence_bound,
    kronecker_incoherence_bound,
    kronecker_weight_incoherence_bound,
)
from rdtools.theory.ldlq import worst_proxy_loss
from rdtools.theory.rotated_cholesky import rotated_cholesky_moments, rotated_gptq_gap_bits


def _drawn_gap(e: Evidence) -> Estimate:
    columns = e[Moment].columns
    return Estimate.of(0.5 * (np.log2(e[Rotations].haar_traces / columns) - e[Rotations].haar_log2_determinants))


def _leading_trace(e: Evidence) -> float:
    """A drawn rotation exceeds the limit in n by what its first coordinates add, each about tr H/n where few eigenvalues dominate.

    0.6 to 1.2 of one were seen for power laws, spikes and geometric spectra at n = 64; two are granted.
    """
    return 2 * trace_h(e) / e[Moment].columns ** 2


def _leading_coordinates(e: Evidence) -> float:
    return 0.5 * math.log2(1 + _leading_trace(e) / _limit_mean(e)) + factor_rounding(e, 1.0)


def _limit_mean(e: Evidence) -> float:
    return rotated_cholesky_moments(e[Moment].spectrum.eigenvalues)[0]


_NO_LEADERS = Assumption(
    "at least 16 active columns, and no few eigenvalues dominate: 2 tr H/n² is at most a fifth of the mean of ℓ²(t)",
    lambda e: e[Moment].columns >= 16 and _leading_trace(e) <= 0.2 * _limit_mean(e),
)

CLAIMS = (
    Statement(
        "ldlq.nearest-worst-least",
        "some weights cost rounding to nearest at least tr H/4",
        ours("the worst case of nearest rounding; QuIP's Lemma 3 is of stochastic rounding"),
    ).at_least(
        lambda e: e[UnitRounding].nearest_attained,
        lambda e: worst_proxy_loss(trace_h(e)),
        "squared step",
        tolerance=lambda e: CORNER_SHARE * worst_proxy_loss(trace_h(e)) + sum_rounding(e, trace_h(e)),
    ),
    Statement(
        "ldlq.nearest-worst-most",
        "no weights cost rounding to nearest more than n λ_max/4",
        ours("the worst case of nearest rounding; QuIP's Lemma 3 is of stochastic rounding"),
    ).at_most(
        lambda e: e[UnitRounding].nearest_attained,
        lambda e: e[Moment].columns * float(e[Moment].spectrum.eigenvalues[0]) / 4,
        "squared step",
        tolerance=summing(trace_h),
    ),
    Statement(
        "rotation.haar-incoherence",
        "μ_H after a Haar rotation ≤ √n times the beta(½, (n−1)/2) quantile's root at δ/n², with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5, k = 1, with explicit constants"),
    ).at_most(
        lambda e: float(e[Rotations].incoherence["haar"].max()),
        lambda e: haar_incoherence_bound(e[Moment].columns, failure=e[Rotations].failure),
        "μ",
        tolerance=summing(lambda e: math.sqrt(e[Moment].columns)),
        chance=lambda e: e[Rotations].failure * e[Rotations].incoherence["haar"].size,
    ),
    Statement(
        "rotation.kronecker-incoherence",
        "μ_H after a Kronecker rotation ≤ min(√n, s), √s e^{(1−s)/2} = δ/(2n²), with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5 with explicit constants"),
    ).at_most(
        lambda e: float(e[Rotations].incoherence["kronecker"].max()),
        lambda e: kronecker_incoherence_bound(e[Moment].columns, failure=e[Rotations].failure),
        "μ",
        tolerance=summing(lambda e: math.sqrt(e[Moment].columns)),
        chance=lambda e: e[Rotations].failure * e[Rotations].incoherence["kronecker"].size,
    ),
    Statement(
        "rotation.haar-weight-incoherence",
        "μ_W after Haar rotations on both sides ≤ min(√(mn), s), √s e^{(1−s)/2} = δ/(2mn), with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5 with explicit constants"),
    ).at_most(
        lambda e: float(e[Weights].rotated_incoherence["haar"].max()),
        lambda e: haar_weight_incoherence_bound(e[Weights].rows, e[Moment].columns, failure=e[Weights].failure),
        "μ",
        tolerance=summing(lambda e: math.sqrt(e[Weights].rows * e[Moment].columns)),
        chance=lambda e: e[Weights].failure * e[Weights].rotated_incoherence["haar"].size,
    ),
    Statement(
        "rotation.kronecker-weight-incoherence",
        "μ_W after Kronecker rotations on both sides ≤ min(√(mn), s²), √s e^{(1−s)/2} = δ/(4mn), with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5 with explicit constants"),
    ).at_most(
        lambda e: float(e[Weights].rotated_incoherence["kronecker"].max()),
        lambda e: kronecker_weight_incoherence_bound(e[Weights].rows, e[Moment].columns, failure=e[Weights].failure),
        "μ",
        tolerance=summing(lambda e: math.sqrt(e[Weights].rows * e[Moment].columns)),
        chance=lambda e: e[Weights].failure * e[Weights].rotated_incoherence["kronecker"].size,
    ),
    Statement(
        "rotation.deterministic-equivalent",
        "½ log2(AM/GM of ℓ_ii²) after Haar rotation = its limit with ℓ²(t) = t s(t)/(1−t) (mean of those drawn)",
        ours("deterministic equivalent of a rotated Cholesky diagonal"),
    ).equal(_drawn_gap, lambda e: rotated_gptq_gap_bits(e[Moment].spectrum), "bit", *REGULAR, _NO_LEADERS, tolerance=_leading_coordinates),
    Statement(
        "rotation.below-incoherent-bound",
        "tr D/n ≤ (mean √λ)² after Haar rotation, QuIP's bound at μ_H = 1 (mean of those drawn)",
        ours("limit of QuIP 2307.13304 Lemma 2 under Haar rotation"),
    ).at_most(
        lambda e: Estimate.of(e[Rotations].haar_traces / e[Moment].columns),
        lambda e: (root_trace(e) / e[Moment].columns) ** 2,
        "variance",
        *REGULAR,
        _NO_LEADERS,
        tolerance=lambda e: _leading_trace(e) + sum_rounding(e, trace_h(e)),
    ),
    Statement(
        "rotation.above-determinant",
        "tr D/n ≥ |H|^{1/n} after every Haar rotation (the least drawn)",
        ours("arithmetic and geometric mean"),
    ).at_least(
        lambda e: float(e[Rotations].haar_traces.min()) / e[Moment].columns,
        lambda e: float(np.exp2(np.log2(e[Moment].spectrum.eigenvalues).mean())),
        "variance",
        *REGULAR,
        tolerance=factoring(lambda e: float(e[Rotations].haar_traces.min()) / e[Moment].columns),
    ),
)
