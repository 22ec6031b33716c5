"""CRVQ, QLLM and LRC: bits, channels and rank spent where they count."""

from __future__ import annotations

import numpy as np

from rdtools.theory.activation import activation_distortion, merge_distortion
from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.layer_parts import ChannelEvidence, LowRankEvidence
from rdtools.theory.claims.parts import CriticalEvidence, MomentEvidence
from rdtools.theory.claims.record import Assumption, Claim, Relation, Side, Source
from rdtools.theory.claims.terms import ours, sum_rounding
from rdtools.theory.critical_channels import relaxed_distortion
from rdtools.theory.low_rank import (
    ActivationMoments,
    corrected_distortion,
    low_rank_correction,
    relaxed_correction,
    unpredictable_distortion,
)
from rdtools.theory.waterfilling import distortion_rate

#: Rounding errors of a normal channel on cells of half its deviation are uniform to e^(−2π²·4); what is granted is for how errors of
#: correlated channels on one grid go together.
_NOISE_MODEL = 0.03

_CRVQ, _QLLM, _LRC = (Source(paper, "", "") for paper in ("CRVQ 2412.09282", "QLLM 2310.08041", "LRC 2412.07902"))

_FINE = Assumption(
    "the step times the number of copies is at most half the deviation that any other channel leaves, in every channel, and some "
    "channel is no extreme of its token",
    lambda e: 0 < e.channels.coarseness <= 0.5 and _noise(e, staggered=True) > 0,
)


def _at(source: Source, equation: str) -> Source:
    return Source(source.paper, source.version, equation)


def _diagonal(e: Evidence) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.diagonal(e.moment.matrix)


def _relaxed_ratio(e: Evidence) -> float:
    c = e.critical
    return relaxed_distortion(_diagonal(e), c.fraction, basic=c.basic, extended=c.extended) / (float(np.mean(_diagonal(e))) * c.basic)


def _noise(e: Evidence, *, staggered: bool) -> float:
    return activation_distortion(e.channels.inner_step_powers, e.channels.counts, e.channels.weight, staggered=staggered)


def _moment_rounding(e: Evidence, scale: float) -> float:
    """Rounding of sample moments, solved with."""
    return 64 * e.moment.columns * float(np.finfo(np.float64).eps) * e.low_rank.condition * scale


def _power(e: Evidence) -> float:
    """Output power per weight, the scale that losses round against."""
    evidence = e.low_rank
    return corrected_distortion(evidence.weight, np.zeros_like(evidence.weight), np.zeros_like(evidence.weight), evidence.moments)


def _sample_rounding(e: Evidence) -> float:
    return _moment_rounding(e, _power(e) + e.low_rank.sampled)


def _optimum(e: Evidence) -> float:
    evidence = e.low_rank
    return low_rank_correction(evidence.weight, evidence.rounded, evidence.moments, evidence.rank).distortion


def _qera(e: Evidence) -> float:
    evidence = e.low_rank
    moments = ActivationMoments.unquantized(evidence.moments.inputs)
    return low_rank_correction(evidence.weight, evidence.rounded, moments, evidence.rank).distortion


_WELL_CONDITIONED = Assumption(
    "the sample moments are resolved to 0.1 % in float64",
    lambda e: _moment_rounding(e, 1.0) < 1e-3,
)


def _claim(name: str, statement: str, source: Source, left: Side, relation: Relation, right: Side) -> Claim:
    """A statement about the low-rank correction, on sample moments that can be solved with."""
    return Claim(
        name,
        statement,
        source,
        (MomentEvidence, LowRankEvidence),
        left,
        right,
        relation,
        "distortion",
        assumptions=(_WELL_CONDITIONED,),
        tolerance=_sample_rounding,
    )


