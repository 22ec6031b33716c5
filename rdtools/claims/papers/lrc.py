"""LRC: a low-rank correction beside quantized weights and activations."""

from __future__ import annotations

import numpy as np

from rdtools.claims.evidence.base import Evidence
from rdtools.claims.evidence.low_rank import LowRank
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.record import Assumption, Source, Statement
from rdtools.records import InputMoments
from rdtools.theory.activation_moments import corrected_distortion
from rdtools.theory.correction_target import unpredictable_distortion
from rdtools.theory.low_rank import low_rank_correction, relaxed_correction


def _source(equation: str) -> Source:
    return Source("LRC 2412.07902", "", equation)


def _moment_rounding(e: Evidence, scale: float) -> float:
    """Rounding of sample moments, solved with."""
    return 64 * e[Moment].columns * float(np.finfo(np.float64).eps) * e[LowRank].condition * scale


def _power(e: Evidence) -> float:
    """Output power per weight, the scale that losses round against."""
    evidence = e[LowRank]
    return corrected_distortion(evidence.weight, np.zeros_like(evidence.weight), np.zeros_like(evidence.weight), evidence.moments)


def sample_rounding(e: Evidence) -> float:
    """Rounding of losses from sample moments, solved with."""
    return _moment_rounding(e, _power(e) + e[LowRank].sampled)


def _optimum(e: Evidence) -> float:
    evidence = e[LowRank]
    return low_rank_correction(evidence.weight, evidence.rounded, evidence.moments, evidence.rank).distortion


def _qera(e: Evidence) -> float:
    evidence = e[LowRank]
    moments = InputMoments.plain(evidence.moments.reference)
    return low_rank_correction(evidence.weight, evidence.rounded, moments, evidence.rank).distortion


#: Assumption of claims that solve with sample moments.
WELL_CONDITIONED = Assumption(
    "the sample moments are resolved to 0.1 % in float64",
    lambda e: _moment_rounding(e, 1.0) < 1e-3,
)

CLAIMS = (
    Statement("lrc.moments", "E‖W x − Ŵ Q(x) − L x‖² is a function of E xxᵀ, E QQᵀ and E xQᵀ", _source("objective")).equal(
        lambda e: e[LowRank].sampled,
        lambda e: corrected_distortion(e[LowRank].weight, e[LowRank].rounded, e[LowRank].correction, e[LowRank].moments),
        "distortion",
        WELL_CONDITIONED,
        tolerance=sample_rounding,
    ),
    Statement(
        "lrc.weight-step", "with L fixed the best real Ŵ is (W − L) S_xy S_y⁻¹ and leaves tr (W−L) S (W−L)ᵀ/(mn)", _source("weight step")
    ).equal(
        lambda e: e[LowRank].target_sampled,
        lambda e: unpredictable_distortion(e[LowRank].weight, e[LowRank].correction, e[LowRank].moments),
        "distortion",
        WELL_CONDITIONED,
        tolerance=sample_rounding,
    ),
    Statement(
        "lrc.low-rank-step", "with Ŵ fixed the best L of rank k leaves floor + Σ_{i>k} eig_i(R S_x Rᵀ)/(mn)", _source("low-rank step")
    ).equal(lambda e: e[LowRank].optimum_sampled, _optimum, "distortion", WELL_CONDITIONED, tolerance=sample_rounding),
    Statement("lrc.optimal", "no other L of rank k leaves less (the least of those drawn)", _source("low-rank step")).at_least(
        lambda e: e[LowRank].perturbed_sampled, _optimum, "distortion", WELL_CONDITIONED, tolerance=sample_rounding
    ),
    Statement(
        "lrc.alternation", "alternating real weight steps and low-rank steps never raise the loss (largest rise)", _source("alternation")
    ).at_most(lambda e: float(np.diff(e[LowRank].alternation).max()), 0.0, "distortion", WELL_CONDITIONED, tolerance=sample_rounding),
    Statement(
        "lrc.initialisation",
        "Σ_{i>k} eig_i(W S Wᵀ)/(mn) ≤ loss of every Ŵ with every L of rank k (the least seen)",
        _source("initialisation"),
    ).at_most(
        lambda e: relaxed_correction(e[LowRank].weight, e[LowRank].moments, e[LowRank].rank).distortion,
        lambda e: min(float(e[LowRank].alternation.min()), e[LowRank].optimum_sampled),
        "distortion",
        WELL_CONDITIONED,
        tolerance=sample_rounding,
    ),
    Statement(
        "lrc.weight-error-only",
        "with Q(x) = x the optimum is Σ_{i>k} s_i²/(mn), s_i the singular values of the outputs (W − Ŵ) x over the tokens",
        Source("QERA 2410.06040", "", "exact solution"),
    ).equal(_qera, lambda e: e[LowRank].weight_error_optimum, "distortion", WELL_CONDITIONED, tolerance=sample_rounding),
)
