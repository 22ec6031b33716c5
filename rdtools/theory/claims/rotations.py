"""What rotations and rounding without feedback do: statements of QuIP's kind that were derived for this project."""

from __future__ import annotations

import math

import numpy as np

from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.layer_parts import WeightEvidence
from rdtools.theory.claims.parts import Estimate, MomentEvidence, RotationEvidence, RoundingEvidence
from rdtools.theory.claims.quip import CORNER_SHARE
from rdtools.theory.claims.record import Assumption, Claim
from rdtools.theory.claims.terms import POSITIVE_DEFINITE, RESOLVED, factor_rounding, ours, root_trace, sum_rounding, trace_h
from rdtools.theory.incoherence import (
    haar_incoherence_bound,
    haar_weight_incoherence_bound,
    kronecker_incoherence_bound,
    kronecker_weight_incoherence_bound,
)
from rdtools.theory.ldlq import worst_proxy_loss
from rdtools.theory.rotation import rotated_cholesky_moments, rotated_gptq_gap_bits


def _drawn_gap(e: Evidence) -> Estimate:
    columns = e.moment.columns
    return Estimate.of(0.5 * (np.log2(e.rotations.haar_traces / columns) - e.rotations.haar_log2_determinants))


def _leading_trace(e: Evidence) -> float:
    """A drawn rotation exceeds the limit in n by what its first coordinates add, each about tr H/n where few eigenvalues dominate.

    0.6 to 1.2 of one were seen for power laws, spikes and geometric spectra at n = 64; two are granted.
    """
    return 2 * trace_h(e) / e.moment.columns**2


def _leading_coordinates(e: Evidence) -> float:
    return 0.5 * math.log2(1 + _leading_trace(e) / _limit_mean(e)) + factor_rounding(e, 1.0)


def _limit_mean(e: Evidence) -> float:
    return rotated_cholesky_moments(e.moment.spectrum.eigenvalues)[0]


_NO_LEADERS = Assumption(
    "at least 16 live columns, and no few eigenvalues dominate: 2 tr H/n² is at most a fifth of the mean of ℓ²(t)",
    lambda e: e.moment.columns >= 16 and _leading_trace(e) <= 0.2 * _limit_mean(e),
)

CLAIMS = (
    Claim(
        "ldlq.nearest-worst-least",
        "some weights cost rounding to nearest at least tr H/4",
        ours("the worst case of nearest rounding; QuIP's Lemma 3 is of stochastic rounding"),
        (MomentEvidence, RoundingEvidence),
        left=lambda e: e.rounding.nearest_attained,
        right=lambda e: worst_proxy_loss(trace_h(e)),
        relation="≥",
        unit="squared step",
        tolerance=lambda e: CORNER_SHARE * worst_proxy_loss(trace_h(e)) + sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "ldlq.nearest-worst-most",
        "no weights cost rounding to nearest more than n λ_max/4",
        ours("the worst case of nearest rounding; QuIP's Lemma 3 is of stochastic rounding"),
        (MomentEvidence, RoundingEvidence),
        left=lambda e: e.rounding.nearest_attained,
        right=lambda e: e.moment.columns * float(e.moment.spectrum.eigenvalues[0]) / 4,
        relation="≤",
        unit="squared step",
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "rotation.haar-incoherence",
        "μ_H after a Haar rotation ≤ √n times the beta(½, (n−1)/2) quantile's root at δ/n², with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5, k = 1, with explicit constants"),
        (RotationEvidence, MomentEvidence),
        left=lambda e: float(e.rotations.incoherence["haar"].max()),
        right=lambda e: haar_incoherence_bound(e.moment.columns, failure=e.rotations.failure),
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, math.sqrt(e.moment.columns)),
        chance=lambda e: e.rotations.failure * e.rotations.incoherence["haar"].size,
    ),
    Claim(
        "rotation.kronecker-incoherence",
        "μ_H after a Kronecker rotation ≤ min(√n, s), √s e^{(1−s)/2} = δ/(2n²), with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5 with explicit constants"),
        (RotationEvidence, MomentEvidence),
        left=lambda e: float(e.rotations.incoherence["kronecker"].max()),
        right=lambda e: kronecker_incoherence_bound(e.moment.columns, failure=e.rotations.failure),
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, math.sqrt(e.moment.columns)),
        chance=lambda e: e.rotations.failure * e.rotations.incoherence["kronecker"].size,
    ),
    Claim(
        "rotation.haar-weight-incoherence",
        "μ_W after Haar rotations on both sides ≤ min(√(mn), s), √s e^{(1−s)/2} = δ/(2mn), with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5 with explicit constants"),
        (MomentEvidence, WeightEvidence),
        left=lambda e: float(e.weights.rotated_incoherence["haar"].max()),
        right=lambda e: haar_weight_incoherence_bound(e.weights.rows, e.moment.columns, failure=e.weights.failure),
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, math.sqrt(e.weights.rows * e.moment.columns)),
        chance=lambda e: e.weights.failure * e.weights.rotated_incoherence["haar"].size,
    ),
    Claim(
        "rotation.kronecker-weight-incoherence",
        "μ_W after Kronecker rotations on both sides ≤ min(√(mn), s²), √s e^{(1−s)/2} = δ/(4mn), with probability 1 − δ (largest drawn)",
        ours("QuIP 2307.13304 Lemma 5 with explicit constants"),
        (MomentEvidence, WeightEvidence),
        left=lambda e: float(e.weights.rotated_incoherence["kronecker"].max()),
        right=lambda e: kronecker_weight_incoherence_bound(e.weights.rows, e.moment.columns, failure=e.weights.failure),
        relation="≤",
        unit="μ",
        tolerance=lambda e: sum_rounding(e, math.sqrt(e.weights.rows * e.moment.columns)),
        chance=lambda e: e.weights.failure * e.weights.rotated_incoherence["kronecker"].size,
    ),
    Claim(
        "rotation.deterministic-equivalent",
        "½ log2(AM/GM of ℓ_ii²) after Haar rotation = its limit with ℓ²(t) = t s(t)/(1−t) (mean of those drawn)",
        ours("deterministic equivalent of a rotated Cholesky diagonal"),
        (MomentEvidence, RotationEvidence),
        left=_drawn_gap,
        right=lambda e: rotated_gptq_gap_bits(e.moment.spectrum),
        relation="=",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED, _NO_LEADERS),
        tolerance=_leading_coordinates,
    ),
    Claim(
        "rotation.below-incoherent-bound",
        "tr D/n ≤ (mean √λ)² after Haar rotation, QuIP's bound at μ_H = 1 (mean of those drawn)",
        ours("limit of QuIP 2307.13304 Lemma 2 under Haar rotation"),
        (MomentEvidence, RotationEvidence),
        left=lambda e: Estimate.of(e.rotations.haar_traces / e.moment.columns),
        right=lambda e: (root_trace(e) / e.moment.columns) ** 2,
        relation="≤",
        unit="variance",
        assumptions=(POSITIVE_DEFINITE, RESOLVED, _NO_LEADERS),
        tolerance=lambda e: _leading_trace(e) + sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "rotation.above-determinant",
        "tr D/n ≥ |H|^{1/n} after every Haar rotation (the least drawn)",
        ours("arithmetic and geometric mean"),
        (MomentEvidence, RotationEvidence),
        left=lambda e: float(e.rotations.haar_traces.min()) / e.moment.columns,
        right=lambda e: float(np.exp2(np.log2(e.moment.spectrum.eigenvalues).mean())),
        relation="≥",
        unit="variance",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, float(e.rotations.haar_traces.min()) / e.moment.columns),
    ),
)