CLAIMS = (
    Claim(
        "crvq.relaxation",
        "D(λ)/D(0) = 1 − (1 − c_e/c_b) φ(λ) under diag(H), codes chosen without weighting",
        ours("CRVQ 2412.09282 under a diagonal H"),
        (MomentEvidence, CriticalEvidence),
        left=lambda e: e.critical.selected.scaled(1 / (float(np.mean(_diagonal(e))) * e.critical.basic)),
        right=_relaxed_ratio,
        relation="=",
        unit="ratio",
        tolerance=lambda e: sum_rounding(e, 1.0),
    ),
    Claim(
        "crvq.selection",
        "critical channels of largest H_jj cost no more than channels drawn at random",
        _at(_CRVQ, "importance"),
        (MomentEvidence, CriticalEvidence),
        left=lambda e: e.critical.selected,
        right=lambda e: e.critical.unselected,
        relation="≤",
        unit="distortion",
    ),
    Claim(
        "crvq.waterfilling",
        "D of two codes ≥ D of waterfilling over channels at their average rate",
        ours("two-level allocation"),
        (MomentEvidence, CriticalEvidence),
        left=lambda e: e.critical.selected,
        right=lambda e: float(distortion_rate(e.critical.rate_bits, _diagonal(e)).distortion),
        relation="≥",
        unit="distortion",
    ),
    Claim(
        "qllm.disassembly",
        "W' x' = W x for channels split into T_j copies x_j/T_j (largest relative difference)",
        _at(_QLLM, "channel disassembly"),
        (MomentEvidence, ChannelEvidence),
        left=lambda e: e.channels.split_error,
        right=lambda e: 0.0,
        relation="=",
        unit="relative",
        tolerance=lambda e: sum_rounding(e, float(e.channels.counts.sum()) / e.moment.columns),
    ),
    Claim(
        "qllm.assembly",
        "merging channels i and j costs E(x_i − x_j)² ‖w_i − w_j‖²/(4mn) per weight",
        _at(_QLLM, "channel assembly"),
        (MomentEvidence, ChannelEvidence),
        left=lambda e: e.channels.merge_distortion,
        right=lambda e: merge_distortion(e.moment.matrix, e.channels.weight, *e.channels.pair),
        relation="=",
        unit="distortion",
        tolerance=lambda e: sum_rounding(e, float(np.trace(e.moment.matrix)) * float(np.mean(e.channels.weight**2))),
    ),
    Claim(
        "qllm.noise",
        "rounding activations costs Σ (E[Δ²; j no extreme of its token]/12) T_j² ‖w_j‖²/(mn) with equal copies, within 3 % (ratio)",
        ours("uniform noise of QLLM 2310.08041's copies"),
        (MomentEvidence, ChannelEvidence),
        left=lambda e: e.channels.equal_distortion.scaled(1 / _noise(e, staggered=False)),
        right=lambda e: 1.0,
        relation="=",
        unit="relative",
        assumptions=(_FINE,),
        tolerance=lambda e: _NOISE_MODEL,
    ),
    Claim(
        "qllm.noise-bound",
        "it costs at most (E Δ²/12) Σ T_j² ‖w_j‖²/(mn), within 3 % (ratio)",
        ours("uniform noise of QLLM 2310.08041's copies"),
        (MomentEvidence, ChannelEvidence),
        left=lambda e: e.channels.equal_distortion.scaled(
            1 / activation_distortion(e.channels.step_power, e.channels.counts, e.channels.weight)
        ),
        right=lambda e: 1.0,
        relation="≤",
        unit="relative",
        assumptions=(_FINE,),
        tolerance=lambda e: _NOISE_MODEL,
    ),
    Claim(
        "qllm.staggered",
        "it costs Σ (E[Δ²; j no extreme of its token]/12) ‖w_j‖²/(mn) with copies shifted by fractions of a step, within 3 % (ratio)",
        ours("Hermite's identity"),
        (MomentEvidence, ChannelEvidence),
        left=lambda e: e.channels.staggered_distortion.scaled(1 / _noise(e, staggered=True)),
        right=lambda e: 1.0,
        relation="=",
        unit="relative",
        assumptions=(_FINE,),
        tolerance=lambda e: _NOISE_MODEL,
    ),
    _claim(
        "lrc.moments",
        "E‖W x − Ŵ Q(x) − L x‖² is a function of E xxᵀ, E QQᵀ and E xQᵀ",
        _at(_LRC, "objective"),
        lambda e: e.low_rank.sampled,
        "=",
        lambda e: corrected_distortion(e.low_rank.weight, e.low_rank.rounded, e.low_rank.correction, e.low_rank.moments),
    ),
    _claim(
        "lrc.weight-step",
        "with L fixed the best real Ŵ is (W − L) S_xy S_y⁻¹ and leaves tr (W−L) S (W−L)ᵀ/(mn)",
        _at(_LRC, "weight step"),
        lambda e: e.low_rank.target_sampled,
        "=",
        lambda e: unpredictable_distortion(e.low_rank.weight, e.low_rank.correction, e.low_rank.moments),
    ),
    _claim(
        "lrc.low-rank-step",
        "with Ŵ fixed the best L of rank k leaves floor + Σ_{i>k} eig_i(R S_x Rᵀ)/(mn)",
        _at(_LRC, "low-rank step"),
        lambda e: e.low_rank.optimum_sampled,
        "=",
        _optimum,
    ),
    _claim(
        "lrc.optimal",
        "no other L of rank k leaves less (the least of those drawn)",
        _at(_LRC, "low-rank step"),
        lambda e: e.low_rank.perturbed_sampled,
        "≥",
        _optimum,
    ),
    _claim(
        "lrc.alternation",
        "alternating real weight steps and low-rank steps never raise the loss (largest rise)",
        _at(_LRC, "alternation"),
        lambda e: float(np.diff(e.low_rank.alternation).max()),
        "≤",
        lambda e: 0.0,
    ),
    _claim(
        "lrc.initialisation",
        "Σ_{i>k} eig_i(W S Wᵀ)/(mn) ≤ loss of every Ŵ with every L of rank k (the least seen)",
        _at(_LRC, "initialisation"),
        lambda e: relaxed_correction(e.low_rank.weight, e.low_rank.moments, e.low_rank.rank).distortion,
        "≤",
        lambda e: min(float(e.low_rank.alternation.min()), e.low_rank.optimum_sampled),
    ),
    _claim(
        "lrc.weight-error-only",
        "with Q(x) = x the optimum is Σ_{i>k} s_i²/(mn), s_i the singular values of the outputs (W − Ŵ) x over the tokens",
        Source("QERA 2410.06040", "", "exact solution"),
        _qera,
        "=",
        lambda e: e.low_rank.weight_error_optimum,
    ),
)
